"""wiresock_py.lab.namespaces: names, reasons, processes. What needs root is in tests/e2e/test_lab.py."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wiresock_py.lab import namespaces
from wiresock_py.lab.namespaces import LabError, Namespace, Process, run, unavailable_reason, unique_label

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="for other systems: the lab is made of Linux namespaces"
)


def test_a_label_names_its_maker_and_never_comes_twice() -> None:
    one, other = unique_label(), unique_label()
    assert one != other
    assert one.startswith(f"wiresock-lab-{os.getpid()}-")


def test_what_a_living_process_made_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "NETNS_FOLDER", tmp_path)
    monkeypatch.setattr(namespaces, "NETNS_FILES", tmp_path / "none")
    mine = f"{unique_label()}-client"
    reused = f"wiresock-lab-{os.getpid()}-1-0-server"  # this pid, but a process that started at another time
    for name in (mine, reused, "wiresock-lab-x-1-0-client", "somebody-elses"):
        (tmp_path / name).touch()
    assert namespaces.leftovers() == [reused]


def test_without_root_the_reason_and_the_remedy_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unavailable_reason() == "the lab needs root to make network namespaces; run it as root (sudo)"


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "wg" else f"/usr/bin/{name}")
    assert unavailable_reason() == "the lab needs wg; apt-get install iproute2 iptables wireguard-tools"


def test_a_system_that_makes_no_namespaces_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    refused = subprocess.CompletedProcess([], 1, "", "unshare failed: Operation not permitted\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    reason = unavailable_reason()
    assert reason is not None
    assert reason.startswith("this system makes no network namespaces (unshare failed: Operation not permitted)")
    assert "\n" not in reason


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(LabError, match=r"^sh ended with 3: out of luck$"):
        run(["sh"], stdin="echo out of luck >&2; exit 3")
    with pytest.raises(LabError, match="no-such-program is not installed"):
        run(["no-such-program"])
    with pytest.raises(LabError, match=r"sh did not end within 0.1 s"):
        run(["sh"], stdin="sleep 5", timeout=0.1)
    assert run(["cat"], stdin="through") == "through"


def test_the_pid_of_a_command_in_a_namespace_is_the_programs_own() -> None:
    assert Namespace("n").command("wg", "show") == ["ip", "netns", "exec", "n", "wg", "show"]


def test_a_process_is_waited_for_by_what_it_does(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo ready; sleep 60"], log=tmp_path / "log")
    process.wait_for(lambda: "ready" in process.log(), "ready")
    assert process.running
    assert process.stop() == -signal.SIGTERM
    assert process.stop() == -signal.SIGTERM, "may be repeated"
    assert not process.running


def test_a_process_that_ends_or_dawdles_is_told_with_its_log(tmp_path: Path) -> None:
    ended = Process(["sh", "-c", "echo no luck; exit 4"], log=tmp_path / "ended")
    with pytest.raises(LabError, match=r"was to be serving ended with 4:\nno luck"):
        ended.wait_for(lambda: False, "serving")
    ended.stop()
    slow = Process(["sleep", "60"], log=tmp_path / "slow")
    with pytest.raises(LabError, match=r"no process is serving after 0.1 s"):
        slow.wait_for(lambda: False, "serving", timeout=0.1)
    slow.stop()


def test_a_process_that_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], log=tmp_path / "log")
    process.wait_for(lambda: "ready" in process.log(), "ready")
    assert process.stop(timeout=0.2) == -signal.SIGKILL
