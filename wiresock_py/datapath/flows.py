"""The flow table: the route of a five-tuple, and how its packets are rewritten on the way into the tunnel and back.

Two dict probes find a flow, one keyed as its packets look leaving the host's stack, one as they look arriving from the
tunnel. A key is the run of packet bytes that names the flow (source, destination, both ports: 12 bytes in IPv4, 36 in
IPv6, contiguous in both where there are no options), so that the hot path looks up a slice it never takes apart.

Time-outs follow RFC 5382 (TCP), RFC 4787 (UDP) and RFC 5508 (ICMP). The caller supplies ``now`` (monotonic seconds).
"""

import heapq
import random
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol

from wiresock_py.datapath.checksum import word_sum
from wiresock_py.flow import FiveTuple, Route

TCP = socket.IPPROTO_TCP
UDP = socket.IPPROTO_UDP
ICMP = socket.IPPROTO_ICMP
ICMPV6 = socket.IPPROTO_ICMPV6

TCP_ESTABLISHED_TIMEOUT = 2 * 3600 + 4 * 60.0  # RFC 5382 REQ-5
TCP_TRANSITORY_TIMEOUT = 4 * 60.0  # RFC 5382 REQ-5: partially open, or closing
UDP_TIMEOUT = 5 * 60.0  # RFC 4787 REQ-5
ICMP_TIMEOUT = 60.0  # RFC 5508 REQ-2
OTHER_TIMEOUT = UDP_TIMEOUT

OWNER_TRUST = 1.0
"""Seconds that a datagram flow may be idle before its owner is asked for again."""
BYPASS_AFTER_PACKETS = 32
"""Packets that a direct datagram flow sends before the kernel is told to stop showing it."""

# What of a TCP connection's life its expiry depends on, as bits of Flow.state.
SYN_OUT, SYN_IN, FIN_OUT, FIN_IN, RESET = 1, 2, 4, 8, 16

FIN_FLAG, SYN_FLAG, RST_FLAG, ACK_FLAG = 0x01, 0x02, 0x04, 0x10

EPHEMERAL_PORTS = range(49152, 65536)  # RFC 6335: dynamic ports, tried when an inner five-tuple is taken

# A share of the table, listed at once when room is needed, so that finding the idlest costs O(1) amortised.
EVICTION_SHARE = 16


def wire_key(flow: FiveTuple, *, outbound: bool) -> bytes:
    """The bytes that name *flow* in its packets: source, destination, source port, destination port.

    For protocols without ports, ICMP echo included, the last four bytes are the local "port" (the echo identifier,
    else 0) and zeros, in both directions.
    """
    if outbound or flow.protocol not in (TCP, UDP):
        ports = flow.local_port.to_bytes(2, "big") + flow.remote_port.to_bytes(2, "big")
    else:
        ports = flow.remote_port.to_bytes(2, "big") + flow.local_port.to_bytes(2, "big")
    return (flow.local + flow.remote if outbound else flow.remote + flow.local) + ports


class Flow:
    """One flow: its route, its translation, its activity. Where these are kept is up to the implementation.

    ``key`` is the flow as the host's stack sees it, ``inner`` as the tunnel sees it (equal where nothing is rewritten).
    ``mss`` is the peer's maximum segment size from its SYN-ACK and ``mtu`` the tunnel's MTU when the SYN went out; 0
    while not known. ``peer`` and ``owner`` are opaque here: the tunnel that seals the flow, the process behind it.
    """

    if not TYPE_CHECKING:
        __slots__ = ()  # mypy would take them for all that a subclass may have

    key: FiveTuple
    inner: FiveTuple
    owner: object
    route: Route
    peer: Hashable
    live: bool  # in a table
    due: int  # the second at which the table looks whether it has expired
    mss: int
    mtu: int
    last_out: float
    last_in: float
    packets_out: int
    bytes_out: int
    packets_in: int
    bytes_in: int
    state: int
    initial_sequence: int  # of the connection's SYN; -1 before one was seen
    sequence: int  # the next sequence number the local end will send, and the latest it acknowledged:
    acknowledged: int  # what a reset needs to be accepted (RFC 5961); -1 before a packet was seen
    # The bytes a translated packet carries instead of its own, and by how much the word sum grows: of the addresses
    # alone (IPv4 header), and of addresses and ports (transport checksum).
    out_wire: bytes
    in_wire: bytes
    out_address_delta: int
    out_delta: int
    out_addresses_sum: int
    in_address_delta: int
    in_delta: int

    def __init__(
        self,
        key: FiveTuple,
        route: Route,
        now: float,
        *,
        peer: Hashable = None,
        inner: FiveTuple | None = None,
        owner: object = None,
    ) -> None:
        raise NotImplementedError

    def is_stale(self, now: float) -> bool:
        """Whether another socket may have taken over the local end since the last packet.

        A TCP connection shows its end; of a datagram socket nothing is seen when it closes and the port is given to
        the next who asks. So the owner of a flow that was idle for ``OWNER_TRUST`` is not taken for granted.
        """
        return self.key.protocol != TCP and now - self.last_out > OWNER_TRUST

    @property
    def may_bypass(self) -> bool:
        """Whether the kernel may be told to stop showing a direct flow.

        It remembers that for minutes after the last packet, so only a datagram flow that lasts is worth it: short
        ones, such as DNS queries, soon leave their port to somebody else.
        """
        return self.key.protocol == TCP or self.packets_out > BYPASS_AFTER_PACKETS

    @property
    def last(self) -> float:
        """When a packet was last seen, either way."""
        return max(self.last_in, self.last_out)

    @property
    def timeout(self) -> float:
        """For how long, in seconds, the flow may be idle."""
        match self.key.protocol:
            case socket.IPPROTO_TCP:
                return TCP_ESTABLISHED_TIMEOUT if self.is_established else TCP_TRANSITORY_TIMEOUT
            case socket.IPPROTO_UDP:
                return UDP_TIMEOUT
            case socket.IPPROTO_ICMP | socket.IPPROTO_ICMPV6:
                return ICMP_TIMEOUT
            case _:
                return OTHER_TIMEOUT

    @property
    def is_established(self) -> bool:
        """TCP: neither half open, nor reset, nor closed from both sides. A flow met in mid-stream counts as open."""
        state = self.state
        closed = state & RESET or (state & FIN_OUT and state & FIN_IN)
        return not closed and state & (SYN_OUT | SYN_IN) != SYN_OUT

    def begins(self, sequence: int) -> bool:
        """Whether an outbound SYN with this sequence number belongs to this flow: its first one, or that repeated.

        Otherwise it opens a later connection by the same five-tuple, whose owner may be another process: what was
        decided for the old one does not hold for it.
        """
        if self.initial_sequence < 0 and not self.packets_out:
            self.initial_sequence = sequence
        return self.initial_sequence == sequence

    def __repr__(self) -> str:
        return f"Flow({self.key}, {self.route.name})"


class PythonFlow(Flow):
    """A flow whose state lies in Python's own attributes."""

    __slots__ = (
        "acknowledged",
        "bytes_in",
        "bytes_out",
        "due",
        "in_address_delta",
        "in_delta",
        "in_wire",
        "initial_sequence",
        "inner",
        "key",
        "last_in",
        "last_out",
        "live",
        "mss",
        "mtu",
        "out_address_delta",
        "out_addresses_sum",
        "out_delta",
        "out_wire",
        "owner",
        "packets_in",
        "packets_out",
        "peer",
        "route",
        "sequence",
        "state",
    )

    def __init__(
        self,
        key: FiveTuple,
        route: Route,
        now: float,
        *,
        peer: Hashable = None,
        inner: FiveTuple | None = None,
        owner: object = None,
    ) -> None:
        self.key = key
        self.route = route
        self.peer = peer
        self.inner = inner or key
        self.owner = owner
        self.mss = 0
        self.mtu = 0
        self.last_out = now
        self.last_in = now
        self.packets_out = self.bytes_out = self.packets_in = self.bytes_in = 0
        self.state = 0
        self.initial_sequence = self.sequence = self.acknowledged = -1
        self.live = False
        self.due = 0
        self.out_wire = wire_key(self.inner, outbound=True)
        self.in_wire = wire_key(self.key, outbound=False)
        self.out_address_delta, self.out_delta = _deltas(wire_key(self.key, outbound=True), self.out_wire)
        self.out_addresses_sum = word_sum(self.out_wire[:-4])
        self.in_address_delta, self.in_delta = _deltas(wire_key(self.inner, outbound=False), self.in_wire)


def _deltas(old: bytes, new: bytes) -> tuple[int, int]:
    return (word_sum(new[:-4]) - word_sum(old[:-4])) % 65535, (word_sum(new) - word_sum(old)) % 65535


def random_ports(_: FiveTuple) -> Iterable[int]:
    """Every dynamic port once, from a random one on (RFC 6056 section 3.3.1 in spirit)."""
    count = len(EPHEMERAL_PORTS)
    start = random.randrange(count)
    return (EPHEMERAL_PORTS[(start + step) % count] for step in range(count))


class Index(Protocol):
    """What leads from wire keys (see :func:`wire_key`) to the flows of one family and protocol: a dict, or as good."""

    def get(self, key: bytes, /) -> Flow | None: ...
    def __len__(self) -> int: ...
    def __setitem__(self, key: bytes, flow: Flow, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...


class FlowTable:
    """Flows by five-tuple, both ways, at most *capacity* of them: a new one pushes out the idlest.

    ``outbound4[protocol]`` and its three siblings map wire keys to flows; the hot path reads them without a lock, only
    this class writes them. Every method may be called from any thread.
    """

    flow: ClassVar[type[Flow]] = PythonFlow
    index: ClassVar[type[Index]] = dict
    """What its flows are, and what they are found by."""

    def __init__(self, capacity: int = 65_536, *, ports: Callable[[FiveTuple], Iterable[int]] = random_ports) -> None:
        self.capacity = capacity
        self.evicted = 0
        self.ports = ports
        self.outbound4, self.inbound4 = (self._indices(TCP, UDP, ICMP) for _ in range(2))
        self.outbound6, self.inbound6 = (self._indices(TCP, UDP, ICMPV6) for _ in range(2))
        self._flows: dict[Flow, None] = {}
        self._due: dict[int, dict[Flow, None]] = {}  # second -> flows to look at then
        self._second: int | None = None  # every second before this one is done
        self._idlest: list[tuple[float, Flow]] = []  # candidates for eviction, the idlest last
        self._changing = threading.Lock()

    @classmethod
    def _indices(cls, *protocols: int) -> dict[int, Index]:
        return defaultdict(cls.index, {protocol: cls.index() for protocol in protocols})

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._flows))  # a copy made in one step: others may change the table meanwhile

    def find(self, key: FiveTuple) -> Flow | None:
        """The flow the host's stack knows as *key*."""
        by_key = (self.outbound6 if key.is_ipv6 else self.outbound4).get(key.protocol)
        return by_key.get(wire_key(key, outbound=True)) if by_key else None

    def find_inner(self, inner: FiveTuple) -> Flow | None:
        """The tunnelled flow the other end knows as *inner* (local is the tunnel's address)."""
        by_key = (self.inbound6 if inner.is_ipv6 else self.inbound4).get(inner.protocol)
        return by_key.get(wire_key(inner, outbound=False)) if by_key else None

    def add(
        self,
        key: FiveTuple,
        route: Route,
        now: float,
        *,
        peer: Hashable = None,
        local: bytes = b"",
        remote: tuple[bytes, int] | None = None,
        owner: object = None,
        initial_sequence: int = -1,
    ) -> Flow:
        """Enter a flow, in place of one with the same key.

        For a tunnelled flow *peer* seals it, *local* is the tunnel's packed address of the same family, *remote* the
        address and port it is redirected to (the tunnel's resolver) or None. The local port, or echo identifier, stays
        unless another flow has that inner five-tuple already. *initial_sequence* is that of the SYN which asks for it.
        """
        with self._changing:
            return self._add(key, route, now, peer, local, remote, owner, initial_sequence)

    def _add(
        self,
        key: FiveTuple,
        route: Route,
        now: float,
        peer: Hashable,
        local: bytes,
        remote: tuple[bytes, int] | None,
        owner: object,
        initial_sequence: int,
    ) -> Flow:
        if old := self.find(key):
            self._remove(old)
        if len(self._flows) >= self.capacity:
            self._evict()
        inner = None
        if route is Route.TUNNEL:
            inner = self._free(
                FiveTuple(key.protocol, local or key.local, key.local_port, *(remote or (key.remote, key.remote_port)))
            )
        flow = self.flow(key, route, now, peer=peer, inner=inner, owner=owner)
        if initial_sequence >= 0:
            flow.initial_sequence = initial_sequence
            flow.state = SYN_OUT
        flow.live = True
        self._flows[flow] = None
        outbound, inbound = self._tables(flow)
        outbound[key.protocol][wire_key(key, outbound=True)] = flow
        if inner:
            inbound[key.protocol][wire_key(inner, outbound=False)] = flow
        self._schedule(flow)
        return flow

    def remove(self, flow: Flow) -> None:
        """Forget *flow*; nothing happens if it is gone already."""
        with self._changing:
            self._remove(flow)

    def _remove(self, flow: Flow) -> None:
        if not flow.live:
            return
        flow.live = False
        del self._flows[flow]
        self._unschedule(flow)
        outbound, inbound = self._tables(flow)
        del outbound[flow.key.protocol][wire_key(flow.key, outbound=True)]
        if flow.route is Route.TUNNEL:
            del inbound[flow.key.protocol][wire_key(flow.inner, outbound=False)]

    def track(self, flow: Flow, flags: int, *, outbound: bool) -> None:
        """Note a TCP packet that carries SYN, FIN or RST."""
        with self._changing:
            was_established = flow.is_established
            if flags & RST_FLAG:
                flow.state |= RESET
            elif flags & SYN_FLAG:
                flow.state |= SYN_OUT if outbound else SYN_IN
            elif flags & FIN_FLAG:
                flow.state |= FIN_OUT if outbound else FIN_IN
            if was_established and not flow.is_established and flow.live:  # it may expire sooner than it was due
                self._unschedule(flow)
                self._schedule(flow)

    def expire(self, now: float, limit: int = 1024) -> list[Flow]:
        """Remove and return flows idle beyond their time-out; looks at no more than *limit* flows a call."""
        with self._changing:
            return self._expire(now, limit)

    def _expire(self, now: float, limit: int) -> list[Flow]:
        expired: list[Flow] = []
        if self._second is None:
            return expired
        while limit > 0 and self._second < now:
            flows = self._due.get(self._second)
            if not flows:
                self._due.pop(self._second, None)
                self._second = self._second + 1 if self._due else int(now) + 1
                continue
            limit -= 1
            flow = next(iter(flows))
            if flow.last + flow.timeout <= now:
                self._remove(flow)
                expired.append(flow)
            else:
                self._unschedule(flow)
                self._schedule(flow)
        return expired

    def _tables(self, flow: Flow) -> tuple[dict[int, Index], dict[int, Index]]:
        return (self.outbound6, self.inbound6) if flow.key.is_ipv6 else (self.outbound4, self.inbound4)

    def _free(self, inner: FiveTuple) -> FiveTuple:
        """*inner*, with another local port if it is taken; if all are, the last one tried is taken from its flow."""
        holder = self.find_inner(inner)
        if holder is None:
            return inner
        if inner.protocol not in (TCP, UDP, ICMP, ICMPV6):  # nothing to tell two flows apart by: the newer one wins
            self._remove(holder)
            return inner
        for port in self.ports(inner):
            candidate = inner._replace(local_port=port)
            holder = self.find_inner(candidate)
            if holder is None:
                return candidate
        if holder:
            self._remove(holder)
            self.evicted += 1
        return candidate

    def _schedule(self, flow: Flow) -> None:
        flow.due = int(flow.last + flow.timeout) + 1  # rounded up: never looked at before it can have expired
        self._due.setdefault(flow.due, {})[flow] = None
        if self._second is None or flow.due < self._second:
            self._second = flow.due

    def _unschedule(self, flow: Flow) -> None:
        flows = self._due[flow.due]
        del flows[flow]
        if not flows:
            del self._due[flow.due]

    def _evict(self) -> None:
        """Remove the idlest flow.

        A candidate that has been idle since it was listed is idler than every flow not listed: those were less idle
        then and activity only moves forward.
        """
        while True:
            if not self._idlest:
                share = max(1, len(self._flows) // EVICTION_SHARE)
                listed = heapq.nsmallest(share, ((flow.last, number, flow) for number, flow in enumerate(self._flows)))
                self._idlest = [(last, flow) for last, _, flow in reversed(listed)]
            last, flow = self._idlest.pop()
            if flow.live and flow.last == last:
                self._remove(flow)
                self.evicted += 1
                return
