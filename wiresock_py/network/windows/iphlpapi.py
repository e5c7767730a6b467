"""iphlpapi.dll: structures as a 64-bit process has them (iptypes.h, netioapi.h), and the calls, typed.

Windows' names stay in Windows' spelling here. Only fields that are read are named; the rest is padding.
"""

import ctypes
import socket
import sys
from collections.abc import Iterator
from typing import Any, Protocol, cast

from wiresock_py.win32 import DWORD, HANDLE, POINTER, load

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 23  # winsock2.h; Linux numbers the last one otherwise
FAMILIES = {AF_INET: socket.AF_INET, AF_INET6: socket.AF_INET6}
IF_TYPE_SOFTWARE_LOOPBACK = 24
IF_OPER_STATUS_UP = 1
GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_MULTICAST, GAA_FLAG_INCLUDE_GATEWAYS = 0x2, 0x4, 0x80
NLNS_PROBE = 2
"""NL_NEIGHBOR_STATE (nldef.h): from here on there is a hardware address, before it stand unreachable and incomplete."""


class SOCKADDR_INET(ctypes.Structure):
    """A sockaddr_in or sockaddr_in6; ``si_port``, ``flowinfo`` and what follows a sockaddr_in are left zero."""

    _fields_ = (
        ("si_family", ctypes.c_uint16),
        ("si_port", ctypes.c_uint16),
        ("v4", ctypes.c_uint8 * 4),  # flowinfo of IPv6
        ("v6", ctypes.c_uint8 * 16),
        ("scope_id", ctypes.c_uint32),
    )

    @classmethod
    def of(cls, address: bytes, scope: int = 0) -> "SOCKADDR_INET":
        """From a packed address."""
        place = cls(si_family=AF_INET6 if len(address) == 16 else AF_INET, scope_id=scope)
        ctypes.memmove(place.v6 if len(address) == 16 else place.v4, address, len(address))
        return place

    @property
    def packed(self) -> bytes:
        """The packed address; empty if it is of neither family."""
        if self.si_family == AF_INET:
            return bytes(self.v4)
        return bytes(self.v6) if self.si_family == AF_INET6 else b""


class SOCKET_ADDRESS(ctypes.Structure):
    _fields_ = (("lpSockaddr", ctypes.c_void_p), ("iSockaddrLength", ctypes.c_int))


class IP_ADAPTER_ADDRESS(ctypes.Structure):
    """The head that unicast, DNS server and gateway entries share."""

    _fields_ = (
        ("Length", ctypes.c_uint32),
        ("Flags", ctypes.c_uint32),
        ("Next", ctypes.c_void_p),
        ("Address", SOCKET_ADDRESS),
    )


class IP_ADAPTER_UNICAST_ADDRESS(ctypes.Structure):
    _fields_ = (
        ("Head", IP_ADAPTER_ADDRESS),
        ("PrefixOrigin", ctypes.c_int),
        ("SuffixOrigin", ctypes.c_int),
        ("DadState", ctypes.c_int),
        ("ValidLifetime", ctypes.c_uint32),
        ("PreferredLifetime", ctypes.c_uint32),
        ("LeaseLifetime", ctypes.c_uint32),
        ("OnLinkPrefixLength", ctypes.c_uint8),
    )


class IP_ADAPTER_ADDRESSES(ctypes.Structure):
    _fields_ = (
        ("Length", ctypes.c_uint32),
        ("IfIndex", ctypes.c_uint32),
        ("Next", ctypes.c_void_p),
        ("AdapterName", ctypes.c_void_p),
        ("FirstUnicastAddress", ctypes.c_void_p),
        ("FirstAnycastAddress", ctypes.c_void_p),
        ("FirstMulticastAddress", ctypes.c_void_p),
        ("FirstDnsServerAddress", ctypes.c_void_p),
        ("DnsSuffix", ctypes.c_void_p),
        ("Description", ctypes.c_void_p),
        ("FriendlyName", ctypes.c_void_p),
        ("PhysicalAddress", ctypes.c_uint8 * 8),
        ("PhysicalAddressLength", ctypes.c_uint32),
        ("Flags", ctypes.c_uint32),
        ("Mtu", ctypes.c_uint32),
        ("IfType", ctypes.c_uint32),
        ("OperStatus", ctypes.c_int),
        ("Ipv6IfIndex", ctypes.c_uint32),
        ("ZoneIndices", ctypes.c_uint32 * 16),
        ("FirstPrefix", ctypes.c_void_p),
        ("TransmitLinkSpeed", ctypes.c_uint64),
        ("ReceiveLinkSpeed", ctypes.c_uint64),
        ("FirstWinsServerAddress", ctypes.c_void_p),
        ("FirstGatewayAddress", ctypes.c_void_p),
        ("Ipv4Metric", ctypes.c_uint32),
        ("Ipv6Metric", ctypes.c_uint32),
        ("Luid", ctypes.c_uint64),
        ("Rest", ctypes.c_uint8 * 216),  # DHCP, compartment, tunnel kind, more suffixes
    )


class MIB_IPFORWARD_ROW2(ctypes.Structure):
    _fields_ = (
        ("InterfaceLuid", ctypes.c_uint64),
        ("InterfaceIndex", ctypes.c_uint32),
        ("DestinationPrefix", SOCKADDR_INET),
        ("PrefixLength", ctypes.c_uint8),
        ("NextHop", SOCKADDR_INET),
        ("SitePrefixLength", ctypes.c_uint8),
        ("ValidLifetime", ctypes.c_uint32),
        ("PreferredLifetime", ctypes.c_uint32),
        ("Metric", ctypes.c_uint32),
        ("Protocol", ctypes.c_int),
        ("Loopback", ctypes.c_uint8),
        ("AutoconfigureAddress", ctypes.c_uint8),
        ("Publish", ctypes.c_uint8),
        ("Immortal", ctypes.c_uint8),
        ("Age", ctypes.c_uint32),
        ("Origin", ctypes.c_int),
    )


class MIB_IPFORWARDROW(ctypes.Structure):
    """The older form, IPv4 only: addresses as they are on the wire."""

    _fields_ = (
        ("dwForwardDest", ctypes.c_uint8 * 4),
        ("dwForwardMask", ctypes.c_uint8 * 4),
        ("dwForwardPolicy", ctypes.c_uint32),
        ("dwForwardNextHop", ctypes.c_uint8 * 4),
        ("dwForwardIfIndex", ctypes.c_uint32),
        ("Rest", ctypes.c_uint32 * 9),
    )


class MIB_IPNET_ROW2(ctypes.Structure):
    _fields_ = (
        ("Address", SOCKADDR_INET),
        ("InterfaceIndex", ctypes.c_uint32),
        ("InterfaceLuid", ctypes.c_uint64),
        ("PhysicalAddress", ctypes.c_uint8 * 32),
        ("PhysicalAddressLength", ctypes.c_uint32),
        ("State", ctypes.c_int),
        ("Flags", ctypes.c_uint8),
        ("ReachabilityTime", ctypes.c_uint32),
    )


TABLE_ROWS_AT = 8
"""Where the rows of a MIB_…_TABLE2 begin: after NumEntries, aligned to 8."""


class IpHelper(Protocol):
    """The calls that are made; each returns a Win32 error, 0 for none."""

    def GetAdaptersAddresses(self, family: int, flags: int, reserved: None, addresses: Any, size: Any, /) -> int: ...
    def GetIpForwardTable2(self, family: int, table: Any, /) -> int: ...
    def GetBestRoute2(
        self, luid: Any, index: int, source: Any, destination: Any, options: int, route: Any, best_source: Any, /
    ) -> int: ...
    def GetBestRoute(self, destination: int, source: int, route: Any, /) -> int: ...
    def GetBestInterfaceEx(self, destination: Any, index: Any, /) -> int: ...
    def GetIpNetTable2(self, family: int, table: Any, /) -> int: ...
    def ResolveIpNetEntry2(self, row: Any, source: Any, /) -> int: ...
    def SendARP(self, destination: int, source: int, address: Any, length: Any, /) -> int: ...
    def FreeMibTable(self, table: Any, /) -> None: ...
    def NotifyIpInterfaceChange(
        self, family: int, callback: Any, context: None, initial: int, handle: Any, /
    ) -> int: ...
    def NotifyRouteChange2(self, family: int, callback: Any, context: None, initial: int, handle: Any, /) -> int: ...
    def NotifyUnicastIpAddressChange(
        self, family: int, callback: Any, context: None, initial: int, handle: Any, /
    ) -> int: ...
    def CancelMibChangeNotify2(self, handle: int, /) -> int: ...


_NOTIFY = (DWORD, (ctypes.c_uint16, POINTER, POINTER, ctypes.c_uint8, POINTER))
_CALLS: dict[str, Any] = {
    "GetAdaptersAddresses": (DWORD, (DWORD, DWORD, POINTER, POINTER, POINTER)),
    "GetIpForwardTable2": (DWORD, (ctypes.c_uint16, POINTER)),
    "GetBestRoute2": (DWORD, (POINTER, DWORD, POINTER, POINTER, DWORD, POINTER, POINTER)),
    "GetBestRoute": (DWORD, (DWORD, DWORD, POINTER)),
    "GetBestInterfaceEx": (DWORD, (POINTER, POINTER)),
    "GetIpNetTable2": (DWORD, (ctypes.c_uint16, POINTER)),
    "ResolveIpNetEntry2": (DWORD, (POINTER, POINTER)),
    "SendARP": (DWORD, (DWORD, DWORD, POINTER, POINTER)),
    "FreeMibTable": (None, (POINTER,)),
    "NotifyIpInterfaceChange": _NOTIFY,
    "NotifyRouteChange2": _NOTIFY,
    "NotifyUnicastIpAddressChange": _NOTIFY,
    "CancelMibChangeNotify2": (DWORD, (HANDLE,)),
}
# What Wine lacks, or older Windows; each has something behind it.
_LATE = frozenset(_CALLS) - {"GetAdaptersAddresses"}


def load_ip_helper() -> IpHelper:
    """The DLL. Raises OSError on other systems."""
    return cast("IpHelper", load("iphlpapi", _CALLS, late=_LATE))


def callback_type() -> Any:
    """A function type for ``Notify…``: (context, row, kind of change). 64-bit Windows has one calling convention."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


def dword(address: bytes) -> int:
    """An IPv4 address as the older calls take it: the bytes as they are on the wire."""
    return int.from_bytes(address, sys.byteorder)


def rows(helper: IpHelper, call: str, family: int, kind: type[Any]) -> list[Any]:
    """Copies of a table's rows. Raises OSError with the Win32 error if Windows does not tell."""
    table = ctypes.c_void_p()
    if error := getattr(helper, call)(family, ctypes.byref(table)):
        raise OSError(error, f"{call} failed: error {error}")
    try:
        place = table.value or 0
        count = ctypes.c_uint32.from_address(place).value if place else 0
        return [kind.from_buffer_copy(row) for row in (kind * count).from_address(place + TABLE_ROWS_AT)]
    finally:
        helper.FreeMibTable(table)


def chain(place: int | None, kind: type[Any]) -> Iterator[Any]:
    """The entries of a list that each entry's ``Next`` leads on."""
    while place:
        entry = kind.from_address(place)
        yield entry
        place = entry.Head.Next if kind is IP_ADAPTER_UNICAST_ADDRESS else entry.Next
