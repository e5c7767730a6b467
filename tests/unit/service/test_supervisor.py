"""The supervisor with workers that do as a test says: replaced, stopped, killed; and the network restored."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wiresock_py.engine.clock import now as clock
from wiresock_py.errors import EXIT_FAILURE, BackendError
from wiresock_py.rules import Known
from wiresock_py.service import process, supervisor
from wiresock_py.service.options import RunOptions
from wiresock_py.service.supervisor import Supervisor

if sys.platform == "win32":
    pytest.skip("for other systems: the workers here die by POSIX signals", allow_module_level=True)

PRELUDE = """
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
place = sys.argv[1]
def say(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)
def hear():
    return json.loads(sys.stdin.readline() or '{"kind": "orphaned"}')
def note(what):
    with open(place, "a") as file:
        print(what, file=file)
lives = sum(line == "born\\n" for line in open(place)) if os.path.exists(place) else 0
note("born")
start = hear()
assert start["kind"] == "start"
def serve(configurations=("a",)):
    say("waiting", configurations=list(configurations))
    if (heard := hear()["kind"]) == "open":
        note("open")
        say("serving")
        heard = hear()["kind"]
    note(heard)
"""


class Backend:
    """Stands for the backend's class: remembers that it was asked to restore."""

    def __init__(self) -> None:
        self.resets = 0
        self.guards: list[str] = []
        self.failure: BackendError | None = None

    @contextmanager
    def guard(self) -> Iterator[None]:
        if self.failure is not None:
            raise self.failure
        self.guards.append("held")
        yield
        self.guards.append("released")

    def reset(self) -> list[str]:
        self.resets += 1
        return ["the IPv4 rules"]


class FakeLine:
    """Stands for the line: remembers what became of it."""

    def __init__(self, log: list[str], configurations: Sequence[str]) -> None:
        self._log = log
        log.append(f"held for {', '.join(configurations)}")

    def release(self, *, restore: bool = False) -> None:
        self._log.append("restored" if restore else "released")


class Stage:
    """A supervisor, the program its workers are, and what it did beside them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._place = folder / "notes"
        self._program = folder / "worker.py"
        self._patch = patch
        self.backend = Backend()
        self.line: list[str] = []
        patch.setattr(process, "WORKER", (sys.executable, "-S", str(self._program), str(self._place)))
        patch.setattr(supervisor, "Line", lambda texts, _options, _names: FakeLine(self.line, texts))
        patch.setattr(supervisor, "backend_class", lambda _name: self.backend)

    def run(self, program: str, *, kill_switch: str = "app") -> int:
        self._program.write_text(PRELUDE + program)
        place = str(self._place.with_suffix(".sock"))
        return Supervisor(RunOptions(("a.conf",), "memory", kill_switch, control_socket=place)).run()  # type: ignore[arg-type]  # one of its words

    @property
    def notes(self) -> list[str]:
        return self._place.read_text().split() if self._place.exists() else []

    def when(self, noted: str, act: Callable[[], object], *, times: int = 1) -> None:
        """Do something once the workers have noted *noted* so many times."""

        def watch() -> None:
            until = time.monotonic() + 20
            while self.notes.count(noted) < times and time.monotonic() < until:
                time.sleep(0.01)
            act()

        threading.Thread(target=watch, daemon=True).start()

    def stop_when(self, noted: str, *, times: int = 1, number: int = signal.SIGINT, after: float = 0.0) -> None:
        def stop() -> None:
            time.sleep(after)
            os.kill(os.getpid(), number)

        self.when(noted, stop, times=times)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with caplog.at_level(logging.INFO):
        yield Stage(tmp_path, monkeypatch)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_worker_in_order(stage: Stage, number: int) -> None:
    stage.stop_when("open", number=number)
    assert stage.run("serve()") == 0
    assert stage.notes == ["born", "open", "stop"]
    assert (stage.line, stage.backend.resets) == ([], 0)


def test_what_workers_leave_is_guarded_while_there_may_be_some(stage: Stage) -> None:
    killed = 'say("waiting", configurations=["a"]); hear(); say("serving"); note("open"); os.kill(os.getpid(), 9)'
    stage.stop_when("open", times=2)
    assert stage.run(f"if lives == 0:\n    {killed}\nserve()") == 0
    assert stage.backend.guards == ["held", "released"]


def test_what_a_worker_learned_is_told_to_the_line_and_to_the_next_worker(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = clock() + 3600
    held: list[Known] = []

    def hold(texts: Sequence[str], _options: RunOptions, names: Iterable[Known]) -> FakeLine:
        held.extend(names)
        return FakeLine(stage.line, texts)

    monkeypatch.setattr(supervisor, "Line", hold)
    dies = f"""say("waiting", configurations=["a"]); hear(); say("serving")
    say("learned", names=[["c0000201", "www.a.test", {until}]]); os.kill(os.getpid(), 9)"""
    tells = (
        """say("waiting", configurations=["a"]); note(hear()["names"][0][1]); note("open"); say("serving"); hear()"""
    )
    stage.stop_when("open")
    assert stage.run(f"if lives == 0:\n    {dies}\n{tells}") == 0
    assert [known.name for known in held] == ["www.a.test"]
    assert "www.a.test" in stage.notes


def test_without_a_kill_switch_nothing_is_guarded(stage: Stage) -> None:
    stage.stop_when("open")
    assert stage.run("serve()", kill_switch="off") == 0
    assert stage.backend.guards == []


def test_a_guard_that_fails_is_said_and_no_reason_to_stop(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.backend.failure = BackendError("no more handles")
    stage.stop_when("open")
    assert stage.run("serve()") == 0
    assert "may fall with it: no more handles" in caplog.text


RELOADING = """
serve()
if lives == 0:
    say("reloaded", configurations=["b"])
    note(hear()["kind"])
"""


def test_a_hangup_signal_makes_the_worker_read_its_files_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_has_terminal", lambda: False)  # a service never had one
    stage.stop_when("open", number=signal.SIGHUP, after=0.2)
    stage.stop_when("reload", after=0.2)
    assert stage.run(RELOADING) == 0
    assert stage.notes == ["born", "open", "reload", "stop"]


def test_a_hangup_with_the_terminal_still_there_is_a_wish_to_reload(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_has_terminal", lambda: True)
    stage.stop_when("open", number=signal.SIGHUP, after=0.2)
    stage.stop_when("reload", after=0.2)
    assert stage.run(RELOADING) == 0
    assert stage.notes == ["born", "open", "reload", "stop"]


def test_the_end_of_its_terminal_stops_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = iter([True, False])
    monkeypatch.setattr(supervisor, "_has_terminal", lambda: next(terminal))
    stage.stop_when("open", number=signal.SIGHUP)
    assert stage.run("serve()") == 0
    assert stage.notes == ["born", "open", "stop"]


def test_started_to_outlive_its_terminal_it_does(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        terminal = iter([True, False])
        monkeypatch.setattr(supervisor, "_has_terminal", lambda: next(terminal))
        stage.stop_when("open", number=signal.SIGHUP, after=0.2)
        stage.stop_when("reload", after=0.2)
        assert stage.run(RELOADING) == 0
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert stage.notes == ["born", "open", "reload", "stop"]


def test_the_line_is_held_by_the_rules_of_the_last_reload(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_has_terminal", lambda: False)
    stage.stop_when("open", number=signal.SIGHUP, after=0.2)
    stage.stop_when("open", times=2)
    program = RELOADING.replace("note(hear()", "time.sleep(0.2); os.kill(os.getpid(), 9); note(hear()")
    assert stage.run(program) == 0
    assert stage.line == ["held for b", "released"]


def test_what_the_first_worker_refuses_ends_the_program_with_its_code(stage: Stage) -> None:
    assert stage.run('say("refused", exit_code=5); sys.exit(5)') == 5
    assert stage.notes == ["born"]
    assert (stage.line, stage.backend.resets) == ([], 0)


def test_a_first_worker_that_served_and_then_refuses_ends_the_program(stage: Stage) -> None:
    program = 'say("waiting", configurations=["a"]); hear(); say("serving"); say("refused", exit_code=5); sys.exit(5)'
    assert stage.run(program) == 5
    assert (stage.line, stage.backend.resets) == ([], 0)


def test_a_first_worker_that_dies_before_it_had_the_queues_ends_the_program(stage: Stage) -> None:
    assert stage.run("sys.exit(1)") == EXIT_FAILURE
    assert stage.backend.resets == 0


def test_a_first_worker_that_dies_with_the_queues_leaves_nothing_behind(stage: Stage) -> None:
    program = 'say("waiting", configurations=["a"]); hear(); os.kill(os.getpid(), signal.SIGKILL)'
    assert stage.run(program) == EXIT_FAILURE
    assert stage.backend.resets == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGRTMIN + 3])
def test_a_worker_that_dies_is_replaced_while_the_line_is_held(
    stage: Stage, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    stage.stop_when("open", times=2)
    program = f"""
if lives:
    serve(["a, as the second read it"])
else:
    say("waiting", configurations=["a"]); hear(); note("open"); say("serving")
    os.kill(os.getpid(), {int(number)})
"""
    assert stage.run(program) == 0
    assert stage.notes == ["born", "open", "born", "open", "stop"]
    assert stage.line == ["held for a", "released"]
    assert stage.backend.resets == 0
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("the worker died (")


def test_a_worker_whose_engine_failed_is_replaced(stage: Stage) -> None:
    stage.stop_when("open", times=2)
    assert stage.run("serve() if lives else (serve_once())\n".replace("(serve_once())", SERVE_AND_FAIL)) == 0
    assert stage.line == ["held for a", "released"]


SERVE_AND_FAIL = (
    '(say("waiting", configurations=["a"]), hear(), note("open"), say("serving"), sys.stdout.flush(), os._exit(1))'
)


def test_workers_that_die_again_and_again_are_replaced_after_a_pause(stage: Stage) -> None:
    stage.stop_when("open", times=2)
    begun = time.monotonic()
    assert stage.run(f"serve() if lives == 3 else ({SERVE_AND_FAIL} if not lives else os._exit(1))") == 0
    assert time.monotonic() - begun > 1.5  # none, 0.5 s, 1 s
    assert stage.notes.count("born") == 4
    assert stage.line == ["held for a", "released"]


def test_a_signal_in_the_pause_between_two_workers_ends_it(stage: Stage) -> None:
    stage.stop_when("born", times=2, after=0.2)
    assert stage.run(f"{SERVE_AND_FAIL} if not lives else os._exit(1)") == 0
    assert stage.line == ["held for a", "restored"]


def test_a_signal_while_a_worker_gets_ready_gives_up_the_line_and_restores(stage: Stage) -> None:
    stage.stop_when("born", times=2)
    program = f"""
if not lives:
    {SERVE_AND_FAIL}
heard = hear()["kind"]
note(heard)
"""
    assert stage.run(program) == 0
    assert stage.notes[-1] == "stop"
    assert stage.line == ["held for a", "restored"]


def test_with_the_kill_switch_off_no_line_is_held_and_the_rules_go_at_the_end(stage: Stage) -> None:
    stage.stop_when("born", times=2, after=0.2)
    assert stage.run(f"{SERVE_AND_FAIL} if not lives else os._exit(1)", kill_switch="off") == 0
    assert stage.line == []
    assert stage.backend.resets == 1


@pytest.mark.parametrize("second", ['say("refused", exit_code=3); os._exit(3)', "note(hear()['kind'])"])
def test_what_a_killed_worker_left_goes_at_the_end_though_the_next_one_never_took_it_over(
    stage: Stage, second: str
) -> None:
    stage.stop_when("born", times=2, after=0.2)
    stage.run(f"{SERVE_AND_FAIL} if not lives else None\n{second}", kill_switch="off")
    assert stage.backend.resets == 1


def test_a_worker_that_does_not_stop_is_killed_and_its_rules_removed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT", 0.3)
    stage.stop_when("open")
    program = 'say("waiting", configurations=["a"]); hear(); note("open"); say("serving"); hear(); time.sleep(60)'
    begun = time.monotonic()
    assert stage.run(program) == EXIT_FAILURE
    assert time.monotonic() - begun < 10
    assert stage.backend.resets == 1
    assert "the worker did not stop within 0.3 s and is killed" in caplog.messages
    assert "removed what the worker left: the IPv4 rules" in caplog.messages


def test_a_worker_killed_while_it_stops_leaves_nothing_behind(stage: Stage) -> None:
    """As when a service manager signals every process of a service at once."""
    stage.stop_when("open")
    program = (
        'say("waiting", configurations=["a"]); hear(); note("open"); say("serving"); hear(); os.kill(os.getpid(), 9)'
    )
    assert stage.run(program) == EXIT_FAILURE
    assert stage.backend.resets == 1


def test_a_line_that_cannot_be_held_is_told_and_the_next_worker_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = iter([BackendError("NFQUEUE 51820 is held"), ValueError("anything else")])

    def fail(*_: object) -> None:
        raise next(errors)

    monkeypatch.setattr(supervisor, "Line", fail)
    stage.stop_when("open", times=3)
    assert stage.run(f"serve() if lives == 2 else {SERVE_AND_FAIL}") == 0
    told = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.partition(";")[0] for line in told] == [
        "the line cannot be held: NFQUEUE 51820 is held",
        "the line cannot be held: anything else",
    ]


def test_a_worker_that_closes_its_output_and_lives_on_is_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT", 0.3)
    begun = time.monotonic()
    assert stage.run("os.close(1); time.sleep(60)") == EXIT_FAILURE
    assert time.monotonic() - begun < 10


def test_a_replacement_waits_for_the_server_as_long_as_it_takes(stage: Stage) -> None:
    stage.stop_when("open", times=2)
    program = f"""
note(f"timeout-{{start['options']['connect_timeout']}}")
serve() if lives else {SERVE_AND_FAIL}
"""
    assert stage.run(program) == 0
    assert [note for note in stage.notes if note.startswith("timeout")] == ["timeout-30.0", "timeout-0.0"]


def test_the_folder_it_was_started_in_has_no_say_in_what_a_worker_imports(tmp_path: Path) -> None:
    """`sudo wiresock-py run` in a folder of downloads must not run what lies there."""
    planted = "open('planted code ran', 'w').close()"
    (tmp_path / "wiresock_py").mkdir()
    for name in ("wiresock_py/__init__.py", "queue.py", "json.py"):
        (tmp_path / name).write_text(planted)
    done = subprocess.run(process.WORKER, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert done.returncode == EXIT_FAILURE
    assert done.stderr == b""  # it was told nothing, so it ended
    assert not (tmp_path / "planted code ran").exists()


def test_a_worker_that_hangs_is_replaced(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "HANG_TIMEOUT", 0.5)
    stage.stop_when("open", times=2)
    program = """
say("waiting", configurations=["a"])
assert hear()["kind"] == "open"
note("open")
say("serving")
if lives == 0:
    say("alive")
    time.sleep(60)
for _ in range(3):
    say("alive")
note(hear()["kind"])
"""
    assert stage.run(program) == 0
    assert stage.notes == ["born", "open", "born", "open", "stop"]
    assert "the worker gave no sign of life for 0.5 s and is killed" in caplog.messages
    assert stage.line == ["held for a", "released"]


def test_a_supervisor_that_was_stopped_itself_does_not_take_its_worker_for_hanging(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept = [0.0]
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + slept[0]))

    class Stopped(queue.SimpleQueue[Any]):
        """Whoever waits for a sign of life is stopped for a minute, and then finds none that was read."""

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if timeout is not None and not slept[0]:
                slept[0] = 60.0
                raise queue.Empty
            return super().get(block, timeout)

    monkeypatch.setattr("wiresock_py.service.supervisor.queue.SimpleQueue", Stopped)
    stage.stop_when("lived")
    program = """
say("waiting", configurations=["a"])
assert hear()["kind"] == "open"
say("serving")
say("alive")
note("lived")
note(hear()["kind"])
"""
    assert stage.run(program) == 0
    assert slept == [60.0]
    assert stage.notes == ["born", "lived", "stop"]


def test_signs_of_life_keep_a_worker(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "HANG_TIMEOUT", 1.0)
    stage.stop_when("lived")
    program = """
say("waiting", configurations=["a"])
assert hear()["kind"] == "open"
say("serving")
for _ in range(20):
    say("alive")
    time.sleep(0.1)
note("lived")
note(hear()["kind"])
"""
    assert stage.run(program) == 0
    assert stage.notes == ["born", "lived", "stop"]
