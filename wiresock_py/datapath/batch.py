"""What the batch functions write into: buffers and columns that the caller makes once and uses again and again."""

from collections import Counter
from collections.abc import Hashable

from wiresock_py.crypto.session import Session
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import Flow
from wiresock_py.filters.base import MAX_PACKET, Buffer

# One sendmsg with UDP_SEGMENT: the kernel's UDP_MAX_SEGMENTS before 5.x raised it, and the largest UDP payload in IPv4.
MAX_RUN_SEGMENTS = 64
MAX_RUN_BYTES = 65_507
FIRST_CAPACITY = 1 << 16
"""Bytes of a buffer at first: it grows to what batches need, and a client that does little needs little."""


class Classified:
    """What :func:`wiresock_py.datapath.classify.classify` found out about a batch; indices are positions in it."""

    __slots__ = ("blocked", "drops", "flow", "slow", "tunnel")

    def __init__(self) -> None:
        self.tunnel: dict[Hashable, list[int]] = {}
        """Packets for the tunnel by ``Flow.peer``, in order: what ``seal`` takes."""
        self.flow: list[Flow | None] = []
        """The flow of each packet of the batch, None for those in *slow* and for dropped ones."""
        self.blocked: list[int] = []
        """Packets of flows with Route.BLOCK; an answer to the stack is up to the caller."""
        self.slow: list[int] = []
        """Packets without a flow (a new TCP connection on an old five-tuple included), or not plain enough."""
        self.drops: Counter[PacketDrop] = Counter()
        """Counted over all calls; ``clear`` leaves it."""

    def clear(self) -> None:
        self.tunnel.clear()
        self.flow.clear()
        self.blocked.clear()
        self.slow.clear()


class DatagramBuffer:
    """Sealed datagrams side by side, grouped in runs that one UDP_SEGMENT send takes each.

    ``view[start:end]`` of a run ``(start, end, segment_size)`` holds at most 64 datagrams and 65,507 bytes, all of
    *segment_size* but a shorter last one. The buffer grows when a batch needs it; views of it are valid until the next
    ``seal`` into it.
    """

    __slots__ = ("data", "drops", "end", "packets", "room", "runs", "view")

    def __init__(self, capacity: int = FIRST_CAPACITY) -> None:
        self.data = bytearray(capacity)
        self.view = memoryview(self.data)
        self.end = 0
        """Bytes in use, which is also the size of all datagrams together."""
        self.packets = 0
        """Datagrams in the buffer."""
        self.runs: list[tuple[int, int, int]] = []
        self.room = 0
        """How many more datagrams the last run takes."""
        self.drops: Counter[PacketDrop] = Counter()
        """Counted over all calls; ``clear`` leaves it."""

    def clear(self) -> None:
        """Forget the datagrams. ``seal`` appends, so that several peers may share a buffer."""
        self.end = 0
        self.packets = 0
        self.room = 0
        self.runs.clear()

    def encrypt(self) -> None:
        """Do what ``seal`` left to be done without its caller's lock; only then the buffer holds the datagrams.

        Here that is nothing: an encryption keeps the interpreter's lock, so nobody would gain by it.
        """

    def reserve(self, size: int) -> None:
        """Make room for *size* more bytes; older views keep the old memory alive but lose touch with this buffer."""
        if self.end + size > len(self.data):
            larger = bytearray(max(2 * len(self.data), self.end + size))
            larger[: self.end] = self.view[: self.end]
            self.data = larger
            self.view = memoryview(larger)

    def enter(self, count: int, size: int) -> None:
        """Enter *count* datagrams of *size* bytes each, just written at ``end``, in the runs."""
        self.packets += count
        while count:
            if self.room and size <= self.runs[-1][2]:
                start, end, segment = self.runs[-1]
                taken = min(count, self.room) if size == segment else 1
                self.room = self.room - taken if size == segment else 0
                self.runs[-1] = start, end + taken * size, segment
            else:
                self.room = max(1, min(MAX_RUN_SEGMENTS, MAX_RUN_BYTES // size))
                taken = min(count, self.room)
                self.room -= taken
                self.runs.append((self.end, self.end + taken * size, size))
            self.end += taken * size
            count -= taken


class Opened:
    """What :func:`wiresock_py.datapath.open.open_datagrams` took out of the datagrams it was given."""

    __slots__ = ("control", "drops", "largest", "packets", "received", "slow")

    def __init__(self) -> None:
        self.largest = MAX_PACKET
        """Bytes up to which TCP is merged: ``Backend.largest_to_stack``. ``clear`` leaves it."""
        self.packets: list[list[Buffer]] = []
        """For ``Backend.send_to_stack``: complete, translated packets. Their views point into the caller's buffer."""
        self.control: list[bytes] = []
        """Datagrams of the handshake (types 1 to 3), unread, for ``Device.read``."""
        self.received: list[tuple[Session, int, int, int]] = []
        """(session, packets, bytes, data packets) of what was authentic and new, keepalives included in *packets* but
        not in *data packets*; bytes are whole datagrams. For ``Tunnel.opened``."""
        self.slow: list[tuple[Session, bytes]] = []
        """(session, inner packet): authentic, well-formed, trimmed, but without a flow or not plain enough."""
        self.drops: Counter[PacketDrop] = Counter()
        """Counted over all calls; ``clear`` leaves it."""

    def clear(self) -> None:
        self.packets.clear()
        self.control.clear()
        self.received.clear()
        self.slow.clear()
