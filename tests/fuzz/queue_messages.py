"""Messages of an NFQUEUE: the two readers find the same packets in them, and none that lies outside."""

import socket
import struct
from collections.abc import Iterator

from tests.fuzz.reader import Reader, block
from wiresock_py._native import fill
from wiresock_py.filters.netfilter.queue import LARGEST_MESSAGE, PACKET, TRUNCATED, parse_packet
from wiresock_py.netlink import attribute, message

Columns = tuple[list[int], list[int], list[int], list[int], list[int]]
_MOST = 8
"""Messages of a case."""
_SLACK = 64


def run(data: bytes) -> None:
    reader = Reader(data)
    found: list[bytes] = []
    while reader and len(found) < _MOST:
        body = reader.block() if reader.number() % 2 else _usual(reader)
        # a datagram socket takes no empty message for one
        found.append(message(PACKET, 0, 0, bytes(4) + body))
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        for one in found:
            far.send(one)
        batch = memoryview(bytearray(2 * _MOST * LARGEST_MESSAGE))
        columns: Columns = ([], [], [], [], [])
        _end, overruns, refused, truncated = fill(near.fileno(), batch, 0, len(batch), len(found), *columns)
    expected, at, nameless = [], 0, 0
    for one in found:
        memory = memoryview(one + bytes(_SLACK))
        packet = parse_packet(memory, 0, len(one))
        if packet is None:
            nameless += 1
            continue
        token, flags, adapter, offset, length = packet
        assert 0 <= offset <= offset + length <= len(one)
        expected.append((at + offset, length, flags, adapter, token))
        at = (at + len(one) + 7) & ~7
    assert list(zip(*columns, strict=True)) == expected
    cut = sum(flags & TRUNCATED > 0 for _, _, flags, _, _ in expected)
    assert (overruns, refused, truncated) == (0, nameless, cut)


def _usual(reader: Reader) -> bytes:
    """The attributes that a packet's message has, some of them left out or in another order."""
    payload = reader.block()
    parts = [
        attribute(1, reader.take(4) + reader.choose((b"\x08\0\x03", b"\x86\xdd\x03", b"\x08\0\x02", b"\x08\0"))),
        attribute(6, reader.take(4)),
        attribute(14, struct.pack(">I", reader.number() % 4)),
        attribute(3, reader.take(4)),
        attribute(13, reader.take(4)),
        attribute(10, payload),
    ]
    chosen = reader.number()
    kept = [part for number, part in enumerate(parts) if chosen >> number & 1 or number in (0, 5)]
    if chosen & 0x80:
        kept.reverse()
    return b"".join(kept)


def seeds() -> Iterator[bytes]:
    for hook in range(4):
        for chosen in (2, 6, 14, 31, 0x82):
            yield (
                b"\0"
                + block(bytes(40))
                + bytes((0, 0, 0, 7, hook))
                + bytes(3)
                + b"\2\3\0\0\1\0"
                + bytes(4)
                + bytes((chosen,))
            )
    yield b"\1" + block(attribute(1, bytes(7)) + attribute(10, bytes(20)))
    yield b"\1" + block(b"\x04\0\x0a\0" * 4)
