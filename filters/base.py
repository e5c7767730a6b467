"""What every interception backend offers: one small protocol, and one batch type that all of them fill.

Data flows one way. ``receive`` fills a :class:`PacketBatch` with packets the host's stack wants to send; the engine
decides and writes one :class:`Verdict` a packet; ``finish`` carries the verdicts out. Packets of the tunnel that are
to look as if they had arrived go to ``send_to_stack``. A backend takes no decision of its own: what is outside the
:class:`CapturePlan` never reaches Python at all.
"""

import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar, Protocol, runtime_checkable

from wiresock_py.flow import FiveTuple

Network = IPv4Network | IPv6Network
Buffer = bytes | bytearray | memoryview

# The largest packet a backend hands over or takes: an IP packet's own limit, also for offloaded super-packets.
MAX_PACKET = 65_535


class PacketFlag(IntFlag):
    """What a captured packet's bytes alone do not say."""

    NONE = 0
    CHECKSUM_PARTIAL = 1  # the transport checksum holds the pseudo-header's sum only (offload)
    SUPER_PACKET = 2  # TCP larger than the link's MTU, to be cut (GSO, LSO)
    LOOPBACK = 4  # captured on the loopback interface: DNS for a resolver on this host
    FORWARDED = 16  # another machine's, which this host passes on
    TRUNCATED = 8  # the backend could not hand over the whole packet; it may pass, but not be taken into the tunnel


class Verdict(IntEnum):
    """What becomes of a captured packet."""

    DROP = 0  # gone: blocked, or taken into the tunnel
    PASS = 1  # on its way unchanged; the next packet of the flow is shown again
    BYPASS = 2  # on its way unchanged, and this flow need not be shown any more


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """Which outbound packets may be captured. Everything else stays in the kernel."""

    capture: tuple[Network, ...]
    """Destinations to capture."""
    leave: tuple[Network, ...] = ()
    """Destinations to leave alone. Of both lists the longest matching prefix decides; at equal length, *leave*."""
    dns: bool = False
    """Also capture port 53 (UDP and TCP) to any destination, on any adapter unless *adapters* names some; resolvers on
    this host's loopback included where the backend ``sees_loopback``."""
    adapters: tuple[str, ...] = ()
    """Names of the adapters to capture on; empty: those that carry a default route, followed as they change."""
    ports: tuple[int, ...] = ()
    """Local UDP ports from which every packet is captured, wherever it goes: tunnels that go through others."""
    forwarded: bool = False
    """Capture what this host passes on for other machines, too, where the backend sees it."""
    fail_open: bool = False
    """With nobody serving the backend: False drops what matches the plan (the kill switch), True passes it."""


@dataclass(slots=True)
class PacketBatch:
    """Captured packets, side by side in one buffer that the backend owns and fills again at the next ``receive``.

    Packet *i* is ``data[offset[i]:offset[i] + length[i]]``, from its IP header on. The lists are as long as the batch
    has packets. Whoever wants to keep a packet beyond the next ``receive`` copies it.
    """

    data: memoryview
    offset: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    """A :class:`PacketFlag` combination each."""
    adapter: list[int] = field(default_factory=list)
    """Interface index of the adapter each packet was leaving by."""
    token: list[int] = field(default_factory=list)
    """The backend's own handle of each packet."""
    verdict: list[int] = field(default_factory=list)
    """A :class:`Verdict` each; ``receive`` sets DROP, so that what nobody decides does not leak."""

    def __len__(self) -> int:
        return len(self.offset)

    def clear(self) -> None:
        for column in (self.offset, self.length, self.flags, self.adapter, self.token, self.verdict):
            column.clear()


class Backend(Protocol):
    """An interception backend; also a context manager in the sense of ``contextlib.closing``.

    ``receive`` and ``finish`` belong to one thread; the other methods may be called from any.
    """

    name: ClassVar[str]
    """As in ``--backend`` and ``wiresock-py backends``."""

    sees_loopback: ClassVar[bool]
    """Whether packets on loopback can be captured: if not, DNS for a resolver on this host goes past the tunnel."""

    @property
    def mark(self) -> int:
        """SO_MARK for the client's own sockets, so that what they send is not captured; 0 where marks mean nothing."""

    @property
    def largest_to_stack(self) -> int:
        """The largest IP packet, in bytes, that ``send_to_stack`` takes now; TCP is merged up to it.

        MAX_PACKET where the stack takes any; the smallest MTU of the captured adapters where packets are frames. It
        may change whenever the adapters do.
        """

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend cannot work here, and the remedy, in one line; None if it can. Changes nothing."""

    @classmethod
    def reset(cls) -> list[str]:
        """Remove what any run left behind, also a crashed one; one line for each thing removed."""

    @classmethod
    def guard(cls) -> AbstractContextManager[object]:
        """Held by the process that starts and replaces those with an open backend; captures nothing itself.

        Within the ``with`` block what a dying process leaves in the system stays there, also where the system would
        clean up after the last process. Raises BackendError.
        """

    def open(self, plan: CapturePlan) -> None:
        """Start to capture. Clears first what an earlier run left behind. Raises BackendError, changing nothing."""

    def attach(self, plan: CapturePlan) -> None:
        """Serve the rules that a dead process left standing, as they are; *plan* is what they were made from."""

    def update(self, plan: CapturePlan) -> None:
        """Change the plan of an open backend, in one step: at no moment does less than both plans share get caught.

        Bypassed flows are shown again, because the rules that decided them may have changed with the plan.
        """

    def close(self, *, keep_blocking: bool = False) -> None:
        """Stop and restore the system; with *keep_blocking* leave the plan blocked (kill switch). May be repeated."""

    def exempt(self, port: int, protocol: int = socket.IPPROTO_UDP) -> AbstractContextManager[None]:
        """Within the ``with`` block nothing that this host sends from local *port* by UDP (or TCP) is captured.

        For the client's own sockets where ``mark`` is 0: enter it once the port is bound and before the first packet
        is sent, leave it before the port is given up. May be entered before ``open``, and while another block of the
        same port is open; does nothing where a mark does the work.
        """

    def receive(self, timeout: float) -> PacketBatch | None:
        """The next batch, waiting up to *timeout* seconds; None if there was nothing or the backend was closed."""

    def finish(self, batch: PacketBatch) -> None:
        """Carry out ``batch.verdict``. The packets can be read until the next ``receive``."""

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        """Hand packets to the host's stack as if they had arrived; returns how many it took.

        Each packet is a sequence of buffers that together are one complete IP packet of at most ``largest_to_stack``
        bytes with valid checksums, addressed to this host, or to another machine whose packets were captured as
        FORWARDED; TCP may be merged beyond the tunnel's MTU. A larger one is refused and counted, not cut.
        """

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int = 0) -> int:
        """Send complete IP packets of this host outside the capture: held packets whose flow turned out *direct*.

        Later packets of the flow are shown until one gets a BYPASS verdict.
        *adapter* is the interface index they were captured on (0: as the host routes them). A packet larger than
        that adapter's MTU is refused and counted, not cut. Returns how many were taken.
        """

    def statistics(self) -> dict[str, int]:
        """Counters by name.

        ``captured`` = ``passed`` + ``bypassed`` + ``dropped`` (+ the batch in hand); ``injected`` and ``sent`` are what
        the other two verbs took; then each cause of loss the backend can see, ``queue_full`` and ``truncated`` among
        them.
        """


@runtime_checkable
class RemembersConnections(Protocol):
    """What a backend can do besides: tell which connections go on outside the tunnel, whoever served it before."""

    def goes_on_outside(self, key: FiveTuple) -> bool:
        """Whether packets of the TCP connection *key* were seen going in or out past the tunnel."""
