"""Inbound: datagrams from the peers, opened, checked and handed to the host's stack. One thread a link.

Delivered is only what belongs to a flow that a tunnel decision created. The data path delivers what it finds in the
flow table; what it does not know comes here, and either turns out to belong to such a flow after all (an ICMP error
about one, a fragment of one), or opens a port of AllowInbound, or is dropped and counted. So a hostile server reaches
no listener but those it was told of, and no service that trusts its neighbours.
"""

import socket
from collections import Counter
from collections.abc import Hashable

from wiresock_py.datapath import (
    Flow,
    FlowTable,
    Fragments,
    Header,
    Opened,
    PacketDrop,
    may_arrive,
    parse,
    parse_embedded,
    translate_error,
    translate_inbound,
)
from wiresock_py.engine.admission import Admission
from wiresock_py.engine.clock import now as clock
from wiresock_py.engine.links import Link
from wiresock_py.engine.queries import Queries
from wiresock_py.filters import MAX_PACKET, Backend, Buffer
from wiresock_py.flow import Route
from wiresock_py.network import local_addresses, source_address

RECEIVE_TIMEOUT = 0.5
RECEIVE_BUFFER = 4 * MAX_PACKET
"""Room for one receive, and for two more of what waits behind it."""
UNSOLICITED = "inner_unsolicited"
"""Counter of authentic packets that belong to no flow of ours."""
FALSE_SOURCE = "inner_false_source"
"""Counter of ICMP errors from addresses that nothing in the tunnel can have."""
# Unreachable, time exceeded, parameter problem. Not source quench (RFC 6633) and not redirect, with which a peer would
# change the host's routes.
ICMP_ABOUT_FLOWS = frozenset({3, 11, 12})
OWN_ADDRESSES_KEPT = 2.0
TCP_SYN, TCP_ACK = 0x02, 0x10
MAX_VISITORS = 1024
"""Flows that the far ends of a link may have open: they must not push ours out of the table."""


class Inbound:
    """The way in for one link; ``receive`` is one turn of its thread's loop."""

    def __init__(self, backend: Backend, flows: FlowTable, admission: Admission, queries: Queries, link: Link) -> None:
        self.link = link
        self._queries = queries
        self._admission = admission
        self._backend = backend
        self._flows = flows
        self._fragments = Fragments()
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._opened = Opened()
        self.delivering = True
        """Whether the stack gets what arrives; not while its connections are being reset."""
        self.counters: Counter[str] = Counter()
        self._visitors: list[Flow] = []
        """The flows that hosts behind the peers opened."""
        self._own: frozenset[bytes] = frozenset()
        self._own_until = float("-inf")

    def receive(self) -> None:
        """Wait for datagrams and carry them through."""
        received = self.link.socket.receive_into(self._buffer, RECEIVE_TIMEOUT)
        if received is None:
            return
        now = clock()
        opened = self._opened
        opened.largest = self._backend.largest_to_stack
        self.link.open(self._buffer[: received.size], received.segment_size, received.source, self._flows, opened, now)
        for session, packet in opened.slow:
            opened.packets += self._inspect(session.peer, packet, now)
        if opened.packets and self.delivering:
            self._backend.send_to_stack(opened.packets)

    def statistics(self) -> Counter[str]:
        """Counters by name."""
        total = self.counters.copy()
        # copies, made in one step: the udp thread may count something new meanwhile
        total.update(self._opened.drops.copy())
        total.update(self._fragments.drops.copy())
        return total

    def _inspect(self, peer: Hashable, packet: bytes, now: float) -> list[list[Buffer]]:
        """What may be delivered on account of an authentic packet of *peer* that the data path did not place."""
        header = parse(packet)
        if isinstance(header, PacketDrop):
            self.counters[header] += 1
            return []
        if header.is_icmp_error:
            return self._error(peer, packet, header, now)
        if (answer := self._queries.answered(peer, packet, header, now)) is not None:
            return [[answer]]
        flow = self._flow_of(peer, header) or self._opened_by(peer, header, now)
        if flow is None and not header.is_later_fragment:
            self.counters[UNSOLICITED] += 1
        if header.is_fragment:
            return [
                [translate_inbound(piece, its_header, its_flow, self._flows, now)]
                for piece, its_header, its_flow in self._fragments.follow(packet, header, flow, peer, now)
            ]
        if flow is None:
            return []
        return [[translate_inbound(packet, header, flow, self._flows, now)]]

    def _error(self, peer: Hashable, packet: bytes, header: Header, now: float) -> list[list[Buffer]]:
        """An ICMP error is delivered if what it embeds is a packet that one of our flows sent to this peer.

        Any router on the way may have sent it, so its source is checked by itself.
        """
        embedded = parse_embedded(packet, header)
        flow = None if isinstance(embedded, PacketDrop) else self._flows.find_inner(embedded.five_tuple())
        about_flows = header.protocol != socket.IPPROTO_ICMP or header.icmp_type in ICMP_ABOUT_FLOWS
        if flow is None or flow.peer is not peer or not about_flows:
            self.counters[UNSOLICITED] += 1
            return []
        if header.source != flow.inner.remote and not self._may_come_from(header.source, peer, now):
            self.counters[FALSE_SOURCE] += 1
            return []
        translated = translate_error(packet, header, flow, outbound=False)
        return [[translated]] if translated is not None else []

    def _opened_by(self, peer: Hashable, header: Header, now: float) -> Flow | None:
        """The flow that a host behind *peer* opens to a port of AllowInbound; None if it may not."""
        inner = header.five_tuple(inbound=True)
        if (
            header.is_fragment
            or inner.local != self.link.addresses.get(header.version)
            or (inner.protocol == socket.IPPROTO_TCP and header.tcp_flags & (TCP_SYN | TCP_ACK) != TCP_SYN)
            or not self._admission.allows_inbound(peer, inner.protocol, inner.local_port)
        ):
            return None
        if not self._may_come_from(header.source, peer, now):
            self.counters[FALSE_SOURCE] += 1
            return None
        local = source_address(header.source)
        key = inner._replace(local=local or b"")
        if local is None or not self._has_room() or self._flows.find(key) is not None:
            return None
        flow = self._flows.add(key, Route.TUNNEL, now, peer=peer, local=inner.local)
        flow.mtu = self.link.mtu
        self._visitors.append(flow)
        return flow

    def _has_room(self) -> bool:
        """Whether one more visitor may come in; the oldest that nobody here answered has to go for it."""
        self._visitors = [flow for flow in self._visitors if flow.live]
        if len(self._visitors) < MAX_VISITORS:
            return True
        unanswered = next((flow for flow in self._visitors if not flow.packets_out), None)
        if unanswered is not None:
            self._flows.remove(unanswered)
        return unanswered is not None

    def _may_come_from(self, source: bytes, peer: Hashable, now: float) -> bool:
        """Whether *source* lies behind *peer*, and is not this host itself."""
        if now >= self._own_until:
            self._own = frozenset(address.address for address in local_addresses())
            self._own_until = now + OWN_ADDRESSES_KEPT
        return source not in self._own and self._admission.leads_to(peer, source)

    def _flow_of(self, peer: Hashable, header: Header) -> Flow | None:
        if header.is_later_fragment:
            return None
        flow = self._flows.find_inner(header.five_tuple(inbound=True))
        return flow if flow is not None and flow.peer is peer and may_arrive(flow, header.tcp_flags) else None
