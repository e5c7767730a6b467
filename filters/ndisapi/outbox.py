"""Frames of our own making: packets put behind a link header, many in one request.

The memory is made once; a packet costs a look-up of its place and a copy of its bytes, by compiled code where it is.
"""

import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi.device import DeviceError
from wiresock_py.filters.ndisapi.packets import FRAME, LENGTH_AT, NEW_HEADER, STRIDE, PacketBlock

IPV4_HEADER, IPV6_HEADER = 20, 40
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_U32 = struct.Struct("<I")


class Place(NamedTuple):
    """Where a packet goes: what stands before it in the driver's buffer, and how large it may be."""

    head: bytes
    """INTERMEDIATE_BUFFER up to the IP header; the length in it is filled in for each packet."""
    link: int
    """Bytes of it that are frame."""
    mtu: int


# (memory, bytes a packet has there, where its length is, packets, the first of them, places by destination) -> how far
# it came, how many there are in the memory now, those that are left to Python.
Put = Callable[
    [memoryview, int, int, Sequence[Sequence[Buffer]], int, Mapping[bytes, Place]], tuple[int, int, list[int]]
]


def make_place(handle: int, direction: int, link: bytes, vlan: int, mtu: int) -> Place:
    """The place of packets behind the link header *link*; *vlan* is the tag that NDIS keeps beside the frame."""
    return Place(NEW_HEADER.pack(handle, 0, direction, 0, 0, vlan, 0) + link, len(link), mtu)


def ends(packet: Sequence[Buffer]) -> bytes:
    """Source and destination side by side, of a packet in pieces: 8 or 32 bytes; empty for what is no IP packet."""
    head = packet[0] if packet else b""
    if len(head) < IPV6_HEADER and len(packet) > 1:
        head = b"".join(packet)
    version = head[0] >> 4 if len(head) >= IPV4_HEADER else 0
    if version == 4:
        return bytes(head[12:20])
    return bytes(head[8:40]) if version == 6 and len(head) >= IPV6_HEADER else b""


class Outbox:
    """Sends packets in one direction. May be used by several threads."""

    def __init__(self, send: Callable[[PacketBlock], int], capacity: int, *, compiled: bool = False) -> None:
        """*send* hands the block's packets to the driver; returns how many it took, raises DeviceError.

        *compiled*: whether there is the compiled ``put_frames``, which fills the block in one call.
        """
        self._put: Put | None = None
        if compiled:
            from wiresock_py import _native  # only here is it known to be there

            self._put = _native.put_frames
        self._send = send
        self._block = PacketBlock(capacity)
        self._lock = threading.Lock()
        self.refusals: Counter[str] = Counter()

    def send(
        self,
        packets: Sequence[Sequence[Buffer]],
        place_of: Callable[[Sequence[Buffer]], Place | str],
        places: Mapping[bytes, Place] | None = None,
    ) -> int:
        """Send each packet (buffers that together are one IP packet) to its place; how many were taken.

        The rest is counted by its cause: *place_of* returns one where there is no place, ``too_big`` and ``by_driver``
        are ours. *places* are those that *place_of* knows by nothing but a packet's destination.
        """
        taken = 0
        with self._lock:
            if self._put is not None and places is not None:
                packets, taken = self._sent_compiled(self._put, packets, places)
            block = self._block
            data, capacity = block.data, block.capacity
            count = 0
            for packet in packets:
                place = place_of(packet)
                if isinstance(place, str):
                    self.refusals[place] += 1
                    continue
                head, link, mtu = place
                size = sum(map(len, packet))
                if size > mtu:
                    self.refusals["too_big"] += 1
                    continue
                start = count * STRIDE
                at = start + FRAME + link
                data[start:at] = head
                _U32.pack_into(data, start + LENGTH_AT, link + size)
                for piece in packet:
                    data[at : at + len(piece)] = piece
                    at += len(piece)
                count += 1
                if count == capacity:
                    taken += self._flush(count)
                    count = 0
            if count:
                taken += self._flush(count)
        return taken

    def _sent_compiled(
        self, put: Put, packets: Sequence[Sequence[Buffer]], places: Mapping[bytes, Place]
    ) -> tuple[list[Sequence[Buffer]], int]:
        """The packets that are left for Python to send or to count, and how many were taken."""
        left: list[Sequence[Buffer]] = []
        at = taken = 0
        while at < len(packets):
            at, count, refused = put(self._block.data, STRIDE, LENGTH_AT, packets, at, places)
            left += [packets[i] for i in refused]
            if count:
                taken += self._flush(count)
        return left, taken

    def _flush(self, count: int) -> int:
        self._block.count = count
        try:
            taken = self._send(self._block)
        except DeviceError:
            taken = 0
        if taken < count:
            self.refusals["by_driver"] += count - taken
        return taken
