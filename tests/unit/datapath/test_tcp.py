"""The MSS option and resets."""

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from tests.support.datapaths import flow_table
from tests.support.traffic import IPV4, IPV6, PEER, Ends, address, assert_sound, batch_of, dissect, tunnelled, vectors
from wiresock_py.datapath import PacketDrop, abort, parse, provoke, tcp_reset, translate_batch, translate_inbound
from wiresock_py.datapath.headers import Header
from wiresock_py.datapath.tcp import clamp_mss, mss_limit
from wiresock_py.flow import Route

pytestmark = pytest.mark.usefixtures("datapath")
CLAMPED = [case for case in vectors("mss_clamp") if "fragment" not in case["name"]]
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def test_the_limit_leaves_room_for_headers_without_options() -> None:
    assert mss_limit(1420, ipv6=False) == 1380
    assert mss_limit(1420, ipv6=True) == 1360


def test_a_fragment_inside_the_tcp_header_is_not_taken_for_a_syn_but_refused() -> None:
    [case] = [case for case in vectors("mss_clamp") if "fragment" in case["name"]]
    assert parse(bytes.fromhex(case["before"])) is PacketDrop.BAD_FRAGMENT


@pytest.mark.parametrize("case", CLAMPED, ids=lambda case: case["name"])
def test_outbound_packets_are_clamped_as_the_vectors_say(case: dict[str, Any]) -> None:
    packet = bytes.fromhex(case["before"])
    header = parse(packet)
    assert isinstance(header, Header)
    flows = flow_table()
    flow = flows.add(header.five_tuple(), Route.DIRECT, 0.0)  # translates nothing
    mtu = case["limit"] + (60 if header.version == 6 else 40)
    packets, oversized = translate_batch(batch_of([packet]), [0], [flow], flows, mtu, 1.0)
    assert oversized == []
    assert packets[0].hex() == case["after"]
    assert (packets[0] != packet) is case["changed"]


@pytest.mark.parametrize("case", CLAMPED, ids=lambda case: case["name"])
def test_inbound_packets_are_clamped_as_the_vectors_say(case: dict[str, Any]) -> None:
    packet = bytes.fromhex(case["before"])
    header = parse(packet)
    assert isinstance(header, Header)
    flows = flow_table()
    flow = flows.add(header.five_tuple(inbound=True), Route.DIRECT, 0.0)
    flow.mtu = case["limit"] + (60 if header.version == 6 else 40)
    assert translate_inbound(packet, header, flow, flows, 1.0).hex() == case["after"]


def test_the_peers_own_mss_is_told() -> None:
    packet = bytearray(bytes(IPV4.ip() / TCP(flags="S", options=[("NOP", None), ("MSS", 9000)])))
    assert clamp_mss(packet, 20, 1380) == 9000
    assert clamp_mss(packet, 20, 1380) == 1380
    assert_sound(bytes(packet))
    assert clamp_mss(bytearray(bytes(IPV4.ip() / TCP(flags="S"))), 20, 1380) == 0


@given(st.binary(max_size=40), st.integers(0, 0xFFFF))
def test_no_options_make_clamping_raise_or_reach_beyond_the_header(options: bytes, limit: int) -> None:
    options += bytes(-len(options) % 4)
    packet = bytearray(bytes(IPV4.ip() / TCP(flags="S")) + options + b"\x02\x04\xff\xff" * 3)
    packet[32] = (20 + len(options)) // 4 << 4
    before = bytes(packet)
    clamp_mss(packet, 20, limit)
    assert packet[40 + len(options) :] == before[40 + len(options) :]
    assert len(packet) == len(before)


@BOTH
def test_a_syn_is_refused_with_an_acknowledging_reset(ends: Ends) -> None:
    reset = tcp_reset(bytes(ends.ip() / TCP(sport=40000, dport=443, seq=1000, flags="S") / b"early"))
    assert reset is not None
    read = assert_sound(reset)
    assert (read.src, read.dst) == (ends.server, ends.host)
    assert (read.sport, read.dport, str(read[TCP].flags)) == (443, 40000, "RA")
    assert (read.seq, read.ack) == (0, 1006)


@BOTH
def test_a_data_segment_is_refused_with_the_number_it_acknowledges(ends: Ends) -> None:
    reset = tcp_reset(bytes(ends.ip() / TCP(sport=40000, dport=443, seq=1000, ack=5, flags="PA") / b"data"))
    assert reset is not None
    read = assert_sound(reset)
    assert (read.seq, str(read[TCP].flags)) == (5, "R")


def test_sequence_numbers_wrap() -> None:
    reset = tcp_reset(bytes(IPV4.ip() / TCP(seq=0xFFFFFFFF, flags="S")))
    assert reset is not None
    assert dissect(reset).ack == 0


@pytest.mark.parametrize(
    "packet",
    [
        bytes(IPV4.ip() / TCP(flags="R")),
        bytes(IPV4.ip() / TCP(flags="RA")),
        bytes(IPV4.ip(proto=17) / (b"\0" * 7 + b"\x08")),
        bytes(IPV4.ip(frag=9, proto=6) / bytes(40)),
        b"rubbish",
    ],
    ids=["reset", "acknowledging reset", "udp", "later fragment", "not ip"],
)
def test_some_packets_are_never_refused_by_reset(packet: bytes) -> None:
    assert tcp_reset(packet) is None


@given(st.binary(max_size=80))
def test_no_bytes_make_a_reset_raise(data: bytes) -> None:
    for prefix in (b"", b"\x45\0\0\x28\0\0\0\0\x40\x06", b"\x60\0\0\0\0\x14\x06"):
        tcp_reset(prefix + data)


@BOTH
def test_a_flow_is_ended_at_both_ends_with_the_numbers_they_expect(ends: Ends) -> None:
    flows = flow_table()
    flow = tunnelled(flows, ends, 6)
    assert abort(flow) is None
    segment = bytes(ends.ip() / TCP(sport=40000, dport=443, seq=0xFFFFFFF0, ack=900, flags="PA") / bytes(32))
    translate_batch(batch_of([segment]), [0], [flow], flows, 1420, 1.0)
    resets = abort(flow)
    assert resets is not None
    to_stack, to_tunnel = (assert_sound(packet) for packet in resets)
    assert (to_stack.src, to_stack.dst, to_stack.sport, to_stack.dport) == (ends.server, ends.host, 443, 40000)
    assert (to_stack.seq, to_stack.ack) == (900, 16)
    assert (to_tunnel.src, to_tunnel.dst, to_tunnel.sport, to_tunnel.dport) == (ends.tunnel, ends.server, 40000, 443)
    assert (to_tunnel.seq, to_tunnel.ack) == (16, 900)
    assert str(to_stack[TCP].flags) == str(to_tunnel[TCP].flags) == "RA"


def test_only_tcp_can_be_reset() -> None:
    flow = flow_table().add(IPV4.key(17), Route.TUNNEL, 0.0, peer=PEER, local=address(IPV4.tunnel))
    flow.sequence = 1
    assert abort(flow) is None


@BOTH
def test_one_of_the_two_packets_that_ask_where_a_connection_stands_is_outside_every_window(ends: Ends) -> None:
    key = ends.key(socket.IPPROTO_TCP)
    largest_window = 65_535 << 14  # RFC 7323
    sequences = []
    for packet in provoke(key):
        read = assert_sound(packet)
        assert (address(read.dst), read[TCP].dport) == (key.local, key.local_port)
        assert (address(read.src), read[TCP].sport) == (key.remote, key.remote_port)
        assert (str(read[TCP].flags), len(read[TCP].payload)) == ("A", 0)
        sequences.append(read[TCP].seq)
    first, second = sequences
    assert min((second - first) % 2**32, (first - second) % 2**32) > largest_window
