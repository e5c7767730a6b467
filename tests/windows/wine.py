"""A Windows system of its own by Wine: made in a temporary folder, ended to the last process, then removed.

What bites: the first program of a prefix starts Windows' services, which inherit its standard streams, so that nobody
who reads a pipe of theirs ever sees its end; and a regular file as a standard stream keeps CPython from starting. So
the system boots detached, and its programs get pipes.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from wiresock_py.lab import LabError

LOADER = Path("/usr/lib/wine/wine64")
BOOT_TIMEOUT = 120.0
STOP_TIMEOUT = 20.0
TAIL = 4000
"""Characters of a failed program's output to show."""


class Wine:
    """*enter* is put before every command: how to get into a network namespace, for one."""

    def __init__(self, enter: Sequence[str] = ()) -> None:
        self._enter = tuple(enter)
        self.folder = Path(tempfile.mkdtemp(prefix="wiresock-wine-"))
        self.prefix = self.folder / "prefix"
        self.drive = self.prefix / "drive_c"
        home = self.folder / "home"  # Wine links Documents and the like to it
        home.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "CI") if name in os.environ}
        self._environment = kept | {
            "HOME": str(home),
            "WINEPREFIX": str(self.prefix),
            "WINEDEBUG": os.environ.get("WINEDEBUG", "-all"),
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # else it asks for downloads
        }
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _boot(self) -> None:
        # in the foreground, so that it is a child of ours to the end; -p0 would end it with the last program
        self._server = self._detached(["wineserver", "-f", "-p"])
        for command in (["cmd", "/c", "exit"], ["winecfg", "-v", "win10"]):  # CPython wants 8.1, Wine says 7
            booting = self._detached([str(LOADER), *command])
            try:
                code = booting.wait(BOOT_TIMEOUT)
            except subprocess.TimeoutExpired:
                booting.kill()
                raise LabError(f"{command[0]} did not end within {BOOT_TIMEOUT:g} s") from None
            if code:
                raise LabError(f"{command[0]} ended with {code}", "WINEDEBUG=err+all shows why")

    def _detached(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._enter, *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(
        self, *command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program; its output and errors are one pipe, its input another. The caller ends it."""
        return subprocess.Popen(
            [*self._enter, str(LOADER), *map(str, command)],
            env=self._environment | dict(environment or {}),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def start_on_terminal(
        self, *command: str | Path, cwd: Path, environment: Mapping[str, str]
    ) -> tuple["subprocess.Popen[bytes]", int]:
        """As ``start``, with a terminal for its input, which is the Windows program's console; Ctrl+C written to the
        descriptor is pressed there. The caller closes it."""
        ours, theirs = os.openpty()
        try:
            running = subprocess.Popen(
                ["setsid", "--ctty", *self._enter, str(LOADER), *map(str, command)],
                env=self._environment | {"TERM": "xterm"} | dict(environment),
                cwd=cwd,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        finally:
            os.close(theirs)
        return running, ours

    def run(self, *command: str | Path, timeout: float = 60.0, cwd: Path | None = None, check: bool = True) -> str:
        """Run a program to its end and return what it said."""
        code, said = self._run(command, timeout, cwd, show=False)
        if check and code:
            raise LabError(f"{' '.join(map(str, command))} ended with {code}: {said.strip()[-TAIL:]}")
        return said

    def show(self, *command: str | Path, timeout: float, cwd: Path | None = None) -> int:
        """Run a program to its end, with its output on ours, and return its exit code."""
        return self._run(command, timeout, cwd, show=True)[0]

    def _run(self, command: Sequence[str | Path], timeout: float, cwd: Path | None, *, show: bool) -> tuple[int, str]:
        running = self.start(*command, cwd=cwd)
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.close()
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, end)
        timer.start()
        said = []
        try:
            for line in running.stdout:
                text = line.decode(errors="replace").replace("\r\n", "\n")
                said.append(text)
                if show:
                    sys.stdout.write(text)
                    sys.stdout.flush()
            code = running.wait()
        finally:
            timer.cancel()
            running.stdout.close()
        if late.is_set():
            raise LabError(f"{' '.join(map(str, command))} did not end within {timeout:g} s: {''.join(said)[-TAIL:]}")
        return code, "".join(said)

    def install_driver(self, driver: Path) -> None:
        """Load it, under its file's name; it ends with the system."""
        place = self.drive / "windows" / "system32" / "drivers" / driver.name
        shutil.copyfile(driver, place)
        binary = f"C:\\windows\\system32\\drivers\\{driver.name}"
        self.run("sc", "create", driver.stem, "type=", "kernel", "start=", "demand", "binPath=", binary)
        self.run("sc", "start", driver.stem)

    def close(self) -> None:
        """End every program of this system, and remove it. May be repeated."""
        if self._server is not None:
            subprocess.run(
                [*self._enter, "wineserver", "-k"], env=self._environment, capture_output=True, timeout=STOP_TIMEOUT
            )
            try:
                self._server.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        shutil.rmtree(self.folder, ignore_errors=True)


def version() -> str:
    return subprocess.run([LOADER, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def missing() -> list[str]:
    """The programs that are not installed."""
    tools = ["wineserver", "x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-objdump", "x86_64-w64-mingw32-dlltool"]
    return [tool for tool in (str(LOADER), *tools) if shutil.which(tool) is None]
