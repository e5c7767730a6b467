"""Take one packet apart: IPv4 options, IPv6 extension headers, fragments, the packet an ICMP error embeds.

For the single packets of the slow path; the batch functions read the plain cases by themselves. Whatever the bytes are,
the answer is a :class:`Header` whose offsets lie inside the packet, or the name of what is wrong.
"""

import struct
from typing import NamedTuple

from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import ICMP, ICMPV6, TCP, UDP
from wiresock_py.filters.base import Buffer
from wiresock_py.flow import FiveTuple

IPV4_HEADER = 20
IPV6_HEADER = 40
TCP_HEADER = 20
UDP_HEADER = 8
ICMP_HEADER = 8
FRAGMENT_HEADER = 8

UDP_LITE = 136
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION})
# RFC 8200 section 4.1 recommends an order with at most seven extension headers.
MAX_EXTENSIONS = 8

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000

# The ICMP types the fast path knows, in IPv4 and IPv6; a request only ever goes out, a reply only comes in.
ECHO_REQUESTS = (8, 128)
ECHO_REPLIES = (0, 129)

# ICMP messages that carry an identifier, by which query and answer belong together (RFC 5508 section 3)...
ICMP_QUERIES = frozenset({0, 8, 13, 14, 15, 16, 17, 18})
ICMPV6_QUERIES = frozenset({128, 129})
ICMP_REQUESTS = frozenset({8, 13, 15, 17, 128})
# ... and those that embed the packet they complain about.
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
ICMPV6_ERRORS = frozenset({1, 2, 3, 4})

_IPV4 = struct.Struct(">BxHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_PORTS = struct.Struct(">HH")
_FRAGMENT = struct.Struct(">BBHI")
_SEQUENCE = struct.Struct(">I")
_FIELD = struct.Struct(">H")

# Total (v6: payload) length, fragment field (v4), protocol, and the wire key: source, destination, ports.
_PLAIN_IPV4 = struct.Struct(">2xH2xHxB2x12s")
_PLAIN_IPV6 = struct.Struct(">4xHBx36s")


class Header(NamedTuple):
    """Where things are in a packet. All offsets count from its first byte."""

    version: int
    source: bytes
    destination: bytes
    protocol: int
    """Of the transport header, after all IPv6 extension headers."""
    length: int
    """Of the whole packet by its own account; what follows is padding."""
    transport: int
    """Where the transport header starts; in a later fragment, where its data starts."""
    source_port: int
    """TCP, UDP; for ICMP queries the identifier. 0 in later fragments."""
    destination_port: int
    icmp_type: int
    """-1 where there is none."""
    tcp_flags: int
    """0 where there are none."""
    sequence: int
    """TCP's; -1 where there is none."""
    is_fragment: bool
    fragment_offset: int
    """In bytes."""
    more_fragments: bool
    identification: int
    """Of the fragments that belong together; in IPv4 also present in whole packets."""
    dont_fragment: bool
    """Whether a router may not fragment it: IPv4 with DF, and every IPv6 packet."""

    @property
    def is_later_fragment(self) -> bool:
        """Whether it carries no transport header."""
        return self.fragment_offset > 0

    @property
    def is_icmp_error(self) -> bool:
        """Of the packet's own IP version: the other's ICMP in it means nothing to any stack."""
        errors = {(4, ICMP): ICMP_ERRORS, (6, ICMPV6): ICMPV6_ERRORS}.get((self.version, self.protocol), ())
        return self.icmp_type in errors

    @property
    def is_icmp_query(self) -> bool:
        queries = ICMP_QUERIES if self.protocol == ICMP else ICMPV6_QUERIES if self.protocol == ICMPV6 else ()
        return self.icmp_type in queries

    def five_tuple(self, *, inbound: bool = False) -> FiveTuple:
        """The flow it belongs to; *inbound* says that its destination is the local end."""
        near, far = self.source, self.destination
        if inbound:
            near, far = far, near
        if self.is_icmp_query:
            # The identifier is the port of whoever asked. A query of the far end must not pass for a part of one of
            # ours, not even with identifier 0.
            asked_here = (self.icmp_type in ICMP_REQUESTS) is not inbound
            ports = (self.source_port, 0) if asked_here else (0, self.source_port or 0xFFFF)
        else:
            ports = (self.source_port, self.destination_port)
            if inbound:
                ports = ports[::-1]
        return FiveTuple(self.protocol, near, ports[0], far, ports[1])


def parse(packet: Buffer, *, embedded: bool = False) -> Header | PacketDrop:
    """Take *packet* apart. *embedded* packets, in ICMP errors, may end early: 8 bytes of transport suffice."""
    if not len(packet):
        return PacketDrop.TOO_SHORT
    version = packet[0] >> 4
    if version == 4:
        return _parse_ipv4(packet, embedded)
    if version == 6:
        return _parse_ipv6(packet, embedded)
    return PacketDrop.NOT_IP


def _parse_ipv4(packet: Buffer, embedded: bool) -> Header | PacketDrop:
    if len(packet) < IPV4_HEADER:
        return PacketDrop.TOO_SHORT
    first, length, identification, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    transport = (first & 0x0F) * 4
    if transport < IPV4_HEADER or length < transport or (length > len(packet) and not embedded):
        return PacketDrop.BAD_LENGTH
    available = min(length, len(packet))
    if transport > available:
        return PacketDrop.TOO_SHORT
    place = (fragment & 0x1FFF) * 8
    more = bool(fragment & MORE_FRAGMENTS)
    checked = _check_transport(packet, protocol, transport, available, place, more, embedded)
    if isinstance(checked, PacketDrop):
        return checked
    return Header(
        4, source, destination, protocol, length, transport, *checked,
        bool(more or place), place, more, identification, bool(fragment & DONT_FRAGMENT),
    )  # fmt: skip


def _parse_ipv6(packet: Buffer, embedded: bool) -> Header | PacketDrop:
    if len(packet) < IPV6_HEADER:
        return PacketDrop.TOO_SHORT
    _, length, protocol, _, source, destination = _IPV6.unpack_from(packet)
    length += IPV6_HEADER
    if length > len(packet) and not embedded:
        return PacketDrop.BAD_LENGTH
    available = min(length, len(packet))
    if available > 65_535:  # a jumbogram's size without its option; nothing downstream can carry it
        return PacketDrop.BAD_LENGTH
    transport = IPV6_HEADER
    place, more, identification = 0, False, 0
    for _ in range(MAX_EXTENSIONS + 1):
        if protocol not in EXTENSIONS or place:
            break
        if transport + 8 > available:
            return PacketDrop.BAD_EXTENSION
        if protocol == FRAGMENT:
            protocol, _, field, identification = _FRAGMENT.unpack_from(packet, transport)
            place, more = field & 0xFFF8, bool(field & 1)
            transport += FRAGMENT_HEADER
        else:
            units = packet[transport + 1]
            size = (units + 2) * 4 if protocol == AUTHENTICATION else (units + 1) * 8
            protocol = packet[transport]
            transport += size
        if transport > available:
            return PacketDrop.BAD_EXTENSION
    else:
        return PacketDrop.BAD_EXTENSION
    checked = _check_transport(packet, protocol, transport, available, place, more, embedded)
    if isinstance(checked, PacketDrop):
        return checked
    return Header(
        6, source, destination, protocol, length, transport, *checked,
        bool(more or place), place, more, identification, True,
    )  # fmt: skip


def _check_transport(
    packet: Buffer, protocol: int, start: int, end: int, place: int, more: bool, embedded: bool
) -> tuple[int, int, int, int, int] | PacketDrop:
    """(source port, destination port, ICMP type, TCP flags, TCP sequence number), or what is wrong with the header."""
    if place:
        # A fragment that starts inside the TCP header could rewrite ports and flags already checked (RFC 3128), one
        # that ends beyond 65,535 bytes overruns reassembly.
        if (protocol == TCP and place < TCP_HEADER) or place + end - start > 65_535:
            return PacketDrop.BAD_FRAGMENT
        return 0, 0, -1, 0, -1
    size = end - start
    if protocol in (TCP, UDP):
        if size < (UDP_HEADER if embedded or protocol == UDP else TCP_HEADER):
            return PacketDrop.TOO_SHORT
        ports = _PORTS.unpack_from(packet, start)
        if not embedded and not _is_length_good(packet, protocol, start, size, more):
            return PacketDrop.BAD_LENGTH
        if protocol == UDP:
            return *ports, -1, 0, -1
        (sequence,) = _SEQUENCE.unpack_from(packet, start + 4)
        return *ports, -1, packet[start + 13] if size > 13 else 0, sequence
    if protocol in (ICMP, ICMPV6):
        if size < ICMP_HEADER:
            return PacketDrop.TOO_SHORT
        icmp_type = packet[start]
        queries = ICMP_QUERIES if protocol == ICMP else ICMPV6_QUERIES
        identifier = int.from_bytes(packet[start + 4 : start + 6], "big") if icmp_type in queries else 0
        return identifier, 0, icmp_type, 0, -1
    if protocol == UDP_LITE and size < UDP_HEADER:
        return PacketDrop.TOO_SHORT
    return 0, 0, -1, 0, -1


def _is_length_good(packet: Buffer, protocol: int, start: int, size: int, more: bool) -> bool:
    if protocol == TCP:
        return TCP_HEADER <= (packet[start + 12] >> 4) * 4 <= size
    length = int.from_bytes(packet[start + 4 : start + 6], "big")
    return length >= UDP_HEADER and (more or length <= size)


def plain(data: memoryview, start: int, size: int, echo: tuple[int, int]) -> tuple[int, int, int, bytes] | None:
    """(protocol, start of the transport header, end of the packet, wire key) of a whole packet with plain headers.

    Plain means TCP, UDP or an ICMP echo message whose type is in *echo* (v4, v6), in an IP header without options,
    extensions or fragments. All lengths have been checked. None for everything else.
    """
    if size < IPV4_HEADER + 8:
        return None
    first = data[start]
    if first == 0x45:
        total, fragment, protocol, key = _PLAIN_IPV4.unpack_from(data, start)
        transport, end = start + IPV4_HEADER, start + total
        if total > size or fragment & 0x3FFF:
            return None
    elif first >> 4 == 6 and size >= IPV6_HEADER + 8:
        payload, protocol, key = _PLAIN_IPV6.unpack_from(data, start)
        transport = start + IPV6_HEADER
        end = transport + payload
        if payload + IPV6_HEADER > size:
            return None
    else:
        return None
    size = end - transport
    if protocol == TCP:
        good = size >= TCP_HEADER and TCP_HEADER <= (data[transport + 12] >> 4) * 4 <= size
    elif protocol == UDP:
        good = size >= UDP_HEADER and UDP_HEADER <= _FIELD.unpack_from(data, transport + 4)[0] <= size
    elif protocol == (ICMP if first == 0x45 else ICMPV6):
        good = size >= ICMP_HEADER and data[transport] == echo[first != 0x45]
        key = key[:-4] + bytes(data[transport + 4 : transport + 6]) + bytes(2)
    else:
        return None
    return (protocol, transport, end, key) if good else None
