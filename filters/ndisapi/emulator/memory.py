"""What a driver does with a request's memory: check its size, read it, follow its pointers, write the answer."""

import ctypes
import struct
from typing import Any, TypeVar

from wiresock_py.filters.ndisapi.device import ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER
from wiresock_py.filters.ndisapi.raw.constants import MAX_ETHER_FRAME
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER, UNSORTED_READ_SEND_REQUEST

S = TypeVar("S", bound=ctypes.Structure)
FRAME = INTERMEDIATE_BUFFER.m_IBuffer.offset
_ENTRY = struct.Struct("<8xIIIII16x")  # INTERMEDIATE_BUFFER between m_hAdapter and m_IBuffer
_HEADER = struct.Struct("<Q8xII4xI")  # m_hAdapter, m_dwDeviceFlags, m_Length, m_8021q
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class RefusedError(Exception):
    """The request fails with this Win32 error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Call:
    """One DeviceIoControl, from the driver's side."""

    __slots__ = ("answer", "answer_size", "request", "request_size")

    def __init__(self, request: int, request_size: int, answer: int, answer_size: int) -> None:
        self.request, self.request_size = request, request_size
        self.answer, self.answer_size = answer, answer_size

    def structure(self, kind: type[S], size: int = 0) -> S:
        """The request as a structure, which with a variable end has *size* bytes."""
        self.check(size or ctypes.sizeof(kind))
        return kind.from_buffer_copy(
            ctypes.string_at(self.request, self.request_size).ljust(ctypes.sizeof(kind), b"\0")
        )

    def u32(self) -> int:
        self.check(4)
        return int(_U32.unpack(ctypes.string_at(self.request, 4))[0])

    def u64(self) -> int:
        self.check(8)
        return int(_U64.unpack(ctypes.string_at(self.request, 8))[0])

    def tail(self, start: int, size: int) -> bytes:
        """*size* bytes of the request from *start* on."""
        self.check(start + size)
        return ctypes.string_at(self.request + start, size)

    def check(self, size: int) -> None:
        if self.request_size < size:
            raise RefusedError(ERROR_INVALID_PARAMETER)

    def give(self, content: Any) -> int:
        """Write the answer, which must fit whole."""
        data = bytes(content)
        if self.answer_size < len(data):
            raise RefusedError(ERROR_INSUFFICIENT_BUFFER)
        ctypes.memmove(self.answer, data, len(data))
        return len(data)


def entry(content: bytes, direction: int, vlan: int, filter_id: int) -> bytes:
    """What is queued for a frame."""
    return _ENTRY.pack(direction, len(content), 0, vlan, filter_id) + content


def write_buffer(address: int, adapter: int, queued: bytes) -> None:
    """Put a queued packet into the client's INTERMEDIATE_BUFFER at *address*."""
    ctypes.memmove(address, _U64.pack(adapter) + queued, 8 + len(queued))


def read_buffer(address: int) -> tuple[int, bytes]:
    """(m_hAdapter, frame) of the client's INTERMEDIATE_BUFFER. Refuses what is not one."""
    if not address:
        raise RefusedError(ERROR_INVALID_PARAMETER)
    adapter, _direction, length, _vlan = _HEADER.unpack(ctypes.string_at(address, _HEADER.size))
    if not 0 < length <= MAX_ETHER_FRAME:
        raise RefusedError(ERROR_INVALID_PARAMETER)
    return adapter, ctypes.string_at(address + FRAME, length)


def pointed_to(request: UNSORTED_READ_SEND_REQUEST) -> tuple[int, ...]:
    """The buffers of an unsorted request, which is a pointer to an array of pointers."""
    if not request.packets:
        raise RefusedError(ERROR_INVALID_PARAMETER)
    return pointers(ctypes.string_at(request.packets, 8 * request.packets_num))


def pointers(content: bytes) -> tuple[int, ...]:
    """An array of 64-bit pointers."""
    return struct.unpack(f"<{len(content) // 8}Q", content)
