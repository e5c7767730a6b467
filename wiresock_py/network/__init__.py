"""What the host's network looks like: adapters, addresses, routes, resolvers, and the client's own DNS look-ups."""

from wiresock_py.network.adapters import (
    LocalAddress,
    adapter_mtu,
    default_adapters,
    has_route,
    local_addresses,
    source_address,
)
from wiresock_py.network.changes import Change, NetworkChanges
from wiresock_py.network.dns_servers import Resolver, resolvers
from wiresock_py.network.names import lookup
from wiresock_py.network.routes import DefaultRoute

__all__ = [
    "Change",
    "DefaultRoute",
    "LocalAddress",
    "NetworkChanges",
    "Resolver",
    "adapter_mtu",
    "default_adapters",
    "has_route",
    "local_addresses",
    "lookup",
    "resolvers",
    "source_address",
]
