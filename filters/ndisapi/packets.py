"""Memory for packets: many in one block for batches, or one by itself.

The driver copies frames to and from addresses that a request names, while the call runs. A block holds that memory
and ready-made requests, so that a batch costs one call and no allocation.
"""

import ctypes
import struct
from collections.abc import Sequence
from typing import NamedTuple

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.raw.constants import MAX_ETHER_FRAME
from wiresock_py.filters.ndisapi.raw.structures import (
    ETH_M_REQUEST,
    INTERMEDIATE_BUFFER,
    UNSORTED_READ_SEND_REQUEST,
)

FRAME = INTERMEDIATE_BUFFER.m_IBuffer.offset
# The smallest frame there is: two addresses and the EtherType.
MIN_ETHER_FRAME = 14
# Requests of 510 packets are as long as a page of memory; the vendor's own programs use them.
CAPACITY = 510
# From one buffer to the next: INTERMEDIATE_BUFFER's size, rounded up so that every header is aligned.
STRIDE = (ctypes.sizeof(INTERMEDIATE_BUFFER) + 7) & ~7

# m_hAdapter, (the rest of the driver's own link), m_dwDeviceFlags, m_Length, m_Flags, m_8021q, m_FilterID, m_Reserved
HEADER = struct.Struct("<Q8xIIIII16s")
NEW_HEADER = struct.Struct("<QQIIIII16x")
_DIRECTION_LENGTH = struct.Struct("<II")
_DIRECTION = INTERMEDIATE_BUFFER.m_dwDeviceFlags.offset
LENGTH_AT = INTERMEDIATE_BUFFER.m_Length.offset
_BATCH_HEADER = struct.Struct("<QII")
_POINTERS = ETH_M_REQUEST.EthPacket.offset
_UNSORTED_COUNT = UNSORTED_READ_SEND_REQUEST.packets_num.offset
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Request(NamedTuple):
    """A request in memory, as DeviceIoControl takes it."""

    address: int
    size: int


class PacketBlock:
    """Room for *capacity* packets, the first ``count`` of which are in use.

    ``data`` is all of it; packet *i*'s frame begins at ``frame_offset(i)`` and may be changed in place. The memory
    belongs to the block; what a read puts there is valid until the next read. Not for use by two threads at once.
    """

    def __init__(self, capacity: int = CAPACITY, spare: int = 0) -> None:
        """*spare* bytes of ``data`` behind the packets are the caller's own."""
        self.capacity = capacity
        self.count = 0
        self._memory = (ctypes.c_uint8 * (capacity * STRIDE + spare))()
        self.data = memoryview(self._memory).cast("B")
        self._base = ctypes.addressof(self._memory)
        self._addresses = [self._base + i * STRIDE for i in range(capacity)]
        all_of_them = struct.pack(f"<{capacity}Q", *self._addresses)
        self._read = _Memory(_POINTERS + len(all_of_them))
        self._read.view[_POINTERS:] = all_of_them
        self._send = _Memory(_POINTERS + len(all_of_them))
        self._unsorted = _Memory(ctypes.sizeof(UNSORTED_READ_SEND_REQUEST))

    def __len__(self) -> int:
        return self.count

    def frame_offset(self, i: int) -> int:
        return i * STRIDE + FRAME

    def length(self, i: int) -> int:
        """The frame's length as the driver or ``put`` says; a read ``check``s it."""
        return int(_U32.unpack_from(self.data, i * STRIDE + _DIRECTION + 4)[0])

    def direction(self, i: int) -> int:
        """The :class:`Direction` the packet was captured in, as a plain int."""
        return int(_U32.unpack_from(self.data, i * STRIDE + _DIRECTION)[0])

    def adapter(self, i: int) -> int:
        """The adapter's handle; filled by unsorted reads, obeyed by unsorted sends."""
        return int(_U64.unpack_from(self.data, i * STRIDE)[0])

    def set_adapter(self, i: int, handle: int) -> None:
        _U64.pack_into(self.data, i * STRIDE, handle)

    def frame(self, i: int) -> memoryview:
        """The frame itself, from its Ethernet header on, without check sequence."""
        start = self.frame_offset(i)
        return self.data[start : start + min(self.length(i), MAX_ETHER_FRAME)]

    def set_length(self, i: int, length: int) -> None:
        """After the frame was made longer or shorter in place. Raises BackendError if no frame has that length."""
        _U32.pack_into(self.data, i * STRIDE + _DIRECTION + 4, checked_length(length))

    def put(self, i: int, frame: Buffer, direction: int = Direction.SEND, adapter: int = 0, vlan: int = 0) -> None:
        """Make packet *i* a new one with a copy of *frame*; *vlan* is the driver's m_8021q of a packet like it."""
        length = checked_length(len(frame))
        start = i * STRIDE
        NEW_HEADER.pack_into(self.data, start, adapter, 0, direction, length, 0, vlan, 0)
        self.data[start + FRAME : start + FRAME + length] = frame

    def append(self, frame: Buffer, direction: int = Direction.SEND, adapter: int = 0, vlan: int = 0) -> None:
        """``put`` behind the last packet. Raises BackendError if the block is full or no frame has that length."""
        if self.count == self.capacity:
            raise BackendError(f"the block is full: it holds {self.capacity} packets", "send it first")
        self.put(self.count, frame, direction, adapter, vlan)
        self.count += 1

    def copy(self, i: int) -> bytes:
        """Packet *i* as the driver has it, header and frame."""
        start = i * STRIDE
        return bytes(self.data[start : start + FRAME + min(self.length(i), MAX_ETHER_FRAME)])

    def append_copy(self, packet: bytes) -> None:
        """Behind the last packet one that ``copy`` made; there must be room."""
        start = self.count * STRIDE
        self.data[start : start + len(packet)] = packet
        self.count += 1

    def clear(self) -> None:
        self.count = 0

    # Requests. Each stays valid until the next one of its kind is made.

    def read_request(self, adapter: int) -> Request:
        """ETH_M_REQUEST to fill the whole block from one adapter."""
        _BATCH_HEADER.pack_into(self._read.view, 0, adapter, self.capacity, 0)
        return Request(self._read.address, self._read.size)

    def was_read(self) -> int:
        """Take over how many packets the driver put into the block, and return it."""
        self.count = min(_BATCH_HEADER.unpack_from(self._read.view)[2], self.capacity)
        return self.count

    def send_request(self, adapter: int, indices: Sequence[int] | None = None) -> Request:
        """ETH_M_REQUEST for all packets, or those at *indices*, in that order."""
        number = self._point(indices)
        _BATCH_HEADER.pack_into(self._send.view, 0, adapter, number, 0)
        return Request(self._send.address, _POINTERS + number * _U64.size)

    def unsorted_read_request(self) -> Request:
        """UNSORTED_READ_SEND_REQUEST to fill the whole block from all adapters."""
        return self._unsorted_request(self._read, self.capacity)

    def unsorted_send_request(self, indices: Sequence[int] | None = None) -> Request:
        """UNSORTED_READ_SEND_REQUEST for all packets, or those at *indices*; each goes to its own adapter."""
        if indices is None:  # the pointers for reading name all buffers in order
            return self._unsorted_request(self._read, self.count)
        return self._unsorted_request(self._send, self._point(indices))

    def unsorted_done(self) -> int:
        """How many packets the driver read or sent."""
        return int(_U32.unpack_from(self._unsorted.view, _UNSORTED_COUNT)[0])

    def _unsorted_request(self, pointers: "_Memory", number: int) -> Request:
        _U64.pack_into(self._unsorted.view, 0, pointers.address + _POINTERS)
        _U32.pack_into(self._unsorted.view, _UNSORTED_COUNT, number)
        return Request(self._unsorted.address, self._unsorted.size)

    def _point(self, indices: Sequence[int] | None) -> int:
        addresses = self._addresses[: self.count] if indices is None else [self._addresses[i] for i in indices]
        if len(addresses) > self.capacity:
            raise ValueError(f"a block of {self.capacity} packets cannot send {len(addresses)} at once")
        struct.pack_into(f"<{len(addresses)}Q", self._send.view, _POINTERS, *addresses)
        return len(addresses)


class _Memory:
    """Bytes at an address that stays."""

    def __init__(self, size: int) -> None:
        self._owner = (ctypes.c_uint8 * size)()
        self.address = ctypes.addressof(self._owner)
        self.size = size
        self.view = memoryview(self._owner).cast("B")


def checked_length(length: int) -> int:
    """*length*, if the driver takes frames that long; raises BackendError if not."""
    if not MIN_ETHER_FRAME <= length <= MAX_ETHER_FRAME:
        raise BackendError(
            f"a frame of {length} bytes: the driver takes {MIN_ETHER_FRAME} to {MAX_ETHER_FRAME}",
            "cut or fragment larger packets; clamp the MSS of TCP",
        )
    return length


def is_sound(length: int) -> bool:
    """Whether the driver's word on a frame's length can be believed; a jumbo build's frames do not fit our buffers."""
    return MIN_ETHER_FRAME <= length <= MAX_ETHER_FRAME
