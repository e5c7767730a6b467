import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.inner import destination_of, padded_length, source_of, trim

IPV4 = bytes.fromhex("4500001c12344000401113ed0a4200020a42000100010002000805d4")
IPV6 = bytes.fromhex("6000000000003b40") + bytes(range(16)) + bytes(range(16, 32))


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
