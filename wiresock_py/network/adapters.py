"""The host's adapters: their addresses, their MTU, and which of them lead to the rest of the world."""

import ipaddress
import socket
import sys
from dataclasses import dataclass

import psutil

from wiresock_py.errors import NetworkError

# Addresses for documentation (RFC 5737, RFC 3849): what asks for a route to them sends nothing, and no host has one.
ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this host."""

    address: bytes
    """Packed, 4 or 16 bytes."""
    prefix_length: int
    adapter: str


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A route to everything else, and the adapter it leaves by."""

    family: socket.AddressFamily
    adapter: str
    index: int
    """The adapter's interface index; 0 where the system does not say."""
    gateway: bytes
    """Packed; empty on a point-to-point link."""
    metric: int
    """Lower is preferred."""


def default_adapters(family: socket.AddressFamily | None = None) -> tuple[DefaultRoute, ...]:
    """The default routes (of one family, or IPv4's before IPv6's), the preferred one first. Empty if there is none."""
    raise NotImplementedError


def has_route(family: socket.AddressFamily) -> bool:
    """Whether the host can send to the rest of the world in this family: if not, connect() fails before any packet."""
    return source_address(socket.inet_pton(family, ELSEWHERE[family])) is not None


def source_address(remote: bytes, *, mark: int = 0) -> bytes | None:
    """The address this host would send from to *remote* (packed), None without a route. Sends nothing.

    *mark* is the SO_MARK the packets would carry: policy routing may depend on it.
    """
    raise NotImplementedError


def local_addresses() -> tuple[LocalAddress, ...]:
    """Every address of every adapter, loopback included."""
    raise NotImplementedError


def adapter_mtu(name: str) -> int:
    """The adapter's MTU in bytes, IP header included. Raises NetworkError for an adapter there is none of."""
    raise NotImplementedError
