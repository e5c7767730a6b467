"""Inner packets: padding before sealing, trimming after opening, the ECN bits in between (paper 5.4.6, RFC 6040).

Padding hides lengths a little: zero bytes up to a multiple of 16, but never beyond the tunnel's MTU (1420 is no
multiple of 16, and 1424 would make datagrams that do not fit the path). A receiver accepts any length and trims by the
IP header.
"""

from wiresock_py.crypto.constants import PADDING_MULTIPLE
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.results import Buffer

_IPV4_HEADER = 20
_IPV6_HEADER = 40
_CONGESTION_EXPERIENCED = 0b11
_ECT_0 = 0b10


def padded_length(length: int, mtu: int) -> int:
    """The plaintext's size for an inner packet of *length* bytes; *mtu* 0 is unknown. Empty stays empty.

    A packet larger than the MTU is taken as its last part alone, as Linux does.
    """
    last = length % mtu if mtu and length > mtu else length
    padded = -(-last // PADDING_MULTIPLE) * PADDING_MULTIPLE
    if mtu:
        padded = min(padded, mtu)
    return length - last + padded


def trim(plaintext: memoryview) -> memoryview | Drop:
    """The inner packet of a non-empty plaintext, without padding. Headers beyond the lengths are not checked."""
    size = len(plaintext)
    version = plaintext[0] >> 4
    if version == 4 and size >= _IPV4_HEADER:
        length = int.from_bytes(plaintext[2:4], "big")
        if _IPV4_HEADER <= length <= size:
            return plaintext[:length]
    elif version == 6 and size >= _IPV6_HEADER:
        # Python's integers do not wrap; in 16 bits a payload length of 65535 would give 39 and pass.
        length = _IPV6_HEADER + int.from_bytes(plaintext[4:6], "big")
        if length <= size:
            return plaintext[:length]
    return Drop.INNER_MALFORMED


def source_of(packet: Buffer) -> bytes:
    """The packed source address of a trimmed packet."""
    return bytes(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24])


def destination_of(packet: Buffer) -> bytes | None:
    """The packed destination address of an outbound packet; None if it is no IP packet."""
    if len(packet) >= _IPV4_HEADER and packet[0] >> 4 == 4:
        return bytes(packet[16:20])
    if len(packet) >= _IPV6_HEADER and packet[0] >> 4 == 6:
        return bytes(packet[24:40])
    return None


def ecn(packet: Buffer) -> int:
    """The two ECN bits of an IP packet."""
    if packet[0] >> 4 == 4:
        return packet[1] & 0b11
    return packet[1] >> 4 & 0b11


def encapsulated_ecn(packet: Buffer) -> int:
    """The outer header's ECN bits for an inner packet: the same, but a mark made before the tunnel is not repeated."""
    bits = ecn(packet)
    return _ECT_0 if bits == _CONGESTION_EXPERIENCED else bits


def mark_congestion(packet: bytearray | memoryview, outer: int) -> None:
    """Carry congestion that the outer header (its ECN bits are *outer*) met into an inner packet, in place."""
    if outer != _CONGESTION_EXPERIENCED or ecn(packet) in (0, _CONGESTION_EXPERIENCED):
        return
    if packet[0] >> 4 == 6:
        packet[1] |= _CONGESTION_EXPERIENCED << 4
        return
    before = packet[1]
    packet[1] |= _CONGESTION_EXPERIENCED
    # RFC 1624: HC' = ~(~HC + ~m + m'), over the word that holds the changed byte
    total = (~int.from_bytes(packet[10:12], "big") & 0xFFFF) + (packet[1] - before)
    packet[10:12] = (~(total % 0xFFFF) & 0xFFFF).to_bytes(2, "big")
