"""Windows' DLLs in Python, as far as they are called: tables and lists laid out as Windows lays them out.

Strict where a mistake would crash a real process: sizes are checked, memory that was freed is not given again.
"""

import ctypes
import itertools
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wiresock_py.network.windows.iphlpapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IP_ADAPTER_ADDRESS,
    IP_ADAPTER_ADDRESSES,
    IP_ADAPTER_UNICAST_ADDRESS,
    MIB_IPFORWARD_ROW2,
    MIB_IPNET_ROW2,
    SOCKADDR_INET,
    SOCKET_ADDRESS,
    TABLE_ROWS_AT,
)
from wiresock_py.win32 import (
    ERROR_ACCESS_DENIED,
    ERROR_BUFFER_OVERFLOW,
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_PARAMETER,
    ERROR_MORE_DATA,
    FILETIME_EPOCH,
)

ERROR_INVALID_HANDLE = 6
ERROR_NOT_SUPPORTED = 50
ERROR_NOT_FOUND = 1168
TCP, UDP = int(socket.IPPROTO_TCP), int(socket.IPPROTO_UDP)


def filetime(seconds: float) -> int:
    """Seconds since 1970 as Windows counts them."""
    return int((seconds + FILETIME_EPOCH) * 10_000_000)


class Row(NamedTuple):
    """A socket, as a test states it."""

    protocol: int
    local: str
    local_port: int
    pid: int
    remote: str = ""
    remote_port: int = 0
    state: int = 5
    created: int = 0
    flags: int = 0
    module: str = ""

    @property
    def family(self) -> int:
        return AF_INET6 if ":" in self.local else AF_INET

    def packed(self) -> bytes:
        """The row, field by field after iprtrmib.h and udpmib.h."""
        local, remote = self._address(self.local), self._address(self.remote)
        port, remote_port = _port(self.local_port), _port(self.remote_port)
        module = struct.pack("<128s", self.module.encode())
        number = struct.pack
        if self.protocol == TCP and self.family == AF_INET:
            head = number("<I", self.state) + local + port + remote + remote_port + number("<I", self.pid)
            return head + number("<Q", self.created) + module
        if self.protocol == TCP:
            head = local + bytes(4) + port + remote + bytes(4) + remote_port + number("<II", self.state, self.pid)
            return head + number("<Q", self.created) + module
        scope = bytes(4) if self.family == AF_INET6 else b""
        head = local + scope + port + number("<I", self.pid) + bytes(4)
        return head + number("<QII", self.created, self.flags, 0) + module

    def _address(self, text: str) -> bytes:
        if self.family == AF_INET:
            return socket.inet_pton(socket.AF_INET, text or "0.0.0.0")
        return socket.inet_pton(socket.AF_INET6, text or "::")


def _port(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\xaa\xbb"  # what follows a port in its DWORD means nothing


class FakeTcpIp:
    """The socket tables of iphlpapi.dll."""

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)
        self.error = 0
        self.reads = 0
        """How often a table was read."""
        self.growth = 0
        """Rows that appear before the next call, and then fewer by ``slowdown``."""
        self.slowdown = 1

    def GetExtendedTcpTable(self, table: Any, size: Any, ordered: int, family: int, kind: int, reserved: int) -> int:
        assert (kind, reserved) == (8, 0)
        return self._table(TCP, family, table, size)

    def GetExtendedUdpTable(self, table: Any, size: Any, ordered: int, family: int, kind: int, reserved: int) -> int:
        assert (kind, reserved) == (2, 0)
        return self._table(UDP, family, table, size)

    def _table(self, protocol: int, family: int, table: Any, size: Any) -> int:
        if self.error:
            return self.error
        rows = [row.packed() for row in self.rows if (row.protocol, row.family) == (protocol, family)]
        content = struct.pack("<II", len(rows), 0) + b"".join(rows)
        room, size._obj.value = size._obj.value, len(content)
        self.rows += [Row(protocol, "127.0.0.1", 1, 4)] * self.growth
        self.growth //= self.slowdown
        if table is None or room < len(content):
            return ERROR_INSUFFICIENT_BUFFER
        assert len(table) == room
        ctypes.memmove(table, content, len(content))
        self.reads += 1
        return 0

    def GetOwnerModuleFromTcpEntry(self, row: Any, kind: int, buffer: Any, size: Any) -> int:
        return self._module(row, 160, kind, buffer, size)

    def GetOwnerModuleFromTcp6Entry(self, row: Any, kind: int, buffer: Any, size: Any) -> int:
        return self._module(row, 192, kind, buffer, size)

    def GetOwnerModuleFromUdpEntry(self, row: Any, kind: int, buffer: Any, size: Any) -> int:
        return self._module(row, 160, kind, buffer, size)

    def GetOwnerModuleFromUdp6Entry(self, row: Any, kind: int, buffer: Any, size: Any) -> int:
        return self._module(row, 176, kind, buffer, size)

    def _module(self, row: Any, length: int, kind: int, buffer: Any, size: Any) -> int:
        assert (len(row), kind) == (length, 0)
        name = row.raw[-128:].rstrip(b"\0").decode()
        if not name:
            return ERROR_NOT_FOUND
        text = bytes(ctypes.create_unicode_buffer(name))
        room, size._obj.value = size._obj.value, 16 + len(text)
        if buffer is None or room < size._obj.value:
            return ERROR_INSUFFICIENT_BUFFER
        place = ctypes.addressof(buffer)
        ctypes.memmove(buffer, struct.pack("<QQ", place + 16, 0) + text, 16 + len(text))
        return 0


class FakeProcess(NamedTuple):
    started: float
    path: str = ""
    denied: bool = False
    """Windows gives no handle to it."""


class FakeProcesses:
    """Processes, as kernel32.dll tells of them."""

    def __init__(self, **processes: FakeProcess) -> None:
        """By pid, spelled ``p42``."""
        self.processes = {int(name[1:]): process for name, process in processes.items()}
        self.open: dict[int, FakeProcess] = {}
        self.paths_asked = 0
        self._error = 0
        self._handles = itertools.count(0x100, 4)

    def OpenProcess(self, access: int, inherit: int, pid: int) -> int | None:
        assert (access, inherit) == (0x1000, False)
        process = self.processes.get(pid)
        if process is None or process.denied:
            self._error = ERROR_INVALID_PARAMETER if process is None else ERROR_ACCESS_DENIED
            return None
        handle = next(self._handles)
        self.open[handle] = process
        return handle

    def GetProcessTimes(self, process: int, created: Any, *others: Any) -> int:
        assert len(others) == 3
        created._obj.value = filetime(self.open[process].started)
        return 1

    def QueryFullProcessImageNameW(self, process: int, flags: int, path: Any, size: Any) -> int:
        assert flags == 0
        assert size._obj.value == len(path)
        self.paths_asked += 1
        found = self.open[process].path
        path.value = found
        size._obj.value = len(found)
        return bool(found)

    def CloseHandle(self, handle: int) -> int:
        del self.open[handle]
        return 1

    def last_error(self) -> int:
        return self._error


class FakeServices:
    """The service manager of advapi32.dll; *at_once* entries a call."""

    def __init__(self, *services: tuple[str, int], at_once: int = 100) -> None:
        self.services = list(services)
        self.at_once = at_once
        self.denied = False
        self.enumerations = 0
        self.open = 0
        self._error = 0
        self._kept: list[Any] = []

    def OpenSCManagerW(self, machine: None, database: None, access: int) -> int | None:
        self._error = ERROR_ACCESS_DENIED
        self.open += not self.denied
        return None if self.denied else 0x200

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
    ) -> int:
        assert (manager, level, kind, state, size) == (0x200, 0, 0x30, 1, len(services))
        start = resume._obj.value
        self.enumerations += start == 0
        part = self.services[start : start + self.at_once]
        for number, (name, pid) in enumerate(part):
            text = ctypes.create_unicode_buffer(name)
            self._kept.append(text)
            entry = struct.pack("<QQ9I4x", ctypes.addressof(text), 0, 0x20, 4, 0, 0, 0, 0, 0, pid, 0)
            ctypes.memmove(ctypes.addressof(services) + number * len(entry), entry, len(entry))
        count._obj.value = len(part)
        more = start + len(part) < len(self.services)
        resume._obj.value = start + len(part) if more else 0
        self._error = ERROR_MORE_DATA
        return not more

    def CloseServiceHandle(self, handle: int) -> int:
        self.open -= 1
        return 1

    def last_error(self) -> int:
        return self._error


class FakeAdapter(NamedTuple):
    name: str
    ipv4_index: int
    ipv6_index: int = 0
    guid: str = "{4D36E972-0000-0000-0000-000000000001}"
    mtu: int = 1500
    mac: bytes = b"\x02\0\0\0\0\x01"
    up: bool = True
    kind: int = 6
    metric: int = 25
    ipv6_metric: int = 35
    addresses: tuple[tuple[str, int], ...] = ()
    gateways: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    suffix: str = ""


def place(text: str) -> SOCKADDR_INET:
    """A socket address from text, with its numeric zone."""
    address, _, zone = text.partition("%")
    return SOCKADDR_INET.of(packed(address), int(zone or 0))


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


class FakeIpHelper:
    """Adapters, routes and neighbours of iphlpapi.dll. What is in *missing* this Windows does not have."""

    def __init__(self, *adapters: FakeAdapter, missing: Sequence[str] = ()) -> None:
        self.adapters = list(adapters)
        self.routes: list[MIB_IPFORWARD_ROW2] = []
        self.best: dict[bytes, tuple[int, str]] = {}
        """Interface index and next hop by destination, as GetBestRoute and GetBestRoute2 know them."""
        self.best_interface: dict[bytes, int] = {}
        self.neighbours: list[MIB_IPNET_ROW2] = []
        self.answering: dict[bytes, bytes] = {}
        """Who answers on the link, when asked."""
        self.missing = set(missing)
        self.tables: dict[int, Any] = {}
        """Not freed yet."""
        self.asked: list[str] = []
        self.adapters_error = 0
        self.callbacks: dict[int, Callable[[None, None, int], None]] = {}
        self._kept: list[Any] = []

    def GetAdaptersAddresses(self, family: int, flags: int, reserved: None, addresses: Any, size: Any) -> int:
        assert (family, flags) == (AF_UNSPEC, 0x86)
        if self.adapters_error or not self.adapters:
            return self.adapters_error or 232
        needed = len(self.adapters) * ctypes.sizeof(IP_ADAPTER_ADDRESSES)
        room, size._obj.value = size._obj.value, needed
        if room < needed:
            return ERROR_BUFFER_OVERFLOW
        assert room == len(addresses)
        entries = (IP_ADAPTER_ADDRESSES * len(self.adapters)).from_buffer(addresses)
        for number, (entry, adapter) in enumerate(zip(entries, self.adapters, strict=True)):
            self._fill(entry, adapter)
            if number + 1 < len(self.adapters):
                entry.Next = ctypes.addressof(entries[number + 1])
        return 0

    def _fill(self, entry: IP_ADAPTER_ADDRESSES, adapter: FakeAdapter) -> None:
        entry.IfIndex, entry.Ipv6IfIndex = adapter.ipv4_index, adapter.ipv6_index
        entry.AdapterName = self._keep(ctypes.create_string_buffer(adapter.guid.encode()))
        entry.FriendlyName = self._keep(ctypes.create_unicode_buffer(adapter.name))
        entry.Description = self._keep(ctypes.create_unicode_buffer("a network card"))
        entry.DnsSuffix = self._keep(ctypes.create_unicode_buffer(adapter.suffix))
        entry.Mtu, entry.IfType, entry.OperStatus = adapter.mtu, adapter.kind, 1 if adapter.up else 2
        entry.Ipv4Metric, entry.Ipv6Metric, entry.Luid = adapter.metric, adapter.ipv6_metric, adapter.ipv4_index << 24
        entry.PhysicalAddressLength = len(adapter.mac)
        ctypes.memmove(entry.PhysicalAddress, adapter.mac, len(adapter.mac))
        entry.FirstUnicastAddress = self._chain(
            [
                IP_ADAPTER_UNICAST_ADDRESS(
                    Head=IP_ADAPTER_ADDRESS(Address=self._address(address)), OnLinkPrefixLength=length
                )
                for address, length in adapter.addresses
            ]
        )
        entry.FirstGatewayAddress = self._addresses(adapter.gateways)
        entry.FirstDnsServerAddress = self._addresses(adapter.dns)

    def _addresses(self, texts: Sequence[str]) -> int | None:
        return self._chain([IP_ADAPTER_ADDRESS(Address=self._address(text)) for text in texts])

    def _address(self, text: str) -> SOCKET_ADDRESS:
        return SOCKET_ADDRESS(self._keep(place(text)), 28 if ":" in text else 16)

    def _chain(self, entries: Sequence[Any]) -> int | None:
        following: int | None = None
        for entry in reversed(entries):
            head = entry.Head if isinstance(entry, IP_ADAPTER_UNICAST_ADDRESS) else entry
            head.Next = following
            following = self._keep(entry)
        return following

    def _keep(self, thing: Any) -> int:
        self._kept.append(thing)
        return ctypes.addressof(thing)

    def add_route(
        self, destination: str, length: int, index: int, next_hop: str, metric: int = 0
    ) -> MIB_IPFORWARD_ROW2:
        row = MIB_IPFORWARD_ROW2(
            InterfaceIndex=index,
            DestinationPrefix=place(destination),
            PrefixLength=length,
            NextHop=place(next_hop),
            Metric=metric,
        )
        self.routes.append(row)
        return row

    def add_neighbour(self, address: str, index: int, mac: bytes, state: int = 5) -> None:
        row = MIB_IPNET_ROW2(Address=place(address), InterfaceIndex=index, PhysicalAddressLength=len(mac), State=state)
        ctypes.memmove(row.PhysicalAddress, mac, len(mac))
        self.neighbours.append(row)

    def GetIpForwardTable2(self, family: int, table: Any) -> int:
        rows = [row for row in self.routes if family in (AF_UNSPEC, row.DestinationPrefix.si_family)]
        return self._table("GetIpForwardTable2", rows, MIB_IPFORWARD_ROW2, table)

    def GetIpNetTable2(self, family: int, table: Any) -> int:
        rows = [row for row in self.neighbours if row.Address.si_family == family]
        return self._table("GetIpNetTable2", rows, MIB_IPNET_ROW2, table)

    def _table(self, call: str, rows: Sequence[Any], kind: type[Any], table: Any) -> int:
        self.asked.append(call)
        if call in self.missing:
            return ERROR_NOT_SUPPORTED
        memory = ctypes.create_string_buffer(TABLE_ROWS_AT + ctypes.sizeof(kind) * len(rows))
        content = struct.pack("<II", len(rows), 0xDDDD_DDDD) + b"".join(bytes(row) for row in rows)
        ctypes.memmove(memory, content, len(content))
        self.tables[ctypes.addressof(memory)] = memory
        table._obj.value = ctypes.addressof(memory)
        return 0

    def FreeMibTable(self, table: Any) -> None:
        ctypes.memset(self.tables.pop(table.value), 0xDD, TABLE_ROWS_AT)

    def GetBestRoute2(
        self, luid: None, index: int, source: None, destination: Any, options: int, route: Any, best_source: Any
    ) -> int:
        self.asked.append("GetBestRoute2")
        if "GetBestRoute2" in self.missing:
            return ERROR_NOT_SUPPORTED
        found = self.best.get(destination._obj.packed)
        if found is None or index not in (0, found[0]):
            return ERROR_NOT_FOUND
        route._obj.InterfaceIndex, hop = found
        route._obj.NextHop = place(hop)
        return 0

    def GetBestRoute(self, destination: int, source: int, route: Any) -> int:
        self.asked.append("GetBestRoute")
        found = self.best.get(destination.to_bytes(4, "little"))
        if "GetBestRoute" in self.missing or found is None:
            return ERROR_NOT_SUPPORTED
        route._obj.dwForwardIfIndex, hop = found
        ctypes.memmove(route._obj.dwForwardNextHop, packed(hop), 4)
        return 0

    def GetBestInterfaceEx(self, destination: Any, index: Any) -> int:
        self.asked.append("GetBestInterfaceEx")
        found = self.best_interface.get(destination._obj.packed)
        index._obj.value = found or 0
        return ERROR_NOT_FOUND if found is None else 0

    def ResolveIpNetEntry2(self, row: Any, source: None) -> int:
        self.asked.append("ResolveIpNetEntry2")
        mac = self.answering.get(row._obj.Address.packed)
        if "ResolveIpNetEntry2" in self.missing or mac is None:
            return ERROR_NOT_SUPPORTED
        row._obj.PhysicalAddressLength = len(mac)
        ctypes.memmove(row._obj.PhysicalAddress, mac, len(mac))
        return 0

    def SendARP(self, destination: int, source: int, address: Any, length: Any) -> int:
        self.asked.append("SendARP")
        mac = self.answering.get(destination.to_bytes(4, "little"))
        if "SendARP" in self.missing or mac is None:
            return ERROR_NOT_FOUND
        assert length._obj.value >= len(mac)
        length._obj.value = len(mac)
        ctypes.memmove(address._obj, mac, len(mac))
        return 0

    def NotifyIpInterfaceChange(self, family: int, callback: Any, context: None, initial: int, handle: Any) -> int:
        return self._subscribe(1, callback, handle)

    def NotifyUnicastIpAddressChange(self, family: int, callback: Any, context: None, initial: int, handle: Any) -> int:
        return self._subscribe(2, callback, handle)

    def NotifyRouteChange2(self, family: int, callback: Any, context: None, initial: int, handle: Any) -> int:
        return self._subscribe(3, callback, handle)

    def _subscribe(self, number: int, callback: Any, handle: Any) -> int:
        if "Notify" in self.missing:
            return 0  # as Wine: no error, no handle, no call ever
        self.callbacks[number] = callback
        handle._obj.value = number
        return 0

    def CancelMibChangeNotify2(self, handle: int) -> int:
        return 0 if self.callbacks.pop(handle, None) else ERROR_INVALID_HANDLE
