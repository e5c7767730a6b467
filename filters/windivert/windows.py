"""WinDivert itself: WinDivert.dll as pydivert brings it, its calls in batches.

A receive is overlapped: one that times out stays with the driver and is waited for again at the next call, because
cancelling it could lose the packets it is about to bring.
"""

import contextlib
import ctypes
import math
import sys
from typing import Any, Protocol, cast

from wiresock_py.errors import BackendError
from wiresock_py.filters.windivert.address import BATCH_MAX, SIZE
from wiresock_py.filters.windivert.handle import Addresses, End, Flag, priority

NETWORK_LAYER = 0
SHUTDOWN_RECEIVE = 1
# windivert.h: names and largest values of the queue's parameters
QUEUE_LENGTH, QUEUE_TIME, QUEUE_SIZE = 0, 1, 2
QUEUE = {QUEUE_LENGTH: 16_384, QUEUE_TIME: 2000, QUEUE_SIZE: 32 * 1024 * 1024}
"""Packets, milliseconds and bytes that wait in the driver before it drops them."""

INVALID_HANDLE_VALUE = 0xFFFF_FFFF_FFFF_FFFF
WAIT_OBJECT_0, WAIT_TIMEOUT = 0, 258
ERROR_NO_DATA = 232  # a stopped handle that is empty
ERROR_IO_PENDING = 997
ERROR_OPERATION_ABORTED = 995
_OPEN_ERRORS = {
    2: ("WinDivert64.sys is missing", "install pydivert again: pip install --force-reinstall pydivert"),
    5: ("access is denied", "run as administrator"),
    87: ("the driver refused the filter", "name fewer networks in AllowedIPs and DisallowedIPs"),
    577: ("Windows does not accept the driver's signature", "install pydivert again, or use the Windows Packet Filter"),
    654: ("another version of the driver is loaded", "end the program that uses it, or restart Windows"),
    1058: ("the driver's service is disabled", "sc config WinDivert start= demand"),
    1275: ("Windows blocks the driver", "allow it in your security software, or use the Windows Packet Filter"),
    1753: ("the Base Filtering Engine is off", "start it: sc start bfe"),
}


class Overlapped(ctypes.Structure):
    """OVERLAPPED, for a 64-bit process."""

    _fields_ = (
        ("internal", ctypes.c_uint64),
        ("internal_high", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("event", ctypes.c_void_p),
    )


class WinDivertCalls(Protocol):
    """The calls of WinDivert.dll and kernel32.dll that are made here; a BOOL of 0 means: ask ``last_error``."""

    def WinDivertOpen(self, text: bytes, layer: int, priority: int, flags: int, /) -> int | None: ...
    def WinDivertRecvEx(
        self,
        handle: int,
        packets: Any,
        size: int,
        length: Any,
        flags: int,
        addresses: Any,
        addresses_length: Any,
        overlapped: Any,
        /,
    ) -> int: ...
    def WinDivertSendEx(
        self,
        handle: int,
        packets: int,
        size: int,
        length: Any,
        flags: int,
        addresses: int,
        addresses_length: int,
        overlapped: None,
        /,
    ) -> int: ...
    def WinDivertSetParam(self, handle: int, name: int, value: int, /) -> int: ...
    def WinDivertShutdown(self, handle: int, how: int, /) -> int: ...
    def WinDivertClose(self, handle: int, /) -> int: ...
    def CreateEventW(self, security: None, manual_reset: int, initially_set: int, name: None, /) -> int | None: ...
    def CloseHandle(self, handle: int, /) -> int: ...
    def WaitForSingleObject(self, handle: int, milliseconds: int, /) -> int: ...
    def GetOverlappedResult(self, handle: int, overlapped: Any, length: Any, wait: int, /) -> int: ...
    def last_error(self) -> int: ...


def load_calls() -> WinDivertCalls:
    """Both DLLs. Raises BackendError if WinDivert's does not load."""
    if sys.platform != "win32":
        raise BackendError(f"WinDivert.dll is for Windows, this is {sys.platform}")
    from pydivert.windivert_dll import DLL_PATH

    try:
        divert: Any = ctypes.WinDLL(DLL_PATH, use_last_error=True)
    except OSError as error:
        remedy = "it needs a 64-bit Python; install pydivert again"
        raise BackendError(f"WinDivert.dll does not load: {error}", remedy) from error
    kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)
    handle, dword, boolean, pointer = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
    long = ctypes.c_uint64
    types: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "WinDivertOpen": (handle, (ctypes.c_char_p, ctypes.c_int, ctypes.c_int16, long)),
        "WinDivertRecvEx": (boolean, (handle, pointer, dword, pointer, long, pointer, pointer, pointer)),
        "WinDivertSendEx": (boolean, (handle, pointer, dword, pointer, long, pointer, dword, pointer)),
        "WinDivertSetParam": (boolean, (handle, ctypes.c_int, long)),
        "WinDivertShutdown": (boolean, (handle, ctypes.c_int)),
        "WinDivertClose": (boolean, (handle,)),
        "CreateEventW": (handle, (pointer, boolean, boolean, ctypes.c_wchar_p)),
        "CloseHandle": (boolean, (handle,)),
        "WaitForSingleObject": (dword, (handle, dword)),
        "GetOverlappedResult": (boolean, (handle, pointer, pointer, boolean)),
    }
    for name, (result, arguments) in types.items():
        function = getattr(divert if name.startswith("WinDivert") else kernel, name)
        function.restype, function.argtypes = result, arguments
        setattr(divert, name, function)
    divert.last_error = ctypes.get_last_error
    return cast("WinDivertCalls", divert)


class WinDivertDriver:
    def __init__(self, calls: WinDivertCalls) -> None:
        self._calls = calls

    def open(self, text: str, flags: Flag = Flag.NONE) -> "WinDivertHandle":
        handle = self._calls.WinDivertOpen(text.encode("ascii"), NETWORK_LAYER, priority(flags), int(flags))
        if not handle or handle == INVALID_HANDLE_VALUE:
            code = self._calls.last_error()
            cause, remedy = _OPEN_ERRORS.get(code, (f"error {code}", "restart Windows, or use the ndisapi backend"))
            raise BackendError(f"WinDivert cannot be used: {cause}", remedy)
        if not flags:
            for name, value in QUEUE.items():
                self._calls.WinDivertSetParam(handle, name, value)
        return WinDivertHandle(self._calls, handle)


class WinDivertHandle:
    def __init__(self, calls: WinDivertCalls, handle: int) -> None:
        self._calls = calls
        self._handle = handle
        self._event = calls.CreateEventW(None, True, False, None)
        self._pending: Overlapped | None = None
        # written by the driver when a receive ends, perhaps in a later call
        self._length = ctypes.c_uint32(0)
        self._room = ctypes.c_uint32(0)

    def receive(
        self, packets: "ctypes.Array[ctypes.c_char]", addresses: Addresses, timeout: float
    ) -> tuple[int, int] | End:
        calls = self._calls
        if self._pending is None:
            self._room.value = BATCH_MAX * SIZE
            overlapped = Overlapped(event=self._event)
            done = calls.WinDivertRecvEx(
                self._handle,
                packets,
                len(packets),
                ctypes.byref(self._length),
                0,
                addresses,
                ctypes.byref(self._room),
                ctypes.byref(overlapped),
            )
            if done:
                return self._length.value, self._room.value // SIZE
            if (code := calls.last_error()) != ERROR_IO_PENDING:
                return self._ended(code)
            self._pending = overlapped
        assert self._event is not None
        if calls.WaitForSingleObject(self._event, math.ceil(timeout * 1000)) == WAIT_TIMEOUT:
            return End.TIMEOUT
        overlapped, self._pending = self._pending, None
        if not calls.GetOverlappedResult(self._handle, ctypes.byref(overlapped), ctypes.byref(self._length), True):
            return self._ended(calls.last_error())
        return self._length.value, self._room.value // SIZE

    def _ended(self, code: int) -> End:
        if code in (ERROR_NO_DATA, ERROR_OPERATION_ABORTED):
            return End.EMPTY
        raise BackendError(f"WinDivert hands over no packets: error {code}", "another program may have unloaded it")

    def send(self, packets: int, length: int, addresses: int, count: int) -> None:
        sent = ctypes.c_uint32(0)
        if not self._calls.WinDivertSendEx(
            self._handle, packets, length, ctypes.byref(sent), 0, addresses, count * SIZE, None
        ):
            code = self._calls.last_error()
            raise OSError(code, f"WinDivert does not send: error {code}")

    def stop(self) -> None:
        self._calls.WinDivertShutdown(self._handle, SHUTDOWN_RECEIVE)

    def close(self) -> None:
        self._calls.WinDivertClose(self._handle)
        if self._pending is not None and self._event is not None:
            # closing cancels it; its memory is the driver's until it has ended
            with contextlib.suppress(OSError):
                self._calls.WaitForSingleObject(self._event, 1000)
            self._pending = None
        if self._event is not None:
            self._calls.CloseHandle(self._event)
            self._event = None

    def statistics(self) -> dict[str, int]:
        """WinDivert does not count what it drops."""
        return {}
