"""Checksums that a stack left to its adapter are found, and no others."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

from wiresock_py.filters.base import PacketBatch, PacketFlag
from wiresock_py.filters.ndisapi.checksums import FIRST, Checksums

V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
PARTIAL, NONE = PacketFlag.CHECKSUM_PARTIAL, PacketFlag.NONE
WHOLE = {
    "tcp4": V4 / TCP(flags="A") / Raw(b"odd"),
    "udp4": V4 / UDP() / Raw(b"even"),
    "udp4 without": V4 / UDP(chksum=0) / Raw(b"even"),
    "icmp4": V4 / ICMP() / Raw(b"ping"),
    "options4": IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x01\x01\x01\x01") / TCP(flags="A"),
    "fragment": IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP(chksum=77) / Raw(bytes(16)),
    "tcp6": V6 / TCP(flags="A") / Raw(b"odd"),
    "udp6": V6 / UDP() / Raw(b"even"),
    "icmp6": V6 / ICMPv6EchoRequest(data=b"ping"),
    "extension6": V6 / IPv6ExtHdrDestOpt() / UDP(chksum=77),
}
PLACES = {"tcp4": 36, "udp4": 26, "options4": 40, "tcp6": 56, "udp6": 46, "icmp6": 42}


def batch(*packets: bytes, adapters: tuple[int, ...] = ()) -> PacketBatch:
    made = PacketBatch(memoryview(bytearray().join(packets)))
    at = 0
    for packet in packets:
        made.offset.append(at)
        made.length.append(len(packet))
        at += len(packet)
    made.flags += [0] * len(packets)
    made.adapter += adapters or (2,) * len(packets)
    return made


def pseudo(packet: bytes) -> int:
    if packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        addresses, protocol = packet[12:20], packet[9]
    else:
        start, addresses, protocol = 40, packet[8:40], packet[6]
    words: tuple[int, ...] = struct.unpack(f"!{len(addresses) // 2}H", addresses)
    return (sum(words) + protocol + len(packet) - start) % 65535


def with_field(packet: bytes, place: int, value: int) -> bytes:
    return packet[:place] + value.to_bytes(2, "big") + packet[place + 2 :]


@pytest.mark.parametrize("packet", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_packet_stays_as_it_is(packet: Packet) -> None:
    made = batch(bytes(packet))
    Checksums().inspect(made)
    assert made.flags == [NONE]
    assert bytes(made.data) == bytes(packet)


@pytest.mark.parametrize("left", ["the pseudo-header's sum", "anything"])
@pytest.mark.parametrize("name", PLACES)
def test_what_was_left_undone_is_flagged_and_holds_the_pseudo_headers_sum(name: str, left: str) -> None:
    packet = bytes(WHOLE[name])
    value = pseudo(packet) if left.startswith("the") else 0x1234
    made = batch(with_field(packet, PLACES[name], value))
    Checksums().inspect(made)
    assert made.flags == [PARTIAL]
    assert bytes(made.data) == with_field(packet, PLACES[name], pseudo(packet))


def test_an_ipv4_header_left_undone_is_completed() -> None:
    packet = bytes(WHOLE["udp4"])
    made = batch(with_field(packet, 10, 0))
    Checksums().inspect(made)
    assert made.flags == [NONE]
    assert bytes(made.data) == packet


def test_later_one_packet_of_a_batch_is_enough_until_one_is_undone() -> None:
    packet = bytes(WHOLE["tcp4"])
    undone = with_field(packet, 36, pseudo(packet))
    watch = Checksums()
    watch.inspect(batch(*[packet] * FIRST))
    found = 0
    for _ in range(8):
        made = batch(*[packet] * 7, undone)
        watch.inspect(made)
        found += made.flags[-1] == PARTIAL
    assert found >= 1, "each position has its turn"
    made = batch(*[undone] * 8)
    watch.inspect(made)
    assert made.flags == [PARTIAL] * 8, "from then on all of that adapter's are looked at"
    other = batch(*[packet] * FIRST, adapters=(3,) * FIRST)
    watch.inspect(other)
    made = batch(*[undone] * 8, adapters=(3,) * 8)
    watch.inspect(made)
    assert sum(made.flags) <= PARTIAL, "another adapter is judged by itself"


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=80))
def test_nothing_that_arrives_raises(content: bytes) -> None:
    Checksums().inspect(batch(content))


@settings(deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_no_packet_cut_off_or_damaged_raises(name: str, data: st.DataObject) -> None:
    packet = bytearray(bytes(WHOLE[name]))
    packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    Checksums().inspect(batch(bytes(packet[: data.draw(st.integers(20, len(packet)))])))
