"""What each tunnel makes of a destination, before it is asked which app wants to go there."""

import socket
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from wiresock_py.config import Config
from wiresock_py.flow import Route
from wiresock_py.rules.apps import AppLists, Resolver
from wiresock_py.rules.decision import Reason
from wiresock_py.rules.prefixes import PrefixMap
from wiresock_py.rules.ranges import NEVER_TUNNELLED, REACHES_INTERNET, Network, covers_internet

DNS_PORT = 53


class Destination(NamedTuple):
    """A prefix, or an address as the prefix of full length, and whether it is a DNS query that goes there."""

    version: int
    address: int
    length: int
    dns: bool

    @classmethod
    def of_flow(cls, address: bytes, protocol: int, port: int) -> "Destination":
        dns = port == DNS_PORT and protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP)
        return cls(4 if len(address) == 4 else 6, int.from_bytes(address, "big"), len(address) * 8, dns)

    @classmethod
    def of_prefix(cls, network: Network) -> "Destination":
        return cls(network.version, int(network.network_address), network.prefixlen, False)

    def __str__(self) -> str:
        return str(IPv4Address(self.address) if self.version == 4 else IPv6Address(self.address))


class Finding(NamedTuple):
    """What one tunnel offers for a destination: *route* for the apps that *lists* give the tunnel to."""

    route: Route
    """DIRECT: nothing; kept to explain why."""
    tunnel: int
    peer: int
    reason: Reason
    lists: AppLists | None = None
    dns: bool = False


_NEVER = PrefixMap((network, network) for network in NEVER_TUNNELLED)
_INTERNET = PrefixMap((network, network) for networks in REACHES_INTERNET.values() for network in networks)


class _Route(NamedTuple):
    peer: int
    network: Network


class TunnelDestinations:
    """The destinations of one config.

    The longest prefix of AllowedIPs chooses the peer, and there is no falling through to a shorter one; what that
    peer's DisallowedIPs hold is direct. A destination whose IP version the tunnel has no address for is blocked, and
    so is the internet of a version that the tunnel lacks while it takes all of the other's: an app would otherwise
    slip past the tunnel over the other version.
    """

    def __init__(
        self, index: int, config: Config, groups: Mapping[str, tuple[str, ...]], resolve: Resolver, *, rewrite_dns: bool
    ) -> None:
        self._index = index
        self._config = config
        self._lists = [AppLists(config, peer, groups, resolve) for peer in config.peers]
        self._routes = PrefixMap(
            (network, _Route(number, network))
            for number, peer in enumerate(config.peers)
            for network in peer.allowed_ips
        )
        self._excluded = [PrefixMap((network, network) for network in peer.disallowed_ips) for peer in config.peers]
        everything = [network for peer in config.peers for network in peer.allowed_ips]
        self.blocked_versions = tuple(
            version
            for version, other in ((4, 6), (6, 4))
            if covers_internet(everything, other) and not config.interface.has_family(version)
        )
        """The IP versions whose internet is blocked for tunnelled apps."""
        self._dns_peer = {
            version: config.peer_for(servers[0])
            for version in (4, 6)
            if rewrite_dns and (servers := config.dns_servers(version))
        }

    @property
    def rewrites_dns(self) -> bool:
        """Whether DNS queries of tunnelled apps go to the tunnel's servers, wherever they were sent."""
        return bool(self._dns_peer)

    def prefixes(self) -> Iterator[Network]:
        """Every prefix that findings depend on: between two neighbours of them nothing changes."""
        for peer in self._config.peers:
            yield from peer.allowed_ips
            yield from peer.disallowed_ips
        for version in self.blocked_versions:
            yield from REACHES_INTERNET[version]
        yield from NEVER_TUNNELLED

    def findings(self, to: Destination) -> Iterator[Finding]:
        """What this tunnel offers for *to*; the first whose app lists want the app decides."""
        if to.dns and self.rewrites_dns:
            yield from self._dns_findings(to)
            return
        never = _NEVER.longest(to.version, to.address, to.length)
        route = self._routes.longest(to.version, to.address, to.length)
        if never:
            yield self._direct(-1, Reason(f"{never} is this host or this link and is never tunnelled"))
        elif route:
            yield self._routed(to, route)
        elif to.version in self.blocked_versions and _INTERNET.longest(to.version, to.address, to.length):
            yield from self._blocked_findings(to)
        else:
            yield self._direct(-1, Reason(f"no AllowedIPs of {self._config.name} hold {to}"))

    def _routed(self, to: Destination, route: _Route) -> Finding:
        excluded = self._excluded[route.peer].longest(to.version, to.address, to.length)
        if excluded:
            return self._direct(route.peer, self._reason(route.peer, "DisallowedIPs", excluded))
        reason = self._reason(route.peer, "AllowedIPs", route.network)
        if self._config.interface.has_family(to.version):
            return Finding(Route.TUNNEL, self._index, route.peer, reason, self._lists[route.peer])
        reason = reason._replace(text=f"{reason.text}, but the tunnel has no IPv{to.version} address")
        return Finding(Route.BLOCK, self._index, route.peer, reason, self._lists[route.peer])

    def _blocked_findings(self, to: Destination) -> Iterator[Finding]:
        other = 4 if to.version == 6 else 6
        text = f"the tunnel takes all of IPv{other} and has no IPv{to.version} address"
        for number, peer in enumerate(self._config.peers):
            if not any(network.version == other for network in peer.allowed_ips):
                continue
            excluded = self._excluded[number].longest(to.version, to.address, to.length)
            if excluded:
                yield self._direct(number, self._reason(number, "DisallowedIPs", excluded))
            else:
                reason = Reason(text, self._config.file, self._config.interface.place("Address").line)
                yield Finding(Route.BLOCK, self._index, number, reason, self._lists[number])

    def _dns_findings(self, to: Destination) -> Iterator[Finding]:
        line = self._config.interface.place("DNS").line
        if to.version in self._dns_peer:
            route, dns = Route.TUNNEL, True
            reason = Reason("port 53 goes to the tunnel's DNS servers", self._config.file, line)
        else:
            route, dns = Route.BLOCK, False
            reason = Reason(f"the tunnel has no IPv{to.version} DNS server", self._config.file, line)
        routing = [lists for lists, peer in zip(self._lists, self._config.peers, strict=True) if peer.allowed_ips]
        everyone = [lists for lists in routing if lists.everyone]
        for lists in everyone[:1] or routing:
            yield Finding(route, self._index, self._dns_peer.get(to.version, -1), reason, lists, dns)

    def _direct(self, peer: int, reason: Reason) -> Finding:
        return Finding(Route.DIRECT, self._index, peer, reason)

    def _reason(self, peer: int, key: str, network: Network) -> Reason:
        return Reason(f"{key} = {network}", self._config.file, self._config.peers[peer].place(key, network).line)
