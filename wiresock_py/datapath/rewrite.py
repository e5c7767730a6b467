"""Address and port translation of one packet in place (RFC 3022), with the checksums that cover them.

Checksums are adjusted, never recomputed: what was wrong stays wrong, and a fragment's checksum, which covers data that
is not there, stays right.
"""

import struct

from wiresock_py.datapath.checksum import word_sum
from wiresock_py.datapath.flows import ICMP, ICMPV6, TCP, UDP
from wiresock_py.datapath.headers import ICMP_QUERIES, ICMPV6_QUERIES, UDP_LITE

CHECKSUM_OFFSET = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
"""Where the checksum lies in a transport header; UDP-Lite's need not cover the whole packet."""

ADDRESSES_ONLY = -1
"""In place of the protocol for a later fragment: its data is not a header, whatever it looks like."""

# The remote "port" of a flow of ICMP queries that this end began (see Header.five_tuple): its identifier is ours to
# translate.
_ASKED_HERE = bytes(2)

_FIELD = struct.Struct(">H")
_CHECKSUM_AND_WIRE = struct.Struct(">H12s")
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
    has_ports = protocol in (TCP, UDP)
    if packet[start] < 0x50:
        (checksum,) = _FIELD.unpack_from(packet, start + 10)
        checksum = (checksum - address_delta) % 65535
        if has_ports and transport == start + 20:  # checksum, addresses and ports lie side by side
            _CHECKSUM_AND_WIRE.pack_into(packet, start + 10, checksum, wire)
        else:
            _CHECKSUM_AND_ADDRESSES.pack_into(packet, start + 10, checksum, wire[:8])
            if has_ports:
                packet[transport : transport + 4] = wire[8:]
    else:
        packet[start + 8 : start + 40] = wire[:32]
        if has_ports:
            packet[transport : transport + 4] = wire[32:]
    if protocol == TCP:
        (checksum,) = _FIELD.unpack_from(packet, transport + 16)
        _FIELD.pack_into(packet, transport + 16, (checksum - delta) % 65535)
    elif protocol == UDP:
        _adjust_udp(packet, transport + 6, delta)
    elif protocol == UDP_LITE:  # RFC 3828: UDP's pseudo-header; its ports are not told apart here
        _adjust_udp(packet, transport + 6, address_delta)
    elif protocol == ICMP:
        if packet[transport] in ICMP_QUERIES and wire[-2:] == _ASKED_HERE:
            packet[transport + 4 : transport + 6] = wire[-4:-2]
            (checksum,) = _FIELD.unpack_from(packet, transport + 2)
            # No pseudo-header keeps this sum from being all zero, where only 0xffff is right; elsewhere it is as good.
            _FIELD.pack_into(packet, transport + 2, (checksum - delta + address_delta) % 65535 or 0xFFFF)
    elif protocol == ICMPV6:
        if packet[transport] in ICMPV6_QUERIES and wire[-2:] == _ASKED_HERE:
            packet[transport + 4 : transport + 6] = wire[-4:-2]
            address_delta = delta
        (checksum,) = _FIELD.unpack_from(packet, transport + 2)
        _FIELD.pack_into(packet, transport + 2, (checksum - address_delta) % 65535)


def _adjust_udp(packet: bytearray | memoryview, place: int, delta: int) -> None:
    (checksum,) = _FIELD.unpack_from(packet, place)
    if checksum:  # 0: the sender computed none
        _FIELD.pack_into(packet, place, (checksum - delta) % 65535 or 0xFFFF)


def complete(packet: bytearray | memoryview, transport: int, end: int, protocol: int, addresses_sum: int) -> None:
    """Compute the transport checksum, which offload left to the hardware.

    *addresses_sum* is the word sum of the packet's two addresses. A protocol whose checksum is of another kind, or not
    known, has none to complete.
    """
    offset = CHECKSUM_OFFSET.get(protocol)
    if offset is None:
        return
    total = word_sum(packet[transport:end]) - _FIELD.unpack_from(packet, transport + offset)[0]
    if protocol != ICMP:
        total += addresses_sum + protocol + end - transport
    # 0xffff, the other zero, is what UDP needs; of ICMP's sum see above
    _FIELD.pack_into(packet, transport + offset, -total % 65535 or (0 if protocol == TCP else 0xFFFF))
