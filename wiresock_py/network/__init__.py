"""What the host's network looks like: adapters, addresses, routes, resolvers, and the client's own DNS look-ups."""

import sys

from wiresock_py.filters import HostNetwork
from wiresock_py.network.adapters import (
    LocalAddress,
    adapter_mtu,
    adapter_mtu_by_index,
    default_adapters,
    has_route,
    local_addresses,
    on_link_networks,
    path_mtu,
    source_address,
)
from wiresock_py.network.changes import Change
from wiresock_py.network.dns_servers import Resolver, resolvers
from wiresock_py.network.name_service import shared_resolver
from wiresock_py.network.names import Exempt, lookup
from wiresock_py.network.routes import DefaultRoute

if sys.platform == "win32":
    from wiresock_py.network.windows.changes import WindowsChanges as NetworkChanges
    from wiresock_py.network.windows.host import WindowsHost
else:
    from wiresock_py.network.changes import NetworkChanges


def host_network() -> HostNetwork | None:
    """Who answers the backends about this host's network; None where they ask the kernel themselves."""
    if sys.platform == "win32":
        return WindowsHost()
    return None


__all__ = [
    "Change",
    "DefaultRoute",
    "Exempt",
    "LocalAddress",
    "NetworkChanges",
    "Resolver",
    "adapter_mtu",
    "adapter_mtu_by_index",
    "default_adapters",
    "has_route",
    "host_network",
    "local_addresses",
    "lookup",
    "on_link_networks",
    "path_mtu",
    "resolvers",
    "shared_resolver",
    "source_address",
]
