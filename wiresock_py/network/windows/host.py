"""What backends ask about this host's network, answered by Windows: the ``HostNetwork`` of ``filters/host.py``."""

import socket
import threading
from collections.abc import Callable

from wiresock_py.filters import HostAdapter
from wiresock_py.network.changes import Change
from wiresock_py.network.windows.adapters import adapters
from wiresock_py.network.windows.changes import WindowsChanges
from wiresock_py.network.windows.iphlpapi import IpHelper, load_ip_helper
from wiresock_py.network.windows.routes import default_routes, neighbour, next_hop

_PATIENCE = 60.0
"""Seconds of one wait for news; it ends by itself when there is some."""
_UNSPECIFIED = {socket.AF_INET: bytes(4), socket.AF_INET6: bytes(16)}


class WindowsHost:
    """Windows' own answers. Every method may be called from any thread."""

    def __init__(self, helper: IpHelper | None = None) -> None:
        """Raises OSError on other systems."""
        self._helper = helper or load_ip_helper()

    def adapters(self) -> tuple[HostAdapter, ...]:
        """The adapters that are up, without loopback. Raises NetworkError if Windows does not tell."""
        known = adapters(self._helper)
        gateways: dict[int, list[bytes]] = {}
        for family, unspecified in _UNSPECIFIED.items():
            for route in default_routes(family, self._helper, known):
                gateways.setdefault(route.index, []).append(route.gateway or unspecified)
        return tuple(
            HostAdapter(
                index=each.index or each.ipv6_index,
                guid=each.guid.upper(),
                name=each.name,
                mtu=each.mtu,
                addresses=tuple(address for address, _ in each.addresses),
                gateways=tuple(
                    gateway
                    for index in dict.fromkeys((each.index, each.ipv6_index))
                    for gateway in gateways.get(index, ())
                ),
            )
            for each in known
            if each.up and not each.loopback and (each.index or each.ipv6_index)
        )

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
        """The hardware address of the next hop to *destination* by *adapter*; may take seconds."""
        hop = next_hop(destination, adapter, self._helper)
        return None if hop is None else neighbour(hop.address, hop.index, self._helper)

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call *changed* from a thread of its own after each change; the result ends that."""
        changes = WindowsChanges(self._helper)
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                if changes.wait(_PATIENCE) is not Change.NONE and not ended.is_set():
                    changed()

        thread = threading.Thread(target=watch, name="network changes", daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            changes.close()
            if thread is not threading.current_thread():
                thread.join()

        return end
