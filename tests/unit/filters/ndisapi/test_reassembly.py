"""Datagrams that the stack sent in fragments are put together again."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from wiresock_py.filters.ndisapi.reassembly import MAX_DATAGRAMS, PATIENCE, Reassembly

BOTH = pytest.mark.parametrize("version", [4, 6])


def datagram(version: int, size: int, number: int = 1) -> tuple[bytes, list[bytes]]:
    """A whole packet, and what a stack makes of it on a link of 1500 bytes."""
    payload = UDP(sport=5000, dport=7) / Raw(random.Random(size).randbytes(size))
    if version == 4:
        packet = IP(src="10.0.0.1", dst="10.0.0.2", id=number) / payload
        return bytes(packet), [bytes(piece) for piece in fragment(packet, 1480)]  # type: ignore[no-untyped-call]
    packet6 = IPv6(src="fd00::1", dst="fd00::2") / payload
    pieces = fragment6(IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(id=number) / payload, 1500)  # type: ignore[no-untyped-call]
    return bytes(packet6), [bytes(piece) for piece in pieces]


def feed(reassembly: Reassembly, pieces: list[bytes], now: float = 0.0) -> list[tuple[bytes, list[bytes]]]:
    results = [reassembly.add(memoryview(piece), b"frame " + piece, now) for piece in pieces]
    return [found for found in results if found is not None]


@BOTH
@pytest.mark.parametrize("size", [1473, 2000, 5000, 60_000])
def test_a_datagram_is_whole_again_with_all_its_frames(version: int, size: int) -> None:
    whole, pieces = datagram(version, size)
    assert len(pieces) > 1
    reassembly = Reassembly()
    assert feed(reassembly, pieces) == [(whole, [b"frame " + piece for piece in pieces])]
    assert reassembly.lost == 0


@BOTH
@settings(deadline=None)
@given(data=st.data())
def test_the_order_does_not_matter_and_datagrams_do_not_mix(version: int, data: st.DataObject) -> None:
    wholes, pieces = [], []
    for number in range(1, 4):
        whole, parts = datagram(version, 3000 + number, number)
        wholes.append(whole)
        pieces += parts
    found = feed(Reassembly(), data.draw(st.permutations(pieces)))
    assert sorted(whole for whole, _frames in found) == sorted(wholes)


@BOTH
def test_what_is_not_complete_in_time_is_lost(version: int) -> None:
    whole, pieces = datagram(version, 3000)
    reassembly = Reassembly()
    assert feed(reassembly, pieces[:-1]) == []
    assert feed(reassembly, pieces[-1:], PATIENCE + 1) == []
    assert reassembly.lost == len(pieces) - 1
    assert [found for found, _frames in feed(reassembly, pieces[:-1], PATIENCE + 1)] == [whole]


@BOTH
def test_of_too_many_the_oldest_goes(version: int) -> None:
    reassembly = Reassembly()
    made = [datagram(version, 3000, number) for number in range(1, MAX_DATAGRAMS + 2)]
    for _whole, pieces in made:
        assert feed(reassembly, pieces[:1]) == []
    assert reassembly.lost == 1
    assert len(feed(reassembly, made[1][1][1:])) == 1


@BOTH
def test_a_fragment_that_comes_twice_or_overlaps_spoils_the_datagram(version: int) -> None:
    _whole, pieces = datagram(version, 3000)
    reassembly = Reassembly()
    assert feed(reassembly, [pieces[0], pieces[0], pieces[1]]) == []
    assert reassembly.lost == 2
    overlapping = bytearray(pieces[1])
    place = 6 if version == 4 else 42
    word = int.from_bytes(overlapping[place : place + 2], "big") - (1 if version == 4 else 8)
    overlapping[place : place + 2] = word.to_bytes(2, "big")
    reassembly = Reassembly()
    assert feed(reassembly, [pieces[0], bytes(overlapping), pieces[2]]) == []


def test_one_that_would_be_too_large_is_lost() -> None:
    _whole, (first, *_rest) = datagram(4, 3000)
    last = bytearray(first)
    last[6:8] = (0x1FFF).to_bytes(2, "big")
    reassembly = Reassembly()
    assert feed(reassembly, [first, bytes(last)]) == []
    assert reassembly.lost == 2


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=120))
def test_nothing_that_arrives_raises(content: bytes) -> None:
    reassembly = Reassembly()
    for version in (0x45, 0x60):
        packet = bytes((version,)) + content[1:]
        feed(reassembly, [packet, packet])
