"""Datagrams from the network, authentic or not, with whatever inside: both data paths open and merge them alike."""

from collections.abc import Iterator

from tests.fuzz import packets
from tests.fuzz.reader import Reader, block
from tests.support.differential import KEYS, arriving, equal
from tests.support.traffic import OTHER_PEER, PEER
from wiresock_py.crypto import Session
from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES
from wiresock_py.filters.base import MAX_PACKET

MOST = 12
"""Datagrams of a buffer."""
_SEALED, _FORGED, _TWICE, _LATE, _LAST, _BEYOND, _STRANGER, _BARE = range(8)


def run(data: bytes) -> None:
    reader = Reader(data)
    size = reader.choose((1420, 0, 1, 64, 130, 1400, 1428))
    opening = reader.number() % 2 == 1
    largest = reader.choose((MAX_PACKET, 1500, 3000, 100))
    short = reader.choose((0, 0, 0, 1, 16, 60))
    senders = [
        Session(
            peer, local_index=100, remote_index=index,
            sending_key=KEYS[1], receiving_key=KEYS[0], initiator=False, created=0.0,
        )
        for index, peer in enumerate((PEER, OTHER_PEER))
    ]  # fmt: skip
    buffers: list[bytearray] = []
    while reader and len(buffers) < 2:
        found: list[bytes] = []
        while reader and len(found) < MOST:
            way, sender = reader.number() % 16, senders[reader.number() % 8 == 1]
            if way == _BARE:
                found.append(reader.block()[: size + 32].ljust(size + 32, b"\0"))
                continue
            for plain in packets.burst(reader, inbound=True):
                found += _datagrams(sender, way, plain[:size].ljust(size, b"\0"))
        buffer = bytearray().join(found)
        del buffer[len(buffer) - min(short, len(buffer)) :]
        buffers.append(buffer)
    equal(lambda path: arriving(path, buffers, size + 32, opening=opening, largest=largest))


def _datagrams(sender: Session, way: int, plain: bytes) -> list[bytes]:
    """What comes of *plain* on its way from *sender*."""
    datagram = bytearray(len(plain) + 32)
    before = sender.counter
    if way == _LATE:
        sender.counter += 9000
    elif way in (_LAST, _BEYOND):
        sender.counter = REJECT_AFTER_MESSAGES - 1
    sender.seal_into(plain, datagram)
    if way in (_LATE, _LAST, _BEYOND):
        sender.counter = before
    if way == _FORGED:
        datagram[-1] ^= 1
    elif way == _BEYOND:
        datagram[8:16] = REJECT_AFTER_MESSAGES.to_bytes(8, "little")
    elif way == _STRANGER:
        datagram[4] = 7
    return [bytes(datagram)] * (2 if way == _TWICE else 1)


def seeds() -> Iterator[bytes]:
    for number, seed in enumerate(packets.seeds(inbound=True)):
        yield bytes((number % 7, number % 2, 0, 0, 8 + number % 2, number % 3)) + seed
    for kind in range(6):
        yield bytes((0, 0, 0, 0, _BARE, 0)) + block(bytes((kind,)) + bytes(150))
