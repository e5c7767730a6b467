"""Tunnels through tunnels: which other file the ``Via`` of each one names."""

import ipaddress
from collections.abc import Sequence

from wiresock_py.config import Config, Peer
from wiresock_py.config.text import nearest, shown
from wiresock_py.errors import ConfigError


def outer_tunnels(configs: Sequence[Config]) -> tuple[int | None, ...]:
    """The index of the tunnel that each one's own datagrams go through.

    Raises ConfigError for a name that no other file has, for a circle, and for an Endpoint that does not lie behind the
    outer tunnel (of a name only the look-up will tell).
    """
    outer = tuple(_named(config, configs) for config in configs)
    for index, config in enumerate(configs):
        seen = [index]
        while (following := outer[seen[-1]]) is not None:
            if following in seen:
                way = " -> ".join(configs[number].name for number in (*seen, following))
                raise _error(config, f"Via leads in a circle: {way}", "take the line out of one of these files")
            seen.append(following)
        carrier = outer[index]
        if carrier is not None:
            _check_endpoints(config, configs[carrier])
    return outer


def carries(config: Config, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether packets to *address* can go through the tunnel *config*, as far as its addresses and prefixes tell."""
    peer = config.peer_for(address)
    excluded = peer >= 0 and any(address in network for network in config.peers[peer].disallowed_ips)
    return peer >= 0 and not excluded and config.interface.has_family(address.version)


def _named(config: Config, configs: Sequence[Config]) -> int | None:
    name = config.interface.via
    if not name:
        return None
    found = [index for index, other in enumerate(configs) if other.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise _error(config, f"Via: {shown(name)} is the name of {len(found)} files", "give them different names")
    names = [other.name for other in configs if other is not config]
    remedy = nearest(name, names) or f"name its file too: {name}.conf {config.name}.conf"
    raise _error(config, f"Via: found {shown(name)}, expected the name of another tunnel of this run", remedy)


def _check_endpoints(config: Config, carrier: Config) -> None:
    for peer in config.peers:
        address = _address(peer)
        if address is not None and not carries(carrier, address):
            place = peer.place("Endpoint")
            raise ConfigError(
                f"Endpoint {peer.endpoint} does not lie behind {carrier.name}, through which Via sends this tunnel",
                f"add {address} to the AllowedIPs in {carrier.file}",
                file=config.file,
                line=place.line,
                column=place.column,
            )


def _address(peer: Peer) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(peer.endpoint.host.partition("%")[0]) if peer.endpoint else None
    except ValueError:
        return None  # a name


def _error(config: Config, message: str, remedy: str) -> ConfigError:
    place = config.interface.place("Via")
    return ConfigError(message, remedy, file=config.file, line=place.line, column=place.column)
