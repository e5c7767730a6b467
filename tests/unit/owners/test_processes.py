import os
import sys

import psutil
import pytest

from tests.support.windows import FakeProcess, FakeProcesses
from wiresock_py.flow import App
from wiresock_py.owners.processes import REMEMBERED, Processes, load_process_calls

CHROME = r"C:\Program Files\Google\chrome.exe"


def nobody(_pid: int) -> App | None:
    return None


def test_a_process_is_its_pid_its_start_and_its_executable() -> None:
    calls = FakeProcesses(p42=FakeProcess(1000.5, CHROME))
    assert Processes(calls, fallback=nobody).facts(42) == App(42, 1000.5, CHROME)
    assert not calls.open


def test_a_process_that_is_gone_is_nobody() -> None:
    def never(pid: int) -> App | None:
        raise AssertionError(pid)

    assert Processes(FakeProcesses(), fallback=never).facts(42) is None


def test_the_path_is_read_once_in_a_process_life() -> None:
    calls = FakeProcesses(p42=FakeProcess(1000, CHROME))
    processes = Processes(calls, fallback=nobody)
    assert processes.facts(42) == processes.facts(42)
    assert calls.paths_asked == 1


def test_a_reused_pid_is_not_the_same_app() -> None:
    calls = FakeProcesses(p42=FakeProcess(1000, CHROME))
    processes = Processes(calls, fallback=nobody)
    processes.facts(42)
    calls.processes[42] = FakeProcess(2000, r"C:\other.exe")
    assert processes.facts(42) == App(42, 2000, r"C:\other.exe")


def test_where_windows_gives_no_handle_the_fallback_answers() -> None:
    calls = FakeProcesses(p42=FakeProcess(1000, CHROME, denied=True))
    assert Processes(calls, fallback=lambda pid: App(pid, 1.0, "csrss.exe")).facts(42) == App(42, 1.0, "csrss.exe")


def test_a_path_that_windows_withholds_comes_from_the_fallback_if_it_means_the_same_process() -> None:
    calls = FakeProcesses(p42=FakeProcess(1000, ""))
    assert Processes(calls, fallback=lambda pid: App(pid, 1000.004, "a.exe")).facts(42) == App(42, 1000, "a.exe")
    assert Processes(calls, fallback=lambda pid: App(pid, 2000, "b.exe")).facts(42) == App(42, 1000, "")
    assert Processes(calls, fallback=nobody).facts(42) == App(42, 1000, "")


def test_only_so_many_processes_are_remembered() -> None:
    calls = FakeProcesses(**{f"p{pid}": FakeProcess(pid, f"{pid}.exe") for pid in range(1, REMEMBERED + 2)})
    processes = Processes(calls, fallback=nobody)
    for pid in range(1, REMEMBERED + 2):
        processes.facts(pid)
    processes.facts(REMEMBERED + 1)
    assert calls.paths_asked == REMEMBERED + 1
    processes.facts(1)
    assert calls.paths_asked == REMEMBERED + 2


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_knows_this_very_process() -> None:
    found = Processes(load_process_calls()).facts(os.getpid())
    assert found is not None
    assert found.name.casefold() == "python.exe"
    assert found.started == pytest.approx(psutil.Process().create_time(), abs=0.1)
