"""From captured packets to sealed datagrams."""

import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6ExtHdrDestOpt
from scapy.packet import Packet

from tests.support.datapaths import datagram_buffer, flow_table, seal
from tests.support.traffic import (
    IPV4,
    IPV6,
    MTU,
    PEER,
    Ends,
    address,
    assert_sound,
    batch_of,
    datagrams,
    dissect,
    flagged_batch,
    inner_packets,
    partial,
    seal_all,
    session_pair,
    slow_sum,
    trimmed,
    tunnelled,
    unseal,
    vectors,
)
from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES
from wiresock_py.datapath import PacketDrop, PythonFlow, parse, translate_batch
from wiresock_py.datapath.batch import MAX_RUN_BYTES, MAX_RUN_SEGMENTS
from wiresock_py.datapath.flows import SYN_OUT
from wiresock_py.datapath.headers import Header
from wiresock_py.filters.base import PacketFlag
from wiresock_py.flow import FiveTuple, Route

pytestmark = pytest.mark.usefixtures("datapath")
TCP_, UDP_ = socket.IPPROTO_TCP, socket.IPPROTO_UDP
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
OUTBOUND = [case for case in vectors("checksums")["packets"] if case["rewrite"].startswith("source")]
TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (123456, 654321))]

# Keepalives are the core's, what has no room for headers is no packet, and oversized ones are not sealed.
PADDED = [case for case in vectors("padding") if 28 <= case["length"] <= case["mtu"]]


def tcp(ends: Ends, payload: bytes = b"", **fields: Any) -> bytes:
    chosen: dict[str, Any] = {"flags": "A", "seq": 1, "ack": 99, "options": TIMESTAMPS} | fields
    header = ends.ip(**({"flags": "DF", "id": 0xFFFE, "tos": 8} if ends is IPV4 else {"tc": 8, "fl": 0x12345}))
    return bytes(header / TCP(sport=40000, dport=443, **chosen) / payload)


@pytest.mark.parametrize("case", OUTBOUND, ids=lambda case: case["name"])
def test_packets_are_translated_as_the_vectors_say(case: dict[str, str]) -> None:
    packet, after = bytes.fromhex(case["before"]), bytes.fromhex(case["after"])
    header = parse(packet)
    assert isinstance(header, Header)
    at = 12 if header.version == 4 else 8
    inner = header.five_tuple()._replace(local=after[at : at + len(header.source)])
    flow = PythonFlow(header.five_tuple(), Route.TUNNEL, 0.0, inner=inner)
    assert translate_batch(batch_of([packet]), [0], [flow], flow_table(), MTU, 1.0) == ([after], [])


def test_the_vectors_hold_outbound_packets_of_every_kind() -> None:
    assert len(OUTBOUND) >= 15


@BOTH
@pytest.mark.parametrize("offloaded", [False, True], ids=["complete", "partial"])
def test_small_packets_come_out_whole_translated_and_sound(ends: Ends, offloaded: bool) -> None:
    flows = flow_table()
    for protocol in (TCP_, UDP_):
        tunnelled(flows, ends, protocol)
    packets = [
        tcp(ends, b"payload"),
        bytes(ends.ip() / UDP(sport=40000, dport=443) / b"odd"),
        tcp(ends, b"x" * 1368 if ends is IPV4 else b"x" * 1348),
    ]
    near, far = session_pair()
    out, oversized, _ = seal_all(
        [partial(packet) if offloaded else packet for packet in packets],
        flows,
        near,
        flags=PacketFlag.CHECKSUM_PARTIAL if offloaded else PacketFlag.NONE,
    )
    assert oversized == []
    inner = inner_packets(out, far)
    for packet, before in zip(inner, packets, strict=True):
        read = assert_sound(packet)
        assert (read.src, read.dst) == (ends.tunnel, ends.server)
        assert bytes(read.payload.payload) == bytes(dissect(before).payload.payload)
        assert read.payload.sport == 40000


@BOTH
def test_echo_requests_are_translated_and_their_identifier_on_a_collision(ends: Ends) -> None:
    flows = flow_table(ports=lambda _: [50000])
    ping: type[Packet] = ICMP if ends is IPV4 else ICMPv6EchoRequest
    for local in (ends.host, ends.second):
        key = FiveTuple(ends.icmp, address(local), 7, address(ends.server), 0)
        flows.add(key, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel))
    near, far = session_pair()
    packets = [bytes(ends.ip(local) / ping(id=7, seq=3) / b"ping") for local in (ends.host, ends.second)]
    out, *_ = seal_all(packets, flows, near)
    first, second = (assert_sound(packet) for packet in inner_packets(out, far))
    assert (first.src, first[ping].id, first[ping].seq) == (ends.tunnel, 7, 3)
    assert (second.src, second[ping].id, second[ping].seq) == (ends.tunnel, 50000, 3)


def test_an_absent_udp_checksum_stays_absent_and_no_other_becomes_so() -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, UDP_)
    near, far = session_pair()
    none = bytes(IPV4.ip() / UDP(sport=40000, dport=443, chksum=0) / b"x")
    some = bytes(IPV4.ip() / UDP(sport=40000, dport=443) / b"\0\0")
    out, *_ = seal_all([none, some], flows, near)
    first, second = inner_packets(out, far)
    assert first[26:28] == b"\0\0"
    # A payload of what the field is now brings the sum to zero.
    out, *_ = seal_all([bytes(IPV4.ip() / UDP(sport=40000, dport=443) / second[26:28])], flows, near)
    assert inner_packets(out, far)[0][26:28] == b"\xff\xff"


@pytest.mark.parametrize("case", PADDED, ids=lambda case: f"{case['length']} of {case['mtu']}")
def test_packets_are_padded_as_the_vectors_say(case: dict[str, int]) -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, UDP_)
    near, _ = session_pair()
    packet = bytes(IPV4.ip() / UDP(sport=40000, dport=443) / bytes(case["length"] - 28))
    out, *_ = seal_all([packet], flows, near, mtu=case["mtu"])
    assert out.end == case["padded_length"] + 32


def check_cut(ends: Ends, payload: bytes, *, mtu: int, mss: int, offloaded: bool, flags: str) -> list[Packet]:
    """Cut one packet, check all that must hold of the segments, and return them."""
    flows = flow_table()
    flow = tunnelled(flows, ends, TCP_)
    flow.mss = mss
    packet = tcp(ends, payload, flags=flags, seq=0xFFFFF000, window=777)
    near, far = session_pair()
    near.counter = 41
    out, oversized, classified = seal_all(
        [partial(packet) if offloaded else packet],
        flows,
        near,
        mtu=mtu,
        flags=PacketFlag.CHECKSUM_PARTIAL | PacketFlag.SUPER_PACKET if offloaded else PacketFlag.NONE,
    )
    assert oversized == []
    assert not out.drops
    assert classified.tunnel == {PEER: [0]}
    counters = [int.from_bytes(datagram[8:16], "little") for datagram in datagrams(out)]
    assert counters == list(range(41, 41 + out.packets))
    assert near.counter == 41 + out.packets
    for start, end, segment in out.runs:
        assert end - start <= MAX_RUN_BYTES
        assert -(-(end - start) // segment) <= MAX_RUN_SEGMENTS
    plain = unseal(out, far)
    assert all(len(padded) % 16 == 0 or len(padded) == mtu for padded in plain)
    segments = [assert_sound(trimmed(padded)) for padded in plain]
    sequence = 0xFFFFF000
    for number, read in enumerate(segments):
        last = number == len(segments) - 1
        assert (read.src, read.dst) == (ends.tunnel, ends.server)
        assert len(read) <= mtu
        if mss:
            assert len(read[TCP]) <= mss + 20
        if ends is IPV4:
            assert (read.id, str(read.flags), read.tos) == ((0xFFFE + number) & 0xFFFF, "DF", 8)
        else:
            assert (read.fl, read.tc) == (0x12345, 8)
        segment = read[TCP]
        assert (segment.seq, segment.ack, segment.window, segment.options) == (sequence, 99, 777, TIMESTAMPS)
        kept = set(flags) - (set() if last else set("FP")) - (set("C") if number else set())
        assert set(str(segment.flags)) == kept
        sequence = (sequence + len(segment.payload)) & 0xFFFFFFFF
    assert b"".join(bytes(read[TCP].payload) for read in segments) == payload
    sizes = {len(read[TCP].payload) for read in segments[:-1]}
    assert len(sizes) <= 1
    assert flow.packets_out == len(segments)
    assert flow.bytes_out == sum(len(read) for read in segments)
    assert flow.sequence & 0xFFFFFFFF == (sequence + ("F" in flags)) & 0xFFFFFFFF
    return segments


@BOTH
@pytest.mark.parametrize("offloaded", [False, True], ids=["complete", "partial"])
def test_a_super_packet_is_cut_to_the_mtu(ends: Ends, offloaded: bool) -> None:
    payload = bytes(i * i % 253 for i in range(65_400))
    segments = check_cut(ends, payload, mtu=MTU, mss=0, offloaded=offloaded, flags="PA")
    assert len(segments[0]) == MTU


@BOTH
def test_a_super_packet_is_cut_to_the_peers_mss(ends: Ends) -> None:
    segments = check_cut(ends, bytes(5000), mtu=MTU, mss=1000, offloaded=True, flags="A")
    assert len(segments[0][TCP]) == 1020


def test_a_tiny_mss_is_not_taken_seriously() -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, TCP_).mss = 1
    near, _ = session_pair()
    out, *_ = seal_all([tcp(IPV4, bytes(1000))], flows, near)
    assert out.packets == -(-1000 // 48)


@settings(max_examples=40, deadline=None)
@given(
    ends=st.sampled_from([IPV4, IPV6]),
    size=st.integers(1, 9000),
    mtu=st.sampled_from([576, 1280, 1299, 1420, 1440]),
    mss=st.sampled_from([0, 536, 901, 1400, 8960]),
    offloaded=st.booleans(),
    flags=st.sampled_from(["A", "PA", "FPA", "CA", "EA"]),
)
def test_however_it_is_cut_the_stream_stays_the_same(
    ends: Ends, size: int, mtu: int, mss: int, offloaded: bool, flags: str
) -> None:
    payload = bytes((3 * i + i // 256) % 256 for i in range(size))
    check_cut(ends, payload, mtu=mtu, mss=mss, offloaded=offloaded, flags=flags)


@BOTH
@pytest.mark.parametrize("flags", ["S", "R", "UA"])
def test_what_may_not_be_cut_is_reported_as_too_large(ends: Ends, flags: str) -> None:
    flows = flow_table()
    tunnelled(flows, ends, TCP_)
    tunnelled(flows, ends, UDP_)
    near, _ = session_pair()
    datagram = bytes(ends.ip() / UDP(sport=40000, dport=443) / bytes(1420))
    out, oversized, _ = seal_all([datagram, tcp(ends, bytes(1500), flags=flags), tcp(ends)], flows, near)
    assert sorted(oversized) == [0, 1]
    assert out.packets == 1


def test_a_corrupt_segment_is_not_repaired_by_cutting() -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, TCP_)
    near, _ = session_pair()
    packet = bytearray(tcp(IPV4, bytes(3000)))
    packet[-1] ^= 1
    out, oversized, _ = seal_all([bytes(packet)], flows, near)
    assert out.packets == 0
    assert oversized == []
    assert out.drops == {PacketDrop.BAD_CHECKSUM: 1}


@BOTH
def test_a_corrupt_small_packet_stays_corrupt(ends: Ends) -> None:
    flows = flow_table()
    tunnelled(flows, ends, TCP_)
    near, far = session_pair()
    packet = bytearray(tcp(ends, b"payload"))
    packet[-1] ^= 1
    out, *_ = seal_all([bytes(packet)], flows, near)
    with pytest.raises(AssertionError, match="expected"):
        assert_sound(inner_packets(out, far)[0])


def test_small_packets_of_equal_size_share_a_run() -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, TCP_)
    near, _ = session_pair()
    out, *_ = seal_all([tcp(IPV4, seq=number) for number in range(70)], flows, near)
    assert out.runs == [(0, 64 * 96, 96), (64 * 96, 70 * 96, 96)]


def test_several_peers_share_a_buffer() -> None:
    flows = flow_table()
    flow = tunnelled(flows, IPV4, TCP_)
    near, far = session_pair()
    out = datagram_buffer(16)
    batch = batch_of([tcp(IPV4, b"first"), tcp(IPV4, b"second")])
    seal(batch, [0], [flow, flow], flows, near, MTU, 1.0, out)
    seal(batch, [1], [flow, flow], flows, near, MTU, 1.0, out)
    assert [bytes(dissect(packet)[TCP].payload) for packet in inner_packets(out, far)] == [b"first", b"second"]


def test_the_syn_is_clamped_and_remembered() -> None:
    flows = flow_table()
    flow = tunnelled(flows, IPV6, TCP_)
    near, far = session_pair()
    out, *_ = seal_all([tcp(IPV6, flags="S", seq=500, ack=0, options=[("MSS", 1440)])], flows, near)
    read = assert_sound(inner_packets(out, far)[0])
    assert read[TCP].options == [("MSS", 1360)]
    assert (flow.initial_sequence, flow.mtu, flow.state, flow.sequence) == (500, MTU, SYN_OUT, 501)


@pytest.mark.parametrize("left", [0, 1, 5])
def test_no_counter_beyond_the_limit_is_used(left: int) -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, TCP_)
    near, _ = session_pair()
    near.counter = REJECT_AFTER_MESSAGES - left
    packets = [tcp(IPV4), tcp(IPV4, bytes(1368 * 4)), tcp(IPV4)]
    out, oversized, _ = seal_all(packets, flows, near)
    assert oversized == []
    assert out.drops == {PacketDrop.COUNTER_EXHAUSTED: {0: 3, 1: 2, 5: 1}[left]}
    assert near.counter == REJECT_AFTER_MESSAGES
    assert out.packets == left


@BOTH
def test_headers_that_are_not_plain_are_translated_too(ends: Ends) -> None:
    flows = flow_table()
    flow = tunnelled(flows, ends, UDP_)
    extended = (
        IP(src=ends.host, dst=ends.server, options=[IPOption_NOP()] * 4)
        if ends is IPV4
        else ends.ip() / IPv6ExtHdrDestOpt()
    )
    packet = bytes(extended / UDP(sport=40000, dport=443) / b"payload")
    near, far = session_pair()
    out = datagram_buffer()
    for flags in (PacketFlag.NONE, PacketFlag.CHECKSUM_PARTIAL):
        assert seal(flagged_batch([(packet, flags)]), [0], [flow], flows, near, MTU, 1.0, out) == []
    for sealed in inner_packets(out, far):
        read = dissect(sealed)
        assert read.src == ends.tunnel
        start = len(sealed) - 15
        addresses = sealed[12:20] if ends is IPV4 else sealed[8:40]
        assert slow_sum(addresses + bytes((0, 17, 0, 15)) + sealed[start:]) == 0xFFFF


def test_packets_without_a_flow_and_unreadable_ones_are_left_out() -> None:
    near, _ = session_pair()
    flow = tunnelled(flow_table(), IPV4, UDP_)
    out = datagram_buffer()
    broken = b"\x46" + bytes(IPV4.ip() / UDP())[1:20]
    seal(batch_of([tcp(IPV4), broken]), [0, 1], [None, flow], flow_table(), near, MTU, 1.0, out)
    assert out.packets == 0
    assert out.drops.total() == 1


@BOTH
def test_staged_packets_are_the_sealed_ones_in_plain_text(ends: Ends) -> None:
    flows = flow_table()
    for protocol in (TCP_, UDP_):
        tunnelled(flows, ends, protocol)
    packets = [tcp(ends, bytes(range(250)) * 40), bytes(ends.ip() / UDP(sport=40000, dport=443) / b"odd"), tcp(ends)]
    near, far = session_pair()
    out, _, classified = seal_all(packets, flows, near)
    staged, oversized = translate_batch(batch_of(packets), [0, 1, 2], classified.flow, flows, MTU, 1.0)
    assert oversized == []
    assert staged == inner_packets(out, far)


def test_a_direct_flow_is_cut_and_completed_but_not_translated() -> None:
    flows = flow_table()
    flow = flows.add(IPV4.key(TCP_), Route.DIRECT, 0.0)
    whole = tcp(IPV4, bytes(range(200)) * 20)
    batch = batch_of([partial(whole)], PacketFlag.CHECKSUM_PARTIAL)
    packets, _ = translate_batch(batch, [0], [flow], flows, 1500, 1.0)
    assert len(packets) == 3
    assert b"".join(bytes(assert_sound(packet)[TCP].payload) for packet in packets) == bytes(range(200)) * 20
    assert {dissect(packet).src for packet in packets} == {IPV4.host}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([IPV4, IPV6]), st.sampled_from([TCP_, UDP_]), st.binary(max_size=90), st.booleans()),
        max_size=4,
    ),
    st.sampled_from([0, 1, 536, 65535]),
)
def test_no_packet_that_classify_accepts_makes_seal_raise(
    contents: list[tuple[Ends, int, bytes, bool]], mss: int
) -> None:
    flows = flow_table()
    for ends in (IPV4, IPV6):
        for protocol in (TCP_, UDP_):
            tunnelled(flows, ends, protocol).mss = mss
    packets = []
    for ends, protocol, data, _ in contents:
        packets.append(bytes(ends.ip(protocol=protocol) / (b"\x9c\x40\x01\xbb" + data)))
    near, _ = session_pair()
    flags = PacketFlag.CHECKSUM_PARTIAL if any(partial for *_, partial in contents) else PacketFlag.NONE
    out, oversized, classified = seal_all(packets, flows, near, flags=flags, mtu=100)
    listed = sum(map(len, classified.tunnel.values()))
    if not oversized:
        assert out.packets + out.drops.total() >= listed
