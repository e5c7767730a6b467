"""Outbound: what the capture shows, sorted, decided and sent on its way, by the capture and the resolver thread.

The capture thread waits for nothing but packets. A packet of an unknown flow is copied and held; the resolver thread
finds the owner of its socket, the rules decide, and the copies go where the flow goes.
"""

import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from wiresock_py.crypto import Tunnel
from wiresock_py.datapath import (
    Classified,
    DatagramBuffer,
    DataPath,
    Flow,
    FlowTable,
    Header,
    PacketDrop,
    fragment,
    fragment_at_source,
    parse,
    parse_embedded,
    translate_batch,
    translate_error,
)
from wiresock_py.engine.admission import Admission
from wiresock_py.engine.answers import Answers
from wiresock_py.engine.clock import now as clock
from wiresock_py.engine.holding import HeldFlow, HeldPacket, Holding
from wiresock_py.engine.links import Link
from wiresock_py.engine.queries import Queries, is_query
from wiresock_py.errors import NetworkError
from wiresock_py.filters import MAX_PACKET, Backend, PacketBatch, PacketFlag, Verdict
from wiresock_py.flow import SYSTEM, App, FiveTuple, Route
from wiresock_py.network import adapter_mtu_by_index
from wiresock_py.owners import Owners

RECEIVE_TIMEOUT = 0.5
OWNER_ATTEMPTS = 2
"""Look-ups before a socket counts as gone: it may change hands (fork, accept) while we look."""
OWNER_PAUSE = 0.002
IPV6_MINIMUM_MTU = 1280  # RFC 8200 section 5
TCP_SYN, TCP_RST, TCP_ACK = 0x02, 0x04, 0x10
KILL_SWITCH = "kill_switch"
"""Counter of direct packets dropped because there is no tunnel."""
# Answers to ICMP queries come from the stack itself; the query came in past us, so its answer goes out the same way.
ICMP_REPLIES = frozenset({0, 14, 129})


class Outbound:
    """The way out; ``capture`` and ``resolve`` are one turn each of their threads' loops."""

    def __init__(
        self,
        backend: Backend,
        flows: FlowTable,
        admission: Admission,
        owners: Owners,
        links: Mapping[object, Link],
        answers: Answers,
        queries: Queries,
        lock: threading.Lock,
        datapath: DataPath,
    ) -> None:
        self._lock = lock
        self._backend = backend
        self._flows = flows
        self._admission = admission
        self._owners = owners
        self._links = links
        self._answers = answers
        self._queries = queries
        self.settling = threading.Lock()
        """Held while held flows are decided and sent on: rules, peers and servers are the same all along."""
        self._holding = Holding()
        self._classified = Classified()
        self._classify = datapath.classify
        self._capture_buffer = datapath.datagram_buffer()
        self._resolver_buffer = datapath.datagram_buffer()
        self.goes_on_outside: Callable[[FiveTuple], bool] = lambda _: True
        """Whether a connection in mid-stream by a listener's port is outside; else the tunnel carried it before."""
        self.blocking = False
        """While set, direct flows are dropped too (kill switch ``all`` without a tunnel)."""
        self.bypassing = True
        """Whether the kernel may be asked to stop showing direct flows; not with kill switch ``all``."""
        self.counters: Counter[str] = Counter()

    def follow(self, links: Mapping[object, Link]) -> None:
        """Send the packets of each peer by its link of *links* from now on."""
        self._links = links

    def stop(self) -> None:
        """Let the resolver thread end."""
        self._holding.close()

    def capture(self) -> None:
        """Wait for a batch and carry it through."""
        batch = self._backend.receive(RECEIVE_TIMEOUT)
        if batch is None:
            return
        now = clock()
        found = self._classified
        self._classify(batch, self._flows, now, found)
        for index in found.blocked:
            self._answers.refuse(_packet(batch, index), now)
        for index in found.slow:
            batch.verdict[index] = self._inspect(batch, index, now)
        if not self.bypassing:
            self._keep_in_sight(batch)
        # Verdicts first: as long as its last packets wait for one, TCP sends no more (it limits what it has queued
        # below itself), and would be idle while these are sealed.
        self._backend.finish(batch)
        self._dispatch(batch, found.tunnel, found.flow, self._capture_buffer, now)

    def resolve(self) -> None:
        """Wait for flows without an owner and settle each of them."""
        held = self._holding.asked(RECEIVE_TIMEOUT)
        if not held:
            return
        keys = [flow.key for flow in held if self._admission.needs_owner(flow.key)]
        owners = dict(zip(keys, self._owners.find(keys), strict=True)) if keys else {}
        now = clock()
        pause = False
        for flow in held:
            if flow.key in owners and owners[flow.key] is None and flow.attempts < OWNER_ATTEMPTS - 1:
                flow.attempts += 1
                self._holding.ask_again(flow)
                pause = True
            else:
                with self.settling:
                    self._settle(flow, owners.get(flow.key), flow.key in owners, now)
        if pause:
            time.sleep(OWNER_PAUSE)

    def statistics(self) -> Counter[str]:
        """Counters of both threads by name."""
        total = self.counters.copy()
        # copies, made in one step: the threads may count something new meanwhile
        for drops in (self._classified.drops, self._capture_buffer.drops, self._resolver_buffer.drops):
            total.update(drops.copy())
        total["held_overflow"] = self._holding.overflows
        return total

    def _dispatch(
        self,
        batch: PacketBatch,
        tunnelled: Mapping[object, list[int]],
        flow: Sequence[Flow | None],
        buffer: DatagramBuffer,
        now: float,
    ) -> None:
        """Send each peer its packets; those too large and not to be cut are answered or fragmented."""
        for peer, indices in tunnelled.items():
            link = self._links.get(peer)
            if link is None:
                self.counters["no_tunnel"] += len(indices)
                continue
            assert isinstance(peer, Tunnel)
            for index in link.transmit(peer, batch, indices, flow, self._flows, buffer, now):
                self._shrink(link, peer, batch, index, flow, now)

    def _shrink(
        self, link: Link, peer: Tunnel, batch: PacketBatch, index: int, flow: Sequence[Flow | None], now: float
    ) -> None:
        """Carry a packet larger than the tunnel's MTU: in fragments, or back as a too-big answer if it forbids them."""
        packet = _packet(batch, index)
        header = parse(packet)
        if isinstance(header, PacketDrop):
            self.counters[header] += 1
            return
        if header.dont_fragment and self._may_be_told(header, flow[index], link):
            self._answers.too_big(packet, link.mtu, now)
            return
        with self._lock:
            whole, _ = translate_batch(batch, [index], flow, self._flows, MAX_PACKET, now)
        for translated in whole:
            link.write(peer, self._fragments(translated, link.mtu), now)

    def _may_be_told(self, header: Header, flow: Flow | None, link: Link) -> bool:
        """Whether a too-big answer is the right one to a packet that no router may fragment.

        IPv4: always, the stack marks what it would fragment itself. IPv6 has no such mark, and the stack fragments
        after we saw the packet: what is larger than the adapter's MTU is meant to be fragmented, the rest once it was
        told of the tunnel's.
        """
        if header.version == 4 or flow is None:
            return True
        if header.length > link.adapter_mtu:
            return False
        told, flow.mtu = flow.mtu == link.mtu, link.mtu
        return not told

    def _inspect(self, batch: PacketBatch, index: int, now: float) -> Verdict:
        """The verdict on a packet that has no flow yet, or is none of the plain kind."""
        packet = _packet(batch, index)
        if batch.flags[index] & PacketFlag.TRUNCATED:
            self.counters[PacketDrop.TRUNCATED] += 1
            return Verdict.DROP
        header = parse(packet)
        if isinstance(header, PacketDrop):
            self.counters[header] += 1
            return Verdict.DROP
        if header.is_icmp_error:
            return self._inspect_error(packet, header, now)
        if header.is_later_fragment:
            # connection tracking reassembles what leaves this host, so this was sent around it, by nobody we can name
            self.counters["outbound_fragment"] += 1
            return Verdict.DROP
        key = header.five_tuple()
        if header.icmp_type in ICMP_REPLIES:
            return Verdict.PASS
        opening = header.tcp_flags & (TCP_SYN | TCP_ACK)
        known = None if opening == TCP_SYN else self._flows.find(key)
        if known is not None and not (known.is_stale(now) and self._admission.needs_owner(key)):
            return self._carry(batch, index, known, now)
        if opening == TCP_SYN | TCP_ACK:  # the answer to a connection from outside
            self._admission.admit_direct(key, now)
            return Verdict.BYPASS
        if batch.flags[index] & PacketFlag.FORWARDED:  # there is no socket to ask about, so no need to wait
            return self._carry(batch, index, self._admission.admit_forwarded(key, now), now)
        if header.tcp_flags & (TCP_RST | TCP_ACK) == TCP_RST | TCP_ACK and header.sequence == 0:
            # the stack refuses a SYN (RFC 9293, 3.10.7.1), and one out of the tunnel would have a flow
            return Verdict.PASS
        self._holding.hold(key, packet, batch.flags[index], batch.adapter[index])
        return Verdict.DROP

    def _carry(self, batch: PacketBatch, index: int, flow: Flow, now: float) -> Verdict:
        """A packet of a known flow that is not of the plain kind, or whose flow was entered a moment ago."""
        if flow.route is Route.DIRECT:
            flow.last_out = now
            return Verdict.BYPASS if flow.may_bypass else Verdict.PASS
        if flow.route is Route.BLOCK:
            self._answers.refuse(_packet(batch, index), now)
        else:
            self._dispatch(batch, {flow.peer: [index]}, [flow] * len(batch), self._capture_buffer, now)
        return Verdict.DROP

    def _inspect_error(self, packet: bytes, header: Header, now: float) -> Verdict:
        """The stack complains about a packet that came in: the complaint goes back the way that packet came."""
        embedded = parse_embedded(packet, header)
        if isinstance(embedded, PacketDrop):
            return Verdict.PASS
        flow = self._flows.find(embedded.five_tuple(inbound=True))
        if flow is None or flow.route is not Route.TUNNEL:
            return Verdict.PASS
        link = self._links.get(flow.peer)
        translated = translate_error(packet, header, flow, outbound=True)
        if link is None:
            self.counters["no_tunnel"] += 1
        elif translated is not None and isinstance(flow.peer, Tunnel):
            link.write(flow.peer, [translated], now)
        return Verdict.DROP

    def _keep_in_sight(self, batch: PacketBatch) -> None:
        verdict = Verdict.DROP if self.blocking else Verdict.PASS
        for index, given in enumerate(batch.verdict):
            if given != Verdict.DROP:
                batch.verdict[index] = verdict
                self.counters[KILL_SWITCH] += self.blocking

    def _settle(self, held: HeldFlow, app: App | None, asked: bool, now: float) -> None:
        """Decide a held flow, *app* being its owner if one was *asked* for, and let its packets go."""
        if is_query(held.key):
            self._settle_queries(held, app, asked, now)
            return
        flow = self._decide(held, app, asked, now)
        packets = self._holding.release(held)
        if flow is None:
            self.counters["owner_gone"] += len(packets)
            return
        self._let_go(packets, flow, held.adapter, now)

    def _settle_queries(self, held: HeldFlow, app: App | None, asked: bool, now: float) -> None:
        """Each query that was held goes its own way."""
        packets = self._holding.release(held)
        if asked and app is None:
            self.counters["owner_gone"] += len(packets)
            return
        for packet in packets:
            flow = self._queries.carry(
                held.key, packet.data, app or SYSTEM, held.adapter, now, ask_outside=not self.blocking
            )
            if flow is not None:
                self._let_go([packet], flow, held.adapter, now)

    def _let_go(self, packets: Sequence[HeldPacket], flow: Flow, adapter: int, now: float) -> None:
        """Send held packets the way their flow goes."""
        batch = _batch(packets)
        flow_of_each = [flow] * len(packets)
        everything = range(len(packets))
        match flow.route:
            case Route.TUNNEL:
                self._dispatch(batch, {flow.peer: list(everything)}, flow_of_each, self._resolver_buffer, now)
            case Route.BLOCK:
                for packet in packets:
                    self._answers.refuse(packet.data, now)
            case Route.DIRECT if self.blocking:
                self.counters[KILL_SWITCH] += len(packets)
            case Route.DIRECT:
                self._send_direct(batch, flow_of_each, adapter, now)

    def _decide(self, held: HeldFlow, app: App | None, asked: bool, now: float) -> Flow | None:
        """The flow of *held*; None if its packets can only be dropped."""
        key = held.key
        first = held.packets[0].data
        header = parse(first)
        assert isinstance(header, Header)  # it was held because it parsed
        opens = key.protocol != socket.IPPROTO_TCP or bool(header.tcp_flags & TCP_SYN)
        if not opens or key.protocol != socket.IPPROTO_TCP:
            known = self._flows.find(key)
            if known is not None and (not asked or known.owner == app or not known.is_stale(now)):
                # still the same, or entered between this packet's classification and now
                known.last_out = now
                return known
        if not opens and self._owners.listening(key.protocol, key.local, key.local_port) and self.goes_on_outside(key):
            # open before we were: its direction shows in the listener alone
            return self._admission.admit_direct(key, now)
        if asked and app is None:
            # The socket is gone: orphaned TCP, or a datagram whose sender closed at once. Nobody can say any more
            # whether an app of the tunnel sent it, so it does not leave outside.
            return None
        return self._admission.admit(key, app or SYSTEM, now)

    def _send_direct(self, batch: PacketBatch, flow: Sequence[Flow], adapter: int, now: float) -> None:
        """Send held packets as the stack would have: checksums completed, super-packets cut."""
        # IPv6: the path's MTU is known to the stack alone, and it refuses what is larger; the minimum always passes
        mtu = IPV6_MINIMUM_MTU if flow[0].key.is_ipv6 else _mtu(adapter)
        with self._lock:
            packets, oversized = translate_batch(batch, range(len(batch)), flow, self._flows, mtu, now)
            whole, _ = translate_batch(batch, oversized, flow, self._flows, MAX_PACKET, now)
        for packet in whole:
            packets += self._fragments(packet, mtu)
        self._backend.send_to_network([[packet] for packet in packets], adapter)

    def _fragments(self, packet: bytes, mtu: int) -> list[bytes]:
        """*packet*, of this host and with its checksums complete, cut to *mtu*; empty, and counted, if it cannot be."""
        header = parse(packet)
        pieces: list[bytes] = []
        if isinstance(header, PacketDrop):
            pass
        elif header.version == 6:
            pieces = fragment_at_source(packet, header, mtu, secrets.randbits(32))
        else:
            pieces = fragment(packet, header._replace(dont_fragment=False), mtu)
        if not pieces:
            self.counters["unfragmentable"] += 1
        return pieces


def _mtu(adapter: int) -> int:
    """The adapter's MTU; one that every link can carry if it has gone meanwhile."""
    try:
        return adapter_mtu_by_index(adapter)
    except NetworkError:
        return IPV6_MINIMUM_MTU


def _packet(batch: PacketBatch, index: int) -> bytes:
    offset = batch.offset[index]
    return bytes(batch.data[offset : offset + batch.length[index]])


def _batch(packets: Sequence[HeldPacket]) -> PacketBatch:
    """Held copies as a batch, for the functions that take one."""
    batch = PacketBatch(memoryview(bytearray().join(packet.data for packet in packets)))
    offset = 0
    for packet in packets:
        batch.offset.append(offset)
        batch.length.append(len(packet.data))
        batch.flags.append(packet.flags)
        offset += len(packet.data)
    return batch
