"""The configurations of configs/, made to fit a stage: its keys, addresses and endpoint, and the file's own rules."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import wiresock_py
from wiresock_py.config import Address, Config, Endpoint, InterfaceAddress, Network, parse
from wiresock_py.crypto import PresharedKey, PrivateKey, PublicKey
from wiresock_py.lab import TUNNEL_RESOLVER


def example(name: str) -> Config:
    """The file *name* of configs/, as it is."""
    package = Path(wiresock_py.__file__).parent
    # installed, the folder lies within the package; in a checkout beside it
    folder = next(place / "configs" for place in (package, package.parent) if (place / "configs").is_dir())
    return parse((folder / f"{name}.conf").read_text(encoding="utf-8"), f"configs/{name}.conf")


def fitted(
    config: Config,
    *,
    private_key: PrivateKey,
    addresses: Iterable[InterfaceAddress],
    public_key: PublicKey,
    preshared_key: PresharedKey | None,
    endpoint: Endpoint,
) -> Config:
    """*config*, which has one peer, for a server with *public_key* at *endpoint* that knows *private_key*.

    Each DNS server of the file becomes the lab's resolver of its family. All else, the rules above all, stays.
    """
    (peer,) = config.peers
    resolvers: dict[int, Address] = {4: TUNNEL_RESOLVER.v4, 6: TUNNEL_RESOLVER.v6}
    dns = tuple(dict.fromkeys(resolvers[server.version] for server in config.interface.dns))
    interface = dataclasses.replace(config.interface, private_key=private_key, addresses=tuple(addresses), dns=dns)
    peer = dataclasses.replace(peer, public_key=public_key, preshared_key=preshared_key, endpoint=endpoint)
    return dataclasses.replace(config, interface=interface, peers=(peer,))


def rules_of(config: Config) -> str:
    """The rules of its one peer, for people."""
    (peer,) = config.peers
    rules: dict[str, Iterable[str | Network]] = {
        "AllowedApps": peer.allowed_apps,
        "DisallowedApps": peer.disallowed_apps,
        "AllowedIPs": peer.allowed_ips,
        "DisallowedIPs": peer.disallowed_ips,
    }
    return "; ".join(f"{key} = {', '.join(map(str, values))}" for key, values in rules.items() if values)
