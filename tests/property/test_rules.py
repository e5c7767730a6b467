"""The rules against a second, slow reading of the design, and the capture plan against the rules."""

import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.configs import PRIVATE_KEY
from wiresock_py.config import Config, Interface, Network, Peer
from wiresock_py.crypto.keys import PrivateKey, PublicKey
from wiresock_py.filters.base import CapturePlan
from wiresock_py.flow import SYSTEM, App, Route
from wiresock_py.rules import Rules
from wiresock_py.rules.ranges import GLOBAL_UNICAST, NEVER_TUNNELLED, REACHES_INTERNET

Address = IPv4Address | IPv6Address

# Few addresses and lengths, so that prefixes nest, meet and repeat.
V4 = [f"{base}/{length}" for base in ("0.0.0.0", "8.8.8.8", "10.1.2.3", "127.0.0.53", "192.168.1.7", "224.0.0.251")
      for length in (0, 1, 2, 8, 16, 24, 31, 32)]  # fmt: skip
V6 = [
    f"{base}/{length}"
    for base in ("::", "2001:db8::1", "fd00::1", "fe80::1", "64:ff9b::1")
    for length in (0, 1, 3, 16, 64, 128)
]
PREFIXES = sorted({ip_network(text, strict=False) for text in V4 + V6 + ["128.0.0.0/1", "8000::/1"]}, key=str)
APPS = [App(1, 1.0, f"/usr/bin/{name}") for name in ("a", "b", "c")] + [SYSTEM]
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP

app_lists = st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2).map(tuple)
prefix_lists = st.lists(st.sampled_from(PREFIXES), unique=True, max_size=5)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    count = draw(st.integers(0, 2))
    allowed = draw(prefix_lists)
    addresses = draw(st.sampled_from([("10.0.0.2/32",), ("fd00::2/128",), ("10.0.0.2/32", "fd00::2/128")]))
    dns = draw(st.lists(st.sampled_from(["8.8.8.8", "10.1.2.3", "2001:db8::1", "127.0.0.53"]), unique=True, max_size=2))
    peers = [
        Peer(
            PublicKey(bytes([number + 1] * 32)),
            allowed_ips=tuple(allowed[number::count]),
            disallowed_ips=tuple(draw(prefix_lists)),
            allowed_apps=draw(app_lists),
            disallowed_apps=draw(app_lists),
        )
        for number in range(count)
    ]
    interface = Interface(
        PrivateKey.from_base64(PRIVATE_KEY),
        tuple(ip_interface(address) for address in addresses),
        tuple(ip_address(server) for server in dns),
    )
    return Config("wg0", "wg0.conf", interface, tuple(peers))


def edges(given: Sequence[Config]) -> set[Address]:
    """Every address at which a rule may change, and its neighbours."""
    mentioned = {net for config in given for peer in config.peers for net in (*peer.allowed_ips, *peer.disallowed_ips)}
    mentioned |= {*NEVER_TUNNELLED, *REACHES_INTERNET[6], *GLOBAL_UNICAST[4]}
    found: set[Address] = set()
    for net in mentioned:
        kind = type(net.network_address)
        first, last, most = int(net.network_address), int(net.broadcast_address), (1 << net.max_prefixlen) - 1
        found |= {kind(value) for value in (first - 1, first, last, last + 1) if 0 <= value <= most}
    return found


def holds(networks: Sequence[Network], address: Address) -> bool:
    return any(address in network for network in networks)


def tunnels(peer: Peer, app: App) -> bool:
    """Design, rule decision: the table of the two lists."""
    if not peer.allowed_apps and not peer.disallowed_apps:
        return True
    if app.name in peer.allowed_apps:
        return True
    if app.name in peer.disallowed_apps:
        return False
    return not peer.allowed_apps


def expected(given: Sequence[Config], app: App, to: Address, dns: bool) -> Route:
    """The design, sentence by sentence."""
    for config in given:
        route = expected_of_one(config, app, to, dns)
        if route is not Route.DIRECT:
            return route
    return Route.DIRECT


def expected_of_one(config: Config, app: App, to: Address, dns: bool) -> Route:
    versions = {address.version for address in config.interface.addresses}
    if dns and (config.dns_servers(4) or config.dns_servers(6)):
        if not any(peer.allowed_ips and tunnels(peer, app) for peer in config.peers):
            return Route.DIRECT
        return Route.TUNNEL  # over UDP, to a server of either version
    if holds(NEVER_TUNNELLED, to):
        return Route.DIRECT
    chosen = config.peer_for(to)
    if chosen >= 0:
        peer = config.peers[chosen]
        if holds(peer.disallowed_ips, to) or not tunnels(peer, app):
            return Route.DIRECT
        return Route.TUNNEL if to.version in versions else Route.BLOCK
    other = 10 - to.version
    if to.version in versions or not holds(REACHES_INTERNET[to.version], to) or not takes_internet(config, other):
        return Route.DIRECT
    for peer in config.peers:
        routes_other = any(net.version == other for net in peer.allowed_ips)
        if routes_other and not holds(peer.disallowed_ips, to) and tunnels(peer, app):
            return Route.BLOCK
    return Route.DIRECT


@lru_cache(maxsize=16)
def takes_internet(config: Config, version: int) -> bool:
    return all(
        any(holds(peer.allowed_ips, end) for peer in config.peers)
        for end in edges([config])
        if end.version == version and holds(GLOBAL_UNICAST[version], end)
    )


def captured(plan: CapturePlan, to: Address) -> bool:
    """As filters.base says: the longest prefix of both lists decides, at equal length *leave*."""
    best = (-1, False)
    for networks, capture in ((plan.capture, True), (plan.leave, False)):
        for network in networks:
            if to in network and (network.prefixlen > best[0] or (network.prefixlen == best[0] and not capture)):
                best = (network.prefixlen, capture)
    return best[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(configs(), max_size=2))
def test_decisions_follow_the_design_and_the_plan_captures_exactly_what_may_not_be_direct(
    given_configs: list[Config],
) -> None:
    rules = Rules(given_configs, resolve=lambda path: path)
    plan = rules.plan()
    for to in edges(given_configs):
        for port, dns in ((443, False), (53, True)):
            decisions = [rules.decide(app, to.packed, UDP, port) for app in APPS]
            routes = [decision.route for decision in decisions]
            assert routes == [expected(given_configs, app, to, dns) for app in APPS], to
            assert (captured(plan, to) or (dns and plan.dns)) == any(route is not Route.DIRECT for route in routes), to
            if not rules.needs_owner(to.packed, UDP, port):
                assert len({decision[:3] for decision in decisions}) == 1
            for app, decision in zip(APPS, decisions, strict=True):
                assert rules.explain(app, to.packed, UDP, port).decision == decision


@settings(max_examples=50, deadline=None)
@given(st.lists(configs(), max_size=2))
def test_no_prefix_of_the_plan_is_idle(given_configs: list[Config]) -> None:
    """Each prefix differs from the next shorter one around it, so the backend's rules are as few as can be."""
    plan = Rules(given_configs, resolve=lambda path: path).plan()
    listed: dict[Network, bool] = dict.fromkeys(plan.capture, True) | dict.fromkeys(plan.leave, False)
    assert len(listed) == len(plan.capture) + len(plan.leave)
    for net, capture in listed.items():
        around = [outer for outer in listed if outer != net and outer.version == net.version and net.subnet_of(outer)]  # type: ignore[arg-type]
        parent = max(around, key=lambda outer: outer.prefixlen, default=None)
        assert capture != (listed[parent] if parent else False)
