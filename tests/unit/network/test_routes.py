import socket
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.network.conftest import Run
from wiresock_py.network.adapters import adapter_mtu, default_adapters, has_route, local_addresses, source_address
from wiresock_py.network.routes import default_routes, parse_default

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="for other systems: rtnetlink is Linux's")
IPV4, IPV6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def two_links(empty_network: Run) -> Run:
    """Two links that are up, each with a neighbour that is not."""
    for name, near in (("wan0", "10.1.0.2/24"), ("wan1", "10.2.0.2/24")):
        empty_network(f"ip link add {name} type veth peer name {name}p")
        empty_network(f"ip addr add {near} dev {name}")
        empty_network(f"ip link set {name}p up")
        empty_network(f"ip link set {name} up")
    return empty_network


@pytest.mark.root
def test_a_host_without_a_default_route_has_none(two_links: Run) -> None:
    assert default_routes(IPV4) == []
    assert not has_route(IPV4)
    assert not has_route(IPV6)


@pytest.mark.root
def test_default_routes_come_in_the_order_of_their_metrics(two_links: Run) -> None:
    two_links("ip route add default via 10.1.0.1 metric 200")
    two_links("ip route add default via 10.2.0.1 metric 100")
    found = [(route.adapter, socket.inet_ntoa(route.gateway), route.metric) for route in default_adapters()]
    assert found == [("wan1", "10.2.0.1", 100), ("wan0", "10.1.0.1", 200)]
    assert [route.index for route in default_adapters()] == [socket.if_nametoindex(name) for name in ("wan1", "wan0")]
    assert has_route(IPV4)
    assert not has_route(IPV6)
    assert source_address(socket.inet_aton("203.0.113.5")) == socket.inet_aton("10.2.0.2")


@pytest.mark.root
def test_a_link_that_is_down_leads_nowhere(two_links: Run) -> None:
    two_links("ip route add default via 10.1.0.1 metric 200")
    two_links("ip route add default via 10.2.0.1 metric 100")
    two_links("ip link set wan1p down")  # the carrier goes, the route stays
    while b"linkdown" not in subprocess.check_output(["ip", "route", "show", "dev", "wan1"]):
        pass  # the kernel tells of a carrier when it comes to it
    assert [route.adapter for route in default_routes(IPV4)] == ["wan0"]


@pytest.mark.root
def test_every_way_of_a_multipath_route_counts(two_links: Run) -> None:
    two_links("ip route add default nexthop via 10.1.0.1 nexthop via 10.2.0.1")
    assert {route.adapter for route in default_routes(IPV4)} == {"wan0", "wan1"}


@pytest.mark.root
def test_only_the_main_tables_usable_routes_count(two_links: Run) -> None:
    two_links("ip route add default via 10.1.0.1 table 1000")
    two_links("ip route add unreachable default metric 5000")
    two_links("ip route add 0.0.0.0/1 via 10.1.0.1")
    assert default_routes(IPV4) == []


@pytest.mark.root
def test_a_route_without_a_gateway_and_one_through_an_ipv6_router_count(two_links: Run) -> None:
    two_links("ip route add default dev wan0 metric 10")
    two_links("ip addr add fd00::2/64 dev wan1 nodad")
    two_links("ip route add 0.0.0.0/0 via inet6 fd00::1 dev wan1 metric 20")
    direct, through_v6 = default_routes(IPV4)
    assert direct.gateway == b""
    assert through_v6.gateway == socket.inet_pton(IPV6, "fd00::1")


@pytest.mark.root
def test_ipv6_default_routes_are_found(two_links: Run) -> None:
    two_links("ip addr add fd00::2/64 dev wan0 nodad")
    two_links("ip -6 route add default via fd00::1 dev wan0 metric 7")
    (route,) = default_routes(IPV6)
    assert (route.adapter, route.gateway, route.metric) == ("wan0", socket.inet_pton(IPV6, "fd00::1"), 7)
    assert has_route(IPV6)


@pytest.mark.root
def test_addresses_and_mtu_of_an_adapter(two_links: Run) -> None:
    two_links("ip link set wan0 mtu 1492")
    assert adapter_mtu("wan0") == 1492
    assert ("10.1.0.2", 24, "wan0") in [
        (socket.inet_ntoa(own.address), own.prefix_length, own.adapter)
        for own in local_addresses()
        if len(own.address) == 4
    ]


@given(st.binary(max_size=120))
def test_no_route_message_raises(body: bytes) -> None:
    list(parse_default(body, IPV4))


@given(st.binary(max_size=80))
def test_no_attributes_of_a_default_route_raise(tail: bytes) -> None:
    head = struct.pack("=BBBBBBBBI", IPV4, 0, 0, 0, 254, 0, 0, 1, 0)
    list(parse_default(head + tail, IPV4))
    list(parse_default(head + struct.pack("=HH", 4 + len(tail), 9) + tail, IPV4))
