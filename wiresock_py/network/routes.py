"""Default routes from the kernel's main table, by rtnetlink (rtnetlink(7), linux/rtnetlink.h)."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from wiresock_py.errors import NetworkError
from wiresock_py.netlink import Netlink, attributes

NETLINK_ROUTE = 0
_RTM_GETROUTE = 26
# rtmsg: family, prefix lengths of destination and source, tos, table, protocol, scope, type, flags
_ROUTE = struct.Struct("=BBBBBBBBI")
_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 4, 5, 6, 9, 15, 18
# rtnexthop: length, flags, hops, interface; its own attributes follow
_NEXT_HOP = struct.Struct("=HBBI")
_RTNH_F_DEAD, _RTNH_F_LINKDOWN = 1, 16
_NOT_USABLE = _RTNH_F_DEAD | _RTNH_F_LINKDOWN
_NUMBER = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A route to everything else, and the adapter it leaves by."""

    family: socket.AddressFamily
    adapter: str
    index: int
    """The adapter's interface index; 0 where the system does not say."""
    gateway: bytes
    """Packed; empty on a point-to-point link, or where the system does not say."""
    metric: int
    """Lower is preferred."""


def default_routes(family: socket.AddressFamily) -> list[DefaultRoute]:
    """The default routes of one family over links that are up, lowest metric first. Raises NetworkError."""
    try:
        with Netlink(NETLINK_ROUTE) as kernel:
            answers = kernel.dump(_RTM_GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    except OSError as error:
        raise NetworkError(f"the kernel does not tell its routes: {error}") from error
    routes = [route for _kind, body in answers for route in parse_default(body, family)]
    return sorted(routes, key=lambda route: route.metric)


def parse_default(body: bytes, family: socket.AddressFamily) -> Iterator[DefaultRoute]:
    """The ways out that a route message offers, if it is a default route of the main table."""
    if len(body) < _ROUTE.size:
        return
    found_family, destination_length, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(body)
    if (found_family, destination_length, kind) != (family, 0, _RTN_UNICAST):
        return
    about = attributes(body, _ROUTE.size)
    if _number(about, _RTA_TABLE, table) != _RT_TABLE_MAIN:
        return
    metric = _number(about, _RTA_PRIORITY, 0)
    hops = (
        list(_next_hops(about[_RTA_MULTIPATH]))
        if _RTA_MULTIPATH in about
        else [(flags, _number(about, _RTA_OIF, 0), about)]
    )
    for hop_flags, index, hop in hops:
        if not hop_flags & _NOT_USABLE and (adapter := _name(index)):
            # IPv4 through an IPv6 router comes as RTA_VIA: family, then the address.
            gateway = hop.get(_RTA_GATEWAY) or hop.get(_RTA_VIA, b"")[2:]
            yield DefaultRoute(family, adapter, index, gateway, metric)


def _next_hops(value: bytes) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    at = 0
    while at + _NEXT_HOP.size <= len(value):
        length, flags, _hops, index = _NEXT_HOP.unpack_from(value, at)
        if length < _NEXT_HOP.size:
            return
        yield flags, index, attributes(value[at : at + length], _NEXT_HOP.size)
        at += (length + 3) & ~3


def _number(about: dict[int, bytes], kind: int, default: int) -> int:
    value = about.get(kind, b"")
    return int(_NUMBER.unpack(value)[0]) if len(value) == _NUMBER.size else default


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""  # gone since the kernel answered
