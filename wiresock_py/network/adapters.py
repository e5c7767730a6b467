"""The host's adapters: their addresses, their MTU, and which of them lead to the rest of the world."""

import ipaddress
import socket
import struct
import sys
from dataclasses import dataclass

import psutil

from wiresock_py.errors import NetworkError
from wiresock_py.network.routes import DefaultRoute, default_routes

if sys.platform == "linux":
    import fcntl
elif sys.platform == "win32":
    from wiresock_py.network.windows import adapters as windows_adapters
    from wiresock_py.network.windows import routes as windows_routes

# Addresses of a root name server, far from every host. Asking for the way there sends nothing.
_ELSEWHERE = {socket.AF_INET: "198.41.0.4", socket.AF_INET6: "2001:503:ba3e::2:30"}
_DISCARD_PORT = 9
_IP_MTU, _IPV6_MTU = 14, 24  # linux/in.h, linux/in6.h
_SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("=16si20x")  # name, then a union as long as a sockaddr and more (linux/if.h)


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this host."""

    address: bytes
    """Packed, 4 or 16 bytes."""
    prefix_length: int
    adapter: str


def default_adapters(family: socket.AddressFamily | None = None) -> tuple[DefaultRoute, ...]:
    """The default routes (of one family, or IPv4's before IPv6's), the preferred one first. Empty if there is none.

    Every default route (on Linux of the main table) over a link that is up; on other systems than Linux and Windows the
    one the host would use now.
    """
    families = [socket.AF_INET, socket.AF_INET6] if family is None else [family]
    if sys.platform == "linux":
        return tuple(route for wanted in families for route in default_routes(wanted))
    if sys.platform == "win32":
        return tuple(route for wanted in families for route in windows_routes.default_routes(wanted))
    return tuple(route for wanted in families if (route := _route_in_use(wanted)) is not None)


def has_route(family: socket.AddressFamily) -> bool:
    """Whether the host can send to the rest of the world in this family: if not, connect() fails before any packet."""
    return source_address(socket.inet_pton(family, _ELSEWHERE[family])) is not None


def source_address(remote: bytes, *, mark: int = 0) -> bytes | None:
    """The address this host would send from to *remote* (both packed), None without a route. Sends nothing.

    *mark* is the SO_MARK the packets would carry: policy routing may depend on it.
    """
    family = socket.AF_INET6 if len(remote) == 16 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if mark:
                set_mark(probe, mark)
            probe.connect((socket.inet_ntop(family, remote), _DISCARD_PORT))
            return packed(probe.getsockname()[0])
    except OSError:
        return None


def path_mtu(remote: bytes, *, mark: int = 0) -> int | None:
    """How large a packet the kernel believes the way to *remote* (packed) carries; None where it does not say.

    That is the adapter's MTU, or less: the route's own, or what a router on the way asked for (ICMP). Sends nothing.
    """
    if sys.platform != "linux":
        return None
    family = socket.AF_INET6 if len(remote) == 16 else socket.AF_INET
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if mark:
                set_mark(probe, mark)
            probe.connect((socket.inet_ntop(family, remote), _DISCARD_PORT))
            return probe.getsockopt(level, option)
    except OSError:
        return None


def local_addresses() -> tuple[LocalAddress, ...]:
    """Every address of every adapter, loopback included. Raises NetworkError if Windows does not list them."""
    if sys.platform == "win32":  # where psutil knows no prefix lengths of IPv6
        return tuple(
            LocalAddress(address, length, adapter.name)
            for adapter in windows_adapters.adapters()
            for address, length in adapter.addresses
        )
    found: list[LocalAddress] = []
    for adapter, addresses in psutil.net_if_addrs().items():
        for entry in addresses:
            if entry.family in {socket.AF_INET, socket.AF_INET6}:
                address = packed(entry.address)
                found.append(LocalAddress(address, _prefix_length(entry.netmask, len(address)), adapter))
    return tuple(found)


def on_link_networks() -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """The networks this host's adapters are connected to; loopback, link-local and single addresses are none."""
    found: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, None] = {}
    for own in local_addresses():
        address = ipaddress.ip_address(own.address)
        network = ipaddress.ip_network((own.address, own.prefix_length), strict=False)
        if 0 < network.prefixlen < network.max_prefixlen and not address.is_loopback and not address.is_link_local:
            found[network] = None
    return tuple(found)


def adapter_mtu(name: str) -> int:
    """The adapter's MTU in bytes, IP header included. Raises NetworkError for an adapter there is none of."""
    if sys.platform == "linux":
        # psutil asks every adapter for everything; this is asked on a packet's way out.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            try:
                request = _IFREQ.pack(name.encode(), 0)
                return int(_IFREQ.unpack(fcntl.ioctl(any_socket, _SIOCGIFMTU, request))[1])
            except (OSError, struct.error, UnicodeError):
                raise _no_adapter(name) from None
    statistics = psutil.net_if_stats()
    if name not in statistics:
        raise _no_adapter(name)
    return statistics[name].mtu


def adapter_mtu_by_index(index: int) -> int:
    """As ``adapter_mtu``, for an interface index."""
    if sys.platform == "win32":  # where the names that the socket module knows are not those people know
        for adapter in windows_adapters.adapters():
            if index in (adapter.index, adapter.ipv6_index):
                return adapter.mtu
        raise _no_adapter(f"number {index}")
    try:
        return adapter_mtu(socket.if_indextoname(index))
    except OSError:
        raise _no_adapter(f"number {index}") from None


def set_mark(sock: socket.socket, mark: int) -> None:
    """Put SO_MARK on a socket, where the system has it. Raises NetworkError without the right to do so."""
    if sys.platform == "linux":
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        except PermissionError:
            raise NetworkError(
                "the system does not let this process mark its packets (SO_MARK)",
                "run it as root, or give it CAP_NET_ADMIN",
            ) from None


def packed(address: str) -> bytes:
    """A numeric address in 4 or 16 bytes, without its zone."""
    return ipaddress.ip_address(address.partition("%")[0]).packed


def _no_adapter(name: str) -> NetworkError:
    return NetworkError(f"there is no adapter {name}", f"this host has {', '.join(sorted(psutil.net_if_addrs()))}")


def _route_in_use(family: socket.AddressFamily) -> DefaultRoute | None:
    source = source_address(socket.inet_pton(family, _ELSEWHERE[family]))
    adapter = next((own.adapter for own in local_addresses() if own.address == source), None)
    return None if adapter is None else DefaultRoute(family, adapter, 0, b"", 0)


def _prefix_length(netmask: str | None, size: int) -> int:
    """Length of a mask as psutil gives it: ``255.255.255.0``, ``ffff:ffff::``, ``ffff::/16`` or None."""
    if netmask is None:
        return size * 8
    length = netmask.rpartition("/")[2] if "/" in netmask else ""
    return int(length) if length.isdigit() else int.from_bytes(packed(netmask), "big").bit_count()
