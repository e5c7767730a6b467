"""wiresock_py.lab.capture: reading frames."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot3, Ether
from scapy.packet import Packet, Raw

from wiresock_py.lab.capture import Capture, Frame, decode

ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="192.0.2.1", dst="198.51.100.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")


def read(packet: Packet) -> Frame:
    return decode(bytes(ETHERNET / packet), 1.5)


@pytest.mark.parametrize(
    "network", [V4, V6, IP(src=V4.src, dst=V4.dst, options=b"\x01" * 8), V6 / IPv6ExtHdrHopByHop()]
)
@pytest.mark.parametrize(
    ("transport", "number"), [(TCP(sport=5, dport=6, options=[("MSS", 1380)]), 6), (UDP(sport=5, dport=6), 17)]
)
def test_ends_and_payload_of_tcp_and_udp_are_read(network: Packet, transport: Packet, number: int) -> None:
    frame = read(network / transport / Raw(b"payload"))
    assert (frame.protocol, frame.source_port, frame.target_port, frame.payload) == (number, 5, 6, b"payload")
    assert (frame.source, frame.target) == (network.src, network.dst)
    assert frame.time == 1.5


@pytest.mark.parametrize(("packet", "protocol"), [(V4 / ICMP(id=77, seq=1), 1), (V6 / ICMPv6EchoRequest(id=77), 58)])
def test_an_echos_identifier_stands_for_its_ports(packet: Packet, protocol: int) -> None:
    frame = read(packet / Raw(b"abc"))
    assert (frame.protocol, frame.source_port, frame.target_port, frame.payload) == (protocol, 77, 77, b"abc")


@pytest.mark.parametrize("offset", [0, 100])
def test_only_a_first_fragment_has_ports(offset: int) -> None:
    for network in (
        IP(src=V4.src, dst=V4.dst, frag=offset, flags="MF", proto=17),
        V6 / IPv6ExtHdrFragment(offset=offset, m=1, nh=17),
    ):
        frame = read(network / Raw(bytes(UDP(sport=5, dport=6)) + b"data"))
        assert frame.protocol == 17
        assert (frame.source_port, frame.target_port) == ((0, 0) if offset else (5, 6))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"\x01\0\0\0" + bytes(144), "initiation"),
        (b"\x02\0\0\0" + bytes(88), "response"),
        (b"\x03\0\0\0" + bytes(60), "cookie"),
        (b"\x04\0\0\0" + bytes(28), "data"),
        (b"\x04\0\0\1" + bytes(28), ""),
        (b"\x05\0\0\0", ""),
        (b"", ""),
    ],
)
def test_wireguard_messages_are_told_by_their_first_word(payload: bytes, kind: str) -> None:
    assert read(V4 / UDP() / Raw(payload)).wireguard == kind
    assert read(V4 / TCP() / Raw(payload)).wireguard == ""


def test_what_is_not_ip_keeps_its_type_only() -> None:
    frame = decode(bytes(ETHERNET / ARP()))
    assert (frame.ethertype, frame.protocol, frame.source) == (0x0806, -1, "")
    assert decode(bytes(Dot3() / Raw(b"x" * 40))).protocol == -1


@given(st.binary(max_size=120), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06"]))
def test_no_frame_is_too_short_or_too_strange(data: bytes, ethertype: bytes) -> None:
    frame = decode(bytes(12) + ethertype + data)
    assert frame.size == 14 + len(data)


def test_the_size_on_the_link_is_kept_when_only_the_head_is() -> None:
    assert decode(bytes(ETHERNET / V4 / UDP()), 0.0, 9000).size == 9000


def test_a_pcap_file_has_one_record_a_frame(tmp_path: Path) -> None:
    capture = Capture.__new__(Capture)
    capture._raw = [(b"abc", 1.0, 3), (b"defg", 2.0, 4000)]
    path = tmp_path / "c.pcap"
    capture.write_pcap(path)
    data = path.read_bytes()
    assert struct.unpack_from("<I", data)[0] == 0xA1B2C3D4
    assert struct.unpack_from("<I", data, 20)[0] == 1, "LINKTYPE_ETHERNET"
    assert struct.unpack_from("<II", data, 24 + 8) == (3, 3)
    assert struct.unpack_from("<II", data, 24 + 16 + 3 + 8) == (4, 4000)
