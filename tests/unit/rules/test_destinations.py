import socket
from ipaddress import ip_address, ip_network

import pytest

from tests.support.configs import config
from wiresock_py.flow import Route
from wiresock_py.rules.destinations import Destination, Finding, TunnelDestinations

BOTH = "Address = 10.0.0.2, fd00::2"
TUNNEL, BLOCK, DIRECT = Route.TUNNEL, Route.BLOCK, Route.DIRECT


def tunnel(*peers: str, interface: str = BOTH, rewrite_dns: bool = True) -> TunnelDestinations:
    return TunnelDestinations(0, config(*peers, interface=interface), {}, lambda path: path, rewrite_dns=rewrite_dns)


def findings(of: TunnelDestinations, to: str, port: int = 443) -> list[Finding]:
    return list(of.findings(Destination.of_flow(ip_address(to).packed, socket.IPPROTO_TCP, port)))


def routes(of: TunnelDestinations, to: str, port: int = 443) -> list[tuple[Route, int]]:
    return [(finding.route, finding.peer) for finding in findings(of, to, port)]


@pytest.mark.parametrize(
    ("protocol", "port", "dns"),
    [
        (socket.IPPROTO_UDP, 53, socket.IPPROTO_UDP),
        (socket.IPPROTO_TCP, 53, socket.IPPROTO_TCP),
        (socket.IPPROTO_ICMP, 53, 0),
        (socket.IPPROTO_UDP, 5353, 0),
    ],
)
def test_dns_is_port_53_of_tcp_and_udp(protocol: int, port: int, dns: int) -> None:
    assert Destination.of_flow(bytes(4), protocol, port).dns == dns


def test_a_destination_is_a_prefix_or_an_address() -> None:
    assert Destination.of_flow(ip_address("::1").packed, socket.IPPROTO_TCP, 1) == (6, 1, 128, 0)
    assert Destination.of_prefix(ip_network("10.0.0.0/8")) == (4, 10 << 24, 8, 0)


def test_the_longest_prefix_chooses_the_peer_and_there_is_no_falling_through() -> None:
    both = tunnel("AllowedIPs = 10.0.0.0/8", "AllowedIPs = 10.2.0.0/16\nDisallowedIPs = 10.2.3.0/24")
    assert routes(both, "10.1.0.1") == [(TUNNEL, 0)]
    assert routes(both, "10.2.0.1") == [(TUNNEL, 1)]
    assert routes(both, "10.2.3.1") == [(DIRECT, 1)]
    assert routes(both, "11.0.0.1") == [(DIRECT, -1)]


def test_disallowed_ips_are_direct_however_long_the_allowed_prefix() -> None:
    one = tunnel("AllowedIPs = 192.168.1.5/32\nDisallowedIPs = 192.168.1.0/24")
    assert routes(one, "192.168.1.5") == [(DIRECT, 0)]


def test_disallowed_ips_of_one_peer_do_not_reach_into_another() -> None:
    both = tunnel("AllowedIPs = 0.0.0.0/0\nDisallowedIPs = 192.168.0.0/16", "AllowedIPs = 192.168.7.0/24")
    assert routes(both, "192.168.7.1") == [(TUNNEL, 1)]
    assert routes(both, "192.168.8.1") == [(DIRECT, 0)]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.0.1", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "ff02::1"]
)
def test_this_host_and_link_are_direct_even_where_allowed_ips_hold_them(address: str) -> None:
    everything = tunnel("AllowedIPs = 0.0.0.0/0, ::/0, 127.0.0.0/8, fe80::1/128")
    assert routes(everything, address) == [(DIRECT, -1)]


def test_a_prefix_of_a_family_without_an_address_is_blocked() -> None:
    v4 = tunnel("AllowedIPs = 10.0.0.0/8, 2001:db8::/32", interface="Address = 10.0.0.2")
    assert routes(v4, "2001:db8::1") == [(BLOCK, 0)]
    assert routes(v4, "2001:db9::1") == [(DIRECT, -1)]


@pytest.mark.parametrize("allowed", ["0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/1"])
def test_a_tunnel_with_all_of_ipv4_and_no_ipv6_address_blocks_the_ipv6_internet(allowed: str) -> None:
    v4 = tunnel(f"AllowedIPs = {allowed}\nDisallowedIPs = 2001:db8:1::/48", interface="Address = 10.0.0.2")
    assert v4.blocked_versions == (6,)
    assert routes(v4, "2001:db8::1") == [(BLOCK, 0)]
    assert routes(v4, "64:ff9b::808:808") == [(BLOCK, 0)]
    assert routes(v4, "2001:db8:1::1") == [(DIRECT, 0)]
    for local in ("fd00::1", "fe80::1", "ff02::1", "::1"):
        assert routes(v4, local) == [(DIRECT, -1)]


def test_a_tunnel_with_all_of_ipv6_and_no_ipv4_address_blocks_the_ipv4_internet() -> None:
    v6 = tunnel("AllowedIPs = ::/0", interface="Address = fd00::2")
    assert v6.blocked_versions == (4,)
    assert routes(v6, "8.8.8.8") == [(BLOCK, 0)]
    assert routes(v6, "192.168.1.1") == [(DIRECT, -1)]


@pytest.mark.parametrize(
    ("allowed", "interface"),
    [("0.0.0.0/0", BOTH), ("0.0.0.0/1", "Address = 10.0.0.2"), ("10.0.0.0/8", "Address = 10.0.0.2")],
)
def test_the_other_family_is_left_alone_where_the_tunnel_has_it_or_takes_less(allowed: str, interface: str) -> None:
    given = tunnel(f"AllowedIPs = {allowed}", interface=interface)
    assert given.blocked_versions == ()
    assert routes(given, "2001:db8::1") == [(DIRECT, -1)]


def test_all_of_a_family_may_be_split_between_peers() -> None:
    both = tunnel("AllowedIPs = 0.0.0.0/1", "AllowedIPs = 128.0.0.0/1", interface="Address = 10.0.0.2")
    assert routes(both, "2001:db8::1") == [(BLOCK, 0), (BLOCK, 1)]


def test_only_peers_of_the_family_that_is_taken_block_the_other() -> None:
    both = tunnel("AllowedIPs = fd00::/8", "AllowedIPs = 0.0.0.0/0", interface="Address = 10.0.0.2")
    assert routes(both, "2001:db8::1") == [(BLOCK, 1)]


def test_dns_goes_to_the_peer_that_the_server_is_behind_whatever_the_destination() -> None:
    both = tunnel("AllowedIPs = 10.1.0.0/16", "AllowedIPs = 10.2.0.0/16", interface=f"{BOTH}\nDNS = 10.2.0.53")
    for to in ("8.8.8.8", "127.0.0.53", "10.1.0.1"):
        (finding,) = findings(both, to, 53)
        assert (finding.route, finding.peer, finding.dns) == (TUNNEL, 1, True)
    assert routes(both, "8.8.8.8", 443) == [(DIRECT, -1)]


def test_the_lists_of_every_peer_say_whose_dns_is_the_tunnels() -> None:
    dns = f"{BOTH}\nDNS = 10.1.0.53"
    asked = findings(
        tunnel("AllowedIPs = 10.1.0.0/16\nAllowedApps = a", "AllowedIPs = 10.2.0.0/16\nAllowedApps = b", interface=dns),
        "8.8.8.8",
        53,
    )
    assert len({finding.conditions for finding in asked}) == 2
    open_to_all = findings(
        tunnel("AllowedIPs = 10.1.0.0/16\nAllowedApps = a", "AllowedIPs = 10.2.0.0/16", interface=dns), "8.8.8.8", 53
    )
    assert [finding.everyone for finding in open_to_all] == [True]


def test_a_peer_that_nothing_is_routed_to_has_no_say_in_dns() -> None:
    dns = f"{BOTH}\nDNS = 10.1.0.53"
    (finding,) = findings(tunnel("AllowedIPs = 10.1.0.0/16\nAllowedApps = a", "", interface=dns), "8.8.8.8", 53)
    assert finding.conditions is not None
    assert not finding.everyone


def test_a_query_of_a_version_without_a_server_is_carried_to_the_other_over_udp_and_blocked_over_tcp() -> None:
    v4_dns = tunnel("AllowedIPs = 0.0.0.0/0, ::/0", interface=f"{BOTH}\nDNS = 1.1.1.1")
    (finding,) = findings(v4_dns, "2606:4700::1111", 53)
    assert (finding.route, finding.dns) == (BLOCK, False)
    address = ip_address("2606:4700::1111").packed
    (finding,) = v4_dns.findings(Destination.of_flow(address, socket.IPPROTO_UDP, 53))
    assert (finding.route, finding.dns, finding.peer) == (TUNNEL, True, 0)


@pytest.mark.parametrize("dns", ["", "DNS = 9.9.9.9", "DNS = office.example"])
def test_without_a_server_that_can_be_reached_dns_goes_by_destination(dns: str) -> None:
    split = tunnel("AllowedIPs = 10.0.0.0/8", interface=f"{BOTH}\n{dns}")
    assert not split.rewrites_dns
    assert routes(split, "10.0.0.53", 53) == [(TUNNEL, 0)]
    assert routes(split, "9.9.9.9", 53) == [(DIRECT, -1)]


def test_dns_goes_by_destination_where_the_settings_say_so() -> None:
    given = tunnel("AllowedIPs = 10.0.0.0/8", interface=f"{BOTH}\nDNS = 10.0.0.53", rewrite_dns=False)
    assert routes(given, "9.9.9.9", 53) == [(DIRECT, -1)]


def bypass(*peers: str, on_link: tuple[str, ...] = ()) -> TunnelDestinations:
    given = config(*peers, interface=f"{BOTH}\nDNS = 10.0.0.53\nBypassLan = true")
    return TunnelDestinations(
        0, given, {}, lambda path: path, rewrite_dns=True, on_link=[ip_network(text) for text in on_link]
    )


@pytest.mark.parametrize("to", ["192.168.7.1", "10.1.2.3", "172.31.0.1", "fd00::1", "203.0.113.9"])
def test_bypass_lan_leaves_out_private_and_on_link_networks(to: str) -> None:
    assert routes(tunnel("AllowedIPs = 0.0.0.0/0, ::/0"), to) == [(TUNNEL, 0)]
    (finding,) = findings(bypass("AllowedIPs = 0.0.0.0/0, ::/0", on_link=("203.0.113.0/24",)), to)
    assert (finding.route, finding.conditions) == (DIRECT, None)
    assert finding.reason.text.startswith("BypassLan leaves out")
    assert finding.reason.line == 5


def test_bypass_lan_leaves_the_internet_and_dns_in() -> None:
    given = bypass("AllowedIPs = 0.0.0.0/0, ::/0", on_link=("203.0.113.0/24",))
    assert routes(given, "203.0.114.1") == routes(given, "2001:db8::1") == [(TUNNEL, 0)]
    assert routes(given, "192.168.1.1", 53) == [(TUNNEL, 0)]


def test_a_longer_prefix_of_allowed_ips_beats_bypass_lan() -> None:
    given = bypass("AllowedIPs = 0.0.0.0/0, 10.20.0.0/16, 192.168.0.0/16", on_link=("192.168.1.0/24", "10.20.5.0/24"))
    assert routes(given, "10.20.1.1") == [(TUNNEL, 0)]
    for local in ("10.20.5.1", "10.21.0.1", "192.168.1.1", "192.168.2.1"):
        assert findings(given, local)[0].route is DIRECT
