"""Whether a filter matches: against packets built by scapy, and an independent reading of addresses."""

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from wiresock_py.filters.ndisapi import Action, AddressRange, Direction, Span, StaticFilter
from wiresock_py.filters.ndisapi.emulator.matching import dissect, matches
from wiresock_py.filters.ndisapi.static_filters import pack

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
UDP4 = bytes(LINK / IP(src="10.1.2.3", dst="192.0.2.9") / UDP(sport=5000, dport=53))
TCP6 = bytes(LINK / IPv6(src="fd00::1", dst="2001:db8::9") / TCP(sport=5000, dport=443, flags="S"))
PING = bytes(LINK / IP(src="10.1.2.3", dst="192.0.2.9") / ICMP(type=8, code=0))
PING6 = bytes(LINK / IPv6(src="fd00::1", dst="2001:db8::9") / ICMPv6EchoRequest())
TAGGED = bytes(LINK / Dot1Q(vlan=5) / IP(src="10.1.2.3", dst="192.0.2.9") / UDP(sport=5000, dport=53))
QUESTION = bytes(LINK / ARP())


def found(frame: bytes, direction: int = Direction.SEND, adapter: int = 1, **parts: Any) -> bool:
    return matches(pack(StaticFilter(Action.DROP, **parts)), dissect(frame), direction, adapter)


@pytest.mark.parametrize("frame", [UDP4, TCP6, PING, TAGGED, QUESTION, b"", bytes(13)])
def test_a_filter_without_conditions_matches_everything(frame: bytes) -> None:
    assert found(frame)
    assert matches(pack(StaticFilter(Action.DROP)), dissect(frame), Direction.RECEIVE, 2)


def test_direction_and_adapter_count() -> None:
    rule = pack(StaticFilter(Action.DROP, direction=Direction.RECEIVE, adapter=7))
    frame = dissect(UDP4)
    assert matches(rule, frame, Direction.RECEIVE, 7)
    assert not matches(rule, frame, Direction.SEND, 7)
    assert not matches(rule, frame, Direction.RECEIVE, 8)


@pytest.mark.parametrize(
    ("frame", "parts", "expected"),
    [
        (UDP4, {"source_mac": bytes.fromhex("020000000001")}, True),
        (UDP4, {"source_mac": bytes.fromhex("020000000002")}, False),
        (UDP4, {"destination_mac": bytes.fromhex("020000000002")}, True),
        (UDP4, {"destination_mac": bytes.fromhex("020000000001")}, False),
        (QUESTION, {"ethertype": 0x0806}, True),
        (UDP4, {"ethertype": 0x0806}, False),
        (UDP4, {"version": 4}, True),
        (TCP6, {"version": 4}, False),
        (TCP6, {"version": 6}, True),
        (TAGGED, {"version": 4}, False),
        (QUESTION, {"version": 4}, False),
        (UDP4, {"source": IPv4Network("10.1.0.0/16")}, True),
        (UDP4, {"source": IPv4Network("10.2.0.0/16")}, False),
        (UDP4, {"destination": IPv4Network("192.0.2.9/32")}, True),
        (UDP4, {"destination": IPv4Network("10.0.0.0/8")}, False),
        (UDP4, {"destination": IPv4Network("0.0.0.0/0")}, True),
        (TCP6, {"source": IPv6Network("fd00::/8")}, True),
        (TCP6, {"source": IPv6Network("fc00::/8")}, False),
        (TCP6, {"destination": IPv6Network("2001:db8::/32")}, True),
        (UDP4, {"version": 4, "protocol": 17}, True),
        (UDP4, {"version": 4, "protocol": 6}, False),
        (TCP6, {"version": 6, "protocol": 6}, True),
        (UDP4, {"source_ports": Span(4999, 5001)}, True),
        (UDP4, {"source_ports": Span(5001, 6000)}, False),
        (UDP4, {"destination_ports": Span(53, 53)}, True),
        (UDP4, {"destination_ports": Span(54, 54)}, False),
        (TCP6, {"destination_ports": Span(443, 443)}, True),
        (PING, {"destination_ports": Span(0, 65_535)}, False),
        (TCP6, {"tcp_flags": 2}, True),
        (TCP6, {"tcp_flags": 18}, False),
        (UDP4, {"tcp_flags": 2}, False),
        (PING, {"icmp_types": Span(8, 8)}, True),
        (PING, {"icmp_types": Span(0, 7)}, False),
        (PING, {"icmp_codes": Span(1, 255)}, False),
        (PING6, {"icmp_types": Span(128, 128)}, True),
        (UDP4, {"icmp_types": Span(0, 255)}, False),
    ],
)
def test_a_condition_is_tested(frame: bytes, parts: dict[str, Any], expected: bool) -> None:
    assert found(frame, **parts) == expected


@given(st.ip_addresses(), st.ip_addresses(), st.ip_addresses())
def test_a_range_holds_what_lies_between_its_ends(first: Any, last: Any, address: Any) -> None:
    if not first.version == last.version == address.version or first > last:
        return
    header = IP(src=str(address)) if address.version == 4 else IPv6(src=str(address))
    frame = bytes(LINK / header / UDP())
    assert found(frame, source=AddressRange(first, last)) == (first <= address <= last)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_a_subnet_holds_what_ipaddress_says(base: int, prefix: int, number: int) -> None:
    network = IPv4Network((base, prefix), strict=False)
    address = ip_address(number)
    assert found(bytes(LINK / IP(dst=str(address)) / UDP()), destination=network) == (address in network)


@given(st.binary(max_size=90), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00"]))
def test_no_frame_raises(rest: bytes, ethertype: bytes) -> None:
    frame = bytes(12) + ethertype + rest
    found(frame, source=IPv4Network("10.0.0.0/8"), protocol=6, source_ports=Span(1, 2), tcp_flags=2)
    found(frame, source=IPv6Network("fd00::/8"), icmp_types=Span(1, 2))
    found(frame[: len(rest) % 15], ethertype=1)


def test_a_later_fragment_has_no_ports() -> None:
    later = bytes(LINK / IP(src="10.1.2.3", dst="192.0.2.9", frag=100, proto=17) / bytes(40))
    assert not found(later, destination_ports=Span(0, 65_535))
    assert found(later, version=4, protocol=17)
    assert (
        dissect(later).fragment == dissect(bytes(LINK / IP(src="10.1.2.3", dst="192.0.2.9", flags=1) / UDP())).fragment
    )
