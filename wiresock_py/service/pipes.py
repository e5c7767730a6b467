"""Named pipes with the face of the sockets that ``control`` uses elsewhere: Windows' place for a control socket.

A pipe's access list names the system, the administrators and its owner; nobody else may open it, and nobody over the
network. The first instance is made as such, so that no other program can have laid itself there before.
"""

import ctypes
import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wiresock_py.win32 import BOOL, DWORD, ERROR_ACCESS_DENIED, HANDLE, POINTER, TEXT, load

PREFIX = "\\\\.\\pipe\\"
# Full access for SYSTEM, the administrators and the owner, and inherited from nowhere (SDDL).
ACCESS = "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"
_SDDL_REVISION = 1
_BUFFER = 65_536
_INVALID_HANDLE = 0xFFFF_FFFF_FFFF_FFFF
_INFINITE = 0xFFFF_FFFF
_WAIT_TIMEOUT = 258
# winbase.h, fileapi.h
_PIPE_ACCESS_DUPLEX, _FILE_FLAG_FIRST_PIPE_INSTANCE, _FILE_FLAG_OVERLAPPED = 0x3, 0x0008_0000, 0x4000_0000
_PIPE_REJECT_REMOTE_CLIENTS = 0x8  # with byte type, byte mode and blocking, which are 0
_PIPE_UNLIMITED_INSTANCES = 255
_GENERIC_READ_WRITE, _OPEN_EXISTING = 0xC000_0000, 3
_SECURITY_SQOS_PRESENT = 0x0010_0000  # with SECURITY_ANONYMOUS (0): the server may not act in the asker's name
_ERROR_ALREADY_EXISTS, _ERROR_PIPE_BUSY, _ERROR_PIPE_CONNECTED, _ERROR_IO_PENDING = 183, 231, 535, 997


class _Overlapped(ctypes.Structure):
    _fields_ = (
        ("internal", ctypes.c_uint64),
        ("internal_high", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("event", ctypes.c_void_p),
    )


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (("length", DWORD), ("descriptor", ctypes.c_void_p), ("inherit", BOOL))


def _kernel() -> Any:
    return load(
        "kernel32",
        {
            "CreateNamedPipeW": (HANDLE, (TEXT, DWORD, DWORD, DWORD, DWORD, DWORD, DWORD, POINTER)),
            "ConnectNamedPipe": (BOOL, (HANDLE, POINTER)),
            "DisconnectNamedPipe": (BOOL, (HANDLE,)),
            "WaitNamedPipeW": (BOOL, (TEXT, DWORD)),
            "CreateFileW": (HANDLE, (TEXT, DWORD, DWORD, POINTER, DWORD, DWORD, HANDLE)),
            "ReadFile": (BOOL, (HANDLE, POINTER, DWORD, POINTER, POINTER)),
            "WriteFile": (BOOL, (HANDLE, POINTER, DWORD, POINTER, POINTER)),
            "GetOverlappedResult": (BOOL, (HANDLE, POINTER, POINTER, BOOL)),
            "CancelIoEx": (BOOL, (HANDLE, POINTER)),
            "CreateEventW": (HANDLE, (POINTER, BOOL, BOOL, TEXT)),
            "SetEvent": (BOOL, (HANDLE,)),
            "WaitForMultipleObjects": (DWORD, (DWORD, POINTER, BOOL, DWORD)),
            "CloseHandle": (BOOL, (HANDLE,)),
            "LocalFree": (HANDLE, (HANDLE,)),
        },
    )


def pipe_name(path: Path) -> str:
    """The pipe that a control path means: one below ``\\\\.\\pipe\\``, or the last part of anything else."""
    text = str(path)
    return text if text.lower().startswith(PREFIX) else PREFIX + path.name


def error(code: int) -> OSError:
    """A Win32 error as the OSError it is."""
    if sys.platform == "win32":
        return ctypes.WinError(code)
    return OSError(code, f"error {code}")


class PipeConnection:
    """One end of a pipe. For one thread."""

    def __init__(self, kernel: Any, handle: int, *, is_server: bool) -> None:
        self._kernel = kernel
        self._handle = handle
        self._is_server = is_server
        self._event: int = kernel.CreateEventW(None, True, False, None)
        self._timeout: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def settimeout(self, timeout: float | None) -> None:
        """Seconds that each later call may take."""
        self._timeout = timeout

    def recv(self, size: int) -> bytes:
        """What has come, at most *size* bytes; empty when the other end is closed. Raises TimeoutError."""
        buffer = ctypes.create_string_buffer(size)
        try:
            count = self._finish(self._kernel.ReadFile, buffer, size)
        except BrokenPipeError:
            return b""
        return buffer.raw[:count]

    def sendall(self, data: bytes) -> None:
        """Raises BrokenPipeError when the other end is closed, TimeoutError when it does not read."""
        view = ctypes.create_string_buffer(data, len(data))
        sent = 0
        while sent < len(data):
            sent += self._finish(self._kernel.WriteFile, ctypes.byref(view, sent), len(data) - sent)

    def close(self) -> None:
        """May be repeated. A server first lets the other end read what it was sent: closing would throw that away."""
        if not self._handle:
            return
        if self._is_server:
            try:
                while self.recv(_BUFFER):
                    pass
            except OSError:
                pass
            self._kernel.DisconnectNamedPipe(self._handle)
        self._kernel.CloseHandle(self._handle)
        self._kernel.CloseHandle(self._event)
        self._handle = 0

    def _finish(self, call: Any, buffer: Any, size: int) -> int:
        overlapped, moved = _Overlapped(event=self._event), DWORD()
        if not call(self._handle, buffer, size, None, ctypes.byref(overlapped)):
            code = self._kernel.last_error()
            if code != _ERROR_IO_PENDING:
                raise error(code)
        wait = _INFINITE if self._timeout is None else math.ceil(self._timeout * 1000)
        events = (ctypes.c_void_p * 1)(self._event)
        timed_out = self._kernel.WaitForMultipleObjects(1, events, False, wait) == _WAIT_TIMEOUT
        if timed_out:
            self._kernel.CancelIoEx(self._handle, ctypes.byref(overlapped))
        # waits for the end of a cancelled call, too: its buffer is Windows' until then
        if not self._kernel.GetOverlappedResult(self._handle, ctypes.byref(overlapped), ctypes.byref(moved), True):
            code = self._kernel.last_error()
            raise TimeoutError("the other end of the pipe does not answer") if timed_out else error(code)
        return moved.value


class PipeListener:
    """Waits for askers. Raises PermissionError where the pipe is another process', OSError for anything else."""

    def __init__(self, path: Path) -> None:
        self._kernel = _kernel()
        self._name = pipe_name(path)
        self._stop: int = self._kernel.CreateEventW(None, True, False, None)
        self._connected: int = self._kernel.CreateEventW(None, True, False, None)
        self._closed = False
        self._next = self._instance(_FILE_FLAG_FIRST_PIPE_INSTANCE)

    def accept(self) -> tuple[PipeConnection, None]:
        """The next asker. Raises OSError once the listener is closed."""
        overlapped = _Overlapped(event=self._connected)
        done = self._kernel.ConnectNamedPipe(self._next, ctypes.byref(overlapped))
        code = 0 if done else self._kernel.last_error()
        if code == _ERROR_IO_PENDING:
            events = (ctypes.c_void_p * 2)(self._stop, self._connected)
            if self._kernel.WaitForMultipleObjects(2, events, False, _INFINITE) == 0:
                self._kernel.CancelIoEx(self._next, ctypes.byref(overlapped))
                self._kernel.GetOverlappedResult(self._next, ctypes.byref(overlapped), ctypes.byref(DWORD()), True)
                raise OSError("the listener is closed")
        elif code not in (0, _ERROR_PIPE_CONNECTED):
            raise error(code)
        handle, self._next = self._next, self._instance()
        return PipeConnection(self._kernel, handle, is_server=True), None

    def shutdown(self, _how: int) -> None:
        """End an ``accept`` that waits."""
        self._kernel.SetEvent(self._stop)

    def close(self) -> None:
        """Give the name up; may be repeated. After ``shutdown``, and once no ``accept`` runs."""
        if not self._closed:
            self._closed = True
            for handle in (self._next, self._stop, self._connected):
                self._kernel.CloseHandle(handle)

    def _instance(self, flags: int = 0) -> int:
        advapi = load(
            "advapi32",
            {"ConvertStringSecurityDescriptorToSecurityDescriptorW": (BOOL, (TEXT, DWORD, POINTER, POINTER))},
        )
        descriptor = ctypes.c_void_p()
        if not advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            ACCESS, _SDDL_REVISION, ctypes.byref(descriptor), None
        ):
            raise error(advapi.last_error())
        try:
            security = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor.value, False)
            handle = self._kernel.CreateNamedPipeW(
                self._name,
                _PIPE_ACCESS_DUPLEX | _FILE_FLAG_OVERLAPPED | flags,
                _PIPE_REJECT_REMOTE_CLIENTS,
                _PIPE_UNLIMITED_INSTANCES,
                _BUFFER,
                _BUFFER,
                0,
                ctypes.byref(security),
            )
            if not handle or handle == _INVALID_HANDLE:
                code = self._kernel.last_error()
                raise error(ERROR_ACCESS_DENIED if code == _ERROR_PIPE_BUSY else code)
            return int(handle)
        finally:
            self._kernel.LocalFree(descriptor)


def connect(path: Path, timeout: float) -> PipeConnection:
    """Ask who serves *path*. Raises FileNotFoundError if nobody does, PermissionError, TimeoutError, OSError."""
    kernel, name = _kernel(), pipe_name(path)
    until = time.monotonic() + timeout
    while True:
        flags = _FILE_FLAG_OVERLAPPED | _SECURITY_SQOS_PRESENT
        handle = kernel.CreateFileW(name, _GENERIC_READ_WRITE, 0, None, _OPEN_EXISTING, flags, None)
        if handle and handle != _INVALID_HANDLE:
            connection = PipeConnection(kernel, int(handle), is_server=False)
            connection.settimeout(timeout)
            return connection
        code = kernel.last_error()
        if code != _ERROR_PIPE_BUSY:
            raise error(code)
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("it is busy with others")
        kernel.WaitNamedPipeW(name, math.ceil(left * 1000))


class Claim:
    """A name of this whole machine that one process at a time can have. Raises PermissionError where another has it."""

    def __init__(self, path: Path) -> None:
        self._kernel: Any = load(
            "kernel32", {"CreateMutexW": (HANDLE, (POINTER, BOOL, TEXT)), "CloseHandle": (BOOL, (HANDLE,))}
        )
        name = pipe_name(path).removeprefix(PREFIX).replace("\\", "-")
        handle = self._kernel.CreateMutexW(None, False, f"Global\\wiresock-py {name}")
        code = self._kernel.last_error()
        if not handle or code == _ERROR_ALREADY_EXISTS:
            if handle:
                self._kernel.CloseHandle(handle)
            raise error(ERROR_ACCESS_DENIED)
        self._handle = handle

    def close(self) -> None:
        """Give the name up; Windows does so with the process that has it."""
        self._kernel.CloseHandle(self._handle)
