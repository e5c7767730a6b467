"""Packets of our own, and fragmentation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN

from tests.support.traffic import IPV4, IPV6, Ends, address, assert_sound
from wiresock_py.datapath import Header, fragment, fragment_at_source, parse
from wiresock_py.datapath.ip import build


def header_of(packet: bytes) -> Header:
    header = parse(packet)
    assert isinstance(header, Header)
    return header


@pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_a_built_packet_is_sound(ends: Ends) -> None:
    packet = build(address(ends.host), address(ends.server), 253, b"payload")
    read = assert_sound(packet)
    assert (read.src, read.dst) == (ends.host, ends.server)
    assert bytes(read.payload) == b"payload"


@given(st.integers(0, 3000), st.integers(68, 1500))
def test_fragments_add_up_to_the_packet(size: int, mtu: int) -> None:
    payload = bytes(i % 251 for i in range(size))
    packet = bytes(IPV4.ip(id=9, tos=3) / UDP(sport=1, dport=2) / payload)
    pieces = fragment(packet, header_of(packet), mtu)
    data = b""
    for number, piece in enumerate(pieces):
        assert len(piece) <= mtu
        read = assert_header_sound(piece)
        assert (read.frag * 8, read.id, read.tos) == (len(data), 9, 3)
        assert bool(read.flags.MF) is (number < len(pieces) - 1)
        data += bytes(read.payload)
    assert data == packet[20:]


def test_a_packet_that_fits_stays_whole() -> None:
    packet = bytes(IPV4.ip() / UDP(sport=1, dport=2) / bytes(100))
    assert fragment(packet, header_of(packet), 128) == [packet]


def test_a_fragment_may_be_cut_again() -> None:
    packet = bytes(IPV4.ip(id=4) / UDP(sport=1, dport=2) / bytes(range(200)))
    halves = fragment(packet, header_of(packet), 128)
    quarters = [piece for half in halves for piece in fragment(half, header_of(half), 68)]
    read = [assert_header_sound(piece) for piece in quarters]
    assert b"".join(bytes(piece.payload) for piece in read) == packet[20:]
    assert [piece.frag * 8 for piece in read] == [0, 48, 96, 104, 152, 200]
    assert [bool(piece.flags.MF) for piece in read] == [True, True, True, True, True, False]


def test_what_forbids_fragmentation_gives_none() -> None:
    for packet in (IPV4.ip(flags="DF") / UDP() / bytes(200), IPV6.ip() / UDP() / bytes(200)):
        assert fragment(bytes(packet), header_of(bytes(packet)), 100) == []


def test_later_fragments_repeat_only_copied_options() -> None:
    copied = IPOption(copy_flag=1, option=20, value=b"\0\0")  # router alert
    options = [IPOption_NOP(), IPOption_RR(length=11, routers=["0.0.0.0", "0.0.0.0"]), copied]
    packet = bytes(IP(src=IPV4.host, dst=IPV4.server, options=options) / UDP() / bytes(300))
    first, *later = [assert_header_sound(piece) for piece in fragment(packet, header_of(packet), 200)]
    assert len(first.options) >= 3
    for piece in later:
        assert [option.option for option in piece.options if option.option] == [20]


@given(st.binary(min_size=40, max_size=40))
def test_no_options_make_fragment_raise(options: bytes) -> None:
    base = bytes(IPV4.ip(ihl=15, len=260, proto=17))[:20]
    packet = base + options + b"\0\1\0\2\0\xc8\0\0" + bytes(192)
    pieces = fragment(packet, header_of(packet), 128)
    assert b"".join(piece[(piece[0] & 15) * 4 :] for piece in pieces) == packet[60:]


@given(st.integers(1, 4000), st.integers(1280, 1500))
def test_an_ipv6_datagram_is_cut_where_it_is_sent(size: int, mtu: int) -> None:
    packet = bytes(IPV6.ip(tc=4) / UDP(sport=1, dport=2) / bytes(i % 251 for i in range(size)))
    data = b""
    pieces = fragment_at_source(packet, header_of(packet), mtu, 0xDEADBEEF)
    for number, piece in enumerate(pieces):
        header = header_of(piece)
        assert len(piece) == header.length <= mtu
        assert (header.identification, header.fragment_offset, header.protocol) == (0xDEADBEEF, len(data), 17)
        assert header.more_fragments is (number < len(pieces) - 1)
        assert piece[:4] + piece[7:40] == packet[:4] + packet[7:40]
        data += piece[header.transport :]
    assert data == packet[40:]


def test_what_must_be_repeated_or_is_a_fragment_already_is_not_cut() -> None:
    for extension in (IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(), IPv6ExtHdrFragment(m=1)):
        packet = bytes(IPV6.ip() / extension / UDP(sport=1, dport=2, len=3000) / bytes(2992))
        assert fragment_at_source(packet, header_of(packet), 1280, 1) == []


def test_headers_are_not_divided_between_fragments() -> None:
    def behind(count: int) -> bytes:
        packet = IPV6.ip()
        for _ in range(count):
            packet /= IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(250))])
        return bytes(packet / UDP(sport=1, dport=2) / bytes(3000))

    for packet in map(behind, (1, 3)):
        first = header_of(fragment_at_source(packet, header_of(packet), 1280, 1)[0])
        assert (first.protocol, first.source_port) == (17, 1)
    assert fragment_at_source(behind(5), header_of(behind(5)), 1280, 1) == []


def assert_header_sound(packet: bytes) -> IP:
    """IPv4 header checksum and length, whatever the fragment carries."""
    read = IP(packet)
    again = IP(packet)
    del again.chksum, again.len
    assert bytes(again)[:20] == packet[:20]
    return read
