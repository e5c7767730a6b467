"""What the host's network looks like: adapters, addresses, routes, resolvers, and the client's own DNS look-ups."""

import sys

from wiresock_py.network.adapters import (
    LocalAddress,
    adapter_mtu,
    adapter_mtu_by_index,
    default_adapters,
    has_route,
    local_addresses,
    source_address,
)
from wiresock_py.network.changes import Change
from wiresock_py.network.dns_servers import Resolver, resolvers
from wiresock_py.network.names import lookup
from wiresock_py.network.routes import DefaultRoute

if sys.platform == "win32":
    from wiresock_py.network.windows.changes import WindowsChanges as NetworkChanges
else:
    from wiresock_py.network.changes import NetworkChanges

__all__ = [
    "Change",
    "DefaultRoute",
    "LocalAddress",
    "NetworkChanges",
    "Resolver",
    "adapter_mtu",
    "adapter_mtu_by_index",
    "default_adapters",
    "has_route",
    "local_addresses",
    "lookup",
    "resolvers",
    "source_address",
]
