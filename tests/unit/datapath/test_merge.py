"""Consecutive segments become one packet, and nothing else does."""

import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.packet import Packet

from tests.support.datapaths import flow_table, open_datagrams
from tests.support.traffic import (
    IPV4,
    IPV6,
    OTHER_PEER,
    PEER,
    Ends,
    address,
    assert_sound,
    joined,
    open_all,
    seal_all,
    session_pair,
    tunnelled,
)
from wiresock_py.datapath import PYTHON, DataPath, Opened, merge
from wiresock_py.filters.base import MAX_PACKET
from wiresock_py.flow import FiveTuple, Route

pytestmark = pytest.mark.usefixtures("datapath")
TCP_ = socket.IPPROTO_TCP
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (123, 456))]


def segment(
    ends: Ends, sequence: int, payload: bytes, *, port: int = 40000, ip: dict[str, Any] | None = None, **fields: Any
) -> bytes:
    """A segment from the server as it comes out of the tunnel."""
    chosen: dict[str, Any] = {"flags": "A", "ack": 7, "window": 500, "options": TIMESTAMPS} | fields
    header = TCP(sport=443, dport=port, seq=sequence & 0xFFFFFFFF, **chosen)
    return bytes(ends.ip(ends.server, ends.tunnel, **(ip or {})) / header / payload)


def open_segments(
    ends: Ends, segments: list[bytes], ports: tuple[int, ...] = (40000,), largest: int = MAX_PACKET
) -> Opened:
    """Open all segments from one buffer of equal datagrams, as generic receive offload brings them."""
    flows = flow_table()
    for port in ports:
        tunnelled(flows, ends, TCP_, port=port)
    size = max(map(len, segments))
    opened = open_all([plain.ljust(size, b"\0") for plain in segments], flows, segment=size, largest=largest)
    assert not opened.drops
    assert not opened.slow
    assert sum(flow.packets_in for flow in flows) == len(segments)
    assert sum(flow.bytes_in for flow in flows) == sum(map(len, segments))
    return opened


def merged(ends: Ends, segments: list[bytes], ports: tuple[int, ...] = (40000,)) -> list[Packet]:
    """The packets for the stack, each as scapy would have made it."""
    return [assert_sound(packet) for packet in joined(open_segments(ends, segments, ports))]


def payloads(packets: list[Packet]) -> list[bytes]:
    return [bytes(packet[TCP].payload) for packet in packets]


@BOTH
@pytest.mark.parametrize("options", [[], TIMESTAMPS, [("NOP", None)] * 4], ids=["none", "timestamps", "other"])
def test_consecutive_segments_become_one_packet(ends: Ends, options: list[Any]) -> None:
    parts = [bytes([number]) * 100 for number in range(20)]
    start = 0xFFFFFF00  # the sequence number wraps on the way
    segments = [segment(ends, start + 100 * number, part, options=options) for number, part in enumerate(parts)]
    [packet] = merged(ends, segments)
    assert (packet.src, packet.dst) == (ends.server, ends.host)
    assert payloads([packet]) == [b"".join(parts)]
    assert (packet[TCP].seq, packet[TCP].ack, packet[TCP].window) == (start, 7, 500)
    assert packet[TCP].options == options


def test_the_payload_is_handed_on_where_it_lies(datapath: DataPath) -> None:
    near, far = session_pair()
    flows = flow_table()
    tunnelled(flows, IPV4, TCP_)
    segments = [segment(IPV4, 100 * number, b"x" * 100) for number in range(3)]
    buffer = bytearray()
    for plain in segments:
        datagram = bytearray(len(plain) + 32)
        far.seal_into(plain, datagram)
        buffer += datagram
    opened = Opened()
    open_datagrams(buffer, len(segments[0]) + 32, {1: near}, flows, 1.0, opened)
    [pieces] = opened.packets
    assert len(pieces) == (3 if datapath is PYTHON else 1)  # compiled code moves them together
    assert all(isinstance(piece, memoryview) and piece.obj is buffer for piece in pieces)


@BOTH
def test_a_push_anywhere_is_kept(ends: Ends) -> None:
    for pushed in range(3):
        segments = [segment(ends, 10 * n, b"0123456789", flags="PA" if n == pushed else "A") for n in range(3)]
        [packet] = merged(ends, segments)
        assert str(packet[TCP].flags) == "PA"


@BOTH
def test_segments_of_several_flows_are_merged_beside_each_other(ends: Ends) -> None:
    segments = [segment(ends, 10 * n, bytes([port]) * 10, port=port) for n in range(4) for port in (1, 2, 3)]
    packets = merged(ends, segments, ports=(1, 2, 3))
    assert [packet.dport for packet in packets] == [1, 2, 3]
    assert payloads(packets) == [bytes([port]) * 40 for port in (1, 2, 3)]


@BOTH
def test_a_packet_grows_no_larger_than_the_stack_takes(ends: Ends) -> None:
    segments = [segment(ends, 400 * number, bytes([number]) * 400) for number in range(40)]
    header = len(segments[0]) - 400
    packets = joined(open_segments(ends, segments, largest=header + 1199))
    assert [len(packet) - header for packet in packets] == [800] * 20
    assert payloads([assert_sound(packet) for packet in packets])[1] == bytes([2]) * 400 + bytes([3]) * 400
    assert [len(packet) - header for packet in joined(open_segments(ends, segments, largest=100))] == [400] * 40


DIFFERENT: dict[str, dict[str, Any]] = {
    "acknowledgment": {"ack": 8},
    "window": {"window": 501},
    "timestamps": {"options": [("NOP", None), ("NOP", None), ("Timestamp", (124, 456))]},
    "options": {"options": []},
    "fin": {"flags": "FA"},
    "reset": {"flags": "RA"},
    "urgent": {"flags": "UA"},
    "ecn echo": {"flags": "EA"},
    "congestion window reduced": {"flags": "CA"},
    "reserved": {"reserved": 1},
    "no acknowledgment": {"flags": "P"},
}


@BOTH
@pytest.mark.parametrize("fields", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_segment_that_differs_is_not_merged(ends: Ends, fields: dict[str, Any]) -> None:
    segments = [
        segment(ends, 0, b"0123456789"),
        segment(ends, 10, b"0123456789"),
        segment(ends, 20, b"different!", **fields),
        segment(ends, 30, b"abcdefghij"),
    ]
    packets = merged(ends, segments)
    assert payloads(packets)[:2] == [b"0123456789" * 2, b"different!"]
    assert b"".join(payloads(packets)) == b"0123456789" * 2 + b"different!" + b"abcdefghij"
    for name, value in fields.items():
        assert getattr(packets[1][TCP], name) == value


@pytest.mark.parametrize(
    ("ends", "ip"),
    [
        (IPV4, {"tos": 1}),
        (IPV4, {"ttl": 63}),
        (IPV4, {"flags": "DF"}),
        (IPV6, {"tc": 1}),
        (IPV6, {"fl": 1}),
        (IPV6, {"hlim": 9}),
    ],
)
def test_a_different_ip_header_is_not_merged(ends: Ends, ip: dict[str, Any]) -> None:
    packets = merged(ends, [segment(ends, 0, b"0123456789"), segment(ends, 10, b"abcdefghij", ip=ip)])
    assert payloads(packets) == [b"0123456789", b"abcdefghij"]


def test_what_is_out_of_order_is_not_merged_and_order_stays() -> None:
    numbers = [0, 10, 30, 20, 40, 40, 50]
    packets = merged(IPV4, [segment(IPV4, number, bytes([number]) * 10) for number in numbers])
    assert [packet[TCP].seq for packet in packets] == [0, 30, 20, 40, 40]
    assert payloads(packets)[-1] == bytes([40]) * 10 + bytes([50]) * 10


def test_pure_acknowledgments_pass_one_by_one_between_the_data() -> None:
    segments = [
        segment(IPV4, 0, b"0123456789"),
        segment(IPV4, 10, b""),
        segment(IPV4, 10, b""),
        segment(IPV4, 10, b"ab"),
    ]
    packets = merged(IPV4, segments)
    assert payloads(packets) == [b"0123456789", b"", b"", b"ab"]


def test_an_odd_payload_ends_a_run_but_is_part_of_it() -> None:
    segments = [
        segment(IPV4, 0, b"01234567"),
        segment(IPV4, 8, b"012"),
        segment(IPV4, 11, b"ab"),
        segment(IPV4, 13, b"cd"),
    ]
    assert payloads(merged(IPV4, segments)) == [b"01234567012", b"abcd"]


@BOTH
def test_a_merged_packet_is_no_larger_than_a_packet_may_be(ends: Ends) -> None:
    segments = [segment(ends, 1300 * number, bytes(1300)) for number in range(60)]
    packets = merged(ends, segments)
    assert [len(packet) for packet in packets] == [
        MAX_PACKET - (MAX_PACKET - len(segments[0])) % 1300,
        sum(len(packet) - len(segments[0]) + 1300 for packet in packets[1:]) + len(segments[0]) - 1300,
    ]
    assert sum(map(len, payloads(packets))) == 60 * 1300


def test_a_merged_packet_has_no_more_pieces_than_one_system_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "MAX_PIECES", 8)
    opened = open_segments(IPV4, [segment(IPV4, 2 * number, b"ab") for number in range(21)])
    assert [len(packet) - 52 for packet in joined(opened)] == [16, 16, 10]
    assert all(len(pieces) <= 8 for pieces in opened.packets)


@BOTH
@pytest.mark.parametrize("corrupt", range(4))
def test_a_corrupt_segment_spoils_the_merged_packet(ends: Ends, corrupt: int) -> None:
    segments = [segment(ends, 10 * number, b"0123456789") for number in range(4)]
    damaged = bytearray(segments[corrupt])
    damaged[-3] ^= 0x20
    segments[corrupt] = bytes(damaged)
    [packet] = joined(open_segments(ends, segments))
    with pytest.raises(AssertionError, match="expected"):
        assert_sound(packet)


def test_another_peer_cannot_continue_a_run() -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, TCP_)
    near, far = session_pair()
    other_near, other_far = session_pair(OTHER_PEER, near_index=5, far_index=6)
    buffer = bytearray()
    for session, sequence in ((far, 0), (other_far, 10), (far, 10)):
        datagram = bytearray(32 + 62)
        session.seal_into(segment(IPV4, sequence, b"0123456789"), datagram)
        buffer += datagram
    opened = Opened()
    open_datagrams(buffer, 94, {1: near, 5: other_near}, flows, 1.0, opened)
    assert opened.drops.total() == 1
    assert b"".join(payloads([assert_sound(packet) for packet in joined(opened)])) == b"0123456789" * 2


@settings(max_examples=60, deadline=None)
@given(
    ends=st.sampled_from([IPV4, IPV6]),
    steps=st.lists(
        st.tuples(
            st.sampled_from([1, 2]),  # port
            st.sampled_from([0, 1, 2, 99, 100, 1000]),  # size
            st.sampled_from([0, 0, 0, 1]),  # a gap in front
            st.sampled_from(["A", "A", "A", "PA", "FA"]),
            st.sampled_from([7, 7, 7, 8]),  # acknowledgment
        ),
        min_size=1,
        max_size=25,
    ),
)
def test_each_flows_stream_comes_out_in_order_whatever_is_merged(
    ends: Ends, steps: list[tuple[int, int, int, str, int]]
) -> None:
    position = {1: 0xFFFFFFF0, 2: 0}
    expected: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    segments = []
    for port, size, gap, flags, acknowledgment in steps:
        position[port] += gap
        payload = bytes((position[port] + i) % 256 for i in range(size))
        segments.append(segment(ends, position[port], payload, port=port, flags=flags, ack=acknowledgment))
        expected[port] += [((position[port] + i) & 0xFFFFFFFF, byte) for i, byte in enumerate(payload)]
        position[port] += size
    delivered: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    for packet in merged(ends, segments, ports=(1, 2)):
        payload = bytes(packet[TCP].payload)
        delivered[packet.dport] += [((packet[TCP].seq + i) & 0xFFFFFFFF, byte) for i, byte in enumerate(payload)]
    assert delivered == expected


@settings(max_examples=30, deadline=None)
@given(
    ends=st.sampled_from([IPV4, IPV6]),
    size=st.integers(1, 20_000),
    mtu=st.sampled_from([576, 1280, 1420]),
    mss=st.sampled_from([0, 901]),
    flags=st.sampled_from(["A", "PA"]),
)
def test_cutting_and_merging_give_the_stream_back(ends: Ends, size: int, mtu: int, mss: int, flags: str) -> None:
    """What one data path seals, another, at the far end, opens into what it was."""
    payload = bytes((7 * i + i // 256) % 256 for i in range(size))
    header = TCP(sport=40000, dport=443, flags=flags, seq=0xFFFFF000, ack=1, options=TIMESTAMPS)
    packet = bytes(ends.ip() / header / payload)
    near, far = session_pair()
    flows, far_flows = flow_table(), flow_table()
    tunnelled(flows, ends, TCP_).mss = mss
    out, *_ = seal_all([packet], flows, near, mtu=mtu)
    # The far end redirects the flow to another address, so that both translations are done and undone.
    arriving = FiveTuple(TCP_, address(ends.second), 443, address(ends.resolver), 40000)
    far_flows.add(
        arriving, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.server), remote=(address(ends.tunnel), 40000)
    )
    opened = Opened()
    for start, end, segment_size in out.runs:
        open_datagrams(out.view[start:end], segment_size, {2: far}, far_flows, 1.0, opened)
    packets = [assert_sound(packet) for packet in joined(opened)]
    assert b"".join(payloads(packets)) == payload
    assert {(packet.src, packet.dst) for packet in packets} == {(ends.resolver, ends.second)}
    assert len(packets) <= len(out.runs) + (mss == 901) * out.packets
    assert str(packets[-1][TCP].flags) == flags
