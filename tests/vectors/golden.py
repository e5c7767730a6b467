"""The two ends of a golden handshake: devices that will send exactly the bytes the vectors say."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.peers import CLIENT, EVERYWHERE, SERVER, ScriptedRandom, WallClock
from tests.vectors.cases import Json, equal, unhex
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.results import Received
from wiresock_py.crypto.tai64n import Stamps
from wiresock_py.crypto.tunnel import Tunnel


class FixedStamps(Stamps):
    """The one timestamp of the vector, whitened or not."""

    __slots__ = ()

    def next(self) -> bytes:
        return self.last


class _Ephemeral:
    """An ephemeral key that shows another encoding of its public half: the same point with bit 255 set."""

    def __init__(self, private: bytes, public: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private)
        self._public = public

    def exchange(self, public: Any) -> bytes:
        return self._key.exchange(public)

    def public_key(self) -> "_Ephemeral":
        return self

    def public_bytes_raw(self) -> bytes:
        return self._public


class Golden:
    """One entry of ``handshakes``."""

    def __init__(self, handshake: Json) -> None:
        self.vector = handshake
        self.initiation = unhex(handshake["initiation"])
        self.response = unhex(handshake["response"])

    @classmethod
    def named(cls, vectors: Json, name: str) -> "Golden":
        return cls(next(handshake for handshake in vectors["handshakes"] if handshake["name"] == name))

    def initiator(self) -> Tunnel:
        tunnel = self._end("initiator", "responder", self.vector["macs_initiation"])
        tunnel.endpoint = SERVER
        return tunnel

    def responder(self, *, allowed_ips: tuple[Any, ...] = EVERYWHERE) -> Tunnel:
        return self._end("responder", "initiator", self.vector["macs_response"], allowed_ips)

    def initiate(self, tunnel: Tunnel, now: float = 0.0) -> bytes:
        """Have ``initiator()`` send its initiation."""
        (datagram,) = tunnel.force_handshake(now)
        equal("initiation", datagram.data, self.initiation)
        return bytes(datagram.data)

    def established(self) -> tuple[Tunnel, Tunnel]:
        """Both ends with a confirmed session, at second 0; the confirmation was counter 0."""
        initiator, responder = self.initiator(), self.responder()
        self.initiate(initiator)
        responder.local.read(self.initiation, CLIENT, 0.0)
        (confirmation,) = initiator.local.read(self.response, SERVER, 0.0).datagrams
        responder.local.read(confirmation.data, CLIENT, 0.0)
        return initiator, responder

    def _end(self, role: str, other: str, macs: Json, allowed_ips: tuple[Any, ...] = EVERYWHERE) -> Tunnel:
        ours = self.vector[role]
        random = ScriptedRandom(ours["index"].to_bytes(4, "little"), unhex(ours["ephemeral_private"]))
        device = Device(PrivateKey(unhex(ours["static_private"])), wall_clock=WallClock(), random=random)
        equal("own public key", bytes(device.identity.public).hex(), ours["static_public"])
        psk = unhex(self.vector["psk"] or "00" * 32)
        tunnel = device.add_peer(
            PublicKey(unhex(self.vector[other]["static_public"])), allowed_ips, preshared_key=PresharedKey(psk)
        )
        tunnel.stamps = FixedStamps(WallClock(), unhex(self.vector["timestamp"]))
        if macs["cookie"]:
            tunnel.cookies._cookie = unhex(macs["cookie"])
            tunnel.cookies._cookie_expires = float("inf")
        private, public = unhex(ours["ephemeral_private"]), unhex(ours["ephemeral_public"])
        if X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() != public:
            tunnel._ephemeral = lambda: _Ephemeral(private, public)  # type: ignore[method-assign, assignment, return-value]
        return tunnel


def snapshot(tunnel: Tunnel) -> tuple[object, ...]:
    """All that a silent drop must leave alone."""
    slots = tunnel.slots
    return (
        tunnel.endpoint,
        tuple(tunnel.timers._deadlines),
        tunnel.timers.handshake_not_before,
        tuple(
            session and (session.local_index, session.counter, session.replay.greatest)
            for session in (slots.previous, slots.current, slots.next)
        ),
        tunnel.greatest_timestamp,
        tunnel._pending and tunnel._pending.local_index,
        sorted(tunnel.local.pending),
        sorted(tunnel.local.sessions),
        tunnel.stats(0.0).rx_bytes,
        tunnel.stats(0.0).tx_bytes,
    )


def expect_drop(tunnel: Tunnel, datagram: bytes, source: tuple[str, int], now: float) -> Received:
    """Read a datagram that must be dropped without a trace but its counter."""
    before = snapshot(tunnel)
    counted = sum((tunnel.local.drops + tunnel.drops).values())
    received = tunnel.local.read(datagram, source, now)
    assert received.drop is not None, "it was not dropped"
    equal("answers", received.datagrams, [])
    equal("packet", received.packet, None)
    equal("state", snapshot(tunnel), before)
    equal("drop counters", sum((tunnel.local.drops + tunnel.drops).values()), counted + 1)
    return received
