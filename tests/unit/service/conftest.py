"""A worker at a desk of its own, and what becomes of a process that ends at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.desk import Desk
from wiresock_py.service import worker


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    desk = Desk(tmp_path, monkeypatch)
    yield desk
    desk.resources.close()
    assert not desk.control.exists()


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    exits: list[int] = []

    def end(code: int) -> None:
        exits.append(code)
        raise Ended

    monkeypatch.setattr(worker.os, "_exit", end)  # type: ignore[attr-defined]  # it is the os module
    return exits
