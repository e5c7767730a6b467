import pytest

from tests.backends.packets import Datagram, build, checksum
from wiresock_py.filters.windivert.address import Address
from wiresock_py.filters.windivert.packets import complete, packet_length

V4 = build(Datagram("192.0.2.1", 1000, "192.0.2.2", 53, b"query"))
V6 = build(Datagram("2001:db8::1", 1000, "2001:db8::2", 53, b"query"))
VALID = {"ip_checksum": 1, "tcp_checksum": 1, "udp_checksum": 1}


def test_packets_side_by_side_are_told_apart() -> None:
    both = V4 + V6 + V4
    assert packet_length(both, 0, len(both)) == len(V4)
    assert packet_length(both, len(V4), len(both)) == len(V6)
    assert packet_length(both, len(V4) + len(V6), len(both)) == len(V4)


@pytest.mark.parametrize("packet", [b"", b"\x45", b"\x60" + bytes(30), bytes(40), V4[:2] + b"\xff\xff" + V4[4:]])
def test_of_what_makes_no_sense_all_is_one_packet(packet: bytes) -> None:
    assert packet_length(packet, 0, len(packet)) == len(packet)


def test_a_super_packet_without_a_length_is_all_that_is_left() -> None:
    packet = V4[:2] + bytes(2) + V4[4:] + bytes(1000)
    assert packet_length(packet, 0, len(packet)) == len(packet)


@pytest.mark.parametrize("packet", [V4, V6], ids=["v4", "v6"])
def test_what_is_complete_stays_as_it_is(packet: bytes) -> None:
    data = bytearray(b"..." + packet)
    assert not complete(memoryview(data), 3, len(packet), Address(**VALID))
    assert data[3:] == packet


@pytest.mark.parametrize(("packet", "transport"), [(V4, 20), (V6, 40)], ids=["v4", "v6"])
def test_an_undone_transport_checksum_becomes_the_sum_of_the_pseudo_header(packet: bytes, transport: int) -> None:
    data = bytearray(packet)
    data[transport + 6 : transport + 8] = b"\xde\xad"
    entry = Address(**{**VALID, "udp_checksum": 0})
    assert complete(memoryview(data), 0, len(packet), entry)
    # finishing it as an adapter does gives the right checksum: RFC 1071 over the transport, the field included
    assert checksum(bytes(data[transport:])) == int.from_bytes(packet[transport + 6 : transport + 8], "big")
    assert entry.udp_checksum == 0  # so that the driver has it finished if the packet passes


def test_an_undone_ipv4_header_checksum_is_computed() -> None:
    data = bytearray(V4)
    data[10:12] = b"\xde\xad"
    entry = Address(**{**VALID, "ip_checksum": 0})
    assert not complete(memoryview(data), 0, len(data), entry)
    assert data == V4
    assert entry.ip_checksum == 1


def test_a_later_fragment_has_no_transport_checksum() -> None:
    data = bytearray(V4)
    data[6:8] = b"\x00\x10"
    before = bytes(data)
    assert not complete(memoryview(data), 0, len(data), Address(ip_checksum=1))
    assert data == before


@pytest.mark.parametrize("packet", [V4[:22], V4[:12], b"\x45", V6[:44], b"\x4f" + V4[1:]])
def test_a_packet_cut_short_is_left_alone(packet: bytes) -> None:
    assert not complete(memoryview(bytearray(packet)), 0, len(packet), Address())
