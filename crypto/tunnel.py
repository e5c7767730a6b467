"""One peer: its sessions, its handshakes, its timers and the packets that wait for a session (paper 6).

Sans-I/O: time, wall clock and randomness come in, datagrams go out, nothing is printed. The rules of each moment stand
where they are kept: what a session's place means in ``slots.py``, what arms and stops a timer in ``timers.py``, how a
datagram gets here in ``local.py``. Here is what is *sent*:

- data goes out on *current* if it may send, else it waits (bounded, the oldest is dropped) and a handshake starts;
- an initiator that has the response must send at once, waiting data or an empty packet: it confirms the session;
- a responder sends nothing on a new session before an authentic packet arrived on it;
- after sending, whoever was the initiator renews a session of REKEY_AFTER_TIME; after receiving, one that would
  otherwise die before its keepalives could. Data first, initiation second: the old session still carries it;
- between an initiation or response of ours and the next initiation lie REKEY_TIMEOUT seconds.

Keys: the static half lives inside the cryptographic library, ephemeral ones and session ciphers are dropped as soon as
they are used up, chaining keys and the preshared key sit in bytearrays that are overwritten. Python cannot promise
more: intermediate values are immutable bytes, gone when the memory is reused.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from os import urandom

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wiresock_py.crypto.constants import (
    INITIATION_SIZE,
    INITIATIONS_PER_SECOND,
    KEEPALIVE_TIMEOUT,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER,
    RESPONSE_SIZE,
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
)
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.figures import Figures
from wiresock_py.crypto.inner import padded_length
from wiresock_py.crypto.keys import KEY_LENGTH, PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.local import Local
from wiresock_py.crypto.messages import Response
from wiresock_py.crypto.noise import Keys, PendingInitiation, ReceivedInitiation, finish, initiate, respond
from wiresock_py.crypto.primitives import dh
from wiresock_py.crypto.results import Address, Buffer, Datagram, Event, Received, Stats, Ticked
from wiresock_py.crypto.session import Session
from wiresock_py.crypto.slots import Slots
from wiresock_py.crypto.tai64n import NO_TIMESTAMP, Stamps
from wiresock_py.crypto.timers import Timer, Timers

STAGED_PACKETS = 128
"""Packets that wait for a session, at most (as Linux); then the oldest is dropped: it is the most likely retransmitted
or outlived."""

_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Tunnel:
    """A peer. ``now`` is monotonic seconds of a clock that counts sleep; a step back is taken as no time passing.

    *wall_clock* returns nanoseconds since 1970 (``time.time_ns``) and is asked only for the handshake's timestamp.
    A tunnel made by its constructor stands alone and takes inner packets from any source address; one of several peers
    is made by ``Device.add_peer`` and takes what its allowed IPs cover.
    """

    def __init__(
        self,
        private_key: PrivateKey,
        peer_public_key: PublicKey,
        preshared_key: PresharedKey | None = None,
        persistent_keepalive: float = 0,
        *,
        wall_clock: Callable[[], int],
        random: Callable[[int], bytes] = urandom,
        endpoint: Address | None = None,
        mtu: int = 0,
    ) -> None:
        local = Local(private_key, wall_clock=wall_clock, random=random)
        self._join(local, peer_public_key, preshared_key, persistent_keepalive, endpoint, mtu, local.drops)
        for network in _EVERYWHERE:
            local.routes.insert(network, self)

    @classmethod
    def of(
        cls,
        local: Local,
        peer_public_key: PublicKey,
        preshared_key: PresharedKey | None = None,
        persistent_keepalive: float = 0,
        *,
        endpoint: Address | None = None,
        mtu: int = 0,
    ) -> "Tunnel":
        """A peer among others of *local*."""
        tunnel = cls.__new__(cls)
        tunnel._join(local, peer_public_key, preshared_key, persistent_keepalive, endpoint, mtu, Counter())  # noqa: SLF001 a second constructor
        return tunnel

    def _join(
        self,
        local: Local,
        peer_public_key: PublicKey,
        preshared_key: PresharedKey | None,
        persistent_keepalive: float,
        endpoint: Address | None,
        mtu: int,
        drops: Counter[Drop],
    ) -> None:
        if peer_public_key == local.identity.public:
            raise ValueError("the peer's public key is this end's own")
        self.local = local
        self.public_key = peer_public_key
        self.endpoint = endpoint
        """Where the peer is; follows its authentic datagrams. May be set at any time."""
        self.mtu = mtu
        """The tunnel's MTU, beyond which ``write`` does not pad; 0 for no limit."""
        self.slots = Slots()
        self.timers = Timers(persistent_keepalive)
        self.cookies = CookieGenerator(peer_public_key)
        self.stamps = Stamps(local.wall_clock)
        """The timestamps of our initiations; ``stamps.last`` may be kept across runs."""
        self.greatest_timestamp = NO_TIMESTAMP
        """The greatest the peer proved; lives as long as the peer is configured, and may be kept across runs."""
        self.drops = drops
        """What was dropped that is proven to be this peer's; standing alone, everything."""
        self._preshared_key = bytearray(bytes(preshared_key) if preshared_key is not None else bytes(KEY_LENGTH))
        self._static_static = dh(local.identity.private, bytes(peer_public_key))
        self._pending: PendingInitiation | None = None
        self._staged: deque[bytes] = deque()
        self._initiation_accepted = float("-inf")
        self._figures = Figures()
        local.peers[peer_public_key] = self

    def __repr__(self) -> str:
        return f"Tunnel({self.public_key!r} at {self.endpoint})"

    # Life

    def up(self, now: float) -> list[Datagram]:
        """Start; with a persistent keepalive this sends one at once, hence a handshake."""
        return self._start_keepalives(self.local.clock(now)) if self.timers.persistent else []

    def down(self) -> None:
        """Stop: erase sessions, handshake and waiting packets, stop all timers. Endpoint and timestamps stay.

        The answer to suspend as well: ``down`` before, ``up`` after, and no key sleeps on disk.
        """
        self._erase()
        self._staged.clear()
        self.timers.stop()

    def close(self) -> None:
        """Leave the device for good: as ``down``, and the preshared key and routes go too."""
        self.down()
        self._preshared_key[:] = bytes(KEY_LENGTH)
        self._static_static = None
        self.local.routes.remove_owner(self)
        self.local.peers.pop(self.public_key, None)

    def set_preshared_key(self, preshared_key: PresharedKey | None) -> None:
        """Use another preshared key, or none, from the next handshake on; sessions go on working."""
        self._preshared_key[:] = bytes(preshared_key) if preshared_key is not None else bytes(KEY_LENGTH)

    def set_persistent_keepalive(self, interval: float, now: float) -> list[Datagram]:
        """Set the interval in seconds, 0 to turn it off; turning it on sends a keepalive at once."""
        turned_on = interval > 0 and not self.timers.persistent
        self.timers.persistent = interval
        if not interval:
            self.timers.cancel(Timer.PERSIST)
        return self._start_keepalives(self.local.clock(now)) if turned_on else []

    def identity_changed(self) -> None:
        """The local private key is another one: handshakes start afresh, live sessions only receive."""
        self._static_static = dh(self.local.identity.private, bytes(self.public_key))
        self._drop_pending()
        for session in (self.slots.current, self.slots.next):
            if session is not None:
                session.counter = REJECT_AFTER_MESSAGES
        self.timers.handshake_not_before = float("-inf")

    # Verbs

    def write(self, packets: Iterable[Buffer], now: float) -> list[Datagram]:
        """Seal inner IP packets in order, or stage copies and start a handshake if there is no session to send on."""
        now = self.local.clock(now)
        session = None if self._staged else self.sending_session(now)
        datagrams: list[Datagram] = []
        size = 0
        for packet in packets:
            if session is None or session.counter >= REJECT_AFTER_MESSAGES:
                self._stage(packet)
            else:
                datagram = self._seal(session, packet)
                datagrams.append(datagram)
                size += len(datagram.data)
        if datagrams:
            datagrams += self.sealed(now, len(datagrams), size, True)
        return datagrams + self._flush(now)

    def read(self, datagram: Buffer, source: Address, now: float) -> Received:
        """Take a datagram of any type; for one tunnel standing alone (of several, ask the device)."""
        return self.local.read(datagram, source, now)

    def tick(self, now: float) -> Ticked:
        """Run the timers that are due; for one tunnel standing alone (of several, ask the device)."""
        datagrams = self.run_timers(self.local.clock(now))
        return Ticked(datagrams, self.local.take_events(), self.timers.deadline)

    def force_handshake(self, now: float) -> list[Datagram]:
        """Start a handshake now, unless one was started or answered within REKEY_TIMEOUT."""
        return self._initiate(self.local.clock(now), fresh=True)

    def stats(self, now: float) -> Stats:
        return self._figures.stats(self.local.clock(now), self.slots.all(), len(self._staged), self.drops)

    # For the data path, which seals and opens batches by itself

    def sending_session(self, now: float) -> Session | None:
        """The session to seal on, if there is one that may send; None: give the packets to ``write``."""
        session = self.slots.current
        if (
            session is None
            or self.endpoint is None
            or session.counter >= REJECT_AFTER_MESSAGES
            or session.expired(self.local.clock(now))
        ):
            return None
        return session

    def sealed(self, now: float, packets: int, size: int, data: bool) -> list[Datagram]:
        """Account for *packets* just sealed on ``sending_session``: *size* UDP payload bytes in all, *data* if any of
        them was not empty. Returns what must be sent after them: the initiation of a rekey."""
        now = self.local.clock(now)
        self._figures.tx_packets += packets
        self._figures.tx_bytes += size
        self.timers.authentic_sent(now)
        if data and not self.timers.running(Timer.SILENCE):
            self.timers.data_sent(now, self._jitter())
        session = self.slots.current
        if session is not None and (
            session.counter > REKEY_AFTER_MESSAGES or (session.initiator and now >= session.created + REKEY_AFTER_TIME)
        ):
            return self._initiate(now, fresh=True)
        return []

    def opened(
        self, session: Session, source: Address, packets: int, size: int, data: bool, now: float
    ) -> list[Datagram]:
        """Account for *packets* authentic, fresh packets that arrived on *session* from *source*; *data* if any was not
        empty. Returns what must be sent now: packets that the session's confirmation released, the initiation of a
        rekey."""
        now = self.local.clock(now)
        self._figures.rx_packets += packets
        self._figures.rx_bytes += size
        session.received += packets
        released = self.endpoint is None
        self.endpoint = source
        if session is self.slots.next:
            self._forget(self.slots.confirmed())
            self._handshake_complete(now)
            released = True
        datagrams: list[Datagram] = []
        current = self.slots.current
        if (
            current is not None
            and current.initiator
            and not self.timers.rekeyed_by_age
            and now >= current.created + REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
        ):
            self.timers.rekeyed_by_age = True
            datagrams = self._initiate(now, fresh=True)
        self.timers.authentic_received(now)
        if data:
            self.timers.data_received(now)
        # Only after the timers of what was received: what leaves now is not answered yet.
        return datagrams + self._flush(now) if released else datagrams

    # Handshakes

    def answer(self, received: ReceivedInitiation, source: Address, now: float) -> list[Datagram] | Drop:
        """Verify an initiation that claims to be this peer's, and respond to where it came from."""
        if self._static_static is None:
            return Drop.ZERO_DH
        timestamp = received.verify(self._static_static)
        if timestamp is None:
            return Drop.BAD_HANDSHAKE
        if timestamp <= self.greatest_timestamp:
            return Drop.OLD_TIMESTAMP
        if now < self._initiation_accepted + 1 / INITIATIONS_PER_SECOND:
            return Drop.INITIATION_FLOOD
        index = self.local.new_index()
        responded = respond(received, self._preshared_key, ephemeral=self._ephemeral(), local_index=index)
        if isinstance(responded, Drop):
            return responded
        response, keys = responded
        self.greatest_timestamp = timestamp
        self._initiation_accepted = now
        self.endpoint = source
        session = self._session(keys, index, received.message.sender, initiator=False, now=now)
        self._forget(self.slots.responded(session))
        self.timers.authentic_received(now)
        self.timers.handshake_sent(now)
        self._figures.rx_bytes += INITIATION_SIZE
        self._figures.tx_bytes += RESPONSE_SIZE
        return [Datagram(self.cookies.add_macs(response.pack(), now), source)]

    def accept(self, response: Response, source: Address, now: float) -> list[Datagram] | Drop:
        """Verify a response to our pending initiation; from then on we send, and must, to confirm the session."""
        pending = self._pending
        if pending is None or pending.local_index != response.receiver:
            return Drop.UNKNOWN_HANDSHAKE
        keys = finish(self.local.identity, pending, response, self._preshared_key)
        if isinstance(keys, Drop):
            return keys
        self._drop_pending()
        session = self._session(keys, pending.local_index, response.sender, initiator=True, now=now)
        self._forget(self.slots.initiated(session))
        self.endpoint = source
        self._figures.round_trip = now - pending.sent
        self._figures.rx_bytes += RESPONSE_SIZE
        self.timers.authentic_received(now)
        self._handshake_complete(now)
        return self._keepalive(now)

    def _initiate(self, now: float, *, fresh: bool) -> list[Datagram]:
        """Send an initiation, unless the last handshake message is too recent; *fresh* starts the retries over."""
        if fresh:
            self.timers.attempts = 0
        if now < self.timers.handshake_not_before:
            if not fresh:  # or a crossing handshake could leave the peer without a timer
                self.timers.initiation_due(now, self._jitter())
            return []
        self._drop_pending()
        index = self.local.new_index()
        initiated = None
        if self.endpoint is None:
            self.drops[Drop.NO_ENDPOINT] += 1
        elif self._static_static is None:
            self.drops[Drop.ZERO_DH] += 1
        else:
            initiated = initiate(
                self.local.identity,
                self.public_key,
                self._static_static,
                ephemeral=self._ephemeral(),
                local_index=index,
                timestamp=self.stamps.next(),
                now=now,
            )
        if initiated is None or self.endpoint is None:
            self.timers.initiation_due(now, self._jitter())
            return []
        initiation, self._pending = initiated
        self.local.pending[index] = self
        self.timers.handshake_sent(now)
        self.timers.initiation_due(now, self._jitter())
        self._figures.tx_bytes += INITIATION_SIZE
        return [Datagram(self.cookies.add_macs(initiation.pack(), now), self.endpoint)]

    def _session(self, keys: Keys, local_index: int, remote_index: int, *, initiator: bool, now: float) -> Session:
        session = Session(
            self,
            local_index=local_index,
            remote_index=remote_index,
            sending_key=keys.sending,
            receiving_key=keys.receiving,
            initiator=initiator,
            created=now,
            ciphers=self.local.ciphers,
        )
        self.local.sessions[local_index] = session
        self.timers.session_created(now)
        return session

    def _handshake_complete(self, now: float) -> None:
        self._figures.completed = now
        self.timers.handshake_complete()
        self.local.events.append((self, Event.CONNECTED))

    def _ephemeral(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.local.random(KEY_LENGTH))

    def _jitter(self) -> float:
        return int.from_bytes(self.local.random(4), "little") / 2**32 * REKEY_TIMEOUT_JITTER

    # Sending

    def _stage(self, packet: Buffer) -> None:
        if len(self._staged) >= STAGED_PACKETS:
            self._staged.popleft()
            self.drops[Drop.STAGING_FULL] += 1
        self._staged.append(bytes(packet))

    def _flush(self, now: float) -> list[Datagram]:
        """Send what waits, as far as a session allows; a handshake for the rest."""
        if not self._staged:
            return []
        session = self.sending_session(now)
        datagrams: list[Datagram] = []
        if session is not None:
            while self._staged and session.counter < REJECT_AFTER_MESSAGES:
                datagrams.append(self._seal(session, self._staged.popleft()))
            size = sum(len(datagram.data) for datagram in datagrams)
            datagrams += self.sealed(now, len(datagrams), size, True)
        return datagrams + self._initiate(now, fresh=True) if self._staged else datagrams

    def _keepalive(self, now: float) -> list[Datagram]:
        """Let the peer hear from us: what waits if something does, else an empty packet, else a handshake."""
        if self._staged:
            return self._flush(now)
        session = self.sending_session(now)
        if session is None:
            return self._initiate(now, fresh=True)
        datagram = self._seal(session, b"")
        return [datagram, *self.sealed(now, 1, len(datagram.data), False)]

    def _start_keepalives(self, now: float) -> list[Datagram]:
        """The first persistent one; the next are due whether or not this one can be sent."""
        self.timers.arm(Timer.PERSIST, now + self.timers.persistent)
        return self._keepalive(now)

    def _seal(self, session: Session, packet: Buffer) -> Datagram:
        padded = padded_length(len(packet), self.mtu)
        plaintext = bytes(packet) + bytes(padded - len(packet))
        datagram = bytearray(TRANSPORT_HEADER_SIZE + padded + TAG_SIZE)
        session.seal_into(plaintext, datagram)
        return Datagram(datagram, self.endpoint)

    # Timers

    def run_timers(self, now: float) -> list[Datagram]:
        """Do what is due; *now* comes from ``Local.clock``."""
        datagrams: list[Datagram] = []
        while (timer := self.timers.pop_due(now)) is not None:
            datagrams += self._on_timer(timer, now)
        return datagrams

    def _on_timer(self, timer: Timer, now: float) -> list[Datagram]:
        match timer:
            case Timer.RETRY:
                return self._retry(now)
            case Timer.PASSIVE:
                return self._keepalive(now)
            case Timer.SILENCE:
                self.local.events.append((self, Event.UNANSWERED))
                return self._initiate(now, fresh=True)
            case Timer.EXPIRE:
                self._expire(now)
            case Timer.ZERO:
                self._erase()
                self.local.events.append((self, Event.ERASED))
            case Timer.PERSIST:
                # Sending re-arms it; with a short interval and a dead peer nothing may be sent, so arm it here too.
                return self._start_keepalives(now)
        return []

    def _retry(self, now: float) -> list[Datagram]:
        if self.timers.out_of_attempts:
            self.timers.gave_up(now)
            self.drops[Drop.GAVE_UP] += len(self._staged)
            self._staged.clear()
            self.local.events.append((self, Event.GONE))
            return []
        self.timers.attempts += 1
        self.local.events.append((self, Event.UNANSWERED))
        return self._initiate(now, fresh=False)

    # Forgetting

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self.local.pending.pop(self._pending.local_index, None)
            self._pending.erase()
            self._pending = None

    def _forget(self, sessions: Iterable[Session]) -> None:
        """Erase sessions and free their indices."""
        for session in sessions:
            if self.local.sessions.get(session.local_index) is session:
                del self.local.sessions[session.local_index]
            session.erase()

    def _expire(self, now: float) -> None:
        """Erase the keys of sessions that are too old. They keep their slots: what they mean for the next one stays."""
        sessions = self.slots.all()
        self._forget(session for session in sessions if session.expired(now))
        live = [session.created for session in sessions if not session.expired(now)]
        if live:
            self.timers.arm(Timer.EXPIRE, min(live) + REJECT_AFTER_TIME)

    def _erase(self) -> None:
        """Erase all sessions and the pending handshake."""
        self._drop_pending()
        self._forget(self.slots.clear())
