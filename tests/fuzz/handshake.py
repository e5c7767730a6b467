"""Handshake messages, cookies and datagrams from anybody: all but the right ones are counted drops, answered with no
more than came."""

from collections.abc import Iterator

from tests.fuzz.reader import Reader, block
from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, device
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.messages import MAC_SIZE
from wiresock_py.crypto.results import Datagram

MOST = 40
"""Steps of a case."""
FLOOD = 120
"""More handshakes than are taken in a second."""
SOURCES = (CLIENT, SERVER, ("2001:db8::1", 1, 0, 0), ("203.0.113.9", 9))
_PASS_ON, _DAMAGED, _SIGNED, _BARE, _TYPED, _WRITE, _WAIT, _FLOOD = range(8)
_SIZES = {1: 148, 2: 92, 3: 64, 4: 32}


class Ends:
    """A client and its server, and what is on the way between them."""

    def __init__(self) -> None:
        self.devices = (device(ALICE, seed=1), device(BOB, seed=2))
        self.devices[0].add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
        self.devices[1].add_peer(ALICE.public_key(), EVERYWHERE)
        self.coming: tuple[list[bytes], list[bytes]] = ([], [])
        """Datagrams to each end, newest last."""
        self.now = 0.0

    def read(self, to: int, datagram: bytes, source: tuple[object, ...]) -> None:
        end = self.devices[to]
        before = _dropped(end)
        received = end.read(datagram, source, self.now)
        assert _dropped(end) - before == (received.drop is not None), "a drop that is not counted once"
        if received.drop is not None:
            assert received.packet is None
            if received.tunnel is None:
                assert sum(len(one.data) for one in received.datagrams) <= len(datagram), "more goes out than came"
        self.send(to, received.datagrams)

    def send(self, sender: int, datagrams: list[Datagram]) -> None:
        self.coming[1 - sender].extend(bytes(one.data) for one in datagrams)
        del self.coming[1 - sender][:-4]

    def last(self, to: int) -> bytes:
        return self.coming[to][-1] if self.coming[to] else b""


def run(data: bytes) -> None:
    reader = Reader(data)
    ends = Ends()
    for _ in range(MOST):
        if not reader:
            break
        act, to = reader.number() % 8, reader.number() % 2
        source = reader.choose(SOURCES)
        if act == _WRITE:
            ends.send(to, ends.devices[to].write([reader.block() or PACKET], ends.now))
        elif act == _WAIT:
            ends.now += reader.choose((0.1, 5.0, 15.0, 90.0, 121.0, 181.0, 541.0))
            for sender, end in enumerate(ends.devices):
                ends.send(sender, end.tick(ends.now).datagrams)
        else:
            datagram = _datagram(act, reader, ends, to)
            for _ in range(FLOOD if act == _FLOOD else 1):
                ends.read(to, datagram, source)


def _datagram(act: int, reader: Reader, ends: Ends, to: int) -> bytes:
    """A genuine one, perhaps damaged and perhaps with a right mac1 all the same; or any bytes."""
    if act == _BARE:
        return reader.block()
    if act == _TYPED:
        kind = 1 + reader.number() % 4
        body = bytes((kind, 0, 0, 0)) + reader.block()
        return _signed(body[: _SIZES[kind]].ljust(_SIZES[kind], b"\0"), ends.devices[to], ends.now)
    found = bytearray(ends.last(to))
    if act != _PASS_ON and act != _FLOOD and found:
        for _ in range(1 + reader.number() % 4):
            found[reader.number(2) % len(found)] ^= reader.number()
    return _signed(bytes(found), ends.devices[to], ends.now) if act == _SIGNED else bytes(found)


def _signed(message: bytes, receiver: Device, now: float) -> bytes:
    """*message* with the MACs that anybody can make who knows the receiver's public key."""
    if len(message) not in (_SIZES[1], _SIZES[2]):
        return message
    return CookieGenerator(receiver.identity.public).add_macs(message[: -2 * MAC_SIZE], now)


def _dropped(end: Device) -> int:
    return end.drops.total() + sum(tunnel.drops.total() for tunnel in end.peers.values())


def seeds() -> Iterator[bytes]:
    ask, come, answer = bytes((_WRITE, 0, 0)) + block(b""), bytes((_PASS_ON, 1, 0)), bytes((_PASS_ON, 0, 1))
    connected = ask + come + answer + come
    yield connected + ask + come
    yield ask + bytes((_FLOOD, 1, 0)) + answer + bytes((_WAIT, 0, 0, 1)) + come + answer
    for kind in range(4):
        yield connected + bytes((_TYPED, 0, 0, kind)) + block(bytes(140))
    for act in (_DAMAGED, _SIGNED):
        yield ask + bytes((act, 1, 0, 0, 0, 9, 1)) + answer
        yield ask + come + bytes((act, 0, 1, 0, 0, 13, 1))
    yield connected + bytes((_WAIT, 0, 0, 4)) + ask + come + answer + come + bytes((_WAIT, 0, 0, 6))
    yield bytes((_BARE, 1, 2)) + block(bytes(range(64)))
