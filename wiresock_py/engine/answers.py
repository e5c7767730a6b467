"""Answers to the host's own stack, so that an application whose packet cannot go on learns it at once.

Too-big messages, unreachable messages and resets, at most ``RATE`` a second: what is lost beyond that is only speed.
"""

from collections.abc import Callable, Sequence

from wiresock_py.datapath import icmp_too_big, icmp_unreachable, tcp_reset
from wiresock_py.filters import Buffer

RATE = 500.0
BURST = 100.0


class Answers:
    """Builds answers and hands them to *deliver* (``Backend.send_to_stack``), rate limited by a token bucket."""

    def __init__(self, deliver: Callable[[Sequence[Sequence[Buffer]]], int]) -> None:
        self._deliver = deliver
        self._tokens = BURST
        self._refilled = 0.0
        self.suppressed = 0

    def too_big(self, packet: Buffer, mtu: int, now: float) -> None:
        """Tell the sender of *packet* (untranslated) the tunnel's MTU."""
        self._answer(icmp_too_big(packet, mtu), now)

    def refuse(self, packet: Buffer, now: float) -> None:
        """Tell the sender of *packet* (untranslated) that it may not go there: TCP by RST, the rest by ICMP."""
        self._answer(tcp_reset(packet) or icmp_unreachable(packet), now)

    def _answer(self, answer: bytes | None, now: float) -> None:
        if answer is None:
            return
        self._tokens = min(BURST, self._tokens + (now - self._refilled) * RATE)
        self._refilled = now
        if self._tokens < 1:
            self.suppressed += 1
            return
        self._tokens -= 1
        self._deliver([[answer]])
