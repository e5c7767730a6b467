"""Processes to look at: real children under any executable name, and a tree shaped like /proc."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Interpreter = Callable[[str], Path]
"""Makes a copy of the Python interpreter under another name."""

PRELUDE = """
import os, socket, sys, time

def ready(*numbers):
    print(*numbers, flush=True)

def wait():
    sys.stdin.read()  # until the test closes its end
"""


class Child:
    """A Python program in a process of its own: prints one line of numbers, then waits."""

    def __init__(self, code: str, executable: Path | None = None) -> None:
        # A copied interpreter finds its library and its modules only where they are told.
        environment = os.environ | {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": f"{sys.base_prefix}/lib"}
        self.process = subprocess.Popen(
            [executable or Path(sys.executable).resolve(), "-S", "-c", PRELUDE + textwrap.dedent(code)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.numbers = [int(word) for word in self.process.stdout.readline().split()]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End it and everything it forked: they share its standard input."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class Start(Protocol):
    """Starts a child, which ends with the test."""

    def __call__(self, code: str, executable: Path | None = None) -> Child: ...


class FakeProc:
    """A tree shaped like /proc, for what real processes do too rarely: a pid reused at the worst moment."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def process(
        self, pid: int, *, sockets: dict[int, int], started: int = 100, parent: int = 1, exe: str = "/bin/app"
    ) -> None:
        """(Re)place a process; *sockets* by descriptor number."""
        home = self.root / str(pid)
        shutil.rmtree(home, ignore_errors=True)
        (home / "fd").mkdir(parents=True)
        for descriptor, inode in sockets.items():
            (home / "fd" / str(descriptor)).symlink_to(f"socket:[{inode}]")
        fields = ["S", str(parent), *["0"] * 17, str(started), "0"]
        (home / "stat").write_text(f"{pid} (a) b) {' '.join(fields)}\n")
        (home / "exe").symlink_to(exe)

    def remove(self, pid: int) -> None:
        shutil.rmtree(self.root / str(pid))
