"""IP packets for the backends' tests: built and read without the code under test."""

import socket
import struct
from typing import NamedTuple


class Datagram(NamedTuple):
    """A UDP datagram as it stands in an IP packet."""

    source: str
    source_port: int
    destination: str
    port: int
    payload: bytes


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(datagram: Datagram) -> bytes:
    """The whole IP packet."""
    family = socket.AF_INET6 if ":" in datagram.destination else socket.AF_INET
    source, destination = (socket.inet_pton(family, a) for a in (datagram.source, datagram.destination))
    length = 8 + len(datagram.payload)
    udp = struct.pack("!HHHH", datagram.source_port, datagram.port, length, 0) + datagram.payload
    pseudo = source + destination + struct.pack("!IHH", length, 0, 17)
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, length, 17, 64) + source + destination + udp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0x4000, 64, 17, 0) + source + destination
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def read(packet: bytes) -> Datagram | None:
    """The UDP datagram in an IP packet, None if it holds something else."""
    if packet[0] >> 4 == 6:
        family, protocol, ends, transport = socket.AF_INET6, packet[6], packet[8:40], 40
    else:
        family, protocol, ends, transport = socket.AF_INET, packet[9], packet[12:20], (packet[0] & 15) * 4
    if protocol != 17:
        return None
    half = len(ends) // 2
    source_port, port, length, _sum = struct.unpack_from("!HHHH", packet, transport)
    source, destination = socket.inet_ntop(family, ends[:half]), socket.inet_ntop(family, ends[half:])
    return Datagram(source, source_port, destination, port, packet[transport + 8 : transport + length])
