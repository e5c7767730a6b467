import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.inner import (
    destination_of,
    ecn,
    encapsulated_ecn,
    mark_congestion,
    padded_length,
    source_of,
    trim,
)

IPV4 = bytes.fromhex("4500001c12344000401113ed0a4200020a42000100010002000805d4")
IPV6 = bytes.fromhex("6000000000003b40") + bytes(range(16)) + bytes(range(16, 32))


def checksum(header: bytes | bytearray) -> int:
    """Straight from RFC 791: the ones-complement sum of a valid header is all ones."""
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def with_ecn(packet: bytes, bits: int) -> bytearray:
    marked = bytearray(packet)
    if packet[0] >> 4 == 6:
        marked[1] = marked[1] & 0xCF | bits << 4
        return marked
    marked[1] = marked[1] & 0xFC | bits
    marked[10:12] = b"\0\0"
    marked[10:12] = (checksum(marked[:20]) ^ 0xFFFF).to_bytes(2, "big")
    return marked


def test_addresses_are_found_in_both_families() -> None:
    assert source_of(IPV4) == bytes([10, 66, 0, 2])
    assert destination_of(IPV4) == bytes([10, 66, 0, 1])
    assert source_of(IPV6) == bytes(range(16))
    assert destination_of(IPV6) == bytes(range(16, 32))


@pytest.mark.parametrize("packet", [b"", b"\x45", IPV4[:19], IPV6[:39], b"\x05" + IPV4[1:]])
def test_what_is_no_ip_packet_has_no_destination(packet: bytes) -> None:
    assert destination_of(packet) is None


@given(st.binary(min_size=1, max_size=80))
def test_trimming_takes_any_plaintext(plaintext: bytes) -> None:
    packet = trim(memoryview(plaintext))
    if isinstance(packet, Drop):
        assert packet is Drop.INNER_MALFORMED
    else:
        assert plaintext.startswith(bytes(packet))
        assert len(source_of(packet)) in (4, 16)


@given(st.integers(0, 65_535), st.integers(0, 9_000))
def test_padding_never_shortens_and_never_exceeds_the_mtu(length: int, mtu: int) -> None:
    padded = padded_length(length, mtu)
    assert length <= padded < length + 16
    if mtu and length <= mtu:
        assert padded <= mtu
        assert padded % 16 == 0 or padded == mtu


@pytest.mark.parametrize("packet", [IPV4, IPV6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(("inner", "outer"), [(0b00, 0b00), (0b01, 0b01), (0b10, 0b10), (0b11, 0b10)])
def test_the_outer_header_takes_the_inner_ecn_but_no_old_congestion(packet: bytes, inner: int, outer: int) -> None:
    marked = with_ecn(packet, inner)
    assert ecn(marked) == inner
    assert encapsulated_ecn(marked) == outer


@pytest.mark.parametrize("packet", [IPV4, IPV6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("outer", range(4))
@pytest.mark.parametrize("inner", range(4))
def test_congestion_on_the_way_marks_only_packets_that_can_carry_it(packet: bytes, inner: int, outer: int) -> None:
    marked = with_ecn(packet, inner)
    before = bytes(marked)
    mark_congestion(marked, outer)
    if outer == 0b11 and inner in (0b01, 0b10):
        assert ecn(marked) == 0b11
    else:
        assert marked == before
    if packet is IPV4:
        assert checksum(marked[:20]) == 0xFFFF


@given(st.binary(min_size=18, max_size=18), st.sampled_from([0b01, 0b10]))
def test_marking_keeps_any_ipv4_checksum_right(rest: bytes, bits: int) -> None:
    packet = with_ecn(bytes([0x45, 0]) + rest, bits)
    mark_congestion(packet, 0b11)
    assert checksum(packet) == 0xFFFF
