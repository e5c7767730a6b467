"""Cut a TCP super-packet into segments, translated, where the datagrams will be encrypted.

It exists in its cut form nowhere else: each segment's headers are written there by one ``pack_into`` and its payload is
copied behind them. A segment's checksum is the sum of its payload plus a base summed once a super-packet.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache

from wiresock_py.crypto.constants import TRANSPORT_HEADER_SIZE
from wiresock_py.datapath import vectorized
from wiresock_py.datapath.checksum import word_sum
from wiresock_py.datapath.flows import FIN_FLAG, TCP

_PUSH_FLAG, _CONGESTION_WINDOW_REDUCED_FLAG = 0x08, 0x80
# Segmentation keeps these on the last segment, respectively on the first; the rest is copied to all.
_LAST_ONLY = FIN_FLAG | _PUSH_FLAG
_FIRST_ONLY = _CONGESTION_WINDOW_REDUCED_FLAG

_FIELD = struct.Struct(">H")
_SEQUENCE = struct.Struct(">I")


class Cut:
    """A TCP packet as ``count`` segments of ``limit`` bytes of payload each, but ``rest`` bytes in the last.

    ``sequence`` and ``identification`` are the first segment's; ``flags`` are those of the segments between the first,
    which has also ``first_flags``, and the last, which has also ``last_flags``. ``ip_base`` and ``tcp_base`` are the
    sums of all that a segment's checksums cover and that is the same in every segment.
    """

    __slots__ = (
        "count",
        "first_flags",
        "flags",
        "head",
        "header",
        "identification",
        "ip_base",
        "is_ipv6",
        "last_flags",
        "limit",
        "payload",
        "rest",
        "sequence",
        "tcp",
        "tcp_base",
        "wire",
    )

    def __init__(self, packet: memoryview, transport: int, header: int, limit: int, wire: bytes) -> None:
        """*packet* has its TCP header at *transport*, 20 or 40, and its payload at *header*.

        *wire* are the addresses and ports of the segments (``Flow.out_wire``).
        """
        self.limit = limit
        self.header = header
        self.payload = packet[header:]
        self.count = -(-len(self.payload) // limit)
        self.rest = len(self.payload) - (self.count - 1) * limit
        self.tcp = transport
        self.is_ipv6 = transport == 40
        self.wire = wire
        self.head = head = bytes(packet[:header])
        (self.identification,) = _FIELD.unpack_from(head, 4)  # means nothing in IPv6
        (self.sequence,) = _SEQUENCE.unpack_from(head, transport + 4)
        flags = head[transport + 13]
        self.flags = flags & ~(_FIRST_ONLY | _LAST_ONLY)
        self.first_flags = flags & _FIRST_ONLY
        self.last_flags = flags & _LAST_ONLY
        self.ip_base = word_sum(head[:2] + head[6:10] + wire[:8])
        offset = bytes((head[transport + 12], 0))
        shared = head[transport + 8 : transport + 12] + offset + head[transport + 14 : transport + 16]
        self.tcp_base = word_sum(wire + shared + head[transport + 18 :]) + TCP + header - transport

    def write(self, view: memoryview, at: int, stride: int, session_header: bytes, counter: int) -> None:
        """Write the segments as datagrams to be padded and encrypted, one every *stride* bytes of *view* from *at* on.

        Their counters are *counter* and those after it.
        """
        whole = len(self.payload) // self.limit
        numbers = range(self.count)
        if vectorized.AVAILABLE and whole >= vectorized.FEW and self.limit % 2 == 0:
            from wiresock_py.datapath.cut_numpy import repeat  # only once it is needed: numpy takes room and time

            self._write(range(1), [0], view, at, stride, session_header, counter)  # for its headers
            repeat(self, whole, view, at, stride, counter)
            numbers = range(whole, self.count)
        sums = (word_sum(self.payload[number * self.limit : (number + 1) * self.limit]) for number in numbers)
        self._write(numbers, sums, view, at, stride, session_header, counter)

    def _write(
        self,
        numbers: range,
        sums: Iterable[int],
        view: memoryview,
        at: int,
        stride: int,
        session_header: bytes,
        counter: int,
    ) -> None:
        """Write the segments *numbers* only, of whose payloads *sums* are the word sums."""
        header, limit, payload, wire, tcp_base, ipv6 = (
            self.header, self.limit, self.payload, self.wire, self.tcp_base, self.is_ipv6,
        )  # fmt: skip
        pack_into = _datagram_headers(header, ipv6=ipv6).pack_into
        head, tcp = self.head, self.tcp
        first, middle, hops = head[: 4 if ipv6 else 2], head[6:10], head[6:8]
        acknowledgment, offset, window, rest = (
            head[tcp + 8 : tcp + 12], head[tcp + 12], head[tcp + 14 : tcp + 16], head[tcp + 18 :],
        )  # fmt: skip
        last = self.count - 1
        for number, payload_sum in zip(numbers, sums, strict=True):
            flags = self.flags
            if number == 0:
                flags |= self.first_flags
            if number == last:
                flags |= self.last_flags
            piece = payload[number * limit : (number + 1) * limit]
            size = len(piece)
            length = header + size
            sequence = (self.sequence + number * limit) & 0xFFFFFFFF
            checksum = -(tcp_base + size + sequence + flags + payload_sum) % 65535
            place = at + number * stride
            message_counter = (counter + number).to_bytes(8, "little")
            if ipv6:
                pack_into(
                    view, place, session_header, message_counter, first, length - 40, hops, wire,
                    sequence, acknowledgment, offset, flags, window, checksum, rest,
                )  # fmt: skip
            else:
                identification = (self.identification + number) & 0xFFFF
                pack_into(
                    view, place, session_header, message_counter, first, length, identification, middle,
                    -(self.ip_base + length + identification) % 65535, wire,
                    sequence, acknowledgment, offset, flags, window, checksum, rest,
                )  # fmt: skip
            place += TRANSPORT_HEADER_SIZE + header
            view[place : place + size] = piece


@lru_cache
def _datagram_headers(header: int, *, ipv6: bool) -> struct.Struct:
    """The layout of a datagram up to the TCP payload in it; the IP and TCP headers together are *header* bytes."""
    if ipv6:
        return struct.Struct(f">8s8s 4sH2s36sI4sBB2sH{header - 58}s")
    return struct.Struct(f">8s8s 2sHH4sH12sI4sBB2sH{header - 38}s")
