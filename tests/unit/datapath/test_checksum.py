"""Sums of big integers against the word-by-word algorithm of RFC 1071."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.traffic import slow_sum, vectors
from wiresock_py.datapath.checksum import adjust, finish, pseudo_sum, word_sum


@given(st.binary(max_size=300))
def test_a_sum_is_the_ones_complement_sum_of_words(data: bytes) -> None:
    assert word_sum(data) == slow_sum(data) % 65535


@pytest.mark.parametrize("size", [255, 256, 257, 271, 720, 721, 1368, 1439, 1440, 1441, 2879, 2881, 9000, 65_535])
def test_long_data_is_folded_without_loss(size: int) -> None:
    data = bytes((7 * i * i + i // 251) % 256 for i in range(size))
    assert word_sum(memoryview(data)) == slow_sum(data) % 65535
    assert word_sum(b"\xff" * size) == slow_sum(b"\xff" * size) % 65535
    assert word_sum(bytes(size)) == 0


@pytest.mark.parametrize("case", vectors("checksums")["incremental"])
def test_a_field_is_adjusted_as_rfc_1624_says(case: dict[str, str]) -> None:
    number = {name: int(value, 16) for name, value in case.items()}
    delta = number["new_word"] - number["old_word"]
    assert adjust(number["old_checksum"], delta) == number["new_checksum"]


@given(st.binary(min_size=20, max_size=60), st.integers(0, 9), st.binary(min_size=2, max_size=2))
def test_adjusting_a_field_equals_computing_it_again(data: bytes, word: int, replacement: bytes) -> None:
    data += bytes(len(data) % 2) + b"\x01\x00"  # never all zero, where the two forms of zero differ
    old = data[2 * word : 2 * word + 2]
    changed = data[: 2 * word] + replacement + data[2 * word + 2 :]
    assert adjust(finish(word_sum(data)), word_sum(replacement) - word_sum(old)) == finish(word_sum(changed))


def test_a_finished_field_makes_the_whole_add_up_to_ffff() -> None:
    data = bytes(range(100))
    assert slow_sum(data + finish(word_sum(data)).to_bytes(2, "big")) == 0xFFFF


def test_the_pseudo_header_covers_addresses_protocol_and_length() -> None:
    source, destination = bytes(range(16)), bytes(range(16, 32))
    whole = source + destination + (70_000).to_bytes(4, "big") + (58).to_bytes(4, "big")
    assert pseudo_sum(source, destination, 58, 70_000) % 65535 == slow_sum(whole) % 65535
