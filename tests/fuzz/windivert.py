"""Packets side by side as WinDivert hands them over, sound or not: each ends where the next begins."""

from collections.abc import Iterator

from tests.fuzz import packets
from tests.fuzz.reader import Reader
from wiresock_py.filters.windivert.address import address
from wiresock_py.filters.windivert.packets import complete, packet_length


def run(data: bytes) -> None:
    reader = Reader(data)
    done = reader.number()  # what the driver says of checksums
    found: list[bytes] = []
    while reader and len(found) < 8:
        found += packets.burst(reader, inbound=False)
    view = memoryview(bytearray().join(found))
    at = 0
    while at < len(view):
        length = packet_length(view, at, len(view))
        assert 0 < length <= len(view) - at
        said = address(2, outbound=True, ipv6=view[at] >> 4 == 6)
        said.ip_checksum, said.tcp_checksum, said.udp_checksum = done & 1, done >> 1 & 1, done >> 2 & 1
        before = bytes(view[at + length :])
        complete(view, at, length, said)
        assert view[at + length :] == before
        at += length


def seeds() -> Iterator[bytes]:
    for number, seed in enumerate(packets.seeds(inbound=False)):
        yield bytes((number % 8,)) + seed
