"""This end: what all peers of one private key share, and the way of a datagram that arrives (paper 5.4, 5.3).

    length and type ── initiation ── gate ── whose? ── peer verifies, answers
                    ├─ response ──── gate ── index of a pending initiation ── peer verifies, confirms
                    ├─ cookie reply ──────── index of either ── peer keeps the cookie
                    └─ transport ─────────── index of a session ── age, counter, tag, replay ── peer's bookkeeping
                                                                └─ inner length and source ── deliver

The order is the protocol's: nothing before a verified tag changes an endpoint, a timer or a session, and everything
that fails is a counted :class:`Drop`.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from wiresock_py.crypto.allowed_ips import AllowedIPs
from wiresock_py.crypto.ciphers import CRYPTOGRAPHY, Ciphers
from wiresock_py.crypto.constants import (
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
    TYPE_COOKIE_REPLY,
    TYPE_INITIATION,
    TYPE_RESPONSE,
    TYPE_TRANSPORT,
)
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.gate import Gate
from wiresock_py.crypto.inner import source_of, trim
from wiresock_py.crypto.keys import PrivateKey, PublicKey
from wiresock_py.crypto.messages import CookieReply, Initiation, Response, first_index, message_type
from wiresock_py.crypto.noise import Identity, read_initiation
from wiresock_py.crypto.results import Address, Buffer, Event, Received
from wiresock_py.crypto.session import Session

if TYPE_CHECKING:
    from wiresock_py.crypto.tunnel import Tunnel

EVENTS_KEPT = 1024
"""Events that wait for the next tick; beyond this the oldest are lost."""

_INDEX_SIZE = 4


class Local:
    """A static key pair with its peers, its receiver indices and its gate."""

    def __init__(
        self,
        private_key: PrivateKey,
        *,
        wall_clock: Callable[[], int],
        random: Callable[[int], bytes],
        ciphers: Ciphers = CRYPTOGRAPHY,
    ) -> None:
        self.identity = Identity(private_key)
        self.wall_clock = wall_clock
        self.random = random
        self.ciphers = ciphers
        """What sessions are made with."""
        self.gate = Gate(self.identity.public, random)
        self.peers: dict[PublicKey, Tunnel] = {}
        """Every configured peer."""
        self.sessions: dict[int, Session] = {}
        """Every live session by its receiver index; the same dict for the life of this object."""
        self.pending: dict[int, Tunnel] = {}
        """The peers that wait for a response, by the index they sent."""
        self.routes: AllowedIPs[Tunnel] = AllowedIPs()
        self.drops: Counter[Drop] = Counter()
        """What was dropped before it was proven whose it is; the rest is in each peer's ``drops``."""
        self.events: deque[tuple[Tunnel, Event]] = deque(maxlen=EVENTS_KEPT)
        self._now = float("-inf")

    def clock(self, now: float) -> float:
        """*now*, or the latest time seen if the clock stepped back: then no time passes until it has caught up."""
        if now > self._now:
            self._now = now
        return self._now

    def new_index(self) -> int:
        """A random index that no session and no pending initiation has."""
        while True:
            index = int.from_bytes(self.random(_INDEX_SIZE), "little")
            if index not in self.sessions and index not in self.pending:
                return index

    def take_events(self) -> list[tuple["Tunnel", Event]]:
        events = list(self.events)
        self.events.clear()
        return events

    def read(self, datagram: Buffer, source: Address, now: float) -> Received:
        """Take a datagram of any type from anywhere. Keeps no reference to *datagram*."""
        now = self.clock(now)
        received = Received()
        kind = message_type(datagram)
        if kind == TYPE_TRANSPORT:
            drop = self._read_transport(datagram, source, now, received)
        elif kind == TYPE_INITIATION:
            drop = self._read_initiation(datagram, source, now, received)
        elif kind == TYPE_RESPONSE:
            drop = self._read_response(datagram, source, now, received)
        elif kind == TYPE_COOKIE_REPLY:
            drop = self._read_cookie_reply(datagram, now)
        else:
            drop = Drop.MALFORMED
        if drop is not None:
            received.drop = drop
            (received.tunnel.drops if received.tunnel is not None else self.drops)[drop] += 1
        return received

    def _read_initiation(self, datagram: Buffer, source: Address, now: float, received: Received) -> Drop | None:
        refused = self.gate.admit(datagram, source, now, received.datagrams)
        if refused is not None:
            return refused
        initiation = read_initiation(self.identity, Initiation.parse(datagram))
        if isinstance(initiation, Drop):
            return initiation
        tunnel = self.peers.get(initiation.peer)
        if tunnel is None:
            return Drop.UNKNOWN_PEER
        answer = tunnel.answer(initiation, source, now)
        if isinstance(answer, Drop):
            return answer
        received.tunnel = tunnel
        received.datagrams += answer
        return None

    def _read_response(self, datagram: Buffer, source: Address, now: float, received: Received) -> Drop | None:
        refused = self.gate.admit(datagram, source, now, received.datagrams)
        if refused is not None:
            return refused
        response = Response.parse(datagram)
        tunnel = self.pending.get(response.receiver)
        if tunnel is None:
            return Drop.UNKNOWN_HANDSHAKE
        answer = tunnel.accept(response, source, now)
        if isinstance(answer, Drop):
            return answer
        received.tunnel = tunnel
        received.datagrams += answer
        return None

    def _read_cookie_reply(self, datagram: Buffer, now: float) -> Drop | None:
        reply = CookieReply.parse(datagram)
        tunnel = self.pending.get(reply.receiver)
        if tunnel is None:
            session = self.sessions.get(reply.receiver)
            if session is None:
                return Drop.UNKNOWN_HANDSHAKE
            tunnel = session.peer
        return None if tunnel.cookies.consume(reply, now) else Drop.BAD_COOKIE

    def _read_transport(self, datagram: Buffer, source: Address, now: float, received: Received) -> Drop | None:
        session = self.sessions.get(first_index(datagram))
        if session is None:
            return Drop.UNKNOWN_SESSION
        if session.expired(now):
            return Drop.SESSION_EXPIRED
        plaintext = bytearray(len(datagram) - TRANSPORT_HEADER_SIZE - TAG_SIZE)
        size = session.open_into(datagram, plaintext)
        if isinstance(size, Drop):
            return size
        tunnel = received.tunnel = session.peer
        received.datagrams += tunnel.opened(session, source, 1, len(datagram), size > 0, now)
        if not size:
            return None
        packet = trim(memoryview(plaintext))
        if isinstance(packet, Drop):
            return packet
        if self.routes.lookup(source_of(packet)) is not tunnel:
            return Drop.INNER_SOURCE
        received.packet = packet
        return None
