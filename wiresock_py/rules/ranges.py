"""Address ranges with a meaning of their own, and what counts as "all of a family"."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

Network = IPv4Network | IPv6Network

NEVER_TUNNELLED: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),  # this host, unspecified (RFC 1122 section 3.2.1.3)
    IPv4Network("127.0.0.0/8"),  # loopback
    IPv4Network("169.254.0.0/16"),  # link-local (RFC 3927)
    IPv4Network("224.0.0.0/4"),  # multicast (RFC 5771)
    IPv4Network("255.255.255.255/32"),  # broadcast
    IPv6Network("::/128"),
    IPv6Network("::1/128"),
    IPv6Network("fe80::/10"),  # link-local (RFC 4291 section 2.5.6)
    IPv6Network("ff00::/8"),  # multicast
)
"""Destinations that mean this host or this link; a tunnel has nothing to do with them."""

LOCAL_NETWORKS: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),  # private (RFC 1918), as the next two
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("fc00::/7"),  # unique local (RFC 4193)
)
"""Networks that are nobody's on the internet. Link-local ones are never tunnelled anyway."""

_NOT_GLOBAL_IPV4 = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),  # private (RFC 1918), as the next two marked so
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT (RFC 6598)
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("172.16.0.0/12"),  # private
    IPv4Network("192.168.0.0/16"),  # private
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
)


def _without(whole: IPv4Network, holes: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    parts = [whole]
    for hole in holes:
        parts = [rest for part in parts for rest in (part.address_exclude(hole) if hole.subnet_of(part) else [part])]
    return collapse_addresses(parts)


GLOBAL_UNICAST: dict[int, tuple[Network, ...]] = {
    4: tuple(_without(IPv4Network("0.0.0.0/0"), _NOT_GLOBAL_IPV4)),
    6: (IPv6Network("2000::/3"),),  # all that IANA has opened
}
"""The internet's addresses by IP version."""

# Through these an IPv6 host reaches the IPv4 internet (NAT64: RFC 6052, RFC 8215), so they are part of it.
REACHES_INTERNET: dict[int, tuple[Network, ...]] = {
    4: GLOBAL_UNICAST[4],
    6: (*GLOBAL_UNICAST[6], IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48")),
}
"""Destinations on the internet, by the IP version of the packet."""


def covers_internet(networks: Iterable[Network], version: int) -> bool:
    """Whether *networks* together hold every global unicast address of IP *version*, in however many pieces."""
    merged = _merged(networks, version)
    return all(any(part.subnet_of(whole) for whole in merged) for part in GLOBAL_UNICAST[version])  # type: ignore[arg-type]


def covers(networks: Iterable[Network], part: Network) -> bool:
    """Whether *networks* together hold every address of *part*, in however many pieces."""
    return any(part.subnet_of(whole) for whole in _merged(networks, part.version))  # type: ignore[arg-type]


def _merged(networks: Iterable[Network], version: int) -> list[Network]:
    """Those of IP *version*, as large as can be: what they cover lies within one of them."""
    ours = [network for network in networks if network.version == version]
    return list(collapse_addresses(ours))  # type: ignore[type-var]  # one version only
