"""Windows' own calls, typed: every DLL is loaded here, with the types of each call that is made.

Importable everywhere, so that what calls Windows is tested with a DLL in Python; a DLL itself loads on Windows only.
Calls that some Windows (or Wine) lacks are bound late: a missing one answers ERROR_CALL_NOT_IMPLEMENTED.
"""

import ctypes
import sys
from collections.abc import Collection, Mapping
from typing import Any

# winerror.h
ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_INVALID_PARAMETER = 87
ERROR_BUFFER_OVERFLOW = 111
ERROR_CALL_NOT_IMPLEMENTED = 120
ERROR_INSUFFICIENT_BUFFER = 122
ERROR_MORE_DATA = 234

HANDLE = ctypes.c_void_p
POINTER = ctypes.c_void_p
DWORD = ctypes.c_uint32
BOOL = ctypes.c_int
TEXT = ctypes.c_wchar_p

FILETIME_EPOCH = 11_644_473_600
"""Seconds from 1601, where FILETIME counts from, to 1970."""

Signature = tuple[Any, tuple[Any, ...]]
"""The type of a call's result, and those of its arguments."""


def load(dll: str, calls: Mapping[str, Signature], late: Collection[str] = ()) -> Any:
    """*dll* with the types of *calls* declared: without them ctypes would cut handles and pointers to 32 bits.

    The calls of *late* return a Win32 error. ``last_error()`` is what GetLastError says of this thread's last call.
    Raises OSError on other systems.
    """
    if sys.platform != "win32":
        raise OSError(f"{dll} is a part of Windows, this is {sys.platform}")
    loaded: Any = ctypes.WinDLL(dll, use_last_error=True)
    for name, (result, arguments) in calls.items():
        function = getattr(loaded, name, None)
        if function is None and name in late:
            setattr(loaded, name, not_implemented)
        elif function is None:
            raise OSError(f"this Windows has no {name} in {dll}")
        else:
            function.restype, function.argtypes = result, arguments
    loaded.last_error = ctypes.get_last_error
    return loaded


def not_implemented(*_arguments: Any) -> int:
    """Stands for a call that this Windows lacks."""
    return ERROR_CALL_NOT_IMPLEMENTED


def unix_time(filetime: int) -> float:
    """A FILETIME (100 ns since 1601) in seconds since 1970."""
    return filetime / 10_000_000 - FILETIME_EPOCH
