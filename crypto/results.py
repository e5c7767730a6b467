"""What the core answers: datagrams to send, packets to deliver, things to tell the user."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wiresock_py.crypto.drops import Drop

if TYPE_CHECKING:
    from wiresock_py.crypto.tunnel import Tunnel

Buffer: TypeAlias = bytes | bytearray | memoryview

Address: TypeAlias = Hashable
"""Where a datagram comes from or goes to. The core compares and stores it; only under load it looks inside, and then
expects the ``(host, port, ...)`` of the socket module."""


class Datagram(NamedTuple):
    """One UDP payload to send. The receiver of this value owns *data*."""

    data: bytes | bytearray
    endpoint: Address


class Event(StrEnum):
    """What happened to a tunnel, for logs and for whoever resolves its endpoint's name."""

    CONNECTED = "connected"
    """A handshake is complete: as initiator on the verified response, as responder on the first authentic packet."""
    UNANSWERED = "unanswered"
    """A handshake or data went without answer: forget a cached source address, resolve the endpoint's name again."""
    GONE = "gone"
    """Gave up the handshake and discarded the waiting packets. New traffic starts over."""
    ERASED = "erased"
    """All keys were erased: REJECT_AFTER_TIME × 3 without a new session."""


@dataclass(slots=True)
class Received:
    """The outcome of one datagram."""

    tunnel: "Tunnel | None" = None
    """The peer it authentically came from; None if it did not."""
    packet: Buffer | None = None
    """The inner IP packet to deliver, trimmed to its length; None for handshakes, keepalives and drops."""
    drop: Drop | None = None
    """Why it, or the inner packet in it, was dropped."""
    datagrams: list[Datagram] = field(default_factory=list)
    """To send now, in this order."""


class Ticked(NamedTuple):
    """The outcome of a tick."""

    datagrams: list[Datagram]
    events: list[tuple["Tunnel", Event]]
    """Everything since the last tick, oldest first."""
    deadline: float
    """The monotonic second of the next thing to do, ``inf`` if there is none; any verb may bring it forward."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A tunnel's figures. Bytes are UDP payloads of authentic datagrams, handshakes included, as ``wg show`` counts."""

    handshake_age: float | None
    """Seconds since the last completed handshake."""
    handshake_rtt: float | None
    """Seconds between our last answered initiation and its response."""
    tx_bytes: int
    rx_bytes: int
    tx_packets: int
    rx_packets: int
    loss: float
    """Estimated part, 0 to 1, of the peer's packets on the current session that never arrived."""
    staged: int
    """Packets that wait for a session."""
    drops: dict[Drop, int]
