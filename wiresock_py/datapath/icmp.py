"""ICMP errors: translating those about tunnelled packets, and answering the host's own stack with some."""

import struct

from wiresock_py.datapath.checksum import adjust, finish, pseudo_sum, word_sum
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import ICMP, ICMPV6, TCP, Flow, wire_key
from wiresock_py.datapath.headers import ICMP_HEADER, IPV6_HEADER, Header, parse
from wiresock_py.datapath.ip import build
from wiresock_py.datapath.rewrite import ADDRESSES_ONLY, rewrite
from wiresock_py.filters.base import Buffer

# RFC 8200 section 5: no link carries less; RFC 4443 section 2.4 (c): no error is larger.
IPV6_MINIMUM_MTU = 1280

_UNREACHABLE, _UNREACHABLE_V6 = 3, 1
_TOO_BIG_CODE, _TOO_BIG_V6 = 4, 2
# "Communication administratively prohibited": Linux gives it to UDP and to a connecting TCP socket as an error at once.
_PROHIBITED, _PROHIBITED_V6 = 13, 1

_FIELD = struct.Struct(">H")
_ERROR = struct.Struct(">BBHI")

_TCP_CHECKSUM_END = 18


def parse_embedded(packet: Buffer, header: Header) -> Header | PacketDrop:
    """The packet that the ICMP error *packet* complains about; offsets count from that packet's own first byte.

    One of the other IP version was never sent in answer to that, and its addresses do not fit the error's.
    """
    embedded = parse(memoryview(packet)[header.transport + ICMP_HEADER : header.length], embedded=True)
    if isinstance(embedded, Header) and embedded.version != header.version:
        return PacketDrop.NOT_IP
    return embedded


def translate_error(packet: Buffer, header: Header, flow: Flow, *, outbound: bool) -> bytes | None:
    """The ICMP error *packet* about a packet of *flow*, translated, with the packet it embeds.

    Inbound, it embeds what the host sent, as the tunnel saw it: the flow is ``flows.find_inner`` of the embedded five-
    tuple. Outbound, it embeds what the host received: ``flows.find`` of the embedded five-tuple, inbound. The sender of
    an inbound error may be any router on the way and keeps its address, unless it is the flow's far end. None if what
    it embeds cannot be read.
    """
    embedded = parse_embedded(packet, header)
    if isinstance(embedded, PacketDrop):
        return None
    result = bytearray(memoryview(packet)[: header.length])
    inside = header.transport + ICMP_HEADER
    before = word_sum(result[inside:])
    if outbound:
        wire = wire_key(flow.inner, outbound=False)
        _rewrite_embedded(result, inside, embedded, wire, -flow.in_address_delta, -flow.in_delta)
        remote = flow.inner.remote if header.destination == flow.key.remote else header.destination
        addresses = flow.inner.local + remote
    else:
        wire = wire_key(flow.key, outbound=True)
        _rewrite_embedded(result, inside, embedded, wire, -flow.out_address_delta, -flow.out_delta)
        remote = flow.key.remote if header.source == flow.inner.remote else header.source
        addresses = remote + flow.key.local
    grown = word_sum(result[inside:]) - before
    address_delta = word_sum(addresses) - word_sum(header.source + header.destination)
    rewrite(result, 0, header.transport, ADDRESSES_ONLY, addresses + bytes(4), address_delta, 0)
    if header.version == 6:
        grown += address_delta
    (checksum,) = _FIELD.unpack_from(result, header.transport + 2)
    _FIELD.pack_into(result, header.transport + 2, adjust(checksum, grown))
    return bytes(result)


def _rewrite_embedded(
    packet: bytearray, start: int, embedded: Header, wire: bytes, address_delta: int, delta: int
) -> None:
    protocol = embedded.protocol
    transport = start + embedded.transport
    if embedded.is_later_fragment:
        protocol = ADDRESSES_ONLY
    elif protocol == TCP and len(packet) < transport + _TCP_CHECKSUM_END:  # cut off before the checksum, as is usual
        packet[transport : transport + 4] = wire[-4:]
        protocol = ADDRESSES_ONLY
    rewrite(packet, start, transport, protocol, wire, address_delta, delta)


def icmp_too_big(packet: Buffer, mtu: int) -> bytes | None:
    """Tell the sender of *packet*, untranslated as the host's stack sent it, that *mtu* bytes is the most that fits.

    As if the packet's destination had sent it, so that it matches the sender's socket. None where there must be no
    such answer: an IPv4 packet that may be fragmented, and all that RFC 1122 section 3.2.2 and RFC 4443 section 2.4 (e)
    exempt.
    """
    header = parse(packet)
    if isinstance(header, PacketDrop) or not header.dont_fragment or not _may_be_answered(header):
        return None
    if header.version == 4:
        return _error(packet, header, _UNREACHABLE, _TOO_BIG_CODE, mtu)
    return _error(packet, header, _TOO_BIG_V6, 0, max(mtu, IPV6_MINIMUM_MTU))


def icmp_unreachable(packet: Buffer) -> bytes | None:
    """Tell the sender of *packet* that it may not go there (administratively prohibited); None as for too-big."""
    header = parse(packet)
    if isinstance(header, PacketDrop) or not _may_be_answered(header):
        return None
    if header.version == 4:
        return _error(packet, header, _UNREACHABLE, _PROHIBITED, 0)
    return _error(packet, header, _UNREACHABLE_V6, _PROHIBITED_V6, 0)


def _may_be_answered(header: Header) -> bool:
    """No error about an error, a later fragment, or a packet that is not from one host to one host."""
    multicast = 0xFF if header.version == 6 else 0xE0  # in IPv4 all above are reserved, up to the broadcast address
    return not (
        header.is_icmp_error
        or header.is_later_fragment
        or header.destination[0] >= multicast
        or header.source[0] >= multicast
        or not any(header.source)
        or not any(header.destination)
    )


def _error(packet: Buffer, header: Header, kind: int, code: int, value: int) -> bytes:
    """An ICMP error from the packet's destination to its source; *value* is the word after the checksum."""
    if header.version == 4:
        room = header.transport + 8  # RFC 792
        protocol = ICMP
    else:
        room = IPV6_MINIMUM_MTU - IPV6_HEADER - ICMP_HEADER  # RFC 4443: as much as fits
        protocol = ICMPV6
    embedded = memoryview(packet)[: min(room, header.length)]
    message = bytearray(_ERROR.pack(kind, code, 0, value)) + embedded
    total = word_sum(message)
    if header.version == 6:
        total += pseudo_sum(header.destination, header.source, ICMPV6, len(message))
    _FIELD.pack_into(message, 2, finish(total))
    return build(header.destination, header.source, protocol, message)
