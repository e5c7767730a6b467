"""What each tunnel makes of a destination, before it is asked which app wants to go there."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from wiresock_py.config import Config
from wiresock_py.flow import Route
from wiresock_py.rules.apps import AppLists, Resolver
from wiresock_py.rules.conditions import Condition
from wiresock_py.rules.decision import Reason
from wiresock_py.rules.domains import DomainLists
from wiresock_py.rules.prefixes import PrefixMap
from wiresock_py.rules.ranges import LOCAL_NETWORKS, NEVER_TUNNELLED, REACHES_INTERNET, Network, covers_internet

DNS_PORT = 53
DNS_PROTOCOLS = (socket.IPPROTO_UDP, socket.IPPROTO_TCP)


class Destination(NamedTuple):
    """A prefix, or an address as the prefix of full length, and whether it is a DNS query that goes there."""

    version: int
    address: int
    length: int
    dns: int
    """The IP protocol of a DNS query; 0: none."""

    @classmethod
    def of_flow(cls, address: bytes, protocol: int, port: int) -> "Destination":
        dns = protocol if port == DNS_PORT and protocol in DNS_PROTOCOLS else 0
        return cls(4 if len(address) == 4 else 6, int.from_bytes(address, "big"), len(address) * 8, dns)

    @classmethod
    def of_prefix(cls, network: Network) -> "Destination":
        return cls(network.version, int(network.network_address), network.prefixlen, 0)

    @property
    def never_tunnelled(self) -> Network | None:
        """The range of this host or this link that holds it."""
        return _NEVER.longest(self.version, self.address, self.length)

    def __str__(self) -> str:
        return str(IPv4Address(self.address) if self.version == 4 else IPv6Address(self.address))


class Finding(NamedTuple):
    """What a rule, or one tunnel, offers for a destination: *route*, where all *conditions* hold."""

    route: Route
    tunnel: int
    """-1: of no tunnel."""
    peer: int
    reason: Reason
    conditions: tuple[Condition, ...] | None = None
    """None: nothing is offered; kept to explain why."""
    dns: bool = False
    or_direct: bool = False
    stated: bool = False
    """By a rule of settings.yaml: *reason* is that rule, and tells all."""
    left_out: Reason | None = None
    """With nothing offered: the prefix of AllowedIPs that holds the destination all the same."""

    @property
    def everyone(self) -> bool:
        """Whether it decides whoever asks, so that what comes after is never met."""
        return self.conditions is not None and all(condition.everyone for condition in self.conditions)


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
    slip past the tunnel over the other version. With BypassLan a local network is direct, unless a prefix of
    AllowedIPs within it is longer.
    """

    def __init__(
        self,
        index: int,
        config: Config,
        groups: Mapping[str, tuple[str, ...]],
        resolve: Resolver,
        *,
        rewrite_dns: bool,
        on_link: Iterable[Network] = (),
    ) -> None:
        self._index = index
        self._config = config
        self.apps = [AppLists(config, peer, groups, resolve) for peer in config.peers]
        self.domains = [DomainLists(config, peer) for peer in config.peers]
        """Both in the order of the peers."""
        self._conditions = list(zip(self.apps, self.domains, strict=True))
        local = (*LOCAL_NETWORKS, *on_link) if config.interface.bypass_lan else ()
        self._local = PrefixMap((network, network) for network in local)
        self._local_networks = local
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
        yield from self._local_networks
        yield from NEVER_TUNNELLED

    def findings(self, to: Destination) -> Iterator[Finding]:
        """What this tunnel offers for *to*; the first whose app lists want the app decides."""
        if to.dns and self.rewrites_dns:
            yield from self._dns_findings(to)
            return
        never = to.never_tunnelled
        route = self._routes.longest(to.version, to.address, to.length)
        local = self._local.longest(to.version, to.address, to.length)
        held = self._reason(route.peer, "AllowedIPs", route.network) if route else None
        if never:
            yield self._direct(-1, Reason(f"{never} (this host, this link, multicast) is never tunnelled"), held)
        elif local and (route is None or route.network.prefixlen <= local.prefixlen):
            line = self._config.interface.place("BypassLan").line
            yield self._direct(-1, Reason(f"BypassLan leaves out {local}", self._config.file, line), held)
        elif route:
            yield self._routed(to, route, exclude=True)
        elif to.version in self.blocked_versions and _INTERNET.longest(to.version, to.address, to.length):
            yield from self._blocked_findings(to)
        else:
            yield self._direct(-1, Reason(f"no AllowedIPs of {self._config.name} hold {to}"))

    def routed(self, to: Destination) -> Finding | None:
        """The peer that *to* belongs to, by AllowedIPs alone; None if to none."""
        route = self._routes.longest(to.version, to.address, to.length)
        return self._routed(to, route, exclude=False) if route else None

    def _routed(self, to: Destination, route: _Route, *, exclude: bool) -> Finding:
        excluded = self._excluded[route.peer].longest(to.version, to.address, to.length) if exclude else None
        reason = self._reason(route.peer, "AllowedIPs", route.network)
        if excluded:
            return self._direct(route.peer, self._reason(route.peer, "DisallowedIPs", excluded), reason)
        if self._config.interface.has_family(to.version):
            return Finding(Route.TUNNEL, self._index, route.peer, reason, self._conditions[route.peer])
        reason = reason._replace(text=f"{reason.text}, but the tunnel has no IPv{to.version} address")
        return Finding(Route.BLOCK, self._index, route.peer, reason, self._conditions[route.peer])

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
                yield Finding(Route.BLOCK, self._index, number, reason, self._conditions[number])

    def _dns_findings(self, to: Destination) -> Iterator[Finding]:
        routing = [each for each, peer in zip(self._conditions, self._config.peers, strict=True) if peer.allowed_ips]
        everyone = [each for each in routing if all(condition.everyone for condition in each)]
        for conditions in everyone[:1] or routing:
            yield self.query(to)._replace(conditions=conditions)

    def query(self, to: Destination) -> Finding:
        """What becomes of a DNS query sent to *to*: over UDP it is carried to a server of either IP version."""
        line = self._config.interface.place("DNS").line
        version = to.version if to.version in self._dns_peer else 10 - to.version
        if version in self._dns_peer and (version == to.version or to.dns == socket.IPPROTO_UDP):
            reason = Reason("port 53 goes to the tunnel's DNS servers", self._config.file, line)
            return Finding(Route.TUNNEL, self._index, self._dns_peer[version], reason, (), dns=True)
        reason = Reason(f"the tunnel has no IPv{to.version} DNS server", self._config.file, line)
        return Finding(Route.BLOCK, self._index, -1, reason, ())

    def _direct(self, peer: int, reason: Reason, left_out: Reason | None = None) -> Finding:
        return Finding(Route.DIRECT, self._index, peer, reason, left_out=left_out)

    def _reason(self, peer: int, key: str, network: Network) -> Reason:
        return Reason(f"{key} = {network}", self._config.file, self._config.peers[peer].place(key, network).line)
