"""Inner packets: padding before sealing, and trimming after opening (paper 5.4.6).

Padding hides lengths a little: zero bytes up to a multiple of 16, but never beyond the tunnel's MTU (1420 is no
multiple of 16, and 1424 would make datagrams that do not fit the path). A receiver accepts any length and trims by the
IP header.
"""

from wiresock_py.crypto.constants import PADDING_MULTIPLE
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.results import Buffer

_IPV4_HEADER = 20
_IPV6_HEADER = 40


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
