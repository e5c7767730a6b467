from ipaddress import ip_address

import pytest

from tests.support.configs import config
from wiresock_py.config import Endpoint, Notice

V4_ONLY = "Address = 10.0.0.2\nDNS = 1.1.1.1, 2606:4700::1111, 10.9.0.1, 127.0.0.1, 192.168.1.1"


def test_an_endpoint_is_printed_with_brackets_where_they_are_needed() -> None:
    assert str(Endpoint("vpn.example.net", 1)) == "vpn.example.net:1"
    assert str(Endpoint("2001:db8::1", 1)) == "[2001:db8::1]:1"


def test_a_notice_is_printed_with_its_place() -> None:
    assert str(Notice("hm", "", "f", 3, 4)) == "f:3:4: hm"
    assert str(Notice("hm", "", "f")) == "f: hm"


@pytest.mark.parametrize(("address", "peer"), [("10.1.0.1", 0), ("10.2.0.1", 1), ("11.0.0.1", -1), ("fd00::1", -1)])
def test_the_longest_prefix_chooses_the_peer(address: str, peer: int) -> None:
    both = config("AllowedIPs = 10.0.0.0/8", "AllowedIPs = 10.2.0.0/16")
    assert both.peer_for(ip_address(address)) == peer


def test_a_config_without_peers_routes_nothing() -> None:
    assert config().peer_for(ip_address("10.0.0.1")) == -1


def test_dns_servers_are_those_a_query_can_reach_through_the_tunnel() -> None:
    given = config("AllowedIPs = 0.0.0.0/0, ::/0\nDisallowedIPs = 192.168.0.0/16", interface=V4_ONLY)
    assert given.dns_servers(4) == (ip_address("1.1.1.1"), ip_address("10.9.0.1"))
    assert given.dns_servers(6) == ()


def test_a_dns_server_excluded_at_one_peer_is_reached_through_another() -> None:
    given = config("AllowedIPs = 0.0.0.0/0\nDisallowedIPs = 10.9.0.0/16", "AllowedIPs = 10.9.0.1/32", interface=V4_ONLY)
    assert ip_address("10.9.0.1") in given.dns_servers(4)
