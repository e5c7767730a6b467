"""A configuration as values: what a wg0.conf says, checked, and where each item of it stands.

Two configs are equal when they mean the same; the places of their items do not take part in the comparison.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NamedTuple

from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey

Address = IPv4Address | IPv6Address
InterfaceAddress = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class Place(NamedTuple):
    """Where an item stands in its file; both count from 1, 0 means nowhere (made by a program, not read)."""

    line: int
    column: int


NOWHERE = Place(0, 0)
Places = Mapping[tuple[str, str], Place]
"""(key, item) -> place; the item is the text of the value read, "" for a key that is no list."""


class Endpoint(NamedTuple):
    """A peer's address as the file names it; *host* is a name or an IP address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PortRange(NamedTuple):
    """Ports from *first* to *last*, of TCP, of UDP, or (protocol "") of both."""

    first: int
    last: int
    protocol: str = ""
    """``tcp``, ``udp`` or empty."""

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{ports}/{self.protocol}" if self.protocol else ports

    def includes(self, other: "PortRange") -> bool:
        """Whether every port of *other* is one of these."""
        return self.first <= other.first and other.last <= self.last and self.protocol in ("", other.protocol)

    def holds(self, protocol: int, port: int) -> bool:
        """Whether *port* of the IP protocol number *protocol* is one of them."""
        return self.first <= port <= self.last and protocol in _PROTOCOLS[self.protocol]


_PROTOCOLS = {
    "tcp": (socket.IPPROTO_TCP,),
    "udp": (socket.IPPROTO_UDP,),
    "": (socket.IPPROTO_TCP, socket.IPPROTO_UDP),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth telling about a file that is not an error. Never contains a key."""

    message: str
    remedy: str = ""
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


@dataclass(frozen=True, slots=True)
class Interface:
    """The ``[Interface]`` section: this end of the tunnel."""

    private_key: PrivateKey
    addresses: tuple[InterfaceAddress, ...]
    """At least one; with the prefix length given, /32 or /128 where none was."""
    dns: tuple[Address, ...] = ()
    dns_search: tuple[str, ...] = ()
    """The items of ``DNS =`` that are no addresses: search domains."""
    mtu: int | None = None
    """Of packets inside the tunnel, in bytes; None: to be derived from the path."""
    listen_port: int = 0
    """UDP port of our end; 0: any."""
    bypass_lan: bool = False
    """Whether private networks and those this host is connected to stay outside."""
    via: str = ""
    """Name of the tunnel that this one's own datagrams go through; empty: none."""
    unused: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Keys of wg-quick that mean nothing to this client, in file order, kept so that printing loses nothing."""
    places: Places = field(default_factory=dict, compare=False, repr=False)

    def place(self, key: str, item: object = "") -> Place:
        """Where *item* of *key* (its name as documented, ``DNS``) stands."""
        return self.places.get((key, str(item)), NOWHERE)

    def has_family(self, version: int) -> bool:
        """Whether the tunnel has an address of IP *version* 4 or 6."""
        return any(address.version == version for address in self.addresses)


@dataclass(frozen=True, slots=True)
class Peer:
    """A ``[Peer]`` section: the other end, what is routed to it, and for which applications."""

    public_key: PublicKey
    preshared_key: PresharedKey | None = None
    allowed_ips: tuple[Network, ...] = ()
    """Without host bits, without repetition, in file order."""
    disallowed_ips: tuple[Network, ...] = ()
    endpoint: Endpoint | None = None
    """None: the peer must speak first."""
    persistent_keepalive: int = 0
    """Seconds; 0: off."""
    allowed_apps: tuple[str, ...] = ()
    """Entries as written: a name, a path or folder (with a slash), ``@group``."""
    disallowed_apps: tuple[str, ...] = ()
    allowed_app_trees: tuple[str, ...] = ()
    """Entries that mean a program and all that it starts."""
    disallowed_app_trees: tuple[str, ...] = ()
    allowed_domains: tuple[str, ...] = ()
    """In small letters: ``example.com``, which includes what is below it, or ``*.example.com``, only what is below."""
    disallowed_domains: tuple[str, ...] = ()
    allow_inbound: tuple[PortRange, ...] = ()
    """Ports of this host that hosts behind the peer may open."""
    line: int = field(default=0, compare=False)
    """Of the section's header."""
    places: Places = field(default_factory=dict, compare=False, repr=False)

    def place(self, key: str, item: object = "") -> Place:
        """Where *item* of *key* (its name as documented, ``AllowedIPs``) stands."""
        return self.places.get((key, str(item)), NOWHERE)


@dataclass(frozen=True, slots=True)
class Config:
    """One file, one tunnel."""

    name: str
    """Of the tunnel: the file's name without its suffix."""
    file: str
    """As the user gave it, for messages."""
    interface: Interface
    peers: tuple[Peer, ...] = ()
    notices: tuple[Notice, ...] = field(default=(), compare=False, repr=False)
    """What the user should hear about the file although it is valid."""

    def peer_for(self, address: Address) -> int:
        """Index of the peer whose AllowedIPs hold the longest prefix of *address* (cryptokey routing); -1: none."""
        lengths = [
            max((net.prefixlen for net in peer.allowed_ips if address in net), default=-1) for peer in self.peers
        ]
        longest = max(lengths, default=-1)
        return lengths.index(longest) if longest >= 0 else -1

    def dns_servers(self, version: int) -> tuple[Address, ...]:
        """The servers of IP *version* in ``DNS =`` that a query can reach through this tunnel, in file order."""
        if not self.interface.has_family(version):
            return ()
        return tuple(server for server in self.interface.dns if server.version == version and self._reaches(server))

    def _reaches(self, server: Address) -> bool:
        peer = self.peer_for(server)
        local = server.is_loopback or server.is_link_local or server.is_multicast or server.is_unspecified
        return peer >= 0 and not local and not any(server in net for net in self.peers[peer].disallowed_ips)
