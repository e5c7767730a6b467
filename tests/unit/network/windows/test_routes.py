import socket
import sys

import pytest

from tests.support.windows import FakeAdapter, FakeIpHelper, packed
from wiresock_py.errors import NetworkError
from wiresock_py.network.windows.iphlpapi import load_ip_helper
from wiresock_py.network.windows.routes import NextHop, default_routes, neighbour, next_hop

ETHERNET = FakeAdapter(
    "Ethernet", 5, 6, metric=10, ipv6_metric=20, addresses=(("192.0.2.2", 24),), gateways=("fe80::1", "192.0.2.1")
)
WIFI = FakeAdapter("Wi-Fi", 7, 7, metric=50, addresses=(("198.51.100.2", 24),))
UNPLUGGED = FakeAdapter("Unplugged", 8, up=False)
LOOPBACK = FakeAdapter("Loopback", 1, 1, kind=24)
MAC = b"\x02\0\0\0\0\x09"
FAR, NEAR, ROUTER = packed("203.0.113.9"), packed("192.0.2.77"), packed("192.0.2.1")


@pytest.fixture
def helper() -> FakeIpHelper:
    return FakeIpHelper(ETHERNET, WIFI, UNPLUGGED, LOOPBACK)


def test_default_routes_are_ordered_by_the_metrics_of_route_and_adapter(helper: FakeIpHelper) -> None:
    helper.add_route("0.0.0.0", 0, 7, "198.51.100.1", metric=0)
    helper.add_route("0.0.0.0", 0, 5, "192.0.2.1", metric=5)
    helper.add_route("::", 0, 6, "fe80::1", metric=256)
    found = default_routes(socket.AF_INET, helper)
    assert [(route.adapter, route.index, route.gateway, route.metric) for route in found] == [
        ("Ethernet", 5, packed("192.0.2.1"), 15),
        ("Wi-Fi", 7, packed("198.51.100.1"), 50),
    ]
    (ipv6,) = default_routes(socket.AF_INET6, helper)
    assert (ipv6.adapter, ipv6.index, ipv6.metric) == ("Ethernet", 6, 276)


def test_routes_that_lead_nowhere_are_no_default_routes(helper: FakeIpHelper) -> None:
    helper.add_route("0.0.0.0", 0, 8, "10.0.0.1")
    helper.add_route("0.0.0.0", 0, 1, "0.0.0.0")
    helper.add_route("0.0.0.0", 0, 99, "10.0.0.1")
    helper.add_route("0.0.0.0", 1, 5, "192.0.2.1")
    assert default_routes(socket.AF_INET, helper) == []


def test_a_point_to_point_link_has_no_gateway(helper: FakeIpHelper) -> None:
    helper.add_route("0.0.0.0", 0, 7, "0.0.0.0")
    assert [route.gateway for route in default_routes(socket.AF_INET, helper)] == [b""]


def test_routes_that_windows_withholds_are_an_error() -> None:
    with pytest.raises(NetworkError, match="does not tell its routes"):
        default_routes(socket.AF_INET, FakeIpHelper(ETHERNET, missing=["GetIpForwardTable2"]))


@pytest.mark.parametrize("missing", [[], ["GetBestRoute2"]])
def test_the_next_hop_is_the_router_or_the_destination_itself(helper: FakeIpHelper, missing: list[str]) -> None:
    helper.missing = set(missing)
    helper.best = {FAR: (5, "192.0.2.1"), NEAR: (5, "0.0.0.0")}
    assert next_hop(FAR, helper=helper) == NextHop(5, ROUTER)
    assert next_hop(NEAR, helper=helper) == NextHop(5, NEAR)


def test_where_the_older_call_names_the_adapters_own_address_the_destination_is_on_the_link(
    helper: FakeIpHelper,
) -> None:
    helper.missing = {"GetBestRoute2"}
    helper.best = {NEAR: (5, "192.0.2.2")}
    assert next_hop(NEAR, helper=helper) == NextHop(5, NEAR)


def test_ipv6_next_hops_come_from_the_newer_call(helper: FakeIpHelper) -> None:
    far = packed("2001:db8::9")
    helper.best = {far: (6, "fe80::1")}
    assert next_hop(far, helper=helper) == NextHop(6, packed("fe80::1"))


@pytest.mark.parametrize(
    ("destination", "hop"),
    [("203.0.113.9", "192.0.2.1"), ("192.0.2.77", "192.0.2.77"), ("2001:db8::9", "fe80::1")],
)
def test_without_both_calls_the_adapter_and_its_gateway_are_the_way(
    helper: FakeIpHelper, destination: str, hop: str
) -> None:
    helper.missing = {"GetBestRoute2", "GetBestRoute"}
    helper.best_interface = {packed(destination): 5}
    assert next_hop(packed(destination), helper=helper) == NextHop(5, packed(hop))
    assert next_hop(packed(destination), 5, helper) == NextHop(5, packed(hop))


def test_without_a_route_or_a_gateway_there_is_no_next_hop(helper: FakeIpHelper) -> None:
    assert next_hop(FAR, helper=helper) is None
    assert next_hop(FAR, 7, helper) is None  # an adapter without a gateway
    assert next_hop(FAR, 99, helper) is None


def test_a_neighbour_windows_knows_is_not_asked_for(helper: FakeIpHelper) -> None:
    helper.add_neighbour("192.0.2.1", 7, b"\x02\0\0\0\0\xff")
    helper.add_neighbour("192.0.2.1", 5, MAC, state=4)
    assert neighbour(ROUTER, 5, helper) == MAC
    assert helper.asked == ["GetIpNetTable2"]


@pytest.mark.parametrize(
    ("missing", "asked"),
    [
        ([], ["GetIpNetTable2", "ResolveIpNetEntry2"]),
        (["ResolveIpNetEntry2"], ["GetIpNetTable2", "ResolveIpNetEntry2", "SendARP"]),
        (["GetIpNetTable2", "ResolveIpNetEntry2"], ["GetIpNetTable2", "ResolveIpNetEntry2", "SendARP"]),
    ],
)
def test_an_unknown_neighbour_is_asked_for_by_the_best_call_there_is(
    helper: FakeIpHelper, missing: list[str], asked: list[str]
) -> None:
    helper.missing = set(missing)
    helper.add_neighbour("192.0.2.1", 5, b"", state=0)  # unreachable: no answer kept from before
    helper.answering[ROUTER] = MAC
    assert neighbour(ROUTER, 5, helper) == MAC
    assert helper.asked == asked


def test_who_does_not_answer_has_no_hardware_address(helper: FakeIpHelper) -> None:
    assert neighbour(ROUTER, 5, helper) is None
    assert neighbour(packed("fe80::1"), 6, helper) is None


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_answers_each_question() -> None:
    helper = load_ip_helper()
    for family in (socket.AF_INET, socket.AF_INET6):
        for route in default_routes(family, helper):
            assert route.index
            assert route.adapter
    hop = next_hop(FAR, helper=helper)
    assert (hop is None) == (not default_routes(socket.AF_INET, helper))
