"""What a peer's traffic amounts to: bytes and packets that were authentic, and the last handshake."""

from collections.abc import Mapping, Sequence

from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.results import Stats
from wiresock_py.crypto.session import Session


class Figures:
    """Counted for as long as the peer is configured. Bytes are whole UDP payloads, handshakes included."""

    __slots__ = ("completed", "round_trip", "rx_bytes", "rx_packets", "tx_bytes", "tx_packets")

    def __init__(self) -> None:
        self.tx_bytes = self.rx_bytes = self.tx_packets = self.rx_packets = 0
        self.completed: float | None = None
        """The monotonic second of the last completed handshake."""
        self.round_trip: float | None = None
        """Seconds between our last answered initiation and its response."""

    def stats(self, now: float, sessions: Sequence[Session], staged: int, drops: Mapping[Drop, int]) -> Stats:
        """All of it at second *now*. Loss is estimated from the counters that never arrived on *sessions*."""
        heard = [session for session in sessions if session.received]
        expected = sum(session.replay.greatest + 1 for session in heard)
        arrived = sum(session.received for session in heard)
        return Stats(
            handshake_age=None if self.completed is None else now - self.completed,
            handshake_rtt=self.round_trip,
            tx_bytes=self.tx_bytes,
            rx_bytes=self.rx_bytes,
            tx_packets=self.tx_packets,
            rx_packets=self.rx_packets,
            loss=max(0.0, 1 - arrived / expected) if expected else 0.0,
            staged=staged,
            drops=dict(drops),
        )
