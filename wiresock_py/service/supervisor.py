"""The supervisor: starts the worker, replaces it when it dies, and holds the line in between.

It has no keys and no tunnel. While there is no worker the rules stand and nobody serves their queues, which drops
everything in the plan; so the supervisor serves them itself, with the same engine and no tunnel: what belongs in the
tunnel is dropped, the rest passes. If the supervisor is killed as well, the rules alone stand: the plan is blocked
until ``wiresock-py reset`` or the next start.

    worker waiting ──> "open" ──> serving ──> dies ──> line held ──> next worker waiting ──> line released ──> "open" …
"""

import dataclasses
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import FrameType
from typing import IO, Any

from wiresock_py.engine.clock import now as clock
from wiresock_py.errors import EXIT_FAILURE, WiresockError
from wiresock_py.filters.registry import backend_class, default_name
from wiresock_py.rules import Known, NameTable
from wiresock_py.service import messages
from wiresock_py.service.console import ConsoleEvents
from wiresock_py.service.control import DEFAULT_PATH, presence
from wiresock_py.service.line import Line
from wiresock_py.service.options import RunOptions
from wiresock_py.service.process import start_worker

log = logging.getLogger(__name__)

STOP_TIMEOUT = 8.0
"""Seconds a worker has to shut down before it is killed."""
HANG_TIMEOUT = 10.0
"""Seconds without a sign of life from a serving worker, whose timers tick ten times a second, before it is replaced."""
OVERSLEPT = 1.0
"""Seconds by which a wait for a sign of life was too long if it was this process that stood still (Ctrl+Z, SIGSTOP)."""
LONGEST_PAUSE = 8.0
"""Workers that die before they serve are replaced after a pause that doubles up to this many seconds."""

GONE = "gone"
SIGNAL = "signal"
RELOAD = "reload"


class Supervisor:
    """Runs workers until told to stop."""

    def __init__(self, options: RunOptions, first: "subprocess.Popen[bytes] | None" = None) -> None:
        """*first* is a worker that was started already, so that it loads while this process does."""
        self._options = options
        self._first = first
        # (worker's pid or signal number, message); SimpleQueue.put is reentrant, so signal handlers may use it
        self._events: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        self._configurations: list[str] = []
        self._names = NameTable(lambda _: True)
        """What the workers learned of names: a new one is to know them from its first packet on."""
        self._line: Line | None = None
        self._guard = ExitStack()
        self._standing = False
        """Whether a worker was given the queues and did not end in order: its rules may stand."""
        self._stopping = False
        self._opened = False
        """Whether the worker was given the queues."""
        self._served = False
        """Whether the worker has come to serve."""
        self._heard: float | None = None
        """When a serving worker last gave a sign of life."""
        self._refused = 0
        self._ends_with_terminal = False

    def run(self) -> int:
        """Until a signal, or until the first worker says why it cannot work; returns the program's exit code.

        SIGHUP makes the worker read its files again, unless it says that the terminal we were started in is gone. Away
        from the main thread (a Windows service) there are no signals: ``stop`` ends it.
        """
        if threading.current_thread() is not threading.main_thread():
            return self._serve()
        signals = [signal.SIGINT, signal.SIGTERM]
        if sys.platform != "win32":
            signals.append(signal.SIGHUP)
            # nohup lets us ignore it: then we are to outlive the terminal
            self._ends_with_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()
        previous = {number: signal.signal(number, self._on_signal) for number in signals}
        console = ConsoleEvents(self.stop) if sys.platform == "win32" else nullcontext()
        try:
            with console:
                return self._serve()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _serve(self) -> int:
        try:
            with presence(Path(self._options.control_socket or DEFAULT_PATH)):
                return self._replace_workers()
        finally:
            self._restore()
            self._guard.close()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End ``run`` in order, as the signal *number* does; from any thread."""
        self._events.put((number, {"kind": SIGNAL}))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        hung_up = sys.platform != "win32" and number == signal.SIGHUP
        if hung_up and not (self._ends_with_terminal and not _has_terminal()):
            self._events.put((number, {"kind": RELOAD}))
        else:
            self._events.put((number, {"kind": SIGNAL}))

    def _replace_workers(self) -> int:
        options = self._options
        pause = 0.0
        replacing = False
        while True:
            served, exit_code = self._run_worker(options)
            if self._stopping:
                return 0 if exit_code == 0 else EXIT_FAILURE
            if not replacing and (self._refused or not served):
                # the first worker told what is wrong, and left nothing in place that would have to be defended
                return self._refused or EXIT_FAILURE
            log.warning("the worker died (%s): apps of the tunnel wait, others go on", _cause_of_death(exit_code))
            self._hold_line()
            pause = 0.0 if served else min(LONGEST_PAUSE, pause * 2 or 0.5)
            if self._stopped_within(pause):
                return 0
            replacing = True
            # one that takes over a plan must not give it up because the server is slow to answer
            options = dataclasses.replace(options, connect_timeout=0.0, replacing=True)

    def _run_worker(self, options: RunOptions) -> tuple[bool, int]:
        """One worker's life; returns whether it came to serve, and its exit code (negative: the signal)."""
        worker, self._first = self._first or start_worker(), None
        assert worker.stdin is not None
        assert worker.stdout is not None
        threading.Thread(target=self._listen, args=(worker.pid, worker.stdout), daemon=True).start()
        self._opened = self._served = False
        self._heard = None
        self._refused = 0
        deadline: float | None = None
        with worker:
            _tell(worker.stdin, "start", options=dataclasses.asdict(options))
            while True:
                until = self._heard + HANG_TIMEOUT if deadline is None and self._heard is not None else deadline
                try:
                    timeout = None if until is None else max(0.0, until - time.monotonic())
                    sender, message = self._events.get(timeout=timeout)
                except queue.Empty:
                    if deadline is None and until is not None and time.monotonic() - until > OVERSLEPT:
                        self._heard = time.monotonic()  # what it said meanwhile is still to be read
                        continue
                    if deadline is None:
                        log.error("the worker gave no sign of life for %g s and is killed", HANG_TIMEOUT)
                    else:
                        log.error("the worker did not stop within %g s and is killed", STOP_TIMEOUT)
                    worker.kill()
                    deadline = self._heard = None
                    continue
                kind = message["kind"]
                if kind == SIGNAL:
                    if not self._stopping:
                        log.info("stopping (%s)", signal.Signals(sender).name)
                        self._stopping = True
                        deadline = time.monotonic() + STOP_TIMEOUT
                        _tell(worker.stdin, "stop")
                elif kind == RELOAD:
                    if self._served:  # else it has just read its files, or will
                        _tell(worker.stdin, "reload")
                elif sender != worker.pid:
                    continue  # the last words of a worker replaced since
                elif kind == GONE:
                    exit_code = _end(worker)
                    if (exit_code == 0 and self._opened) or (self._refused and not options.replacing):
                        self._standing = False  # it tidied up, and what one before it left it had taken over
                    return self._served, exit_code
                else:
                    self._hear(worker.stdin, message)

    def _hear(self, worker: IO[bytes], message: dict[str, Any]) -> None:
        """What the living worker says."""
        match message["kind"]:
            case "waiting":
                self._configurations = message["configurations"]
                if self._line is not None:
                    self._line.release()
                    self._line = None
                if not self._standing:
                    self._keep_standing()
                self._opened = True
                _tell(worker, "open", names=self._names.known(clock()))
            case "learned":
                self._names.remember((Known(*each) for each in message["names"]), clock())
            case "serving":
                self._served = True
                self._heard = time.monotonic()
            case "alive":
                self._heard = time.monotonic()
            case "reloaded":
                self._configurations = message["configurations"]
            case "refused":
                self._refused = int(message["exit_code"])

    def _keep_standing(self) -> None:
        """From now on rules may stand, and must not fall with a worker where the system would clean up after it."""
        self._standing = True
        if self._options.kill_switch != "off":
            try:
                self._guard.enter_context(backend_class(self._options.backend or default_name()).guard())
            except WiresockError as error:
                log.warning("what a worker that dies leaves in place may fall with it: %s", error)

    def _listen(self, pid: int, stream: IO[bytes]) -> None:
        while message := messages.receive(stream):
            self._events.put((pid, message))
        self._events.put((pid, {"kind": GONE}))

    def _hold_line(self) -> None:
        if self._line is not None or self._options.kill_switch == "off":
            return
        try:
            self._line = Line(self._configurations, self._options, self._names.known(clock()))
        except Exception as error:
            # the rules stand without anybody serving them: closed, which is the safe side
            log.error(
                "the line cannot be held: %s; everything in the plan is blocked for now",
                error,
                exc_info=not isinstance(error, WiresockError),
            )

    def _restore(self) -> None:
        """Leave the network as it was, whatever the last worker could not do itself any more."""
        if self._line is not None:
            self._line.release(restore=True)
            self._line = None
        elif self._standing:
            try:
                for removed in backend_class(self._options.backend or default_name()).reset():
                    log.info("removed what the worker left: %s", removed)
            except WiresockError as error:
                log.error("the worker's rules may still stand: %s (run wiresock-py reset)", error)

    def _stopped_within(self, seconds: float) -> bool:
        """Wait before the next attempt; True if a signal ends the program meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                _, message = self._events.get(timeout=left)
            except queue.Empty:
                break
            if message["kind"] == SIGNAL:
                return True
        return False


def _has_terminal() -> bool:
    """Whether this process still has a terminal that controls it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def _tell(stream: IO[bytes], kind: str, **fields: Any) -> None:
    try:
        messages.send(stream, kind, **fields)
    except OSError:
        pass  # it died; its end of the pipe will say so


def _end(worker: "subprocess.Popen[bytes]") -> int:
    """The exit code of a worker that closed its output, and has nothing left to do."""
    try:
        return worker.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait()


def _cause_of_death(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:  # real-time signals have no name
        return f"signal {-exit_code}"
