"""Consecutive TCP segments of a flow become one packet for the host's stack, without touching their payload again.

The rule is the kernel's own for GRO (``tcp_gro_receive``): same addresses, ports, acknowledgment, window, options, type
of service and hop limit, the next sequence number, nothing but ACK (and PSH) set. The merged packet is a list of
buffers: the first segment with its headers changed in place, then the payloads of the others where they lie.

Its checksum comes out of the segments' own. A segment's checksum says what its payload sums to *if it is right*, so a
segment corrupted before it was sealed makes the merged packet wrong as well, to be refused by the stack: nothing is
repaired here.
"""

import struct

from wiresock_py.datapath.checksum import word_sum
from wiresock_py.datapath.flows import TCP, Flow
from wiresock_py.datapath.rewrite import rewrite
from wiresock_py.filters.base import MAX_PACKET, Buffer

# In the fourth word of a TCP header: data offset, flags, window.
PUSH = 0x0008_0000
ACK = 0x0010_0000
FLAGS = 0x0FFF_0000

# Linux takes 1024 buffers a sendmsg (IOV_MAX).
MAX_PIECES = 1024

# What all segments of a run share: the first word of the IP header (without the length, in IPv4), TTL and protocol, the
# fragment field, the acknowledgment, the fourth word of the TCP header (PSH set) and the options.
Signature = tuple[int, int, int, int, int, bytes]

_FIELD = struct.Struct(">H")


class TcpRun:
    """Segments of one flow being merged into ``pieces``, which lies in the caller's list of packets from the start.

    The caller compares a segment's sequence number with ``expected`` (-1: no more are taken), its payload with ``room``
    and its remaining header with ``signature``; if all fit it appends the payload to ``pieces`` and enters it with
    :meth:`add`. ``size`` is the last segment's payload, ``header`` what precedes each segment's.
    """

    __slots__ = (
        "_first",
        "_grown",
        "_push",
        "_sums",
        "count",
        "expected",
        "flow",
        "header",
        "key",
        "pieces",
        "room",
        "signature",
        "size",
        "transport",
    )

    def __init__(
        self,
        flow: Flow,
        key: bytes,
        signature: Signature,
        segment: memoryview,
        transport: int,
        header: int,
        sequence: int,
        largest: int = MAX_PACKET,
    ) -> None:
        """*segment* is the first one, whole; its TCP header is at *transport*, its payload at *header*.

        The packet grows up to *largest* bytes.
        """
        self.flow = flow
        self._first = segment
        self.key = key
        self.signature = signature
        self.pieces: list[Buffer] = [segment]
        self.transport = transport
        self.header = header
        self.count = 1
        self._grown = 0
        self.room = max(0, largest - len(segment))
        self.size = size = len(segment) - header
        self.expected = -1 if size & 1 else (sequence + size) & 0xFFFFFFFF
        self._sums = 0
        self._push = segment[transport + 13] & PUSH >> 16

    def takes(self, size: int) -> int:
        """How many more segments of *size* bytes of payload may be added."""
        return min(self.room // size, MAX_PIECES - self.count)

    def add(self, count: int, size: int, summed: int, word: int) -> None:
        """Enter *count* segments of *size* bytes of payload each.

        *summed* is the sum of their sequence numbers and of the last two words of their TCP headers; *word* is the
        first of those two, of several segments any bit that is set in one.
        """
        self.count += count
        self.size = size
        self.room -= count * size
        self._grown += count * size
        # After an odd number of bytes the next payload's sum would have to be shifted: rare enough to end the run.
        odd_or_full = size & 1 or self.count == MAX_PIECES
        self.expected = -1 if odd_or_full else (self.expected + count * size) & 0xFFFFFFFF
        self._sums += count * size + summed
        self._push |= word & PUSH

    def finish(self) -> None:
        """Translate the packet in ``pieces`` and make its headers say what it has become."""
        flow, first, transport = self.flow, self._first, self.transport
        total = len(first)
        if self.count == 1:
            rewrite(first, 0, transport, TCP, flow.in_wire, flow.in_address_delta, flow.in_delta)
        else:
            grown = self._grown
            total += grown
            # Over a right segment the words of pseudo-header, header, checksum and payload add up to zero. All but the
            # payload's sum is known, so that is the negative of the rest.
            _, _, _, acknowledgment, _, options = self.signature
            shared = word_sum(self.key) + TCP + self.header - transport + acknowledgment + word_sum(options)
            payloads = -((self.count - 1) * shared + self._sums)
            pushed = 0
            if self._push and not first[transport + 13] & PUSH >> 16:
                pushed = PUSH >> 16
                first[transport + 13] |= pushed
            _FIELD.pack_into(first, *((2, total) if transport == 20 else (4, total - 40)))
            rewrite(
                first, 0, transport, TCP, flow.in_wire,
                flow.in_address_delta + grown, flow.in_delta + grown + payloads + pushed,
            )  # fmt: skip
        flow.packets_in += self.count
        flow.bytes_in += total + (self.count - 1) * self.header
