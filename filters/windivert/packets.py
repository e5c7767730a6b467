"""Packets that lie side by side, as WinDivert hands them over: where each ends, and what offload left undone."""

import struct

from wiresock_py.filters.base import Buffer
from wiresock_py.filters.windivert.address import Address

TCP, UDP = 6, 17
_CHECKSUM_AT = {TCP: 16, UDP: 6}
_WORD = struct.Struct("!H")


def packet_length(packets: Buffer, at: int, end: int) -> int:
    """The length of the packet at *at*, from its IP header; what is left up to *end* if the header makes no sense."""
    left = end - at
    version = packets[at] >> 4 if left else 0
    if version == 4 and left >= 20:
        length = _WORD.unpack_from(packets, at + 2)[0]
    elif version == 6 and left >= 40:
        length = 40 + _WORD.unpack_from(packets, at + 4)[0]
    else:
        return left
    # a super-packet of more than 65,535 bytes has a length of zero; nothing follows it
    return length if 20 <= length <= left else left


def complete(packets: memoryview, at: int, length: int, address: Address) -> bool:
    """Put right what offload left undone at *at*; whether the transport checksum is the pseudo-header's sum alone.

    The IPv4 header's checksum is computed. The transport's is not: it is made the pseudo-header's sum, which is what
    an adapter that is to finish it expects.
    """
    version6 = packets[at] >> 4 == 6
    if not version6 and not address.ip_checksum and length >= 20:
        header = (packets[at] & 15) * 4
        if 20 <= header <= length:
            packets[at + 10 : at + 12] = bytes(2)
            sum_ = int.from_bytes(packets[at : at + header], "big") % 0xFFFF
            _WORD.pack_into(packets, at + 10, sum_ ^ 0xFFFF)
            address.ip_checksum = 1
    if version6:
        protocol, transport, ends = packets[at + 6] if length >= 40 else 0, 40, packets[at + 8 : at + 40]
    else:
        fragment = length < 20 or _WORD.unpack_from(packets, at + 6)[0] & 0x3FFF
        protocol = 0 if fragment else packets[at + 9]
        transport, ends = (packets[at] & 15) * 4, packets[at + 12 : at + 20]
    valid = {TCP: address.tcp_checksum, UDP: address.udp_checksum}.get(protocol, 1)
    if valid or length < transport + _CHECKSUM_AT[protocol] + 2:
        return False
    sum_ = (int.from_bytes(ends, "big") + protocol + length - transport) % 0xFFFF
    _WORD.pack_into(packets, at + transport + _CHECKSUM_AT[protocol], sum_)
    return True
