"""Packets beside those that scapy makes of the same values."""

from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from wiresock_py.datapath import Header, parse
from wiresock_py.demo.memory.packets import (
    ACK,
    PSH,
    SYN,
    End,
    echo,
    is_sound,
    readdressed,
    tcp,
    tcp_mss,
    tcp_numbers,
    tcp_payload,
    udp,
)

ENDS = {
    4: (End(ip_address("192.168.1.100").packed, 40_000), End(ip_address("203.0.113.10").packed, 80)),
    6: (End(ip_address("2001:db8:1::100").packed, 40_000), End(ip_address("2001:db8:3::10").packed, 80)),
}
OTHER = {4: ip_address("10.66.66.2").packed, 6: ip_address("fd42:42:42::2").packed}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def by_scapy(family: int, transport: Packet) -> bytes:
    source, target = (str(ip_address(end.address)) for end in ENDS[family])
    network = IP(src=source, dst=target, id=0) if family == 4 else IPv6(src=source, dst=target)
    return bytes(network / transport)


def header_of(packet: bytes) -> Header:
    header = parse(packet)
    assert isinstance(header, Header)
    return header


def every_kind(family: int) -> list[bytes]:
    source, target = ENDS[family]
    return [
        tcp(source, target, 1, 2, ACK, b"odd"),
        udp(source, target, b"data"),
        echo(source.address, target.address, 7, 1, b"echo"),
    ]


@FAMILIES
def test_tcp_is_as_scapy_makes_it(family: int) -> None:
    made = tcp(*ENDS[family], 0xFFFF_FFFF + 2, 5, ACK | PSH, b"hello")
    segment = TCP(sport=40_000, dport=80, seq=1, ack=5, flags="PA", window=65_535)
    assert made == by_scapy(family, segment / Raw(b"hello"))


@FAMILIES
def test_a_syn_carries_its_mss(family: int) -> None:
    made = tcp(*ENDS[family], 9, 0, SYN, mss=1380)
    segment = TCP(sport=40_000, dport=80, seq=9, ack=0, flags="S", window=65_535, options=[("MSS", 1380)])
    assert made == by_scapy(family, segment)
    assert tcp_mss(made, header_of(made)) == 1380


@FAMILIES
def test_udp_is_as_scapy_makes_it(family: int) -> None:
    assert udp(*ENDS[family], b"odd") == by_scapy(family, UDP(sport=40_000, dport=80) / Raw(b"odd"))


@FAMILIES
def test_a_udp_checksum_of_zero_is_written_as_all_ones(family: int) -> None:
    checksums = [udp(*ENDS[family], number.to_bytes(2, "big"))[-4:-2] for number in range(65_536)]
    assert b"\xff\xff" in checksums
    assert b"\0\0" not in checksums


@pytest.mark.parametrize("reply", [False, True])
@FAMILIES
def test_echoes_are_as_scapy_makes_them(family: int, reply: bool) -> None:
    source, target = ENDS[family]
    made = echo(source.address, target.address, 7, 3, b"data", reply=reply)
    messages: dict[int, Packet] = {
        4: ICMP(type=0 if reply else 8, id=7, seq=3) / Raw(b"data"),
        6: (ICMPv6EchoReply if reply else ICMPv6EchoRequest)(id=7, seq=3, data=b"data"),
    }
    assert made == by_scapy(family, messages[family])


@FAMILIES
def test_what_is_made_is_sound_and_any_changed_byte_makes_it_unsound(family: int) -> None:
    for packet in every_kind(family):
        header = header_of(packet)
        assert is_sound(packet, header)
        for position in range(header.transport, len(packet)):
            changed = bytearray(packet)
            changed[position] ^= 0x10
            assert not is_sound(bytes(changed), header)


@FAMILIES
def test_a_partial_checksum_is_the_pseudo_headers_sum(family: int) -> None:
    whole, partial = tcp(*ENDS[family], 1, 2, ACK, b"data"), tcp(*ENDS[family], 1, 2, ACK, b"data", partial=True)
    place = header_of(whole).transport + 16
    assert whole[:place] + whole[place + 2 :] == partial[:place] + partial[place + 2 :]
    assert not is_sound(partial, header_of(partial))
    # what the hardware does: it sums the segment, the partial checksum included, and puts the complement in its place
    segment = partial[header_of(partial).transport :]
    total = sum(int.from_bytes(segment[at : at + 2], "big") for at in range(0, len(segment), 2))
    assert (-total % 65_535).to_bytes(2, "big") == whole[place : place + 2]


@FAMILIES
def test_readdressed_packets_stay_sound(family: int) -> None:
    for packet in every_kind(family):
        moved = readdressed(packet, header_of(packet), source=OTHER[family])
        header = header_of(moved)
        assert (header.source, header.destination) == (OTHER[family], ENDS[family][1].address)
        assert is_sound(moved, header)
        back = readdressed(moved, header, source=ENDS[family][0].address)
        assert back == packet
        target = readdressed(packet, header_of(packet), target=OTHER[family])
        assert header_of(target).destination == OTHER[family]
        assert is_sound(target, header_of(target))


@FAMILIES
def test_a_tcp_packet_can_be_taken_apart(family: int) -> None:
    packet = tcp(*ENDS[family], 100, 200, ACK, b"payload")
    header = header_of(packet)
    assert tcp_numbers(packet, header) == (100, 200)
    assert tcp_payload(packet, header) == b"payload"
