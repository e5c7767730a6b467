"""Which Windows services run in which process (EnumServicesStatusExW, winsvc.h)."""

import ctypes
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from wiresock_py.flow import App
from wiresock_py.win32 import BOOL, DWORD, ERROR_MORE_DATA, HANDLE, POINTER, TEXT, load

log = logging.getLogger(__name__)

SC_MANAGER_ENUMERATE_SERVICE = 0x4
SC_ENUM_PROCESS_INFO = 0
SERVICE_WIN32 = 0x30
SERVICE_ACTIVE = 1
_BUFFER = 256 * 1024  # the most that one call takes


class ServiceStatus(ctypes.Structure):
    """ENUM_SERVICE_STATUS_PROCESSW, for a 64-bit process."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("display_name", ctypes.c_void_p),
        ("type", ctypes.c_uint32),
        ("state", ctypes.c_uint32),
        ("controls", ctypes.c_uint32),
        ("exit_code", ctypes.c_uint32),
        ("specific_exit_code", ctypes.c_uint32),
        ("check_point", ctypes.c_uint32),
        ("wait_hint", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class ServiceCalls(Protocol):
    """The calls of advapi32.dll that are made here; a BOOL of 0 means: ask ``last_error``."""

    def OpenSCManagerW(self, machine: None, database: None, access: int, /) -> int | None: ...
    def EnumServicesStatusExW(
        self,
        manager: int,
        level: int,
        kind: int,
        state: int,
        services: Any,
        size: int,
        needed: Any,
        count: Any,
        resume: Any,
        group: None,
        /,
    ) -> int: ...
    def CloseServiceHandle(self, handle: int, /) -> int: ...
    def last_error(self) -> int: ...


def load_service_calls() -> ServiceCalls:
    """advapi32.dll. Raises OSError on other systems."""
    enumeration = (HANDLE, ctypes.c_int, DWORD, DWORD, POINTER, DWORD, POINTER, POINTER, POINTER, TEXT)
    calls: dict[str, Any] = {
        "OpenSCManagerW": (HANDLE, (TEXT, TEXT, DWORD)),
        "EnumServicesStatusExW": (BOOL, enumeration),
        "CloseServiceHandle": (BOOL, (HANDLE,)),
    }
    return cast("ServiceCalls", load("advapi32", calls))


class Services:
    """The names of the services in a process, from one enumeration for all processes known until then."""

    def __init__(self, calls: ServiceCalls, *, clock: Callable[[], float] = time.time) -> None:
        """*clock* tells the time in the unit of ``App.started``."""
        self._calls = calls
        self._clock = clock
        self._names: dict[int, tuple[str, ...]] = {}
        self._read_at = 0.0

    def of(self, app: App) -> tuple[str, ...]:
        """The services that *app* hosts; empty for an ordinary program. Never raises.

        A process is asked about anew only if it is younger than the last enumeration: the services of one that was
        there already are known. (A service that starts later in an old svchost.exe joins at the next enumeration.)
        """
        if app.started >= self._read_at:
            self._read_at = self._clock()
            try:
                self._names = self._read()
            except OSError as error:
                log.warning("the services of processes are not known: %s", error)
        return self._names.get(app.pid, ())

    def _read(self) -> dict[int, tuple[str, ...]]:
        manager = self._calls.OpenSCManagerW(None, None, SC_MANAGER_ENUMERATE_SERVICE)
        if not manager:
            raise OSError(self._calls.last_error(), "Windows gives no access to its services")
        try:
            names: dict[int, tuple[str, ...]] = {}
            for name, pid in self._enumerate(manager):
                if pid:
                    names[pid] = (*names.get(pid, ()), name)
            return names
        finally:
            self._calls.CloseServiceHandle(manager)

    def _enumerate(self, manager: int) -> Iterator[tuple[str, int]]:
        buffer = ctypes.create_string_buffer(_BUFFER)
        needed, count, resume = DWORD(), DWORD(), DWORD()
        more = True
        while more:
            done = self._calls.EnumServicesStatusExW(
                manager,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                buffer,
                _BUFFER,
                ctypes.byref(needed),
                ctypes.byref(count),
                ctypes.byref(resume),
                None,
            )
            more = not done
            if more and (error := self._calls.last_error()) != ERROR_MORE_DATA:
                raise OSError(error, "Windows does not list its services")
            if more and not count.value:
                return  # a single entry larger than the buffer: there is no such thing
            for entry in (ServiceStatus * count.value).from_buffer(buffer):
                yield ctypes.wstring_at(entry.name), int(entry.pid)
