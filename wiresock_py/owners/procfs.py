"""Reads of /proc that keep the interpreter lock, and the few facts about a process that cannot be faked.

A search over all processes takes thousands of system calls. Python's own functions give the interpreter lock away
around each of them and must win it back from the threads that move packets; measured with one busy thread, a pass over
1,000 processes takes seconds instead of milliseconds. ``ctypes.PyDLL`` calls the C library without giving the lock
away. That is sound for exactly these calls: listing descriptors, reading links and ``stat`` of a process never wait
for that process (unlike ``cmdline`` or ``maps``, which wait for its memory lock).

What counts as a fact: pid and start time, which together name a process for ever, and the executable's path. The
command name (``comm``) and the arguments are the process's own to choose and are never looked at.
"""

import sys

if sys.platform != "linux":
    raise ImportError("this module speaks to the Linux kernel")

import ctypes
import os

from wiresock_py.flow import App
from wiresock_py.owners.base import Process

_libc = ctypes.PyDLL(None)
_openat = _libc.openat
_openat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
_close = _libc.close
_close.argtypes = [ctypes.c_int]
_read = _libc.read
_read.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_read.restype = ctypes.c_ssize_t
_readlinkat = _libc.readlinkat
_readlinkat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
_readlinkat.restype = ctypes.c_ssize_t
# musl calls it getdents; both fill struct linux_dirent64.
_getdents = getattr(_libc, "getdents64", None) or _libc.getdents
_getdents.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_getdents.restype = ctypes.c_ssize_t
_statx = _libc.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

_OPEN_FILE = os.O_RDONLY | os.O_CLOEXEC
_OPEN_DIRECTORY = _OPEN_FILE | os.O_DIRECTORY
_STATX_SIZE = 0x200
_STATX_SIZE_AT = 40  # offset of stx_size in struct statx, the same on every architecture
_STATX_LENGTH = 256
_RECORD_LENGTH_AT = 16  # d_reclen in struct linux_dirent64
_NAME_AT = 19  # d_name
_PATH_MAX = 4096
_SOCKET = b"socket:["
_DELETED = " (deleted)"


class ProcFs:
    """The process file system mounted at *root*. Its buffers make it the business of one thread."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._buffer = ctypes.create_string_buffer(32_768)
        self._address = ctypes.addressof(self._buffer)
        self._view = memoryview(self._buffer).cast("B")

    def close(self) -> None:
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def processes(self) -> list[int]:
        """The pids there are, in the kernel's order: ascending."""
        return [int(name) for name in self._entries(b".") if name.isdigit()]

    def descriptors(self, pid: int) -> int:
        """How many descriptors *pid* has open: tells at the price of one call whether anything was opened or closed.

        0 if there are none, the process is gone, or the kernel is older than 6.2 and does not say.
        """
        path = b"%d/fd" % pid
        if _statx(self._root, path, 0, _STATX_SIZE, self._address) != 0:
            return 0
        return int.from_bytes(self._view[_STATX_SIZE_AT : _STATX_SIZE_AT + 8], sys.byteorder)

    def sockets(self, pid: int) -> dict[int, bytes]:
        """The sockets *pid* has open: inode -> the link that says so, relative to this file system's root."""
        home = b"%d" % pid
        found = self._sockets(home)
        if found is None:
            # Either a kernel thread, or the main thread has ended and only the others still see the descriptors.
            for thread in self._entries(home + b"/task"):
                if thread != home and (found := self._sockets(home + b"/task/" + thread)) is not None:
                    break
        return found or {}

    def holder(self, pid: int, link: bytes, inode: int) -> Process | None:
        """Who *pid* is, provided it has this socket open at *link* right now; None if not, or if it is gone.

        All is read below one open descriptor of /proc/PID, which dies with the process: a pid reused in the middle
        cannot mix two processes.
        """
        directory = _openat(self._root, b"%d" % pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if directory < 0:
            return None
        try:
            below = link.partition(b"/")[2]
            if self._link(directory, below) != b"socket:[%d]" % inode:
                return None
            identity = parse_stat(self._file(directory, b"stat"))
            executable = below.rpartition(b"fd/")[0] + b"exe"
            path = self._link(directory, executable)
            if identity is None or not path:
                return None
            started, parent = identity
            return Process(App(pid, started, self._executable(directory, executable, path)), parent)
        finally:
            _close(directory)

    def facts(self, pid: int) -> App | None:
        """Who *pid* is; None if it is gone or has no executable (a kernel thread)."""
        found = self.process(pid)
        return found.app if found else None

    def process(self, pid: int) -> Process | None:
        """Who *pid* is, and its parent's pid; None as for :meth:`facts`."""
        directory = _openat(self._root, b"%d" % pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if directory < 0:
            return None
        try:
            identity = parse_stat(self._file(directory, b"stat"))
            path = self._link(directory, b"exe")
            if identity is None or not path:
                return None
            started, parent = identity
            return Process(App(pid, started, self._executable(directory, b"exe", path)), parent)
        finally:
            _close(directory)

    def _executable(self, directory: int, link: bytes, target: bytes) -> str:
        """The path without the kernel's mark of a deleted file, unless that is what the file is really called."""
        path = os.fsdecode(target)
        if not path.endswith(_DELETED):
            return path
        try:
            here = os.stat(link, dir_fd=directory)
            named = os.stat(b"root/" + target.lstrip(b"/"), dir_fd=directory)
        except OSError:
            return path.removesuffix(_DELETED)
        return path if os.path.samestat(here, named) else path.removesuffix(_DELETED)

    def _sockets(self, home: bytes) -> dict[int, bytes] | None:
        """As ``sockets``, from one thread's view; None where there are no descriptors at all."""
        path = home + b"/fd"
        names = self._entries(path)
        if not names:
            return None
        directory = _openat(self._root, path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if directory < 0:
            return None
        found: dict[int, bytes] = {}
        view, address, prefix = self._view, self._address, len(_SOCKET)
        for name in names:
            length = _readlinkat(directory, name, address, _PATH_MAX)
            if length > prefix and view[:prefix] == _SOCKET:
                found[int(bytes(view[prefix : length - 1]))] = path + b"/" + name
        _close(directory)
        return found

    def _entries(self, path: bytes) -> list[bytes]:
        """The names in a directory, without . and ..; empty if it cannot be listed."""
        directory = _openat(self._root, path, _OPEN_DIRECTORY)
        if directory < 0:
            return []
        names: list[bytes] = []
        while (length := _getdents(directory, self._address, len(self._view))) > 0:
            records = bytes(self._view[:length])
            at = 0
            while at < length:
                names.append(records[at + _NAME_AT : records.index(0, at + _NAME_AT)])
                at += records[at + _RECORD_LENGTH_AT] | records[at + _RECORD_LENGTH_AT + 1] << 8
        _close(directory)
        return [name for name in names if name not in {b".", b".."}]

    def _link(self, directory: int, path: bytes) -> bytes:
        length = _readlinkat(directory, path, self._address, _PATH_MAX)
        return bytes(self._view[:length]) if length > 0 else b""

    def _file(self, directory: int, path: bytes) -> bytes:
        descriptor = _openat(directory, path, _OPEN_FILE)
        if descriptor < 0:
            return b""
        length = _read(descriptor, self._address, len(self._view))
        _close(descriptor)
        return bytes(self._view[:length]) if length > 0 else b""


def parse_stat(content: bytes) -> tuple[float, int] | None:
    """Start time (clock ticks after boot, field 22) and parent's pid (field 4) from /proc/PID/stat; see proc(5).

    Field 2 is the command name in parentheses: it may hold spaces, parentheses and newlines, so the fields are counted
    from the *last* closing parenthesis. None for what is not a stat file.
    """
    fields = content[content.rfind(b")") + 1 :].split()
    try:
        return float(int(fields[19])), int(fields[1])
    except (IndexError, ValueError):
        return None
