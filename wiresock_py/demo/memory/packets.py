"""The packets that the memory stage's hosts send each other: whole, with right checksums, IPv4 and IPv6 alike."""

import struct
from typing import NamedTuple

from wiresock_py.datapath import Header
from wiresock_py.datapath.checksum import adjust, finish, pseudo_sum, word_sum
from wiresock_py.datapath.flows import ICMP, ICMPV6, TCP, UDP
from wiresock_py.datapath.headers import ECHO_REPLIES, ECHO_REQUESTS
from wiresock_py.datapath.ip import build

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
WINDOW = 65_535

_CHECKSUMS = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
_TCP = struct.Struct(">HHIIBBHHH")
_UDP = struct.Struct(">HHHH")
_ECHO = struct.Struct(">BBHHH")
_FIELD = struct.Struct(">H")
_NUMBERS = struct.Struct(">II")


class End(NamedTuple):
    """One end of a flow, its address packed."""

    address: bytes
    port: int


def tcp(
    source: End,
    target: End,
    sequence: int,
    acknowledgment: int,
    flags: int,
    data: bytes | memoryview = b"",
    *,
    mss: int = 0,
    partial: bool = False,
) -> bytes:
    """A TCP packet; *mss* adds the option; *partial* leaves the checksum to the hardware, as offload does."""
    options = struct.pack(">BBH", 2, 4, mss) if mss else b""
    offset = (_TCP.size + len(options)) // 4 << 4
    header = _TCP.pack(
        source.port, target.port, sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF, offset, flags, WINDOW, 0, 0
    )
    return _summed(source.address, target.address, TCP, bytearray().join((header, options, data)), partial=partial)


def udp(source: End, target: End, data: bytes) -> bytes:
    """A UDP packet."""
    header = _UDP.pack(source.port, target.port, _UDP.size + len(data), 0)
    return _summed(source.address, target.address, UDP, bytearray(header + data))


def echo(source: bytes, target: bytes, identifier: int, sequence: int, data: bytes, *, reply: bool = False) -> bytes:
    """An ICMP echo request, or the reply to one."""
    kind = (ECHO_REPLIES if reply else ECHO_REQUESTS)[len(source) == 16]
    message = bytearray(_ECHO.pack(kind, 0, 0, identifier, sequence) + data)
    return _summed(source, target, ICMPV6 if len(source) == 16 else ICMP, message)


def _summed(source: bytes, target: bytes, protocol: int, body: bytearray, *, partial: bool = False) -> bytes:
    total = 0 if protocol == ICMP else pseudo_sum(source, target, protocol, len(body))
    # UDP: 0 would mean that there is none
    checksum = total % 65_535 if partial else finish(total + word_sum(body)) or (0xFFFF if protocol == UDP else 0)
    _FIELD.pack_into(body, _CHECKSUMS[protocol], checksum)
    return build(source, target, protocol, body)


def is_sound(packet: bytes, header: Header) -> bool:
    """Whether the checksums of *packet*, of IP and of what it carries, are right."""
    body = packet[header.transport : header.length]
    total = word_sum(body)
    if header.protocol != ICMP:
        total += pseudo_sum(header.source, header.destination, header.protocol, len(body))
    return total % 65_535 == 0 and (header.version == 6 or word_sum(packet[: header.transport]) == 0)


def tcp_numbers(packet: bytes, header: Header) -> tuple[int, int]:
    """The sequence and acknowledgment numbers of a TCP packet."""
    sequence, acknowledgment = _NUMBERS.unpack_from(packet, header.transport + 4)
    return sequence, acknowledgment


def tcp_payload(packet: bytes, header: Header) -> bytes:
    """What a TCP packet carries."""
    return packet[header.transport + (packet[header.transport + 12] >> 4) * 4 : header.length]


def tcp_mss(packet: bytes, header: Header) -> int:
    """The MSS option of a SYN made by :func:`tcp`, its only one."""
    (mss,) = _FIELD.unpack_from(packet, header.transport + _TCP.size + 2)
    return int(mss)


def readdressed(packet: bytes, header: Header, *, source: bytes = b"", target: bytes = b"") -> bytes:
    """*packet* with another source or target address, as a router that masquerades sends it on."""
    changed = bytearray(packet)
    place, size = (8, 16) if header.version == 6 else (12, 4)
    delta = 0
    for offset, old, new in ((place, header.source, source), (place + size, header.destination, target)):
        if new:
            changed[offset : offset + size] = new
            delta += word_sum(new) - word_sum(old)
    fields = [10] if header.version == 4 else []
    if header.protocol != ICMP:  # the one without a pseudo-header
        fields.append(header.transport + _CHECKSUMS[header.protocol])
    for field in fields:
        (checksum,) = _FIELD.unpack_from(changed, field)
        _FIELD.pack_into(changed, field, adjust(checksum, delta))
    return bytes(changed)
