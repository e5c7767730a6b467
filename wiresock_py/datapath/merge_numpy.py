"""Find the segments that continue a run all at once: the buffer of datagrams seen as a table, one row a datagram.

What is found here is a part of what would be merged one by one, never more: whatever does not plainly follow the row
before it, with headers of the same length and a payload of the same size, is left to that.
"""

from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache

import numpy
import numpy.typing

from wiresock_py.crypto.constants import TRANSPORT_HEADER_SIZE
from wiresock_py.datapath import vectorized
from wiresock_py.datapath.merge import PUSH, TcpRun

# Words of a TCP header; acknowledgment and "offset, flags, window" lie between these.
_SEQUENCE, _WORD, _CHECKSUM = 1, 3, 4


class Chains:
    """Plain texts of equal datagrams as chains, in each of which every TCP segment follows the one before it."""

    __slots__ = ("_breaks", "_header", "_payload", "_starts", "_transport", "_view", "_words")

    def __init__(self, view: memoryview, stride: int, starts: Sequence[int], run: TcpRun) -> None:
        """*starts* are the places of plain texts in *view*, where a datagram begins every *stride* bytes.

        Looked for are segments like the last one of *run*, with headers and payload of the same size.
        """
        rows = numpy.frombuffer(view, _row(stride, run.header), len(view) // stride)
        if starts[-1] // stride == len(rows):  # the last datagram is shorter
            starts = starts[:-1]
        words = rows["header"].astype(numpy.uint32)
        if len(starts) < len(rows):  # some did not verify, or are of another session
            words = words[numpy.array(starts) // stride]
        sequence = words[:, run.transport // 4 + _SEQUENCE]
        follows = sequence[1:] - sequence[:-1] == run.size
        follows &= ~((words[1:] ^ words[:-1]) & _shared(run.transport, run.header)).any(axis=1)
        self._breaks: list[int] = [*(numpy.flatnonzero(~follows) + 1).tolist(), len(starts)]
        self._words = words
        self._view = view
        self._starts = starts
        self._transport = run.transport
        self._header = run.header
        self._payload = run.size

    def extend(self, run: TcpRun, first: int) -> int:
        """Add to *run* the segments that follow its last one, from number *first* of *starts* on; returns how many."""
        count = self._breaks[bisect(self._breaks, first - 1)] - first
        count = min(count, run.takes(self._payload))
        if count < vectorized.FEW or run.transport != self._transport or run.header != self._header:
            return 0
        place = self._transport // 4
        words = self._words[first : first + count, place + _SEQUENCE : place + _CHECKSUM + 1]
        sequence, acknowledgment, *_ = words[0].tolist()
        if sequence != run.expected:
            return 0
        view, begin, end = self._view, self._header, self._header + self._payload
        run.pieces += [view[start + begin : start + end] for start in self._starts[first : first + count]]
        summed = int(words.sum(dtype=numpy.uint64)) - count * acknowledgment
        run.add(count, self._payload, summed, int(numpy.bitwise_or.reduce(words[:, _WORD - _SEQUENCE])))
        return count


@lru_cache
def _row(stride: int, header: int) -> "numpy.dtype[numpy.void]":
    """A datagram of *stride* bytes with IP and TCP headers of *header* bytes in it."""
    return numpy.dtype(
        {
            "names": ["header"],
            "formats": [(">u4", (header // 4,))],
            "offsets": [TRANSPORT_HEADER_SIZE],
            "itemsize": stride,
        }
    )


@lru_cache
def _shared(transport: int, header: int) -> "numpy.typing.NDArray[numpy.uint32]":
    """The bits of the headers' words that consecutive segments share: all of ``merge.Signature``, and the length."""
    mask = numpy.full(header // 4, 0xFFFF_FFFF, numpy.uint32)
    if transport == 20:
        mask[1] = 0x0000_FFFF  # the identification differs
        mask[2] = 0xFFFF_0000  # and so the checksum
    tcp = mask[transport // 4 :]
    tcp[_SEQUENCE] = 0
    tcp[_WORD] = 0xFFFF_FFFF & ~PUSH
    tcp[_CHECKSUM] = 0
    return mask
