"""The host's adapters as GetAdaptersAddresses tells them, all in one call."""

import ctypes
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from wiresock_py.errors import NetworkError
from wiresock_py.network.windows.iphlpapi import (
    AF_UNSPEC,
    GAA_FLAG_INCLUDE_GATEWAYS,
    GAA_FLAG_SKIP_ANYCAST,
    GAA_FLAG_SKIP_MULTICAST,
    IF_OPER_STATUS_UP,
    IF_TYPE_SOFTWARE_LOOPBACK,
    IP_ADAPTER_ADDRESS,
    IP_ADAPTER_ADDRESSES,
    IP_ADAPTER_UNICAST_ADDRESS,
    SOCKADDR_INET,
    IpHelper,
    chain,
    load_ip_helper,
)
from wiresock_py.win32 import DWORD, ERROR_BUFFER_OVERFLOW

ERROR_NO_DATA = 232
_FIRST_BUFFER = 32 * 1024
_ATTEMPTS = 5
_IPV4_SOCKADDR = 16
# What Windows names as resolvers where nobody configured one (RFC 3879 did away with these addresses).
_NO_RESOLVERS = frozenset(ipaddress.IPv6Address(f"fec0:0:0:ffff::{n}").packed for n in (1, 2, 3))


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter, up or not."""

    name: str
    """As Windows shows it to people: "Ethernet 2"."""
    guid: str
    """With its braces: how drivers name it."""
    description: str
    index: int
    """The interface index; 0 if it has no IPv4."""
    ipv6_index: int
    """0 if it has no IPv6; otherwise mostly the same as ``index``."""
    luid: int
    mtu: int
    mac: bytes
    """Empty where there is none (PPP, tunnels)."""
    up: bool
    loopback: bool
    metric: int
    """Added to the metric of its IPv4 routes."""
    ipv6_metric: int
    addresses: tuple[tuple[bytes, int], ...]
    """Packed, with their prefix length."""
    gateways: tuple[bytes, ...]
    dns_servers: tuple[str, ...]
    """Numeric; a link-local IPv6 one with its zone."""
    dns_suffix: str

    def index_of(self, family: socket.AddressFamily) -> int:
        """The interface index that this family's calls use."""
        return (self.ipv6_index if family == socket.AF_INET6 else self.index) or self.index or self.ipv6_index


def adapters(helper: IpHelper | None = None) -> tuple[Adapter, ...]:
    """Every adapter there is now. Raises NetworkError if Windows does not tell."""
    helper = helper or load_ip_helper()
    flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_INCLUDE_GATEWAYS
    size = DWORD(_FIRST_BUFFER)
    error = 0
    for _ in range(_ATTEMPTS):
        buffer = ctypes.create_string_buffer(size.value)
        error = helper.GetAdaptersAddresses(AF_UNSPEC, flags, None, buffer, ctypes.byref(size))
        if error == ERROR_NO_DATA:
            return ()
        if error == 0:
            return tuple(_adapter(entry) for entry in chain(ctypes.addressof(buffer), IP_ADAPTER_ADDRESSES))
        if error != ERROR_BUFFER_OVERFLOW:
            break
    raise NetworkError(f"Windows does not list its adapters: error {error}")


def _adapter(entry: Any) -> Adapter:
    unicast = chain(entry.FirstUnicastAddress, IP_ADAPTER_UNICAST_ADDRESS)
    addresses = ((_packed(each.Head.Address), int(each.OnLinkPrefixLength)) for each in unicast)
    gateways = (_packed(each.Address) for each in chain(entry.FirstGatewayAddress, IP_ADAPTER_ADDRESS))
    servers = (_text(each.Address) for each in chain(entry.FirstDnsServerAddress, IP_ADAPTER_ADDRESS))
    return Adapter(
        name=_string(entry.FriendlyName),
        guid=ctypes.string_at(entry.AdapterName).decode("ascii", "replace") if entry.AdapterName else "",
        description=_string(entry.Description),
        index=entry.IfIndex,
        ipv6_index=entry.Ipv6IfIndex,
        luid=entry.Luid,
        mtu=min(entry.Mtu, 65_535),  # loopback says 4,294,967,295
        mac=bytes(entry.PhysicalAddress[: min(entry.PhysicalAddressLength, 8)]),
        up=entry.OperStatus == IF_OPER_STATUS_UP,
        loopback=entry.IfType == IF_TYPE_SOFTWARE_LOOPBACK,
        metric=entry.Ipv4Metric,
        ipv6_metric=entry.Ipv6Metric,
        addresses=tuple((address, length) for address, length in addresses if address),
        gateways=tuple(gateway for gateway in gateways if gateway),
        dns_servers=tuple(server for server in servers if server),
        dns_suffix=_string(entry.DnsSuffix),
    )


def _place(address: Any) -> SOCKADDR_INET | None:
    """A copy of what a SOCKET_ADDRESS points to."""
    if not address.lpSockaddr or address.iSockaddrLength < _IPV4_SOCKADDR:
        return None
    place = SOCKADDR_INET()
    length = min(address.iSockaddrLength, ctypes.sizeof(place))
    ctypes.memmove(ctypes.byref(place), address.lpSockaddr, length)
    return place


def _packed(address: Any) -> bytes:
    place = _place(address)
    return b"" if place is None else place.packed


def _text(address: Any) -> str:
    place = _place(address)
    if place is None or not place.packed or place.packed in _NO_RESOLVERS:
        return ""
    found = ipaddress.ip_address(place.packed)
    return f"{found}%{place.scope_id}" if found.is_link_local and place.scope_id else str(found)


def _string(place: int | None) -> str:
    return ctypes.wstring_at(place) if place else ""
