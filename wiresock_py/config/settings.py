"""What is not of one tunnel."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wiresock_py.config.model import NOWHERE, Network, Place, Places, PortRange

TUNNEL, DIRECT, BLOCK = "tunnel", "direct", "block"
PROTOCOLS: Mapping[str, tuple[int, ...]] = {
    "tcp": (socket.IPPROTO_TCP,),
    "udp": (socket.IPPROTO_UDP,),
    "icmp": (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One of ``rules:``. It is met when all that it names is met; what it does not name does not matter."""

    action: str
    """``tunnel``, ``direct`` or ``block``."""
    tunnel: str = ""
    """The tunnel's name, with ``tunnel``: that of its file without the suffix."""
    apps: tuple[str, ...] = ()
    """Entries as in AllowedApps."""
    app_trees: tuple[str, ...] = ()
    to: tuple[Network, ...] = ()
    domains: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    protocol: str = ""
    """One of PROTOCOLS; empty: any."""
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)
    places: Places = field(default_factory=dict, compare=False, repr=False)

    def place(self, key: str, item: object = "") -> Place:
        """Where *item* of the list *key* stands."""
        return self.places.get((key, str(item)), NOWHERE)

    def __str__(self) -> str:
        lists = (("apps", self.apps), ("app_trees", self.app_trees), ("to", self.to), ("domains", self.domains))
        parts = [f"{key}: {_listed(items)}" for key, items in (*lists, ("ports", self.ports)) if items]
        if self.protocol:
            parts.append(f"protocol: {self.protocol}")
        return "{" + ", ".join([*parts, f"action: {self.action} {self.tunnel}".rstrip()]) + "}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run; every field has a default, so an absent file is a valid one."""

    backend: str = "auto"
    """A backend's name, or "auto": the best that works here."""
    log_level: Literal["error", "warning", "info", "debug"] = "info"
    kill_switch: Literal["app", "all", "off"] = "app"
    """Held back while a tunnel is down: the tunnelled apps' traffic, all that a tunnel could take, or nothing."""
    forwarded: Literal["rules", "direct", "block"] = "rules"
    """What becomes of packets of other machines that this host passes on: as the rules say of SYSTEM, outside, or
    nothing that a tunnel could take leaves."""
    existing: Literal["reset", "leave"] = "reset"
    """What becomes of connections that were open before the start and belong in a tunnel: their apps are made to
    connect again, or they go on outside until they end."""
    dns: Literal["tunnel", "system"] = "tunnel"
    """Where port 53 of tunnelled apps goes: to the tunnel's DNS servers, or wherever the app sends it."""
    app_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Entries as in AllowedApps, at least one, by the group's name."""
    shared_resolver: Literal["rules", "tunnel", "tunnel_or_direct"] = "rules"
    """Queries of a process that resolves names for all others: as the rules say of that process, into the tunnel, or
    into the tunnel while it is up."""
    rules: tuple[Rule, ...] = ()
    """In order; the first that is met decides, and where none is, the tunnels' own keys."""


def _listed(items: tuple[object, ...]) -> str:
    return str(items[0]) if len(items) == 1 else f"[{', '.join(map(str, items))}]"
