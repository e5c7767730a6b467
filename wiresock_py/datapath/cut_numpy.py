"""All full segments of a super-packet at once: the output buffer seen as a table, one row a datagram.

Equal, byte for byte, to what ``Cut`` writes segment by segment.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy
import numpy.typing

from wiresock_py.crypto.constants import TRANSPORT_HEADER_SIZE

if TYPE_CHECKING:
    from wiresock_py.datapath.cut import Cut


def repeat(cut: "Cut", whole: int, view: memoryview, at: int, stride: int, counter: int) -> None:
    """Write the first *whole* segments, all full and of even size; the first one's headers, checksum apart, are there.

    *stride* and *counter* as for ``Cut.write``.
    """
    limit = cut.limit
    rows = numpy.frombuffer(view, _row(cut.header, limit, stride, ipv6=cut.is_ipv6), whole, at)
    number = numpy.arange(whole)
    rows["headers"] = rows["headers"][0]
    rows["payload"] = numpy.frombuffer(cut.payload, rows["payload"].dtype, whole)
    rows["counter"] = numpy.arange(counter, counter + whole, dtype=numpy.uint64)
    sequence = (cut.sequence + number * limit) & 0xFFFFFFFF
    rows["sequence"] = sequence
    flags = numpy.full(whole, cut.flags)
    flags[0] |= cut.first_flags
    if whole == cut.count:
        flags[-1] |= cut.last_flags
    rows["flags"] = flags
    rows["checksum"] = -(sequence + flags + _word_sums(cut.payload, whole, limit) + (cut.tcp_base + limit)) % 65535
    if not cut.is_ipv6:
        identification = (cut.identification + number) & 0xFFFF
        rows["identification"] = identification
        rows["ip_checksum"] = -(identification + (cut.ip_base + cut.header + limit)) % 65535


def _word_sums(data: memoryview, count: int, size: int) -> "numpy.typing.NDArray[numpy.int64]":
    """The word sum of each of the first *count* pieces of *size* bytes, an even number."""
    words = numpy.frombuffer(data, "<u2", count * size // 2).reshape(count, size // 2)
    # Little-endian words, because the machine's are: the sum with its bytes swapped, which is 256 times it.
    sums: numpy.typing.NDArray[numpy.uint32] = words.sum(axis=1, dtype=numpy.uint32)
    return sums.astype(numpy.int64) * 256


@lru_cache
def _row(header: int, limit: int, stride: int, *, ipv6: bool) -> "numpy.dtype[numpy.void]":
    """A datagram of *stride* bytes with IP and TCP headers of *header* bytes and *limit* bytes of payload in it."""
    ip = TRANSPORT_HEADER_SIZE
    tcp = ip + (40 if ipv6 else 20)
    fields = {
        "headers": (f"V{ip + header}", 0),
        "counter": ("<u8", 8),
        "identification": (">u2", ip + 4),  # this and the next: IPv4 only
        "ip_checksum": (">u2", ip + 10),
        "sequence": (">u4", tcp + 4),
        "flags": ("u1", tcp + 13),
        "checksum": (">u2", tcp + 16),
        "payload": (f"V{limit}", ip + header),
    }
    formats, offsets = zip(*fields.values(), strict=True)
    return numpy.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": stride})
