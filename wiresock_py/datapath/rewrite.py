"""Address and port translation of one packet in place (RFC 3022), with the checksums that cover them.

Checksums are adjusted, never recomputed: what was wrong stays wrong, and a fragment's checksum, which covers data that
is not there, stays right.
"""

import struct

from wiresock_py.datapath.checksum import finish, word_sum
from wiresock_py.datapath.flows import ICMP, ICMPV6, TCP, UDP
from wiresock_py.datapath.headers import ICMP_QUERIES, ICMPV6_QUERIES

UDP_LITE = 136

CHECKSUM_OFFSET = {TCP: 16, UDP: 6, UDP_LITE: 6, ICMP: 2, ICMPV6: 2}
"""Where the checksum lies in a transport header."""

ADDRESSES_ONLY = -1
"""In place of the protocol for a later fragment: its data is not a header, whatever it looks like."""

_FIELD = struct.Struct(">H")
_CHECKSUM_AND_ADDRESSES = struct.Struct(">H8s")


def rewrite(
    packet: bytearray | memoryview,
    start: int,
    transport: int,
    protocol: int,
    wire: bytes,
    address_delta: int,
    delta: int,
) -> None:
    """Write a flow's ``out_wire`` or ``in_wire`` into the packet at *start* whose transport header is at *transport*.

    *address_delta* and *delta* are the flow's, of that direction. The caller has checked that the headers are whole.
    """
    if packet[start] < 0x50:
        (checksum,) = _FIELD.unpack_from(packet, start + 10)
        _CHECKSUM_AND_ADDRESSES.pack_into(packet, start + 10, (checksum - address_delta) % 65535, wire[:8])
    else:
        packet[start + 8 : start + 40] = wire[:32]
    if protocol == TCP:
        packet[transport : transport + 4] = wire[-4:]
        (checksum,) = _FIELD.unpack_from(packet, transport + 16)
        _FIELD.pack_into(packet, transport + 16, (checksum - delta) % 65535)
    elif protocol == UDP:
        packet[transport : transport + 4] = wire[-4:]
        _adjust_udp(packet, transport + 6, delta)
    elif protocol == UDP_LITE:  # RFC 3828: UDP's pseudo-header; its ports are not told apart here
        _adjust_udp(packet, transport + 6, address_delta)
    elif protocol == ICMP:
        if packet[transport] in ICMP_QUERIES and delta != address_delta:
            packet[transport + 4 : transport + 6] = wire[-4:-2]
            (checksum,) = _FIELD.unpack_from(packet, transport + 2)
            # No pseudo-header keeps this sum from being all zero, where only 0xffff is right; elsewhere it is as good.
            _FIELD.pack_into(packet, transport + 2, (checksum - delta + address_delta) % 65535 or 0xFFFF)
    elif protocol == ICMPV6:
        if packet[transport] in ICMPV6_QUERIES:
            packet[transport + 4 : transport + 6] = wire[-4:-2]
            address_delta = delta
        (checksum,) = _FIELD.unpack_from(packet, transport + 2)
        _FIELD.pack_into(packet, transport + 2, (checksum - address_delta) % 65535)


def _adjust_udp(packet: bytearray | memoryview, place: int, delta: int) -> None:
    (checksum,) = _FIELD.unpack_from(packet, place)
    if checksum:  # 0: the sender computed none
        _FIELD.pack_into(packet, place, (checksum - delta) % 65535 or 0xFFFF)


def complete(
    packet: bytearray | memoryview, start: int, transport: int, end: int, protocol: int, addresses_sum: int
) -> None:
    """Compute the checksums that offload left to the hardware: the transport's, and the IPv4 header's with it.

    *addresses_sum* is the word sum of the packet's two addresses. A protocol without a known checksum has none to
    complete.
    """
    if packet[start] < 0x50:
        _FIELD.pack_into(packet, start + 10, 0)
        _FIELD.pack_into(packet, start + 10, finish(word_sum(packet[start : start + (packet[start] & 0x0F) * 4])))
    offset = CHECKSUM_OFFSET.get(protocol)
    if offset is None or protocol == UDP_LITE:
        return
    _FIELD.pack_into(packet, transport + offset, 0)
    total = word_sum(packet[transport:end])
    if protocol != ICMP:
        total += addresses_sum + protocol + end - transport
    checksum = finish(total)
    _FIELD.pack_into(packet, transport + offset, checksum or 0xFFFF if protocol in (UDP, ICMP) else checksum)
