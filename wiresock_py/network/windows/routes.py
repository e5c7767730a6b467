"""Routes, next hops and neighbours on Windows, each from the best call this Windows has."""

import ctypes
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from wiresock_py.errors import NetworkError
from wiresock_py.network.routes import DefaultRoute
from wiresock_py.network.windows.adapters import Adapter, adapters
from wiresock_py.network.windows.iphlpapi import (
    AF_INET,
    AF_INET6,
    MIB_IPFORWARD_ROW2,
    MIB_IPFORWARDROW,
    MIB_IPNET_ROW2,
    NLNS_PROBE,
    SOCKADDR_INET,
    IpHelper,
    dword,
    load_ip_helper,
    rows,
)

_MAC_LENGTH = 6


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a packet to some destination goes first."""

    index: int
    """The interface index it leaves by."""
    address: bytes
    """Packed: the router, or the destination itself where it is on the link."""


def _family(address: bytes) -> int:
    return AF_INET6 if len(address) == 16 else AF_INET


def default_routes(
    family: socket.AddressFamily, helper: IpHelper | None = None, known: Iterable[Adapter] | None = None
) -> list[DefaultRoute]:
    """The default routes of one family over adapters that are up, lowest metric first. Raises NetworkError.

    *known* are the adapters, where they have just been listed.
    """
    helper = helper or load_ip_helper()
    windows_family = AF_INET6 if family == socket.AF_INET6 else AF_INET
    by_index = {each.index_of(family): each for each in (adapters(helper) if known is None else known) if each.up}
    try:
        found = rows(helper, "GetIpForwardTable2", windows_family, MIB_IPFORWARD_ROW2)
    except OSError as error:
        raise NetworkError(f"Windows does not tell its routes: {error.strerror}") from error
    routes = []
    for row in found:
        adapter = by_index.get(row.InterfaceIndex)
        if row.PrefixLength == 0 and adapter is not None and not adapter.loopback:
            own = adapter.ipv6_metric if family == socket.AF_INET6 else adapter.metric
            gateway = row.NextHop.packed
            routes.append(
                DefaultRoute(
                    family, adapter.name, row.InterfaceIndex, gateway if any(gateway) else b"", row.Metric + own
                )
            )
    return sorted(routes, key=lambda route: route.metric)


def next_hop(destination: bytes, index: int = 0, helper: IpHelper | None = None) -> NextHop | None:
    """Where a packet to *destination* (packed) goes first, by the adapter *index* (0: whichever Windows chooses).

    None without a route. GetBestRoute2 answers where it works; behind it, for IPv4, GetBestRoute; behind that the
    adapter that Windows would use, and its gateway.
    """
    helper = helper or load_ip_helper()
    place, source = SOCKADDR_INET.of(destination), SOCKADDR_INET()
    route = MIB_IPFORWARD_ROW2()
    if not helper.GetBestRoute2(None, index, None, ctypes.byref(place), 0, ctypes.byref(route), ctypes.byref(source)):
        return _hop(route.InterfaceIndex, route.NextHop.packed, destination)
    if len(destination) == 4 and not index:
        older = MIB_IPFORWARDROW()
        if not helper.GetBestRoute(dword(destination), 0, ctypes.byref(older)):
            router = bytes(older.dwForwardNextHop)
            # of a destination on the link it says the adapter's own address
            own = any(router == address for each in adapters(helper) for address, _ in each.addresses)
            return _hop(older.dwForwardIfIndex, b"" if own else router, destination)
    return _hop_by_adapter(helper, destination, index)


def _hop(index: int, router: bytes, destination: bytes) -> NextHop:
    return NextHop(index, router if any(router) else destination)


def _hop_by_adapter(helper: IpHelper, destination: bytes, index: int) -> NextHop | None:
    place, best = SOCKADDR_INET.of(destination), ctypes.c_uint32(index)
    if not index and helper.GetBestInterfaceEx(ctypes.byref(place), ctypes.byref(best)):
        return None
    for adapter in adapters(helper):
        if best.value in (adapter.index, adapter.ipv6_index):
            number = int.from_bytes(destination, "big")
            for own, length in adapter.addresses:
                shift = len(own) * 8 - length
                if len(own) == len(destination) and int.from_bytes(own, "big") >> shift == number >> shift:
                    return NextHop(best.value, destination)
            router = next((each for each in adapter.gateways if len(each) == len(destination)), None)
            return None if router is None else NextHop(best.value, router)
    return None


def neighbour(address: bytes, index: int, helper: IpHelper | None = None) -> bytes | None:
    """The hardware address of *address* (packed) on the link of adapter *index*; None if nobody answers.

    Takes what Windows knows already, else asks the link, which may take seconds.
    """
    helper = helper or load_ip_helper()
    try:
        for row in rows(helper, "GetIpNetTable2", _family(address), MIB_IPNET_ROW2):
            if (
                row.InterfaceIndex == index
                and row.Address.packed == address
                and row.State >= NLNS_PROBE
                and (mac := _mac(row))
            ):
                return mac
    except OSError:
        pass  # this Windows keeps its neighbours to itself; it may still ask for us
    asked = MIB_IPNET_ROW2(Address=SOCKADDR_INET.of(address), InterfaceIndex=index)
    if not helper.ResolveIpNetEntry2(ctypes.byref(asked), None):
        return _mac(asked) or None
    if len(address) == 4:
        answer, length = (ctypes.c_uint8 * 8)(), ctypes.c_uint32(8)
        if not helper.SendARP(dword(address), 0, ctypes.byref(answer), ctypes.byref(length)):
            return _six(bytes(answer), length.value) or None
    return None


def _mac(row: MIB_IPNET_ROW2) -> bytes:
    return _six(bytes(row.PhysicalAddress), row.PhysicalAddressLength)


def _six(address: bytes, length: int) -> bytes:
    """An Ethernet address; empty if it is of another kind, or zeros, which is none."""
    return address[:_MAC_LENGTH] if length == _MAC_LENGTH and any(address[:_MAC_LENGTH]) else b""
