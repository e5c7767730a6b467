"""A fuzzer's bytes as a structured case: values are taken off their front, and behind their end everything is zero.

So any bytes are a case, and a small change of them is a small change of the case.
"""

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Reader:
    """One case."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Exactly *size* bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken.ljust(size, b"\0")

    def number(self, size: int = 1) -> int:
        """A number of *size* bytes, big-endian."""
        return int.from_bytes(self.take(size), "big")

    def choose(self, options: Sequence[_T]) -> _T:
        return options[self.number() % len(options)]

    def block(self, most: int = 2048) -> bytes:
        """Bytes behind their length, as many of them as are there."""
        size = min(self.number(2) % (most + 1), max(0, len(self._data) - self._at))
        return self.take(size)

    def rest(self) -> bytes:
        taken = self._data[self._at :]
        self._at = len(self._data)
        return taken


def block(data: bytes) -> bytes:
    """What ``Reader.block`` reads as *data*: for seeds."""
    return len(data).to_bytes(2, "big") + data
