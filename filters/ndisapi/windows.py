"""The real driver: its device through kernel32, its settings and the adapters' names from the registry.

Importable everywhere, so that ``WindowsDevice`` is tested with a kernel32 in Python; the DLL loads on Windows only.
"""

import ctypes
import math
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol, cast

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi.device import (
    ERROR_ACCESS_DENIED,
    ERROR_IO_PENDING,
    DeviceError,
    EventHandle,
    open_error,
)
from wiresock_py.filters.ndisapi.raw.constants import WINNT_REG_PARAM

FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING = 1, 2, 3
FILE_FLAG_OVERLAPPED = 0x4000_0000
INVALID_HANDLE_VALUE = 0xFFFF_FFFF_FFFF_FFFF
INFINITE = WAIT_FAILED = 0xFFFF_FFFF
WAIT_OBJECT_0, WAIT_TIMEOUT = 0, 258
MAXIMUM_WAIT_OBJECTS = 64
# GUID_DEVCLASS_NET: where Windows keeps the names of network connections.
CONNECTIONS = "SYSTEM\\CurrentControlSet\\Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}"


class OVERLAPPED(ctypes.Structure):
    """minwinbase.h, for a 64-bit process; Offset and OffsetHigh, unused by devices, are one field."""

    _fields_ = (
        ("Internal", ctypes.c_uint64),
        ("InternalHigh", ctypes.c_uint64),
        ("Offset", ctypes.c_uint64),
        ("hEvent", ctypes.c_uint64),
    )


class Kernel32(Protocol):
    """The calls these bindings make. Handles and addresses are ints; a BOOL of 0 means: ask ``last_error``."""

    def CreateFileW(
        self, name: str, access: int, share: int, security: None, disposition: int, flags: int, template: int, /
    ) -> int | None: ...
    def DeviceIoControl(
        self,
        device: int,
        code: int,
        request: int,
        request_size: int,
        answer: int,
        answer_size: int,
        returned: Any,
        overlapped: Any,
        /,
    ) -> int: ...
    def GetOverlappedResult(self, device: int, overlapped: Any, returned: Any, wait: int, /) -> int: ...
    def CreateEventW(self, security: None, manual_reset: int, initially_set: int, name: None, /) -> int | None: ...
    def SetEvent(self, event: int, /) -> int: ...
    def ResetEvent(self, event: int, /) -> int: ...
    def WaitForMultipleObjects(self, count: int, handles: Any, wait_all: int, milliseconds: int, /) -> int: ...
    def CloseHandle(self, handle: int, /) -> int: ...
    def last_error(self) -> int: ...


def load_kernel32() -> Kernel32:
    """kernel32.dll with every call's types declared: without them ctypes would cut handles to 32 bits."""
    if sys.platform != "win32":
        raise BackendError(f"kernel32 is a part of Windows, this is {sys.platform}")
    handle, dword, boolean, pointer = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
    text = ctypes.c_wchar_p
    types: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "CreateFileW": (handle, (text, dword, dword, pointer, dword, dword, handle)),
        "DeviceIoControl": (boolean, (handle, dword, pointer, dword, pointer, dword, pointer, pointer)),
        "GetOverlappedResult": (boolean, (handle, pointer, pointer, boolean)),
        "CreateEventW": (handle, (pointer, boolean, boolean, text)),
        "SetEvent": (boolean, (handle,)),
        "ResetEvent": (boolean, (handle,)),
        "WaitForMultipleObjects": (dword, (dword, pointer, boolean, dword)),
        "CloseHandle": (boolean, (handle,)),
    }
    dll: Any = ctypes.WinDLL("kernel32", use_last_error=True)
    for name, (result, arguments) in types.items():
        function = getattr(dll, name)
        function.restype, function.argtypes = result, arguments
    dll.last_error = ctypes.get_last_error
    return cast("Kernel32", dll)


class _Call(threading.local):
    """Each thread's own OVERLAPPED: two calls at a time on one would mix up their ends."""

    overlapped: OVERLAPPED | None = None


class WindowsDevice:
    """``\\\\.\\NDISRD``, opened overlapped so that a request that pends does not hold up those of other threads."""

    def __init__(self, kernel32: Kernel32, name: str) -> None:
        """Raises BackendError if the driver is missing or access denied."""
        self._kernel32 = kernel32
        self._call = _Call()
        self._own_events: list[EventHandle] = []
        self._closing = threading.Lock()
        handle = kernel32.CreateFileW(
            f"\\\\.\\{name}",
            0,  # every control code is FILE_ANY_ACCESS
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            None,
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED,
            0,
        )
        if handle is None or handle == INVALID_HANDLE_VALUE:
            raise open_error(name, kernel32.last_error())
        self._handle: int = handle

    def control(self, code: int, request: int, request_size: int, answer: int, answer_size: int) -> int:
        """DeviceIoControl, waiting for its end."""
        overlapped = self._call.overlapped or self._new_overlapped()
        returned = ctypes.c_uint32()
        done = self._kernel32.DeviceIoControl(
            self._handle,
            code,
            request,
            request_size,
            answer,
            answer_size,
            ctypes.byref(returned),
            ctypes.byref(overlapped),
        )
        if not done and (error := self._kernel32.last_error()) == ERROR_IO_PENDING:
            done = self._kernel32.GetOverlappedResult(
                self._handle, ctypes.byref(overlapped), ctypes.byref(returned), True
            )
            error = 0 if done else self._kernel32.last_error()
        if not done:
            raise DeviceError(code, error)
        return returned.value

    def create_event(self) -> EventHandle:
        """A manual-reset event, not set."""
        event = self._kernel32.CreateEventW(None, True, False, None)
        if not event:
            raise DeviceError("CreateEventW", self._kernel32.last_error())
        return EventHandle(event)

    def set_event(self, event: EventHandle) -> None:
        self._check("SetEvent", self._kernel32.SetEvent(event))

    def reset_event(self, event: EventHandle) -> None:
        self._check("ResetEvent", self._kernel32.ResetEvent(event))

    def close_event(self, event: EventHandle) -> None:
        self._check("CloseHandle", self._kernel32.CloseHandle(event))

    def wait(self, events: Sequence[EventHandle], timeout: float | None) -> int:
        """WaitForMultipleObjects, which takes at most 64 events."""
        if len(events) > MAXIMUM_WAIT_OBJECTS:
            raise ValueError(f"Windows waits for at most {MAXIMUM_WAIT_OBJECTS} events at once, not {len(events)}")
        milliseconds = INFINITE if timeout is None else min(math.ceil(timeout * 1000), INFINITE - 1)
        handles = (ctypes.c_uint64 * len(events))(*events)
        found = self._kernel32.WaitForMultipleObjects(len(events), ctypes.byref(handles), False, milliseconds)
        if found == WAIT_FAILED:
            raise DeviceError("WaitForMultipleObjects", self._kernel32.last_error())
        return -1 if found == WAIT_TIMEOUT else found - WAIT_OBJECT_0

    def parameter(self, name: str) -> int | None:
        value = _registry_value(WINNT_REG_PARAM, name)
        return None if value is None else int(value)

    def set_parameter(self, name: str, value: int) -> None:
        _set_registry_value(WINNT_REG_PARAM, name, value)

    def friendly_name(self, guid: str) -> str:
        return str(_registry_value(f"{CONNECTIONS}\\{guid}\\Connection", "Name") or "")

    def close(self) -> None:
        """Close the handle and what each thread kept for its calls."""
        with self._closing:
            if self._handle == INVALID_HANDLE_VALUE:
                return
            self._kernel32.CloseHandle(self._handle)
            self._handle = INVALID_HANDLE_VALUE
            while self._own_events:
                self._kernel32.CloseHandle(self._own_events.pop())

    def _new_overlapped(self) -> OVERLAPPED:
        event = self.create_event()
        with self._closing:
            self._own_events.append(event)
        overlapped = self._call.overlapped = OVERLAPPED(hEvent=event)
        return overlapped

    def _check(self, name: str, done: int) -> None:
        if not done:
            raise DeviceError(name, self._kernel32.last_error())


def _registry_value(key: str, name: str) -> Any:
    """A value below HKEY_LOCAL_MACHINE; None if it or its key is missing."""
    if sys.platform != "win32":
        raise BackendError(f"the registry is a part of Windows, this is {sys.platform}")
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except FileNotFoundError:
        return None


def _set_registry_value(key: str, name: str, value: int) -> None:
    if sys.platform != "win32":
        raise BackendError(f"the registry is a part of Windows, this is {sys.platform}")
    import winreg

    try:
        with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, key, access=winreg.KEY_SET_VALUE) as opened:
            winreg.SetValueEx(opened, name, 0, winreg.REG_DWORD, value)
    except PermissionError as error:
        raise DeviceError(f"writing {name} to the registry", ERROR_ACCESS_DENIED) from error
