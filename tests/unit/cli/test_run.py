"""run: what the command line and settings.yaml make of the options."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wiresock_py.cli import main, run
from wiresock_py.errors import EXIT_CONFIG, EXIT_NETWORK, EXIT_USAGE
from wiresock_py.service import process, supervisor
from wiresock_py.service.options import RunOptions


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """The processes started as workers; they wait to be told something, and end."""
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        workers.append(process.start_worker())
        return workers[-1]

    monkeypatch.setattr(process, "WORKER", (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"))
    monkeypatch.setattr(run, "start_worker", start)
    return workers


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, workers: list["subprocess.Popen[bytes]"]) -> list[RunOptions]:
    """The options of each supervisor, which does not use its worker and ends with the code for a network's trouble."""
    runs: list[RunOptions] = []

    class Fake:
        def __init__(self, options: RunOptions, first: "subprocess.Popen[bytes]") -> None:
            assert first is workers[-1]
            assert first.poll() is None
            runs.append(options)

        def run(self) -> int:
            return EXIT_NETWORK

    monkeypatch.setattr(supervisor, "Supervisor", Fake)
    return runs


@pytest.fixture
def settings(tmp_path: Path) -> str:
    path = tmp_path / "settings.yaml"
    path.write_text("kill_switch: all\nbackend: memory\nlog_level: debug\n")
    return str(path)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["run", *words])


def test_what_is_not_said_has_its_default(runs: list[RunOptions], tmp_path: Path) -> None:
    empty = tmp_path / "settings.yaml"
    empty.write_text("")
    invoke("a.conf", "b.conf", "--settings", str(empty))
    (options,) = runs
    assert options == RunOptions(("a.conf", "b.conf"), settings=str(empty))


def test_settings_are_taken_and_the_command_line_goes_first(runs: list[RunOptions], settings: str) -> None:
    invoke("a.conf", "--settings", settings)
    invoke("a.conf", "--settings", settings, "--kill-switch", "off", "--backend", "netfilter", "--log-level", "error")
    assert [(one.kill_switch, one.backend, one.log_level) for one in runs] == [
        ("all", "memory", "debug"),
        ("off", "netfilter", "error"),
    ]


def test_a_backend_without_traffic_is_no_protection_and_that_is_told(runs: list[RunOptions], settings: str) -> None:
    assert "carries nothing of this machine's traffic" in invoke("a.conf", "--settings", settings).stderr
    assert invoke("a.conf", "--settings", settings, "--backend", "netfilter").stderr == ""


def test_the_exit_code_is_the_supervisors(runs: list[RunOptions], settings: str) -> None:
    assert invoke("a.conf", "--settings", settings).exit_code == EXIT_NETWORK


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), "FILE"),
        (("a.conf", "--backend", "wintun"), "wintun"),
        (("a.conf", "--kill-switch", "maybe"), "maybe"),
        (("a.conf", "--connect-timeout", "-1"), "-1"),
        (("a.conf", "--connect-timeout", "inf"), "inf"),
    ],
)
def test_wrong_usage_names_what_was_found(runs: list[RunOptions], words: tuple[str, ...], found: str) -> None:
    result = invoke(*words)
    assert result.exit_code == EXIT_USAGE
    assert found in result.stderr
    assert runs == []


def test_the_worker_that_loads_meanwhile_ends_with_the_supervisor(
    runs: list[RunOptions], settings: str, workers: list["subprocess.Popen[bytes]"]
) -> None:
    invoke("a.conf", "--settings", settings)
    assert [worker.returncode for worker in workers] == [0]


def test_faulty_settings_are_told_before_anything_is_done(
    runs: list[RunOptions], tmp_path: Path, workers: list["subprocess.Popen[bytes]"]
) -> None:
    faulty = tmp_path / "settings.yaml"
    faulty.write_text("kill_switch: maybe\n")
    result = invoke("a.conf", "--settings", str(faulty))
    assert result.exit_code == EXIT_CONFIG
    assert "settings.yaml" in result.stderr
    assert runs == []
    assert [worker.returncode for worker in workers] == [0], "told nothing, it ended"
