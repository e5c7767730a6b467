"""What a capture plan means."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.packets import Datagram, build
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.plan import PlanMatcher, ordered


def plan(capture: list[str], leave: list[str], *, dns: bool = False) -> CapturePlan:
    return CapturePlan(tuple(map(ip_network, capture)), tuple(map(ip_network, leave)), dns)


def udp(destination: str, port: int = 7, source_port: int = 1024) -> bytes:
    source = "fd77::2" if ":" in destination else "10.77.0.2"
    return build(Datagram(source, source_port, destination, port, b"x"))


def test_longer_prefixes_come_first() -> None:
    rows = ordered(plan(["0.0.0.0/0", "10.1.0.0/16"], ["10.0.0.0/8", "10.1.2.0/24"]), 4)
    assert rows == [
        (ip_network("10.1.2.0/24"), False),
        (ip_network("10.1.0.0/16"), True),
        (ip_network("10.0.0.0/8"), False),
        (ip_network("0.0.0.0/0"), True),
    ]


def test_prefixes_that_change_nothing_are_left_out() -> None:
    assert ordered(plan(["0.0.0.0/0", "10.0.0.0/8"], ["::/0", "172.16.0.0/12"]), 4) == [
        (ip_network("172.16.0.0/12"), False),
        (ip_network("0.0.0.0/0"), True),
    ]
    assert ordered(plan(["0.0.0.0/0"], ["::/0"]), 6) == []


def test_at_equal_length_leave_wins() -> None:
    assert ordered(plan(["10.0.0.0/8"], ["10.0.0.0/8"]), 4) == []


def test_each_family_has_its_own_rows() -> None:
    both = plan(["0.0.0.0/0", "::/0"], [])
    assert ordered(both, 4) == [(ip_network("0.0.0.0/0"), True)]
    assert ordered(both, 6) == [(ip_network("::/0"), True)]


# Prefixes of 10.0.0.0/29 and shorter ones around it: few enough to ask about every address.
networks = st.builds(
    lambda length, host: IPv4Network((int(IPv4Address("10.0.0.0")) + host, length), strict=False),
    st.integers(26, 32),
    st.integers(0, 63),
)


@given(st.lists(networks, max_size=6), st.lists(networks, max_size=6))
def test_the_first_matching_row_decides_as_the_longest_prefix_does(
    capture: list[IPv4Network], leave: list[IPv4Network]
) -> None:
    given_plan = CapturePlan(tuple(capture), tuple(leave))
    matcher = PlanMatcher(given_plan)
    for host in range(64):
        address = IPv4Address("10.0.0.0") + host
        longest = {True: -1, False: -1}
        for captured, prefixes in ((True, capture), (False, leave)):
            longest[captured] = max((n.prefixlen for n in prefixes if address in n), default=-1)
        assert matcher.captures(udp(str(address))) == (longest[True] > longest[False])


@pytest.mark.parametrize(
    ("destination", "port", "source_port", "captured"),
    [
        ("203.0.113.1", 7, 1024, True),
        ("2001:db8::1", 7, 1024, True),
        ("224.0.0.1", 7, 1024, False),
        ("224.0.0.1", 53, 1024, False),
        ("255.255.255.255", 53, 1024, False),
        ("ff02::1", 53, 1024, False),
        ("169.254.1.1", 7, 1024, False),
        ("169.254.1.1", 53, 1024, True),
        ("fe80::1", 7, 1024, False),
        ("fe80::1", 53, 1024, True),
        ("203.0.113.1", 67, 68, False),
        ("203.0.113.1", 68, 67, False),
        ("203.0.113.1", 67, 1024, True),
        ("2001:db8::1", 547, 546, False),
        ("2001:db8::1", 67, 68, True),
        ("192.0.2.1", 7, 1024, False),
        ("192.0.2.1", 53, 1024, True),
    ],
)
def test_some_destinations_are_above_the_prefixes(
    destination: str, port: int, source_port: int, captured: bool
) -> None:
    matcher = PlanMatcher(plan(["0.0.0.0/0", "::/0"], ["192.0.2.0/24"], dns=True))
    assert matcher.captures(udp(destination, port, source_port)) is captured


def test_on_loopback_only_dns_is_captured() -> None:
    matcher = PlanMatcher(plan(["0.0.0.0/0"], [], dns=True))
    assert matcher.captures(udp("127.0.0.53", 53), loopback=True)
    assert not matcher.captures(udp("127.0.0.53", 54), loopback=True)


@pytest.mark.parametrize(("kind", "captured"), [(128, True), (132, True), *((k, False) for k in range(133, 138))])
def test_neighbour_discovery_is_left_alone_and_echo_is_not(kind: int, captured: bool) -> None:
    head = bytes.fromhex("60000000 0008 3a ff") + ip_address("fd77::2").packed + ip_address("2001:db8::1").packed
    matcher = PlanMatcher(plan(["::/0"], []))
    assert matcher.captures(head + bytes([kind, 0, 0, 0, 0, 0, 0, 0])) is captured


def test_ipv4_knows_no_neighbour_discovery() -> None:
    packet = bytearray(udp("192.0.2.1", port=0, source_port=133 << 8))  # its first byte is where ICMPv6 has its type
    packet[9] = 58
    assert PlanMatcher(plan(["0.0.0.0/0"], [])).captures(packet)


def test_a_later_fragment_has_no_ports_to_be_taken_for_dns() -> None:
    packet = bytearray(udp("192.0.2.1", 53))
    packet[6:8] = b"\x00\x01"
    assert not PlanMatcher(plan([], [], dns=True)).captures(packet)


@given(st.binary(max_size=80))
def test_no_bytes_raise(packet: bytes) -> None:
    PlanMatcher(plan(["0.0.0.0/0", "::/0"], [], dns=True)).captures(packet)


def test_what_leaves_by_a_captured_port_is_captured_wherever_it_goes() -> None:
    matcher = PlanMatcher(CapturePlan((), ports=(40_000,)))
    assert matcher.captures(udp("203.0.113.1", source_port=40_000))
    assert matcher.captures(udp("fe80::1", source_port=40_000))
    assert not matcher.captures(udp("203.0.113.1", source_port=40_001))
    assert not matcher.captures(udp("203.0.113.1", port=40_000))
