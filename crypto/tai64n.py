"""The timestamp of an initiation (paper 5.1): 12 bytes that only ever grow.

A receiver compares, it never interprets: big-endian, so that comparing bytes compares times. A clock that was set back
would make every initiation a replay until it caught up, so stamps go on from the last one instead.
"""

import struct
from collections.abc import Callable

from wiresock_py.crypto.constants import TAI64_BASE, TAI64N_WHITENED_BITS

NO_TIMESTAMP = bytes(12)
"""What a peer that was never heard of has as its greatest timestamp."""

_STAMP = struct.Struct(">QI")
_SECOND = 1_000_000_000
_STEP = 1 << TAI64N_WHITENED_BITS


def stamp(unix_ns: int) -> bytes:
    """The whitened label of *unix_ns* nanoseconds after 1970: low bits cleared, so that it tells no precise time."""
    seconds, nanoseconds = divmod(unix_ns, _SECOND)
    return _STAMP.pack(TAI64_BASE + seconds, nanoseconds & -_STEP)


class Stamps:
    """The stamps sent to one peer, strictly growing whatever the wall clock does.

    *last* is the greatest ever sent, also by an earlier run if the caller kept it.
    """

    __slots__ = ("_wall_clock", "last")

    def __init__(self, wall_clock: Callable[[], int], last: bytes = NO_TIMESTAMP) -> None:
        self._wall_clock = wall_clock
        self.last = last

    def next(self) -> bytes:
        now = stamp(self._wall_clock())
        if now <= self.last:
            seconds, nanoseconds = _STAMP.unpack(self.last)
            nanoseconds = (nanoseconds & -_STEP) + _STEP
            now = _STAMP.pack(seconds, nanoseconds) if nanoseconds < _SECOND else _STAMP.pack(seconds + 1, 0)
        self.last = now
        return now
