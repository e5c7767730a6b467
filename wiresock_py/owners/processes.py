"""Facts about processes on Windows: when one started, which executable it runs. psutil where Windows refuses us.

A pid is reused, but never together with a start time; so what was read once of a process holds for its whole life, and
only its start time is asked again.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Protocol, cast

from wiresock_py.flow import App
from wiresock_py.owners.portable import process_facts
from wiresock_py.win32 import BOOL, DWORD, ERROR_INVALID_PARAMETER, HANDLE, POINTER, load, unix_time

PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
MAX_PATH = 32_768  # characters of the longest path NT has
REMEMBERED = 1024


class ProcessCalls(Protocol):
    """The calls of kernel32.dll that are made here; a BOOL of 0 means: ask ``last_error``."""

    def OpenProcess(self, access: int, inherit: int, pid: int, /) -> int | None: ...
    def GetProcessTimes(self, process: int, created: Any, ended: Any, kernel: Any, user: Any, /) -> int: ...
    def QueryFullProcessImageNameW(self, process: int, flags: int, path: Any, size: Any, /) -> int: ...
    def CloseHandle(self, handle: int, /) -> int: ...
    def last_error(self) -> int: ...


def load_process_calls() -> ProcessCalls:
    """kernel32.dll. Raises OSError on other systems."""
    calls: dict[str, Any] = {
        "OpenProcess": (HANDLE, (DWORD, BOOL, DWORD)),
        "GetProcessTimes": (BOOL, (HANDLE, POINTER, POINTER, POINTER, POINTER)),
        "QueryFullProcessImageNameW": (BOOL, (HANDLE, DWORD, POINTER, POINTER)),
        "CloseHandle": (BOOL, (HANDLE,)),
    }
    return cast("ProcessCalls", load("kernel32", calls))


class Processes:
    """What is known of processes. The business of one thread."""

    def __init__(self, calls: ProcessCalls, *, fallback: Callable[[int], App | None] = process_facts) -> None:
        self._calls = calls
        self._fallback = fallback
        self._known: dict[int, App] = {}

    def facts(self, pid: int) -> App | None:
        """Who *pid* is now; None if it is gone. ``started`` is in seconds since 1970.

        A process whose executable nobody tells has an empty path.
        """
        process = self._calls.OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, False, pid)
        if not process:
            return None if self._calls.last_error() == ERROR_INVALID_PARAMETER else self._fallback(pid)
        try:
            started = self._started(process)
            if started is None:
                return self._fallback(pid)
            known = self._known.pop(pid, None)
            if known is None or known.started != started:
                known = App(pid, started, self._path(process) or self._path_by_fallback(pid, started))
            self._known[pid] = known  # the latest asked for is forgotten last
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
            return known
        finally:
            self._calls.CloseHandle(process)

    def _started(self, process: int) -> float | None:
        created, *others = (ctypes.c_uint64() for _ in range(4))
        if not self._calls.GetProcessTimes(process, ctypes.byref(created), *(ctypes.byref(each) for each in others)):
            return None
        return unix_time(created.value)

    def _path(self, process: int) -> str:
        size = DWORD(MAX_PATH)
        path = ctypes.create_unicode_buffer(MAX_PATH)
        return path.value if self._calls.QueryFullProcessImageNameW(process, 0, path, ctypes.byref(size)) else ""

    def _path_by_fallback(self, pid: int, started: float) -> str:
        found = self._fallback(pid)
        # the two read the same clock, but may round it differently
        return found.path if found is not None and abs(found.started - started) < 1 else ""
