"""Translation in place, out and back in."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest
from scapy.packet import Packet

from tests.support.traffic import IPV4, IPV6, Ends, address, assert_sound, partial
from wiresock_py.datapath import Flow, PythonFlow
from wiresock_py.datapath.headers import UDP_LITE
from wiresock_py.datapath.rewrite import ADDRESSES_ONLY, complete, rewrite
from wiresock_py.flow import FiveTuple, Route

BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
START = {4: 20, 6: 40}


def out(packet: bytearray, flow: Flow, protocol: int, start: int = 0) -> None:
    transport = start + (20 if packet[start] >> 4 == 4 else 40)
    rewrite(packet, start, transport, protocol, flow.out_wire, flow.out_address_delta, flow.out_delta)


def back(packet: bytearray, flow: Flow, protocol: int) -> None:
    transport = 20 if packet[0] >> 4 == 4 else 40
    rewrite(packet, 0, transport, protocol, flow.in_wire, flow.in_address_delta, flow.in_delta)


def turned(packet: bytes) -> bytearray:
    """The packet going the other way: addresses and ports exchanged, which leaves every sum as it is."""
    size = 4 if packet[0] >> 4 == 4 else 16
    at = 12 if size == 4 else 8
    transport = at + 2 * size
    swapped = packet[:at] + packet[at + size : transport] + packet[at : at + size] + packet[transport:]
    if packet[9 if size == 4 else 6] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        swapped = (
            swapped[:transport]
            + swapped[transport + 2 : transport + 4]
            + swapped[transport:][:2]
            + swapped[transport + 4 :]
        )
    return bytearray(swapped)


def any_flow(ends: Ends, protocol: int, inner_local: bytes, inner_port: int, remote: bytes, remote_port: int) -> Flow:
    size = len(address(ends.host))
    has_ports = protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    key = FiveTuple(protocol, address(ends.host), 40000, address(ends.server), 443 if has_ports else 0)
    inner = FiveTuple(protocol, inner_local[:size], inner_port, remote[:size], remote_port if has_ports else 0)
    return PythonFlow(key, Route.TUNNEL, 0.0, inner=inner)


def message(ends: Ends, protocol: int, payload: bytes) -> Packet:
    if protocol == socket.IPPROTO_TCP:
        return TCP(sport=40000, dport=443, flags="PA") / payload
    if protocol == socket.IPPROTO_UDP:
        return UDP(sport=40000, dport=443) / payload
    return (ICMP(id=40000) if ends is IPV4 else ICMPv6EchoRequest(id=40000)) / payload


@settings(deadline=None)
@given(
    st.sampled_from([IPV4, IPV6]),
    st.sampled_from(["tcp", "udp", "echo"]),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.binary(max_size=50),
)
def test_out_and_back_in_is_the_identity(
    ends: Ends, name: str, local: bytes, port: int, remote: bytes, remote_port: int, payload: bytes
) -> None:
    protocol = {"tcp": 6, "udp": 17, "echo": ends.icmp}[name]
    flow = any_flow(ends, protocol, local, port, remote, remote_port)
    before = bytes(ends.ip() / message(ends, protocol, payload))
    packet = bytearray(before)
    out(packet, flow, protocol)
    assert_sound(bytes(packet))
    answer = turned(bytes(packet))
    back(answer, flow, protocol)
    assert turned(bytes(answer)) == before


@BOTH
def test_translation_works_anywhere_in_a_buffer(ends: Ends) -> None:
    flow = any_flow(ends, 17, address(ends.tunnel), 5, address(ends.redirected), 53)
    packet = bytes(ends.ip() / message(ends, 17, b"query"))
    buffer = bytearray(b"\xaa" * 7 + packet + b"\xaa" * 7)
    out(buffer, flow, 17, 7)
    assert buffer[:7] == buffer[-7:] == b"\xaa" * 7
    read = assert_sound(bytes(buffer[7:-7]))
    assert (read.src, read.sport, read.dst, read.dport) == (ends.tunnel, 5, ends.redirected, 53)


def test_the_identifier_of_the_far_ends_own_query_is_not_ours_to_change() -> None:
    for ends, reply in ((IPV4, ICMP(type=0, id=9)), (IPV6, ICMPv6EchoReply(id=9))):
        key = FiveTuple(ends.icmp, address(ends.host), 0, address(ends.server), 9)
        flow = PythonFlow(key, Route.TUNNEL, 0.0, inner=key._replace(local=address(ends.tunnel)))
        packet = bytearray(bytes(ends.ip() / reply))
        out(packet, flow, ends.icmp)
        read = assert_sound(bytes(packet))
        assert (read.src, read.payload.id) == (ends.tunnel, 9)


@BOTH
def test_identifiers_that_sum_to_the_same_are_still_exchanged(ends: Ends) -> None:
    flow = any_flow(ends, ends.icmp, address(ends.tunnel), 0xFFFF, address(ends.server), 0)
    flow = PythonFlow(flow.key._replace(local_port=0), Route.TUNNEL, 0.0, inner=flow.inner)
    echo = ICMP(id=0) if ends is IPV4 else ICMPv6EchoRequest(id=0)
    packet = bytearray(bytes(ends.ip() / echo / b"ping"))
    out(packet, flow, ends.icmp)
    assert assert_sound(bytes(packet)).payload.id == 0xFFFF


def test_udp_lite_covers_the_addresses_too() -> None:
    flow = any_flow(IPV4, UDP_LITE, address(IPV4.tunnel), 0, address(IPV4.server), 0)
    as_udp = bytearray(bytes(IPV4.ip() / UDP(sport=1, dport=2) / b"x"))
    same = bytearray(as_udp)
    out(as_udp, flow, UDP_LITE)
    plain = any_flow(IPV4, 17, address(IPV4.tunnel), 40000, address(IPV4.server), 443)
    out(same, plain, 17)
    assert as_udp[26:28] == same[26:28]  # ports are left, or the same: the sum moves by the addresses alone
    assert as_udp[20:24] == bytes((0, 1, 0, 2))


@BOTH
def test_of_a_later_fragment_only_the_addresses_change(ends: Ends) -> None:
    flow = any_flow(ends, 17, address(ends.tunnel), 5, address(ends.redirected), 53)
    packet = bytearray(bytes(ends.ip(protocol=17) / bytes(range(40))))
    out(packet, flow, ADDRESSES_ONLY)
    assert packet[START[ends.version] :] == bytes(range(40))
    assert assert_header(packet, ends) == (ends.tunnel, ends.redirected)


def assert_header(packet: bytearray, ends: Ends) -> tuple[str, str]:
    read = ends.ip().__class__(bytes(packet))
    if ends is IPV4:
        again = read.copy()
        del again.chksum
        assert bytes(again)[:20] == packet[:20]
    return read.src, read.dst


@BOTH
@pytest.mark.parametrize("protocol", [6, 17])
def test_offloaded_checksums_are_completed(ends: Ends, protocol: int) -> None:
    whole = bytes(ends.ip() / message(ends, protocol, b"payload"))
    packet = bytearray(partial(whole))
    flow = PythonFlow(ends.key(protocol), Route.DIRECT, 0.0)
    complete(packet, START[ends.version], len(packet), protocol, flow.out_addresses_sum)
    assert packet == whole


@BOTH
def test_offloaded_icmp_is_completed_and_unknown_protocols_left_alone(ends: Ends) -> None:
    whole = bytes(ends.ip() / message(ends, ends.icmp, b"ping"))
    packet = bytearray(whole)
    packet[START[ends.version] + 2] ^= 0xFF
    flow = PythonFlow(ends.key(ends.icmp), Route.DIRECT, 0.0)
    complete(packet, START[ends.version], len(packet), ends.icmp, flow.out_addresses_sum)
    assert packet == whole
    complete(packet, START[ends.version], len(packet), 132, flow.out_addresses_sum)
    assert packet == whole
