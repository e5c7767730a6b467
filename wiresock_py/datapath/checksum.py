"""The internet checksum (RFC 1071) on Python's big integers.

The ones-complement sum of 16-bit words is the number they form modulo 65,535, because 2**16 ≡ 1. So sums of parts add
up, a part that is exchanged is subtracted and added (RFC 1624), and a part at an odd offset counts times 256. A sum
here is any integer of the right residue class; only :func:`finish` and :func:`adjust` make fields.

The payload's sum is the dearest thing the data path computes in Python, about 3 µs for 1400 bytes.
"""

from wiresock_py.filters.base import Buffer

# Folding the number before the division makes 1.1 µs of 2.8 µs for 1400 bytes. Any multiple of 16 bits is a place to
# fold at; these suit a full segment, and a smaller number passes through them unharmed.
_FOLD1, _FOLD2, _FOLD3 = 5760, 2880, 1440
_MASK1, _MASK2, _MASK3 = (1 << _FOLD1) - 1, (1 << _FOLD2) - 1, (1 << _FOLD3) - 1
_from_bytes = int.from_bytes
_SMALL, _LARGE = 1 << 2048, 1 << 2 * _FOLD1


def word_sum(data: Buffer) -> int:
    """The sum of the big-endian words of *data*, an odd last byte padded with zero, modulo 65,535."""
    value = _from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    if value >= _SMALL:
        while value >= _LARGE:
            half = value.bit_length() >> 5 << 4
            value = (value >> half) + (value & ((1 << half) - 1))
        value = (value >> _FOLD1) + (value & _MASK1)
        value = (value >> _FOLD2) + (value & _MASK2)
        value = (value >> _FOLD3) + (value & _MASK3)
    return value % 65535


def finish(total: int) -> int:
    """The checksum field for data of sum *total* (the field itself counted as zero), in 0..0xfffe.

    Ones-complement has two zeros; this gives 0x0000. UDP, where that means "no checksum", needs ``or 0xffff``.
    """
    return -total % 65535


def adjust(checksum: int, delta: int) -> int:
    """The field *checksum* after the sum of what it covers grew by *delta* (RFC 1624 equation 3), in 0..0xfffe."""
    return (checksum - delta) % 65535


def pseudo_sum(source: Buffer, destination: Buffer, protocol: int, length: int) -> int:
    """The pseudo-header's share, IPv4 (RFC 9293) and IPv6 (RFC 8200 section 8.1) alike."""
    return word_sum(source) + word_sum(destination) + protocol + length
