"""Child processes that open sockets, under any executable name, ended whatever happens."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Child, FakeProc, Interpreter, Start

if sys.platform != "linux":
    collect_ignore = ["test_holders.py", "test_linux.py", "test_procfs.py", "test_raw_sockets.py", "test_sock_diag.py"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a child: ``start(code)`` or ``start(code, executable)``."""
    children: list[Child] = []

    def started(code: str, executable: Path | None = None) -> Child:
        children.append(Child(code, executable))
        return children[-1]

    yield started
    for child in children:
        child.stop()


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Copies of the Python interpreter, deleted with the test."""

    def copy(name: str) -> Path:
        path = tmp_path / name
        shutil.copy(Path(sys.executable).resolve(), path)
        return path

    return copy


@pytest.fixture
def fake_proc(tmp_path: Path) -> FakeProc:
    root = tmp_path / "proc"
    root.mkdir()
    return FakeProc(root)
