"""Default routes and what lies behind other adapters, read from a real routing table."""

import sys
from ipaddress import ip_network

import pytest

assert sys.platform == "linux"

from tests.backends.namespaces import Namespace
from wiresock_py.filters.netfilter.rules import MAX_NETWORKS
from wiresock_py.filters.netfilter.surroundings import surroundings

pytestmark = pytest.mark.root

Pair = tuple[Namespace, Namespace]


def test_the_default_adapter_and_the_networks_behind_the_other(namespaces: Pair) -> None:
    with namespaces[0].inside():
        found = surroundings()
    assert found.default == {"eth0"}
    assert dict(found.behind) == {"side0": (ip_network("10.78.0.0/24"), ip_network("fd78::/64"))}


def test_a_default_route_of_one_family_counts(namespaces: Pair) -> None:
    host = namespaces[0]
    host.ip("route", "del", "default")
    host.ip("-6", "route", "add", "default", "via", "fd78::1", "metric", "2000")
    with host.inside():
        assert surroundings().default == {"eth0", "side0"}


def test_a_default_route_in_two_halves_counts(namespaces: Pair) -> None:
    host = namespaces[0]
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        host.ip("route", "add", half, "via", "10.78.0.1")
    with host.inside():
        assert surroundings().default == {"eth0", "side0"}


def test_a_default_route_of_another_table_counts(namespaces: Pair) -> None:
    host = namespaces[0]
    host.ip("route", "add", "default", "via", "10.78.0.1", "table", "100")
    with host.inside():
        assert surroundings().default == {"eth0", "side0"}


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_all_hops_of_a_multipath_route_count(namespaces: Pair, family: str) -> None:
    host = namespaces[0]
    hops = ("10.77.0.1", "10.78.0.1") if family == "-4" else ("fd77::1", "fd78::1")
    host.ip(family, "route", "replace", "default", "nexthop", "via", hops[0], "nexthop", "via", hops[1])
    with host.inside():
        assert surroundings().default == {"eth0", "side0"}


def test_routes_that_lead_nowhere_do_not_count(namespaces: Pair) -> None:
    host = namespaces[0]
    host.ip("route", "replace", "unreachable", "default", "metric", "999")
    host.ip("route", "add", "blackhole", "192.0.2.0/24")
    host.ip("-6", "route", "add", "unreachable", "default", "metric", "999")
    with host.inside():
        found = surroundings()
    assert found.default == {"eth0"}
    assert set(found.behind) == {"side0"}


def test_a_lan_is_not_believed_to_have_the_internet_behind_it(namespaces: Pair) -> None:
    """A hostile DHCP server that leaves the default route out, and hands out all it stands for in pieces."""
    host = namespaces[0]
    for piece in ("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2", "9.9.9.0/24", "10.0.0.0/7", "10.9.0.0/16"):
        host.ip("route", "add", piece, "via", "10.78.0.1")
    for piece in ("2000::/3", "2606:4700::/32", "fd00::/8"):
        host.ip("-6", "route", "add", piece, "via", "fd78::1")
    with host.inside():
        found = surroundings()
    assert found.default == {"eth0"}
    assert set(found.behind["side0"]) == {
        ip_network(network) for network in ("10.9.0.0/16", "10.78.0.0/24", "fd00::/8", "fd78::/64")
    }


def test_another_tunnel_may_have_any_network_behind_it(namespaces: Pair) -> None:
    host = namespaces[0]
    host.ip("tuntap", "add", "tun0", "mode", "tun")
    host.ip("link", "set", "tun0", "up")
    host.ip("route", "add", "9.9.9.0/24", "dev", "tun0")
    with host.inside():
        assert ip_network("9.9.9.0/24") in surroundings().behind["tun0"]


def test_a_lan_cannot_have_its_adapter_left_alone_whole(namespaces: Pair) -> None:
    host = namespaces[0]
    routes = "".join(f"route add 10.{i // 256}.{i % 256}.0/24 via 10.78.0.1\n" for i in range(MAX_NETWORKS + 8))
    host.run("ip", "-batch", "-", text=routes)
    with host.inside():
        assert len(surroundings().behind["side0"]) == MAX_NETWORKS


def test_a_host_without_routes_has_no_surroundings() -> None:
    namespace = Namespace()
    with namespace.inside():
        found = surroundings()
    namespace.close()
    assert not found.default
    assert not found.behind
