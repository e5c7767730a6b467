"""Which adapters carry a default route and what lies behind the others: the kernel's routing tables (rtnetlink).

What lies behind an adapter is left alone, and a LAN may say what it likes of that: a hostile DHCP server or router can
leave the default route out and hand the internet out in pieces instead. So only networks that are none of the internet
are believed to lie there, except behind a point-to-point adapter (another tunnel), whose routes a program of this host
has set.
"""

import fcntl
import socket
import struct
import sys
from ipaddress import IPv4Network, IPv6Network

assert sys.platform == "linux"

from wiresock_py.filters.base import Network
from wiresock_py.filters.netfilter.rules import MAX_NETWORKS, Surroundings
from wiresock_py.netlink import Netlink, attributes

NETLINK_ROUTE = 0
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTA_DST, RTA_OIF, RTA_MULTIPATH = 1, 4, 9
RTN_UNICAST = 1
RTM_F_CLONED = 0x200
# rtmsg: family, destination and source prefix length, tos, table, protocol, scope, type, flags
ROUTE = struct.Struct("=BBBBBBBBI")
# rtnexthop: length, flags, hops, interface index
NEXT_HOP = struct.Struct("=HBBi")
# 0.0.0.0/1 and 128.0.0.0/1 together are how other tunnels write a default route without replacing the old one.
DEFAULT_LENGTH = 1
SIOCGIFFLAGS, IFF_POINTOPOINT = 0x8913, 0x10
# ifreq: name, then a union that begins with the flags (linux/if.h)
IFREQ = struct.Struct("=16sH22x")


def surroundings() -> Surroundings:
    """Read both families' routes of every table: a default route that only some sockets use counts as well."""
    default: set[str] = set()
    behind: dict[str, set[Network]] = {}
    with Netlink(NETLINK_ROUTE) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            for kind, body in kernel.dump(RTM_GETROUTE, ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                if kind != RTM_NEWROUTE or len(body) < ROUTE.size or body[0] != family:
                    continue
                network, indices = _route(body)
                for index in indices:
                    name = _name(index)
                    if not name or name == "lo":
                        continue
                    if network.is_link_local or network.is_multicast:
                        continue
                    if network.prefixlen <= DEFAULT_LENGTH:
                        default.add(name)
                    else:
                        behind.setdefault(name, set()).add(network)
    return Surroundings(
        frozenset(default),
        {name: _believed(name, found) for name, found in behind.items() if name not in default},
    )


def _believed(adapter: str, networks: set[Network]) -> tuple[Network, ...]:
    """Those of *networks* that are to be left alone, the widest first."""
    ordered = sorted(networks, key=lambda network: (network.prefixlen, str(network)))
    if _is_point_to_point(adapter):
        return tuple(ordered)
    return tuple(network for network in ordered if not network.is_global)[:MAX_NETWORKS]


def _is_point_to_point(adapter: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            answer = fcntl.ioctl(asker, SIOCGIFFLAGS, IFREQ.pack(adapter.encode(), 0))
        except OSError:
            return False  # gone since
    return bool(IFREQ.unpack(answer)[1] & IFF_POINTOPOINT)


def _route(body: bytes) -> tuple[Network, list[int]]:
    """Destination and interface indices of a route to other hosts; no indices for any other kind of route."""
    family, length, _source, _tos, _table, _protocol, _scope, kind, flags = ROUTE.unpack_from(body)
    found = attributes(body, ROUTE.size)
    network: Network
    if family == socket.AF_INET:
        network = IPv4Network((found.get(RTA_DST, bytes(4)), length), strict=False)
    else:
        network = IPv6Network((found.get(RTA_DST, bytes(16)), length), strict=False)
    if kind != RTN_UNICAST or flags & RTM_F_CLONED:
        return network, []
    indices = [int.from_bytes(found[RTA_OIF], sys.byteorder)] if RTA_OIF in found else []
    hops = found.get(RTA_MULTIPATH, b"")
    while len(hops) >= NEXT_HOP.size:
        size, _flags, _hops, index = NEXT_HOP.unpack_from(hops)
        indices.append(index)
        hops = hops[max((size + 3) & ~3, NEXT_HOP.size) :]
    return network, indices


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""  # gone since
