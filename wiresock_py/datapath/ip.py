"""IP packets of our own, and the cutting of those that are too large for the tunnel."""

import struct

from wiresock_py.datapath.checksum import finish, word_sum
from wiresock_py.datapath.headers import (
    FRAGMENT,
    FRAGMENT_HEADER,
    HOP_BY_HOP,
    IPV4_HEADER,
    IPV6_HEADER,
    MORE_FRAGMENTS,
    ROUTING,
    Header,
)
from wiresock_py.filters.base import Buffer

TTL = 64  # RFC 1700's recommended default

LONGEST_TRANSPORT = 60
"""TCP's header with all its options."""

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_LENGTH = struct.Struct(">H")
_CHECKSUM = struct.Struct(">H")
_FRAGMENT = struct.Struct(">H")
_IPV6_FRAGMENT = struct.Struct(">BBHI")

_COPIED = 0x80  # an IPv4 option that every fragment repeats (RFC 791 section 3.1)


def build(source: bytes, destination: bytes, protocol: int, payload: Buffer) -> bytes:
    """A whole packet around *payload*, whose own checksum is done; the family is that of the packed addresses."""
    if len(source) == 16:
        return _IPV6.pack(6 << 28, len(payload), protocol, TTL, source, destination) + bytes(payload)
    length = IPV4_HEADER + len(payload)
    header = bytearray(_IPV4.pack(0x45, 0, length, 0, 0, TTL, protocol, 0, source, destination))
    _CHECKSUM.pack_into(header, 10, finish(word_sum(header)))
    return bytes(header) + bytes(payload)


def fragment(packet: Buffer, header: Header, mtu: int) -> list[bytes]:
    """Cut an IPv4 packet into fragments of at most *mtu* bytes (RFC 791 section 3.2); a fragment may be cut again.

    The checksums of *packet* are complete. Empty if it may not be fragmented: DF, or IPv6, where only the sender may;
    those get a too-big answer. *mtu* leaves room for 8 bytes beside the header.
    """
    if header.dont_fragment:
        return []
    view = memoryview(packet)
    first = bytearray(view[: header.transport])
    later = _later_header(first)
    fragments: list[bytes] = []
    position = header.transport
    while position < header.length:
        head = later if fragments else first
        room = (mtu - len(head)) & ~7
        end = min(position + room, header.length) if header.length - position > mtu - len(head) else header.length
        place = (header.fragment_offset + position - header.transport) // 8
        more = MORE_FRAGMENTS if end < header.length or header.more_fragments else 0
        _LENGTH.pack_into(head, 2, len(head) + end - position)
        _FRAGMENT.pack_into(head, 6, place | more)
        _CHECKSUM.pack_into(head, 10, 0)
        _CHECKSUM.pack_into(head, 10, finish(word_sum(head)))
        fragments.append(bytes(head) + bytes(view[position:end]))
        position = end
    return fragments


def fragment_at_source(packet: Buffer, header: Header, mtu: int, identification: int) -> list[bytes]:
    """Cut an IPv6 packet of this host into fragments of at most *mtu* bytes, as its sender may (RFC 8200 section 4.5).

    The checksums of *packet* are complete; *identification* is not used for the same two addresses again soon. Empty
    if it is a fragment already, or has headers that each fragment would have to repeat, or more of them than the first
    one has room for: they may not be divided (RFC 7112).
    """
    view = memoryview(packet)
    next_header = view[6]
    room = (mtu - IPV6_HEADER - FRAGMENT_HEADER) & ~7
    if header.is_fragment or next_header in (HOP_BY_HOP, ROUTING) or header.transport + LONGEST_TRANSPORT > room:
        return []
    head = bytearray(view[:IPV6_HEADER])
    head[6] = FRAGMENT
    fragments = []
    for position in range(IPV6_HEADER, header.length, room):
        end = min(position + room, header.length)
        _LENGTH.pack_into(head, 4, FRAGMENT_HEADER + end - position)
        place = position - IPV6_HEADER | (end < header.length)
        fragments.append(bytes(head) + _IPV6_FRAGMENT.pack(next_header, 0, place, identification) + view[position:end])
    return fragments


def _later_header(first: bytearray) -> bytearray:
    """The IPv4 header of fragments after the first: only options with the copied bit stay."""
    options = bytearray()
    position = IPV4_HEADER
    while position < len(first) and first[position] != 0:
        size = 1 if first[position] == 1 else first[position + 1] if position + 1 < len(first) else 0
        if size < 1 or (size < 2 and first[position] != 1) or position + size > len(first):
            break
        if first[position] & _COPIED:
            options += first[position : position + size]
        position += size
    options += bytes(-len(options) % 4)
    later = first[:IPV4_HEADER] + options
    later[0] = 0x40 | len(later) // 4
    return later
