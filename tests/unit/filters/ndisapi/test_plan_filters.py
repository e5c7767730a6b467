"""A capture plan as static filters: the same packets are captured as by the plan's own reading."""

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.drivers import Plugged
from wiresock_py.filters.base import CapturePlan, Network
from wiresock_py.filters.ndisapi import Action, Adapter, AdapterMode, Direction, NdisApi
from wiresock_py.filters.ndisapi.emulator.filter_table import FilterTable
from wiresock_py.filters.ndisapi.plan_filters import bypass_filter, plan_filters
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


def captured(plan: CapturePlan, content: bytes, bypassed: Sequence[FiveTuple] = ()) -> bool:
    table = FilterTable()
    table.replace(pack(rule) for rule in plan_filters(plan, bypassed))
    return table.decide(frame(content), Direction.SEND, 1)[0] == Action.REDIRECT


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


@pytest.mark.parametrize("remote", ["192.0.2.1", "2001:db8::7"])
def test_a_bypassed_flow_is_left_alone_and_its_neighbour_is_not(remote: str) -> None:
    destination = ip_address(remote)
    plan = CapturePlan((IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))
    content = packet(destination, 17, (5000, 443))
    own = packet(destination, 17, (5001, 443))
    local = content[12:16] if destination.version == 4 else content[8:24]
    flow = FiveTuple(17, local, 5001, destination.packed, 443)
    assert captured(plan, content, [flow])
    assert not captured(plan, own, [flow])
    assert captured(plan, own)


def test_a_flow_without_ports_is_bypassed_by_its_addresses() -> None:
    rule = bypass_filter(FiveTuple(1, bytes((10, 0, 0, 1)), 77, bytes((10, 0, 0, 2)), 0))
    assert (rule.protocol, rule.source_ports, rule.icmp_types) == (1, None, None)


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
