"""Network namespaces and the processes in them: made, named, and torn down by this program alone.

A namespace's name carries its maker's pid and start time, so that two runs never meet, and what a killed run left
behind is recognised exactly (a reused pid has another start time) and removed by the next one.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import IO, TypeVar

from wiresock_py.errors import WiresockError

NETNS_FOLDER = Path("/run/netns")
NETNS_FILES = Path("/etc/netns")  # `ip netns exec NAME` binds the files of /etc/netns/NAME over those of /etc
SCRATCH = Path("/run/wiresock-lab")  # configurations, logs, the applications' executables
CLONE_NEWNET = 0x4000_0000
PREFIX = "wiresock-lab"
STOP_TIMEOUT = 5.0
TERM_PATIENCE = 1.0

_T = TypeVar("_T")
_labs = count()


class LabError(WiresockError):
    """The lab cannot be built here, or something in it failed."""


def unavailable_reason() -> str | None:
    """Why no lab can be built here and what to do about it, in one line; None if it can. Changes nothing."""
    if sys.platform == "win32" or not Path("/proc/self/ns/net").exists():
        return "the lab needs Linux network namespaces; run it on a Linux machine"
    if os.geteuid() != 0:
        return "the lab needs root to make network namespaces; run it as root (sudo)"
    missing = [tool for tool in ("ip", "iptables", "ip6tables", "wg") if shutil.which(tool) is None]
    if missing:
        return f"the lab needs {', '.join(missing)}; apt-get install iproute2 iptables wireguard-tools"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    if probe.returncode:
        return f"this system makes no network namespaces ({probe.stderr.strip()}); run on a machine or VM that does"
    return None


def _start_time(pid: int) -> int:
    """Start time of a process in clock ticks after boot (proc(5), stat field 22); 0 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def unique_label() -> str:
    """A label no other lab on this machine has: maker's pid, its start time, a running number."""
    pid = os.getpid()
    return f"{PREFIX}-{pid}-{_start_time(pid):x}-{next(_labs)}"


def _dead(paths: Iterable[Path]) -> list[str]:
    """The names among *paths* that belong to a lab whose maker is dead."""
    pattern = re.compile(rf"{PREFIX}-(\d+)-([0-9a-f]+)-\d+(-\w+)?")
    found = [match for match in map(pattern.fullmatch, sorted({path.name for path in paths})) if match]
    return [match[0] for match in found if _start_time(int(match[1])) != int(match[2], 16)]


def leftovers() -> list[str]:
    """Names of the namespaces whose maker is dead."""
    return _dead(path for folder in (NETNS_FOLDER, NETNS_FILES) if folder.is_dir() for path in folder.iterdir())


def clean() -> list[str]:
    """Remove what dead runs left behind: their processes by id, their namespaces, their files. Returns the names."""
    names = leftovers()
    for name in names:
        Namespace(name).delete()
    for folder in _dead(SCRATCH.iterdir() if SCRATCH.is_dir() else ()):
        shutil.rmtree(SCRATCH / folder, ignore_errors=True)
    return names


class Process:
    """A child process in a namespace, its output in a log that can be read at any time."""

    def __init__(
        self, command: Sequence[str], *, log: Path, stdin: int = subprocess.DEVNULL, stdout: int | None = None
    ) -> None:
        self.log_path = log
        with log.open("ab") as output:
            # its own session: Ctrl+C in the terminal is for whoever made the lab, which then ends the lab in order
            self.popen = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=output if stdout is None else stdout,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for(self, done: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Wait until *done*; LabError with the end of the log if the process ends first or time runs out."""
        deadline = time.monotonic() + timeout
        while not done():
            if not self.running:
                raise LabError(f"the process that was to be {what} ended with {self.popen.returncode}:\n{self._end()}")
            if time.monotonic() > deadline:
                raise LabError(f"no process is {what} after {timeout:g} s:\n{self._end()}")
            time.sleep(0.02)

    def _end(self) -> str:
        return "\n".join(self.log().splitlines()[-20:])

    def send_signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Ask the process to end, kill it if it does not; returns its exit code. May be repeated."""
        if self.running:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()
        finally:
            for pipe in (self.popen.stdin, self.popen.stdout):
                close_quietly(pipe)


def close_quietly(pipe: IO[bytes] | None) -> None:
    """Close a pipe whose other end may be gone."""
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


class Namespace:
    """One network namespace, known by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    @property
    def path(self) -> Path:
        return NETNS_FOLDER / self.name

    def create(self, files: dict[str, str] | None = None) -> None:
        """Make the namespace; *files* are seen in /etc by the processes in it (``resolv.conf``)."""
        for file, text in (files or {}).items():
            folder = NETNS_FILES / self.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        run(["ip", "netns", "add", self.name])
        self.ip("link set lo up")

    def delete(self) -> None:
        """End what runs in the namespace, by id, and remove it. May be repeated, never raises."""
        if sys.platform == "win32":
            return
        started = time.monotonic()
        while (pids := self.pids()) and (waited := time.monotonic() - started) < STOP_TIMEOUT:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if waited < TERM_PATIENCE else signal.SIGKILL)
            time.sleep(0.05)
        if self.path.exists():
            subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)
        shutil.rmtree(NETNS_FILES / self.name, ignore_errors=True)
        with contextlib.suppress(OSError):  # others may have theirs there
            NETNS_FILES.rmdir()

    def pids(self) -> list[int]:
        """The processes in it, this one excepted (a thread of ours may be there for a moment)."""
        if not self.path.exists():
            return []
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [pid for pid in map(int, done.stdout.split()) if pid != os.getpid()]

    def command(self, *argv: str) -> list[str]:
        """The command line that runs *argv* in here; ``ip`` replaces itself by it, so the pid is the program's."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> str:
        """Run a program to its end and return its standard output. Raises LabError with what it said on failure."""
        return run(self.command(*argv), stdin=stdin, timeout=timeout)

    def ip(self, *lines: str) -> None:
        """Run lines of the ``ip`` command in here, in one process."""
        run(["ip", "-netns", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def sysctl(self, **values: int | str) -> None:
        """Set this namespace's own sysctls; dots are written as double underscores: ``net__ipv4__ip_forward=1``."""
        script = "".join(f"echo '{value}' > /proc/sys/{name.replace('__', '/')}\n" for name, value in values.items())
        self.run("sh", "-e", stdin=script)

    def restore_rules(self, family: str, rules: str) -> None:
        """Load firewall rules in the format of ``iptables-save``; *family* is "iptables" or "ip6tables"."""
        self.run(f"{family}-restore", stdin=rules)

    def inside(self, action: Callable[[], _T]) -> _T:
        """Call *action* in a thread of this process that has entered the namespace; what it opens stays in there."""
        result: list[_T] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                with self.path.open("rb") as handle:
                    # os.setns came with Python 3.12; a namespace belongs to the thread, which ends below
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(handle.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")
                result.append(action())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this process that lives in the namespace."""
        return self.inside(lambda: socket.socket(family, kind, protocol))


def run(argv: Sequence[str], *, stdin: str = "", timeout: float = 30.0) -> str:
    """Run a program to its end; its standard output, or LabError with its name, exit code and last words."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed", "install it (Debian: apt-get install)") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)} did not end within {timeout:g} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}: {said}")
    return done.stdout
