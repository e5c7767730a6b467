"""Static filters: their rules, and their form for the driver."""

import ctypes
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.filters.ndisapi import Action, AddressRange, Direction, FilterStatistics, Span, StaticFilter
from wiresock_py.filters.ndisapi.raw import constants as c
from wiresock_py.filters.ndisapi.raw.structures import STATIC_FILTER
from wiresock_py.filters.ndisapi.static_filters import pack, unpack


def spans(limit: int) -> st.SearchStrategy[Span]:
    return st.tuples(st.integers(0, limit), st.integers(0, limit)).map(lambda pair: Span(*sorted(pair)))


def networks(version: int) -> st.SearchStrategy[IPv4Network | IPv6Network | AddressRange]:
    bits, kind = (32, IPv4Network) if version == 4 else (128, IPv6Network)
    prefixes = st.tuples(st.integers(0, 2**bits - 1), st.integers(0, bits)).map(lambda pair: kind(pair, strict=False))
    addresses = st.ip_addresses(v=4 if version == 4 else 6)
    ranges = st.tuples(addresses, addresses).map(lambda pair: AddressRange(*sorted(pair, key=int)))
    return prefixes | ranges


@st.composite
def filters(draw: st.DrawFn) -> StaticFilter:
    parts: dict[str, Any] = {}
    version = draw(st.sampled_from([0, 4, 6]))
    if version:
        parts["version"] = version
        parts["source"] = draw(st.none() | networks(version))
        parts["destination"] = draw(st.none() | networks(version))
        parts["protocol"] = draw(st.none() | st.integers(0, 255))
    transport = draw(st.sampled_from(["", "ports", "icmp"]))
    if transport == "ports":
        parts["source_ports"] = draw(st.none() | spans(65_535))
        parts["destination_ports"] = draw(st.none() | spans(65_535))
        parts["tcp_flags"] = draw(st.none() | st.integers(0, 255))
    elif transport == "icmp":
        parts["icmp_types"] = draw(st.none() | spans(255))
        parts["icmp_codes"] = draw(st.none() | spans(255))
    return StaticFilter(
        draw(st.sampled_from(Action)),
        direction=draw(st.sampled_from([Direction.SEND, Direction.RECEIVE, Direction.BOTH])),
        adapter=draw(st.integers(0, 2**64 - 1)),
        source_mac=draw(st.none() | st.binary(min_size=6, max_size=6)),
        destination_mac=draw(st.none() | st.binary(min_size=6, max_size=6)),
        ethertype=draw(st.none() | st.integers(0, 65_535)),
        **parts,
    )


@given(filters())
def test_a_filter_survives_the_drivers_form(rule: StaticFilter) -> None:
    assert unpack(STATIC_FILTER.from_buffer_copy(bytes(pack(rule)))) == rule


@given(st.binary(min_size=184, max_size=184))
def test_a_foreign_filter_is_read_or_refused_by_value_error(content: bytes) -> None:
    try:
        unpack(STATIC_FILTER.from_buffer_copy(content))
    except ValueError:
        pass


def test_a_filter_lies_in_memory_as_the_header_says() -> None:
    raw = bytes(
        pack(
            StaticFilter(
                Action.REDIRECT,
                direction=Direction.SEND,
                source=IPv4Network("10.1.2.0/24"),
                protocol=17,
                destination_ports=Span(53, 54),
            )
        )
    )
    assert len(raw) == ctypes.sizeof(STATIC_FILTER) == 184
    assert raw[8:20] == bytes((1, 0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 0))  # sent, redirect, network and transport count
    assert raw[80:88] == bytes((1, 0, 0, 0, 5, 0, 0, 0))  # IPv4; source and protocol count
    assert raw[88:100] == bytes((1, 0, 0, 0, 10, 1, 2, 0, 255, 255, 255, 0))  # subnet, in network order
    assert raw[112] == 17
    assert raw[164:172] == bytes((1, 0, 0, 0, 2, 0, 0, 0))  # TCP or UDP; destination port counts
    assert raw[176:180] == (53).to_bytes(2, "little") + (54).to_bytes(2, "little")  # in the host's order


def test_a_filter_for_everything_tests_no_layer() -> None:
    raw = pack(StaticFilter(Action.PASS))
    assert (raw.m_ValidFields, raw.m_dwDirectionFlags, raw.m_Adapter) == (0, c.PACKET_FLAG_ON_SEND | 2, 0)


def test_the_version_follows_from_the_addresses() -> None:
    assert StaticFilter(Action.DROP, source=IPv6Network("fd00::/8")).version == 6
    first, last = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
    assert StaticFilter(Action.DROP, destination=AddressRange(first, last)).version == 4


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"source": IPv4Network("10.0.0.0/8"), "destination": IPv6Network("fd00::/8")}, "IPv4 or IPv6"),
        ({"source": IPv4Network("10.0.0.0/8"), "version": 6}, "IPv4 or IPv6"),
        ({"version": 5}, "IPv4 or IPv6"),
        ({"protocol": 6}, "needs the IP version"),
        ({"source_ports": Span(1, 2), "icmp_types": Span(8, 8)}, "not for both"),
        ({"source_mac": bytes(5)}, "has 6 bytes, not 5"),
        ({"source_ports": Span(2, 1)}, "2 to 1 is not within 0 to 65535"),
        ({"destination_ports": Span(0, 65_536)}, "is not within 0 to 65535"),
        ({"icmp_codes": Span(0, 256)}, "is not within 0 to 255"),
        ({"ethertype": 0x10000}, "no EtherType 65536"),
        ({"version": 4, "protocol": 256}, "no protocol 256"),
        ({"tcp_flags": -1}, "no set of TCP flags -1"),
        ({"source": AddressRange(ip_address("10.0.0.9"), ip_address("10.0.0.1"))}, "is empty"),
        ({"source": AddressRange(ip_address("10.0.0.9"), IPv6Address("::1"))}, "mixes IPv4 and IPv6"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StaticFilter(Action.PASS, **parts)


def test_a_mask_with_holes_is_refused() -> None:
    raw = pack(StaticFilter(Action.PASS, source=IPv4Network("10.0.0.0/8")))
    raw.m_NetworkFilter.m_IPv4.m_SrcAddress.m_IpSubnet.m_IpMask = 0x00FF_00FF
    with pytest.raises(ValueError, match="has holes"):
        unpack(raw)


def test_counters_are_read_and_never_sent() -> None:
    counted = StaticFilter(Action.PASS, statistics=FilterStatistics(1, 2, 3, 4, 5))
    assert unpack(pack(counted)).statistics == FilterStatistics()
    raw = pack(counted)
    raw.m_PacketsIn, raw.m_BytesIn, raw.m_PacketsOut, raw.m_BytesOut, raw.m_LastReset = 9, 8, 7, 6, 5
    assert unpack(raw).statistics == FilterStatistics(9, 8, 7, 6, 5)


def test_a_filter_moves_to_another_handle() -> None:
    rule = StaticFilter(Action.DROP, adapter=1, ethertype=0x0806)
    assert rule.with_adapter(2) == StaticFilter(Action.DROP, adapter=2, ethertype=0x0806)
