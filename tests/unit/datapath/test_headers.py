"""Reading one packet's headers, whatever it is made of."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet, Raw

from tests.support.traffic import IPV4, IPV6, Ends, address, vectors
from wiresock_py.datapath import Header, PacketDrop, parse, parse_embedded
from wiresock_py.datapath.headers import ECHO_REPLIES, ECHO_REQUESTS, plain
from wiresock_py.flow import FiveTuple

TCP_, UDP_ = socket.IPPROTO_TCP, socket.IPPROTO_UDP
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def read(packet: Packet | bytes) -> Header:
    header = parse(bytes(packet))
    assert isinstance(header, Header), header
    return header


@BOTH
def test_a_tcp_packet_is_read(ends: Ends) -> None:
    header = read(ends.ip() / TCP(sport=40000, dport=443, seq=77, flags="SA") / Raw(b"abc"))
    assert header.version == ends.version
    assert header.five_tuple() == ends.key(TCP_)
    assert header.five_tuple(inbound=True) == FiveTuple(TCP_, header.destination, 443, header.source, 40000)
    assert (header.tcp_flags, header.sequence) == (0x12, 77)
    assert header.transport == (20 if ends is IPV4 else 40)
    assert header.length == header.transport + 23
    assert not header.is_fragment
    assert not header.is_icmp_error
    assert header.dont_fragment is (ends is IPV6)


def test_ipv4_options_are_stepped_over() -> None:
    header = read(IP(src=IPV4.host, dst=IPV4.server, options=[IPOption_NOP()] * 6) / UDP(sport=1, dport=2) / b"x")
    assert header.transport == 28
    assert (header.source_port, header.destination_port) == (1, 2)


def test_bytes_behind_the_packet_are_not_counted() -> None:
    packet = bytes(IPV4.ip() / UDP(sport=1, dport=2) / b"x")
    assert read(packet + bytes(20)).length == len(packet)


@pytest.mark.parametrize(
    "extensions",
    [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(id=9),
    ],
    ids=["hop-by-hop", "routing", "atomic fragment"],
)
def test_ipv6_extension_headers_are_stepped_over(extensions: Packet) -> None:
    packet = bytes(IPV6.ip() / extensions / UDP(sport=1, dport=2) / b"x")
    header = read(packet)
    assert header.protocol == UDP_
    assert header.transport == len(packet) - 9
    assert (header.source_port, header.destination_port) == (1, 2)
    assert not header.is_fragment


def test_the_authentication_header_counts_in_units_of_four() -> None:
    udp = bytes(UDP(sport=1, dport=2))
    packet = bytes(IPV6.ip(nh=51) / Raw(bytes((17, 4)) + bytes(22) + udp))
    assert read(packet).transport == 64


def test_ipv4_fragments_are_told_apart() -> None:
    first = read(IP(src=IPV4.host, dst=IPV4.server, flags="MF", id=5) / UDP(sport=1, dport=2, len=999) / bytes(16))
    assert (first.is_fragment, first.is_later_fragment, first.more_fragments) == (True, False, True)
    assert first.source_port == 1
    later = read(IP(src=IPV4.host, dst=IPV4.server, frag=3, id=5, proto=17) / Raw(bytes(24)))
    assert (later.is_fragment, later.is_later_fragment, later.fragment_offset) == (True, True, 24)
    assert (later.source_port, later.destination_port, later.icmp_type) == (0, 0, -1)
    assert first.identification == later.identification == 5


def test_ipv6_fragments_are_told_apart() -> None:
    first = read(IPV6.ip() / IPv6ExtHdrFragment(m=1, id=5) / UDP(sport=1, dport=2, len=999) / bytes(16))
    assert (first.is_fragment, first.is_later_fragment, first.source_port) == (True, False, 1)
    later = read(IPV6.ip() / IPv6ExtHdrFragment(offset=3, id=5, nh=17) / Raw(bytes(24)))
    assert (later.is_later_fragment, later.fragment_offset, later.identification) == (True, 24, 5)
    assert later.protocol == UDP_


@pytest.mark.parametrize(
    ("packet", "drop"),
    [
        (b"", PacketDrop.TOO_SHORT),
        (bytes(IPV4.ip() / UDP())[:19], PacketDrop.TOO_SHORT),
        (bytes(IPV6.ip() / UDP())[:39], PacketDrop.TOO_SHORT),
        (bytes(IPV4.ip(proto=17) / Raw(b"1234567")), PacketDrop.TOO_SHORT),
        (bytes(IPV4.ip(proto=6) / Raw(bytes(19))), PacketDrop.TOO_SHORT),
        (bytes(IPV4.ip(proto=1) / Raw(bytes(7))), PacketDrop.TOO_SHORT),
        (bytes(IPV4.ip(proto=136) / Raw(bytes(7))), PacketDrop.TOO_SHORT),
        (b"\x00" * 40, PacketDrop.NOT_IP),
        (b"\x75" + bytes(40), PacketDrop.NOT_IP),
        (bytes(IPV4.ip(ihl=4) / UDP()), PacketDrop.BAD_LENGTH),
        (bytes(IPV4.ip(len=27) / UDP())[:26], PacketDrop.BAD_LENGTH),
        (bytes(IPV4.ip(len=19) / UDP()), PacketDrop.BAD_LENGTH),
        (bytes(IPV6.ip(plen=9) / UDP()), PacketDrop.BAD_LENGTH),
        (bytes(IPV6.ip(plen=65_535, nh=17)) + bytes(65_535), PacketDrop.BAD_LENGTH),
        (bytes(IPV4.ip() / TCP(dataofs=4)), PacketDrop.BAD_LENGTH),
        (bytes(IPV4.ip() / TCP(dataofs=6)), PacketDrop.BAD_LENGTH),
        (bytes(IPV4.ip() / UDP(len=7)), PacketDrop.BAD_LENGTH),
        (bytes(IPV4.ip() / UDP(len=9)), PacketDrop.BAD_LENGTH),
        (bytes(IPV6.ip(nh=0) / Raw(b"\x11\x01" + bytes(6))), PacketDrop.BAD_EXTENSION),
        (bytes(IPV6.ip(nh=60) / Raw(b"\x11" + bytes(6))), PacketDrop.BAD_EXTENSION),
        (bytes(IPV6.ip(nh=60) / Raw((b"\x3c" + bytes(7)) * 12)), PacketDrop.BAD_EXTENSION),
        (bytes(IPV4.ip(frag=1, proto=6) / Raw(bytes(32))), PacketDrop.BAD_FRAGMENT),
        (bytes(IPV4.ip(frag=2, proto=6) / Raw(bytes(32))), PacketDrop.BAD_FRAGMENT),
        (bytes(IPV4.ip(frag=8191, proto=17) / Raw(bytes(32))), PacketDrop.BAD_FRAGMENT),
        (bytes(IPV6.ip() / IPv6ExtHdrFragment(offset=1, nh=6) / Raw(bytes(32))), PacketDrop.BAD_FRAGMENT),
    ],
)
def test_what_is_wrong_has_a_name(packet: bytes, drop: PacketDrop) -> None:
    assert parse(packet) is drop


@pytest.mark.parametrize("case", vectors("decapsulation")["cases"], ids=lambda case: case["name"])
def test_decapsulated_packets_are_accepted_and_trimmed(case: dict[str, str | None]) -> None:
    plaintext = bytes.fromhex(str(case["plaintext"]))
    header = parse(plaintext)
    if case["expect"] == "deliver":
        assert isinstance(header, Header)
        assert plaintext[: header.length].hex() == case["inner"]
    elif case["why"] and ("allowed" in case["why"] or "cryptokey" in case["why"]):
        assert isinstance(header, Header)  # whose source it is, is the next question
    else:
        assert isinstance(header, PacketDrop)


@BOTH
def test_an_echo_flow_is_named_by_its_identifier(ends: Ends) -> None:
    request = read(ends.ip() / echo(ends, request=True, identifier=77))
    reply = read(ends.ip(ends.server, ends.host) / echo(ends, request=False, identifier=77))
    key = FiveTuple(ends.icmp, address(ends.host), 77, address(ends.server), 0)
    assert request.five_tuple() == key
    assert reply.five_tuple(inbound=True) == key
    assert request.is_icmp_query
    assert reply.is_icmp_query


@BOTH
@pytest.mark.parametrize("identifier", [0, 77, 0xFFFF])
def test_an_echo_request_of_the_far_end_belongs_to_none_of_our_flows(ends: Ends, identifier: int) -> None:
    ours = FiveTuple(ends.icmp, address(ends.host), identifier, address(ends.server), 0)
    request = read(ends.ip(ends.server, ends.host) / echo(ends, request=True, identifier=identifier))
    reply = read(ends.ip() / echo(ends, request=False, identifier=identifier))
    assert request.five_tuple(inbound=True) != ours
    assert request.five_tuple(inbound=True) == reply.five_tuple()


def echo(ends: Ends, *, request: bool, identifier: int) -> Packet:
    if ends.version == 4:
        return ICMP(type=8 if request else 0, id=identifier)
    message = ICMPv6EchoRequest(id=identifier)
    message.type = 128 if request else 129
    return message


def test_an_embedded_packet_may_end_early() -> None:
    inner = bytes(IPV4.ip() / TCP(sport=40000, dport=443) / bytes(1000))
    for kept in (28, 36, 40, 60, 1040):
        packet = bytes(IPV4.ip("10.9.9.9", IPV4.host) / ICMP(type=3, code=4) / Raw(inner[:kept]))
        header = read(packet)
        assert header.is_icmp_error
        embedded = parse_embedded(packet, header)
        assert isinstance(embedded, Header)
        assert embedded.five_tuple() == IPV4.key(TCP_)
        assert embedded.length == 1040
    packet = bytes(IPV4.ip("10.9.9.9", IPV4.host) / ICMP(type=3, code=4) / Raw(inner[:27]))
    assert parse_embedded(packet, read(packet)) is PacketDrop.TOO_SHORT


def test_the_other_familys_icmp_is_no_error() -> None:
    for packet in (IPV4.ip(proto=58) / ICMPv6PacketTooBig() / IPv6() / UDP(), IPV6.ip(nh=1) / ICMP(type=3) / IP()):
        assert not read(bytes(packet)).is_icmp_error


def test_an_ipv6_error_is_recognized_behind_extension_headers() -> None:
    packet = bytes(IPV6.ip() / IPv6ExtHdrDestOpt() / ICMPv6PacketTooBig() / IPv6() / UDP())
    assert read(packet).is_icmp_error


@given(st.binary(max_size=120), st.booleans())
def test_no_bytes_make_parse_raise(data: bytes, embedded: bool) -> None:
    header = parse(data, embedded=embedded)
    if isinstance(header, Header):
        assert header.transport <= min(header.length, len(data))
        assert embedded or header.length <= len(data)


@BOTH
def test_plain_reads_what_parse_reads(ends: Ends) -> None:
    for transport in (TCP(sport=40000, dport=443), UDP(sport=40000, dport=443) / b"xyz"):
        packet = bytes(ends.ip() / transport)
        header = read(packet)
        start = 3
        found = plain(memoryview(bytes(start) + packet + b"more"), start, len(packet) + 4, ECHO_REQUESTS)
        assert found is not None
        protocol, place, end, key = found
        assert (protocol, place - start, end - start) == (header.protocol, header.transport, header.length)
        assert key == header.source + header.destination + bytes.fromhex("9c4001bb")


@BOTH
def test_plain_takes_echo_messages_of_one_direction(ends: Ends) -> None:
    request = bytes(ends.ip() / echo(ends, request=True, identifier=7))
    reply = bytes(ends.ip() / echo(ends, request=False, identifier=7))
    for packet, types, other in ((request, ECHO_REQUESTS, ECHO_REPLIES), (reply, ECHO_REPLIES, ECHO_REQUESTS)):
        found = plain(memoryview(packet), 0, len(packet), types)
        assert found is not None
        assert found[3][-4:] == bytes((0, 7, 0, 0))
        assert plain(memoryview(packet), 0, len(packet), other) is None


@given(st.binary(max_size=80), st.integers(0, 4))
def test_plain_is_stricter_than_parse(data: bytes, first: int) -> None:
    data = (b"\x45", b"\x60", b"\x45\x00\x00", b"\x60\x00\x00\x00\x00", b"")[first] + data
    found = plain(memoryview(data), 0, len(data), ECHO_REQUESTS)
    if found is not None:
        header = read(data)
        assert (header.protocol, header.transport, header.length) == found[:3]
        assert not header.is_fragment
