"""The seam between the bindings and the driver: everything the bindings ask of a system goes through ``Device``.

``windows.WindowsDevice`` is the real one, ``emulator.EmulatedDevice`` the one in pure Python for any system.
"""

import struct
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NewType, Protocol

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi.raw.constants import NDISRD_NAME_U
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl

EventHandle = NewType("EventHandle", int)
NO_EVENT = EventHandle(0)
POINTER_SIZE = struct.calcsize("P")
DOWNLOAD = "https://github.com/wiresock/ndisapi/releases"

# winerror.h
ERROR_INVALID_FUNCTION = 1
ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_INVALID_HANDLE = 6
ERROR_GEN_FAILURE = 31
ERROR_NOT_SUPPORTED = 50
ERROR_INVALID_PARAMETER = 87
ERROR_INSUFFICIENT_BUFFER = 122
ERROR_IO_PENDING = 997
ERROR_NOT_FOUND = 1168

_MEANINGS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        ERROR_INVALID_FUNCTION: ("this driver does not know the request", f"install a newer driver: {DOWNLOAD}"),
        ERROR_ACCESS_DENIED: ("access denied", "run as administrator"),
        ERROR_INVALID_HANDLE: ("the handle is closed or stale", "enumerate the adapters again"),
        ERROR_GEN_FAILURE: (
            "the driver failed the request",
            "if the adapter was changed, enumerate the adapters again",
        ),
        ERROR_NOT_SUPPORTED: ("the adapter or driver does not support it", ""),
        ERROR_INVALID_PARAMETER: (
            "the driver refused the arguments",
            "if the adapter was removed or reset, enumerate the adapters again",
        ),
        ERROR_INSUFFICIENT_BUFFER: ("the answer does not fit", "ask again with a larger buffer"),
        ERROR_NOT_FOUND: ("no such adapter", "enumerate the adapters again"),
    }
)


class DeviceError(BackendError):
    """The driver, or Windows in its name, refused a request. ``code`` is the Win32 error."""

    def __init__(self, request: int | str, code: int) -> None:
        meaning, remedy = _MEANINGS.get(code, ("", ""))
        super().__init__(f"{request_name(request)} failed: error {code}{meaning and f', {meaning}'}", remedy)
        self.code = code


def request_name(request: int | str) -> str:
    """A control code's name for people; other requests name themselves."""
    if isinstance(request, str):
        return request
    try:
        return Ioctl(request).windows_name
    except ValueError:
        return f"control code {request:#010x}"


class Device(Protocol):
    """An open handle to the driver. Every method may be called from any thread."""

    def control(self, code: int, request: int, request_size: int, answer: int, answer_size: int) -> int:
        """DeviceIoControl: *request* and *answer* are addresses (may be equal, or 0) of that many bytes.

        They, and all memory they point to, stay the caller's and must live until the call returns. Returns the
        number of bytes written to *answer*. Raises DeviceError.
        """

    def create_event(self) -> EventHandle:
        """A manual-reset event, not set."""

    def set_event(self, event: EventHandle) -> None: ...

    def reset_event(self, event: EventHandle) -> None: ...

    def close_event(self, event: EventHandle) -> None:
        """Take the event back from the driver first."""

    def wait(self, events: Sequence[EventHandle], timeout: float | None) -> int:
        """The index of the first of *events* that is set; -1 if none is within *timeout* seconds (None: for ever)."""

    def parameter(self, name: str) -> int | None:
        """A DWORD of the driver's Parameters key in the registry; None if there is none of that name."""

    def set_parameter(self, name: str, value: int) -> None: ...

    def friendly_name(self, guid: str) -> str:
        """The name that Windows shows for the adapter ``{GUID}``; empty if it has none."""

    def close(self) -> None:
        """May be repeated. What the driver then does with adapter modes is not known: restore them first."""


def refuse_32_bit() -> None:
    """Raise BackendError in a 32-bit Python: the driver's structures differ there."""
    if POINTER_SIZE != 8:
        raise BackendError(
            "these bindings need a 64-bit Python, this one is 32-bit",
            "install the 64-bit Python from https://www.python.org/downloads/windows/",
        )


def open_device(name: str = NDISRD_NAME_U) -> Device:
    """The driver's device; *name* differs for custom builds. Raises BackendError where there is no such driver."""
    refuse_32_bit()
    if sys.platform == "win32":
        from wiresock_py.filters.ndisapi.windows import WindowsDevice, load_kernel32

        return WindowsDevice(load_kernel32(), name)
    raise BackendError(
        f"the driver {name} exists for Windows only, this is {sys.platform}",
        "on other systems open the bindings on an emulator: NdisApi(Emulator().open())",
    )


def open_error(name: str, code: int) -> BackendError:
    """Why the device cannot be opened, with what to do about it."""
    if code == ERROR_FILE_NOT_FOUND:
        return BackendError(
            f"the Windows Packet Filter driver is not running: there is no device {name}",
            f"install it from {DOWNLOAD}; if it is installed, start it: sc start ndisrd",
        )
    if code == ERROR_ACCESS_DENIED:
        return BackendError(f"access to the driver {name} is denied", "run as administrator")
    return DeviceError(f"opening the driver {name}", code)
