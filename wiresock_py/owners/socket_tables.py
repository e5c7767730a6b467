"""Windows' tables of TCP and UDP sockets (GetExtendedTcpTable, GetExtendedUdpTable; iprtrmib.h, tcpmib.h, udpmib.h).

Of each table the *owner module* form is read: beside the pid it has the time the socket was made, which no later
process can own; for UDP whether the program chose the port itself; and what Windows needs to tell which of a process'
services a socket belongs to.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

from wiresock_py.win32 import BOOL, DWORD, ERROR_INSUFFICIENT_BUFFER, POINTER, load

TCP_TABLE_OWNER_MODULE_ALL = 8
UDP_TABLE_OWNER_MODULE = 2
TCPIP_OWNER_MODULE_INFO_BASIC = 0
AF_INET, AF_INET6 = 2, 23  # winsock2.h; Linux numbers the second one otherwise

MIB_TCP_STATE_LISTEN, MIB_TCP_STATE_TIME_WAIT = 2, 11
_SPECIFIC_PORT_BIND = 1

TCP, UDP = int(socket.IPPROTO_TCP), int(socket.IPPROTO_UDP)
V4_MAPPED = bytes(10) + b"\xff\xff"

# A table may grow between asking for its size and asking for it.
_ATTEMPTS = 5
_HEADROOM = 8192
_ROWS_AT = 8  # after dwNumEntries, as the rows are aligned to 8

# Ports are in network order in the first half of a DWORD. Each row ends with OwningModuleInfo[16].
_TCP4 = struct.Struct("=I4sHxx4sHxxIQ128x")  # state, local, port, remote, port, pid, created
_TCP6 = struct.Struct("=16s4xHxx16s4xHxxIIQ128x")  # local, port, remote, port, state, pid, created
_UDP4 = struct.Struct("=4sHxxI4xQI4x128x")  # local, port, pid, created, flags
_UDP6 = struct.Struct("=16s4xHxxI4xQI4x128x")
TABLES = {(TCP, AF_INET): _TCP4, (TCP, AF_INET6): _TCP6, (UDP, AF_INET): _UDP4, (UDP, AF_INET6): _UDP6}
_MODULE_CALLS = {
    (TCP, AF_INET): "GetOwnerModuleFromTcpEntry",
    (TCP, AF_INET6): "GetOwnerModuleFromTcp6Entry",
    (UDP, AF_INET): "GetOwnerModuleFromUdpEntry",
    (UDP, AF_INET6): "GetOwnerModuleFromUdp6Entry",
}


class TcpIp(Protocol):
    """The calls of iphlpapi.dll that are made here; each returns a Win32 error, 0 for none."""

    def GetExtendedTcpTable(
        self, table: Any, size: Any, ordered: int, family: int, kind: int, reserved: int, /
    ) -> int: ...
    def GetExtendedUdpTable(
        self, table: Any, size: Any, ordered: int, family: int, kind: int, reserved: int, /
    ) -> int: ...
    def GetOwnerModuleFromTcpEntry(self, row: Any, kind: int, buffer: Any, size: Any, /) -> int: ...
    def GetOwnerModuleFromTcp6Entry(self, row: Any, kind: int, buffer: Any, size: Any, /) -> int: ...
    def GetOwnerModuleFromUdpEntry(self, row: Any, kind: int, buffer: Any, size: Any, /) -> int: ...
    def GetOwnerModuleFromUdp6Entry(self, row: Any, kind: int, buffer: Any, size: Any, /) -> int: ...


class Socket(NamedTuple):
    """A row of a table."""

    protocol: int
    local: bytes
    """Packed, 4 or 16 bytes; an IPv4-mapped address as the IPv4 address it stands for."""
    local_port: int
    remote: bytes
    """Zeros for a listener, and for UDP: Windows does not say whom a UDP socket is connected to."""
    remote_port: int
    state: int
    """MIB_TCP_STATE; 0 for UDP."""
    pid: int
    created: int
    """FILETIME of its making; 0 where the system does not say."""
    chosen_port: bool
    """UDP: the program bound this very port, as servers do, and was not given a free one."""
    family: int
    row: bytes
    """As Windows gave it, to ask more about it."""


def load_tcp_ip() -> TcpIp:
    """iphlpapi.dll. Raises OSError on other systems."""
    table = (DWORD, (POINTER, POINTER, BOOL, DWORD, ctypes.c_int, DWORD))
    module = (DWORD, (POINTER, ctypes.c_int, POINTER, POINTER))
    calls = {
        "GetExtendedTcpTable": table,
        "GetExtendedUdpTable": table,
        **dict.fromkeys(_MODULE_CALLS.values(), module),
    }
    return cast("TcpIp", load("iphlpapi", calls, late=_MODULE_CALLS.values()))


def sockets(tcp_ip: TcpIp, protocol: int) -> Iterator[Socket]:
    """Every socket of *protocol* in both families. Raises OSError if Windows does not tell."""
    for family in (AF_INET, AF_INET6):
        yield from parse(_read(tcp_ip, protocol, family), protocol, family)


def parse(table: bytes, protocol: int, family: int) -> Iterator[Socket]:
    """The rows of a table; those that it announces but does not hold are left out."""
    if len(table) < _ROWS_AT:
        return
    row = TABLES[protocol, family]
    count = min(int.from_bytes(table[:4], "little"), (len(table) - _ROWS_AT) // row.size)
    for at in range(_ROWS_AT, _ROWS_AT + count * row.size, row.size):
        yield _socket(table[at : at + row.size], protocol, family)


def owner_module(tcp_ip: TcpIp, found: Socket) -> str:
    """The name Windows gives the module that made a socket: a service's name in a process of services; "" if none."""
    ask = getattr(tcp_ip, _MODULE_CALLS[found.protocol, found.family])
    row = ctypes.create_string_buffer(found.row, len(found.row))
    size = DWORD(0)
    if ask(row, TCPIP_OWNER_MODULE_INFO_BASIC, None, ctypes.byref(size)) != ERROR_INSUFFICIENT_BUFFER:
        return ""
    buffer = ctypes.create_string_buffer(size.value)
    if ask(row, TCPIP_OWNER_MODULE_INFO_BASIC, buffer, ctypes.byref(size)) != 0:
        return ""
    # TCPIP_OWNER_MODULE_BASIC_INFO begins with a pointer to the name, which lies further on in the same buffer
    name = ctypes.c_void_p.from_buffer(buffer).value
    return ctypes.wstring_at(name) if name else ""


def _socket(row: bytes, protocol: int, family: int) -> Socket:
    state, remote, remote_port, chosen = 0, b"", 0, False
    match protocol, family:
        case (6, 2):
            state, local, port, remote, remote_port, pid, created = _TCP4.unpack(row)
        case (6, _):
            local, port, remote, remote_port, state, pid, created = _TCP6.unpack(row)
        case _:
            local, port, pid, created, flags = TABLES[protocol, family].unpack(row)
            chosen = bool(flags & _SPECIFIC_PORT_BIND)
    local = _plain(local)
    return Socket(
        protocol,
        local,
        socket.ntohs(port),
        _plain(remote) or bytes(len(local)),
        socket.ntohs(remote_port),
        state,
        pid,
        created,
        chosen,
        family,
        row,
    )


def _plain(address: bytes) -> bytes:
    return address[12:] if address[:12] == V4_MAPPED else address


def _read(tcp_ip: TcpIp, protocol: int, family: int) -> bytes:
    kind = TCP_TABLE_OWNER_MODULE_ALL if protocol == TCP else UDP_TABLE_OWNER_MODULE
    ask = tcp_ip.GetExtendedTcpTable if protocol == TCP else tcp_ip.GetExtendedUdpTable
    size = DWORD(0)
    error = ask(None, ctypes.byref(size), False, family, kind, 0)
    for _ in range(_ATTEMPTS):
        if error != ERROR_INSUFFICIENT_BUFFER:
            break
        size.value += _HEADROOM
        table = ctypes.create_string_buffer(size.value)
        error = ask(table, ctypes.byref(size), False, family, kind, 0)
        if error == 0:
            return table.raw[: size.value]
    if error:
        raise OSError(error, f"Windows does not tell its sockets: error {error}")
    return b""
