"""Which session sits in which slot, after which message: two real ends, the far one played move by move."""

from collections.abc import Iterator
from functools import partial

from tests.support.peers import ALICE, BOB, CLIENT, EPOCH_NS, PACKET, SERVER, CountingRandom, WallClock
from tests.vectors.cases import Case, Json, equal
from wiresock_py.crypto.results import Datagram, Received
from wiresock_py.crypto.session import Session
from wiresock_py.crypto.tunnel import Tunnel

_GAP = 6.0
"""Seconds that let us initiate again."""


def rotation_cases(vectors: Json) -> Iterator[Case]:
    for sequence in vectors["keypair_rotation"]:
        yield Case(sequence["name"], partial(_rotation, sequence["ops"]))


def _rotation(ops: Json) -> None:
    stage = _Stage()
    for number, op in enumerate(ops):
        where = f"step {number}, {op['op']} {op.get('key', '')}".rstrip()
        stage.play(where, op)
        if "slots_after" in op:
            equal(f"slots after {where}", stage.slots(), op["slots_after"])


class _Stage:
    """Our tunnel, and for each of its sessions the far end's half under the session's name."""

    def __init__(self) -> None:
        self.now = 0.0
        self.us = Tunnel(ALICE, BOB.public_key(), wall_clock=WallClock(), random=CountingRandom(1), endpoint=SERVER)
        self.far_clock = WallClock(EPOCH_NS)
        self.far_ends: dict[str, Session] = {}
        self.names: dict[int, str] = {}
        self.initiation: bytes | None = None
        self.last: bytes = b""
        self.handshakes = 0

    def far(self) -> Tunnel:
        """The far end with no memory but its clock."""
        self.handshakes += 1
        return Tunnel(
            BOB,
            ALICE.public_key(),
            wall_clock=self.far_clock,
            random=CountingRandom(100 + self.handshakes),
            endpoint=CLIENT,
        )

    def slots(self) -> dict[str, str | None]:
        ours = self.us.slots
        return {
            name: None if session is None else self.names[session.local_index]
            for name, session in (("current", ours.current), ("previous", ours.previous), ("next", ours.next))
        }

    def play(self, where: str, op: Json) -> None:
        match op["op"]:
            case "send":
                self._send(where, op["expect"])
            case "consumed_response":
                self._consumed_response(op["key"])
            case "sent_response":
                self._sent_response(op["key"])
            case "receive":
                self._receive(where, self._sealed(op["key"]), op["expect"])
            case "receive_bad_tag":
                datagram = bytearray(self._sealed(op["key"]))
                datagram[-1] ^= 1
                self._receive(where, bytes(datagram), op["expect"])
            case "receive_duplicate":
                self._receive(where, self.last, op["expect"])
            case "zero_keys":
                self.now += 541.0
                self.us.tick(self.now)
            case other:
                raise AssertionError(f"unknown operation {other}")

    def _send(self, where: str, expected: str) -> None:
        sent = self.us.write([PACKET], self.now)
        kinds = [self._kind(datagram) for datagram in sent]
        wanted = {"stage+initiation": ["initiation"], "stage": []}.get(expected, [expected])
        equal(f"sent in {where}", kinds, wanted)

    def _kind(self, datagram: Datagram) -> str:
        data = bytes(datagram.data)
        if data[0] == 1:
            self.initiation = data
            return "initiation"
        index = int.from_bytes(data[4:8], "little")
        return next(name for name, session in self.far_ends.items() if session.local_index == index)

    def _consumed_response(self, key: str) -> None:
        if self.initiation is None:
            self.now += _GAP
            (datagram,) = self.us.force_handshake(self.now)
            self.initiation = bytes(datagram.data)
        far = self.far()
        (response,) = far.read(self.initiation, CLIENT, self.now).datagrams
        self.initiation = None
        equal("response", self.us.read(response.data, SERVER, self.now).drop, None)
        assert far.slots.next is not None
        self._name(key, far.slots.next)

    def _sent_response(self, key: str) -> None:
        self.now += 1.0
        far = self.far()
        (initiation,) = far.force_handshake(self.now)
        (response,) = self.us.read(initiation.data, SERVER, self.now).datagrams
        equal("response", far.read(response.data, CLIENT, self.now).drop, None)
        assert far.slots.current is not None
        self._name(key, far.slots.current)

    def _name(self, key: str, far_end: Session) -> None:
        self.far_ends[key] = far_end
        self.names[far_end.remote_index] = key

    def _sealed(self, key: str) -> bytes:
        datagram = bytearray(32 + len(PACKET))
        self.far_ends[key].seal_into(PACKET, datagram)
        return bytes(datagram)

    def _receive(self, where: str, datagram: bytes, expected: str) -> None:
        received: Received = self.us.read(datagram, SERVER, self.now)
        self.last = datagram
        equal(where, "accept" if received.drop is None else "drop", expected)
