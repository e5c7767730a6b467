"""A capture plan as static filters: the same packets are captured as by the plan's own reading."""

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.drivers import Plugged
from wiresock_py.filters.base import CapturePlan, Network
from wiresock_py.filters.ndisapi import Action, Adapter, AdapterMode, Direction, NdisApi, StaticFilter
from wiresock_py.filters.ndisapi.emulator.filter_table import FilterTable
from wiresock_py.filters.ndisapi.plan_filters import bypass_filters, bypassed_flow, exempt_filters, plan_filters
from wiresock_py.filters.ndisapi.static_filters import pack
from wiresock_py.filters.plan import PlanMatcher
from wiresock_py.flow import FiveTuple

NETWORKS: list[Network] = [
    ip_network(text)
    for text in (
        *("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "169.254.0.0/16"),
        *("::/0", "2000::/3", "2001:db8::/32", "2001:db8::7/128", "fd00::/8", "fe80::/10"),
    )
]
ADDRESSES = [
    ip_address(text)
    for text in (
        *("10.1.2.3", "10.1.2.4", "10.9.0.1", "192.0.2.1", "169.254.7.7", "224.0.0.251", "255.255.255.255"),
        *("2001:db8::7", "2001:db8::8", "fd00::1", "fe80::1", "ff02::1", "3fff::1"),
    )
]
plans = st.builds(
    CapturePlan,
    capture=st.lists(st.sampled_from(NETWORKS), max_size=4).map(tuple),
    leave=st.lists(st.sampled_from(NETWORKS), max_size=4).map(tuple),
    dns=st.booleans(),
)
ports = st.sampled_from([53, 67, 68, 546, 547, 443])


def packet(destination: IPv4Address | IPv6Address, protocol: int, words: tuple[int, int], fragment: int = 0) -> bytes:
    transport = struct.pack("!HH", *words) + bytes(16)
    if isinstance(destination, IPv4Address):
        source = IPv4Address("10.5.5.5").packed
        lengths = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, fragment, 64, protocol, 0)
        return lengths + source + destination.packed + transport
    source = IPv6Address("2001:db8::5").packed
    return struct.pack("!IHBB", 6 << 28, 20, protocol, 64) + source + destination.packed + transport


def frame(content: bytes) -> bytes:
    return bytes(12) + (b"\x08\x00" if content[0] >> 4 == 4 else b"\x86\xdd") + content


def captured(plan: CapturePlan, content: bytes, before: Sequence[StaticFilter] = ()) -> bool:
    table = FilterTable()
    table.replace(pack(rule) for rule in [*before, *plan_filters(plan)])
    return table.decide(frame(content), Direction.SEND, 1)[0] == Action.REDIRECT


@settings(deadline=None)
@given(
    plans,
    st.sampled_from(ADDRESSES),
    st.sampled_from([6, 17, 1, 58, 47]),
    st.tuples(ports, ports) | st.tuples(st.integers(130, 140).map(lambda kind: kind << 8), st.just(0)),
    st.sampled_from([0, 0x2000, 0x0005]),
)
def test_the_filters_capture_what_the_plan_says(
    plan: CapturePlan,
    destination: IPv4Address | IPv6Address,
    protocol: int,
    words: tuple[int, int],
    fragment: int,
) -> None:
    content = packet(destination, protocol, words, fragment)
    assert captured(plan, content) == PlanMatcher(plan).captures(content)


def test_what_arrives_is_never_captured() -> None:
    table = FilterTable()
    table.replace(pack(rule) for rule in plan_filters(CapturePlan((IPv4Network("0.0.0.0/0"),), dns=True)))
    content = frame(packet(IPv4Address("10.1.2.3"), 17, (53, 53)))
    assert table.decide(content, Direction.RECEIVE, 1)[0] == Action.PASS


def test_a_family_without_a_plan_costs_no_filters() -> None:
    table = plan_filters(CapturePlan((IPv6Network("2000::/3"),)))
    assert {rule.version for rule in table} == {6, 0}
    assert len(plan_filters(CapturePlan(()))) == 1


EVERYTHING = CapturePlan((IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))
BOTH = pytest.mark.parametrize("remote", ["192.0.2.1", "2001:db8::7"])


def flow_of(content: bytes, protocol: int, port: int) -> FiveTuple:
    local, remote = (content[12:16], content[16:20]) if content[0] >> 4 == 4 else (content[8:24], content[24:40])
    return FiveTuple(protocol, local, port, remote, 443)


@BOTH
@pytest.mark.parametrize("protocol", [6, 17])
def test_a_bypassed_flow_is_left_alone_and_its_neighbour_is_not(remote: str, protocol: int) -> None:
    content, other = (packet(ip_address(remote), protocol, (port, 443)) for port in (5001, 5000))
    rules = bypass_filters(flow_of(content, protocol, 5001))
    assert not captured(EVERYTHING, content, rules)
    assert captured(EVERYTHING, other, rules)
    assert captured(EVERYTHING, content)


@BOTH
def test_a_new_connection_between_the_ends_of_a_bypassed_one_is_shown(remote: str) -> None:
    content = packet(ip_address(remote), 6, (5001, 443))
    start = len(content) - 20
    opening = content[: start + 13] + b"\x02" + content[start + 14 :]
    assert captured(EVERYTHING, opening, bypass_filters(flow_of(content, 6, 5001)))


@BOTH
@pytest.mark.parametrize("protocol", [6, 17])
def test_a_bypassed_flow_is_known_by_its_filter(remote: str, protocol: int) -> None:
    flow = flow_of(packet(ip_address(remote), protocol, (5001, 443)), protocol, 5001)
    assert [bypassed_flow(rule) for rule in bypass_filters(flow)][-1] == flow
    others = [*plan_filters(EVERYTHING), *exempt_filters(17, 5001), *bypass_filters(flow)[:-1]]
    assert [bypassed_flow(rule) for rule in others] == [None] * len(others)


@BOTH
@pytest.mark.parametrize("protocol", [6, 17])
def test_what_an_exempt_port_sends_by_its_protocol_is_left_alone(remote: str, protocol: int) -> None:
    own, other = (packet(ip_address(remote), protocol, ports) for ports in ((5001, 53), (53, 5001)))
    another = packet(ip_address(remote), 23 - protocol, (5001, 53))  # TCP's port for UDP's, and the other way round
    plan = CapturePlan(EVERYTHING.capture, dns=True)
    assert not captured(plan, own, exempt_filters(protocol, 5001))
    assert captured(plan, other, exempt_filters(protocol, 5001))
    assert captured(plan, another, exempt_filters(protocol, 5001))


def test_elsewhere_only_dns_is_captured() -> None:
    table = FilterTable()
    table.replace(pack(rule) for rule in plan_filters(CapturePlan(EVERYTHING.capture, dns=True), elsewhere=(7,)))
    query, other = (frame(packet(ip_address("192.0.2.1"), 17, (5000, port))) for port in (53, 443))
    assert [table.decide(content, Direction.SEND, 7)[0] for content in (query, other)] == [Action.REDIRECT, Action.PASS]
    assert table.decide(other, Direction.SEND, 8)[0] == Action.REDIRECT


def test_a_frame_for_every_machine_of_the_link_is_left_alone() -> None:
    table = FilterTable()
    table.replace(pack(rule) for rule in plan_filters(EVERYTHING))
    content = b"\xff" * 6 + frame(packet(IPv4Address("192.0.2.255"), 17, (5000, 443)))[6:]
    assert table.decide(content, Direction.SEND, 1)[0] == Action.PASS


def test_the_driver_holds_a_plan_as_it_is(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    table = plan_filters(CapturePlan((IPv4Network("10.0.0.0/8"),), dns=True))
    api.set_filters(table)
    assert api.filters() == table
    api.set_mode(adapter, AdapterMode.SENT_TUNNEL)
    inside, outside = (frame(packet(IPv4Address(text), 6, (5000, 443))) for text in ("10.9.9.9", "192.0.2.1"))
    ethernet.stack_sends(inside)
    ethernet.stack_sends(outside)
    assert ethernet.network_received() == [outside]
    taken = api.read_packet(adapter)
    assert taken is not None
    assert taken.frame == inside
