"""The receive window of one session: each counter is accepted once, and none that is too old to tell (RFC 6479).

State is the greatest accepted counter and a ring of 8192 flags, one for each of the last counters. RFC 6479 keeps the
flags as bits in words and clears whole words while it moves forward, which costs it one word: a usable window of
8192 - 64 = 8128, and that is what every deployed peer has, so it is ours. Here a flag is a byte: in Python setting a
byte is several times faster than shifting a mask, clearing a run of them is one slice assignment, and 8 KiB a session
is little.

Traps this code avoids: marking before the tag verified (``accept`` must only be called after it did); leaving the flags
of skipped counters set, which come back as false replays exactly one ring later; taking 0 for "nothing yet".
"""

from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES, REPLAY_WINDOW

RING = 8192
_MASK = RING - 1


class ReplayWindow:
    """Which counters were accepted; ``greatest`` is -1 before the first."""

    __slots__ = ("_seen", "greatest")

    def __init__(self) -> None:
        self.greatest = -1
        self._seen = bytearray(RING)

    def check(self, counter: int) -> bool:
        """Whether ``accept`` would accept; changes nothing. A cheap test before decrypting."""
        ahead = counter - self.greatest
        if ahead > 0:
            return counter < REJECT_AFTER_MESSAGES
        return -ahead <= REPLAY_WINDOW and not self._seen[counter & _MASK]

    def accept(self, counter: int) -> bool:
        """Mark *counter*, a non-negative integer of an authentic packet; False if it is a replay or at the limit."""
        ahead = counter - self.greatest
        if ahead > 0:
            if counter >= REJECT_AFTER_MESSAGES:
                return False
            if ahead > 1:
                self._skip(ahead)
            self.greatest = counter
        elif -ahead > REPLAY_WINDOW or self._seen[counter & _MASK]:
            return False
        self._seen[counter & _MASK] = 1
        return True

    def _skip(self, ahead: int) -> None:
        """Clear the flags of the next *ahead* counters after the greatest."""
        if ahead >= RING:
            self._seen = bytearray(RING)
            return
        first = (self.greatest + 1) & _MASK
        end = first + ahead
        if end <= RING:
            self._seen[first:end] = bytes(ahead)
        else:
            self._seen[first:] = bytes(RING - first)
            self._seen[: end - RING] = bytes(end - RING)
