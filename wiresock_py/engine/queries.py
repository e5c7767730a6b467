"""DNS queries over UDP, carried one by one: each is judged by the name it asks for, and its answer is read.

into the tunnel    to one of the tunnel's DNS servers, of either IP version, and to the next one if it is silent or
                   fails; the answer goes back to the program as if the resolver it asked had sent it
direct             as it is, or, where rules are about names, by a socket of our own (outside_queries.py)

What an answer says of names that rules mention is learned before the program gets it: its first packet finds the rules
knowing. Queries over TCP are ordinary flows, and their answers are not read.
"""

import ipaddress
import secrets
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from wiresock_py.crypto import Tunnel
from wiresock_py.datapath import Flow, Header, PythonFlow, parse
from wiresock_py.datapath.checksum import finish, pseudo_sum, word_sum
from wiresock_py.datapath.flows import EPHEMERAL_PORTS
from wiresock_py.datapath.ip import build
from wiresock_py.engine.admission import Admission
from wiresock_py.engine.links import Link
from wiresock_py.engine.outside_queries import OutsideQueries, OutsideQuery
from wiresock_py.filters import Buffer
from wiresock_py.flow import App, FiveTuple, Route
from wiresock_py.network.dns_messages import (
    REFUSED,
    SERVER_FAILED,
    Question,
    is_answer_to,
    rcode,
    read_question,
    read_reply,
)
from wiresock_py.rules import Decision, Known

DNS_PORT = 53
PATIENCE = 1.5
"""Seconds until the next server is asked."""
GIVE_UP = 15.0
"""Seconds until a query is forgotten: longer than programs wait."""
PENALTY = 30.0
"""Seconds that a silent server is asked after the others."""
MAX_PENDING = 1024

_UDP = struct.Struct(">HHHH")
_UDP_HEADER = 8


def is_query(key: FiveTuple) -> bool:
    """Whether the flow is carried here."""
    return key.protocol == socket.IPPROTO_UDP and key.remote_port == DNS_PORT


class Server:
    """A DNS server behind a peer."""

    def __init__(self, link: Link, peer: Tunnel, address: bytes) -> None:
        self.link = link
        self.peer = peer
        self.address = address
        self.local = link.addresses[4 if len(address) == 4 else 6]
        self.silent_until = 0.0

    def has_session(self, now: float) -> bool:
        """Whether what is sent now goes out now."""
        with self.link.lock:
            return self.peer.sending_session(now) is not None


@dataclass(slots=True)
class _Query:
    """A query on its way through a tunnel."""

    key: FiveTuple
    payload: bytes
    question: Question
    first_sent: float
    server: Server
    others: list[Server]
    """To be asked if that one is silent."""
    sent: float = 0.0
    inner: list[FiveTuple] = field(default_factory=list)
    """What it was sent as, to each server asked."""


class Queries:
    """``carry`` belongs to the resolver thread, ``answered`` to those of the links, ``tick`` to the ticking one."""

    def __init__(
        self,
        admission: Admission,
        links: Sequence[Link],
        deliver: Callable[[Sequence[Sequence[Buffer]]], int],
        outside: OutsideQueries | None,
        on_learned: Callable[[Sequence[Known]], None],
    ) -> None:
        """*deliver* is ``Backend.send_to_stack``; with *outside* what stays outside is asked there."""
        self._on_learned = on_learned
        self._admission = admission
        self._links = links
        self._deliver = deliver
        self.outside = outside
        self._servers: list[list[Server]] = []
        self._lock = threading.Lock()
        self._pending: dict[FiveTuple, tuple[_Query, Server]] = {}
        """By what is to be answered: local is the tunnel's address."""
        self.counters: Counter[str] = Counter()
        self.follow()

    def follow(self) -> None:
        """Ask the servers that the links have now."""
        self._servers = [_servers(link) for link in self._links]

    def carry(
        self, key: FiveTuple, packet: bytes, app: App, adapter: int, now: float, *, ask_outside: bool = True
    ) -> Flow | None:
        """Send a query on its way; None if that is done, otherwise the flow that it is to go by.

        A flow that is in no table is for this packet alone. *ask_outside* says whether a direct one may be asked by a
        socket of ours.
        """
        header = parse(packet)
        assert isinstance(header, Header)  # it was held because it parsed
        payload = bytes(packet[header.transport + _UDP_HEADER : header.length])
        question = None if header.is_fragment else read_question(payload)
        learning = self._admission.uses_domains
        decision = self._admission.decide(key, app, (question.name,) if question and learning else ())
        if decision.or_direct and not self._is_up(decision, now):
            decision = decision._replace(route=Route.DIRECT, dns=False)
        self._admission.introduce(app, key, decision, decision.route)
        if decision.route is Route.TUNNEL and not self._links:
            self.counters["no_tunnel"] += 1
            return None
        if decision.route is Route.TUNNEL and question is not None and (decision.dns or learning):
            self._send(_Query(key, payload, question, now, *self._choose(decision, key, now)), now)
            return None
        if decision.dns:
            self.counters["dns_malformed_query"] += 1
            return None
        if not learning or question is None:
            return self._admission.enter(key, app, decision, now)
        if decision.route is Route.DIRECT and ask_outside and self.outside and not _is_loopback(key.remote):
            self.outside.ask(OutsideQuery(key, packet, payload, question, adapter))
            return None
        return PythonFlow(key, decision.route, now, owner=app)

    def answered(self, peer: Hashable, packet: bytes, header: Header, now: float) -> bytes | None:
        """The packet for the host's stack, if *packet*, authentic from *peer*, answers a query of ours."""
        if header.protocol != socket.IPPROTO_UDP or header.source_port != DNS_PORT or header.is_fragment:
            return None
        with self._lock:
            found = self._pending.get(header.five_tuple(inbound=True))
        payload = packet[header.transport + _UDP_HEADER : header.length]
        if found is None or found[1].peer is not peer or not is_answer_to(payload, found[0].question):
            return None
        query, server = found
        server.silent_until = 0.0
        if rcode(payload) in (SERVER_FAILED, REFUSED) and self._try_next(query, now):
            return None
        self._forget(query)
        self.learn(payload, now)
        return _answer(query.key, payload)

    def answered_outside(self, query: OutsideQuery, answer: bytes, now: float) -> None:
        """An answer from outside the tunnel, for the program that asked."""
        self.learn(answer, now)
        self._deliver([[_answer(query.key, answer)]])

    def learn(self, answer: bytes, now: float) -> None:
        """Note the names of the addresses in *answer*, if rules ask for names."""
        if not self._admission.uses_domains:
            return
        reply = read_reply(answer)
        if reply is None:
            self.counters["dns_malformed_answer"] += 1
        elif reply.addresses:
            learned = self._admission.names.learn(reply.names, reply.addresses, reply.ttl, now)
            if learned:
                self._on_learned(learned)

    def tick(self, now: float) -> None:
        """Ask the next server where one is silent, and forget what nobody answers."""
        with self._lock:
            waiting = list({id(query): query for query, _ in self._pending.values()}.values())
        for query in waiting:
            if now - query.first_sent > GIVE_UP:
                self._forget(query)
                self.counters["dns_unanswered"] += 1
            elif now - query.sent > PATIENCE and query.others and query.server.has_session(now):
                query.server.silent_until = now + PENALTY
                self._try_next(query, now)

    def server(self, tunnel: int, version: int, now: float) -> bytes | None:
        """The server of IP *version* to ask, packed; None if the tunnel has none."""
        suited = [server for server in self._servers[tunnel] if len(server.address) == (4 if version == 4 else 16)]
        return next((server.address for server in _by_health(suited, now)), None)

    def _choose(self, decision: Decision, key: FiveTuple, now: float) -> tuple[Server, list[Server]]:
        if decision.dns:
            server, *others = _by_health(self._servers[decision.tunnel], now)
            return server, others
        link = self._links[decision.tunnel]
        return Server(link, link.peers[decision.peer], key.remote), []

    def _send(self, query: _Query, now: float) -> None:
        server = query.server
        with self._lock:
            if len(self._pending) >= MAX_PENDING:
                self.counters["dns_overflow"] += 1
                return
            inner = FiveTuple(socket.IPPROTO_UDP, server.local, _random_port(), server.address, DNS_PORT)
            while inner in self._pending:
                inner = inner._replace(local_port=_random_port())
            self._pending[inner] = query, server
        query.inner.append(inner)
        query.sent = now
        server.link.write(server.peer, [_datagram(inner, query.payload)], now)

    def _try_next(self, query: _Query, now: float) -> bool:
        with self._lock:  # the thread of a link and the ticking one may come at the same moment
            if not query.others:
                return False
            query.server = query.others.pop(0)
        self.counters["dns_next_server"] += 1
        self._send(query, now)
        return True

    def _forget(self, query: _Query) -> None:
        with self._lock:
            for inner in query.inner:
                self._pending.pop(inner, None)

    def _is_up(self, decision: Decision, now: float) -> bool:
        return bool(self._links) and any(server.has_session(now) for server in self._servers[decision.tunnel])


def _is_loopback(address: bytes) -> bool:
    """Whether a resolver of this host has it: what that asks itself comes past here."""
    return ipaddress.ip_address(address).is_loopback


def _servers(link: Link) -> list[Server]:
    config = link.config
    reached = {*config.dns_servers(4), *config.dns_servers(6)}
    return [
        Server(link, link.peers[config.peer_for(address)], address.packed)
        for address in config.interface.dns
        if address in reached
    ]


def _by_health(servers: Sequence[Server], now: float) -> list[Server]:
    """In the order of the file, those that were silent just now behind the others."""
    return sorted(servers, key=lambda server: server.silent_until > now)


def _random_port() -> int:
    return EPHEMERAL_PORTS.start + secrets.randbelow(len(EPHEMERAL_PORTS))


def _answer(key: FiveTuple, payload: bytes) -> bytes:
    """*payload* as if the other end of *key* had sent it."""
    return _datagram(FiveTuple(key.protocol, key.remote, key.remote_port, key.local, key.local_port), payload)


def _datagram(key: FiveTuple, payload: bytes) -> bytes:
    """A UDP packet from the local end of *key* to its remote one."""
    length = _UDP_HEADER + len(payload)
    ports = key.local_port, key.remote_port
    total = pseudo_sum(key.local, key.remote, socket.IPPROTO_UDP, length)
    total += word_sum(_UDP.pack(*ports, length, 0)) + word_sum(payload)
    return build(
        key.local, key.remote, socket.IPPROTO_UDP, _UDP.pack(*ports, length, finish(total) or 0xFFFF) + payload
    )
