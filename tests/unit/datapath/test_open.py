"""From datagrams to packets for the stack."""

import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6ExtHdrDestOpt
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
    dissect,
    joined,
    open_all,
    session_pair,
    tunnelled,
    vectors,
)
from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME
from wiresock_py.crypto.session import Session
from wiresock_py.datapath import FlowTable, Opened, PacketDrop
from wiresock_py.datapath.flows import FIN_IN, RESET, SYN_IN, SYN_OUT
from wiresock_py.flow import FiveTuple, Route

pytestmark = pytest.mark.usefixtures("datapath")
TCP_, UDP_ = socket.IPPROTO_TCP, socket.IPPROTO_UDP
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def world(ends: Ends) -> FlowTable:
    flows = flow_table()
    for protocol in (TCP_, UDP_):
        tunnelled(flows, ends, protocol)
    return flows


def udp(ends: Ends, payload: bytes = b"answer", port: int = 40000) -> bytes:
    return bytes(ends.ip(ends.server, ends.tunnel) / UDP(sport=443, dport=port) / payload)


def tcp(ends: Ends, flags: str = "A", payload: bytes = b"", **fields: Any) -> bytes:
    chosen: dict[str, Any] = {"sport": 443, "dport": 40000, "flags": flags} | fields
    header = TCP(**chosen)
    return bytes(ends.ip(ends.server, ends.tunnel) / header / payload)


def sealed(session: Session, plain: bytes) -> bytearray:
    datagram = bytearray(len(plain) + 32)
    session.seal_into(plain, datagram)
    return datagram


@BOTH
@pytest.mark.parametrize("pad", [0, 3, 16])
def test_packets_reach_the_app_at_its_own_address(ends: Ends, pad: int) -> None:
    flows = world(ends)
    packets = [udp(ends), tcp(ends), udp(ends, b""), tcp(ends, "FA")]
    opened = open_all([packet + bytes(pad) for packet in packets], flows, now=7.0)
    assert not opened.drops
    assert not opened.slow
    for delivered, packet in zip(joined(opened), packets, strict=True):
        read = assert_sound(delivered)
        assert (read.src, read.dst) == (ends.server, ends.host)
        assert len(delivered) == len(packet)
    flow = flows.find(ends.key(UDP_))
    assert flow is not None
    assert (flow.last_in, flow.packets_in, flow.bytes_in) == (7.0, 2, len(packets[0]) + len(packets[2]))


@BOTH
def test_an_answer_from_the_tunnels_resolver_comes_from_the_one_asked(ends: Ends) -> None:
    flows = flow_table()
    asked = FiveTuple(UDP_, address(ends.host), 5353, address(ends.resolver), 53)
    flows.add(asked, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel), remote=(address(ends.redirected), 53))
    answer = bytes(ends.ip(ends.redirected, ends.tunnel) / UDP(sport=53, dport=5353) / b"answer")
    [packet] = joined(open_all([answer], flows))
    read = assert_sound(packet)
    assert (read.src, read.sport, read.dst, read.dport) == (ends.resolver, 53, ends.host, 5353)


@BOTH
def test_a_translated_port_and_identifier_are_put_back(ends: Ends) -> None:
    flows = flow_table(ports=lambda _: [50000])
    for local in (ends.host, ends.second):
        tunnelled(flows, ends, UDP_, local=local)
        key = FiveTuple(ends.icmp, address(local), 7, address(ends.server), 0)
        flows.add(key, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel))
    reply: Packet = ICMP(type=0, id=50000, seq=9) if ends is IPV4 else ICMPv6EchoReply(id=50000, seq=9)
    packets = [udp(ends, port=50000), bytes(ends.ip(ends.server, ends.tunnel) / reply / b"pong")]
    datagram, pong = (assert_sound(packet) for packet in joined(open_all(packets, flows)))
    assert (datagram.dst, datagram.dport) == (ends.second, 40000)
    assert (pong.dst, pong.payload.id, pong.payload.seq) == (ends.second, 7, 9)


def test_an_empty_echo_reply_keeps_the_only_valid_checksum_it_can_have() -> None:
    flows = flow_table(ports=lambda _: [50000])
    for local in (IPV4.host, IPV4.second):
        key = FiveTuple(1, address(local), 0, address(IPV4.server), 0)
        flows.add(key, Route.TUNNEL, 0.0, peer=PEER, local=address(IPV4.tunnel))
    pong = bytes(IPV4.ip(IPV4.server, IPV4.tunnel) / ICMP(type=0, id=50000, seq=0))
    [packet] = joined(open_all([pong], flows))
    assert packet[20:] == bytes.fromhex("0000ffff00000000")


@BOTH
def test_the_syn_ack_is_clamped_and_its_own_mss_kept(ends: Ends) -> None:
    flows = world(ends)
    flow = flows.find(ends.key(TCP_))
    assert flow is not None
    flow.mtu = 1420
    flow.state = SYN_OUT
    opened = open_all([tcp(ends, "SA", options=[("MSS", 1400)])], flows)
    read = assert_sound(joined(opened)[0])
    assert read[TCP].options == [("MSS", 1380 if ends is IPV4 else 1360)]
    assert flow.mss == 1400
    assert flow.state == SYN_OUT | SYN_IN


def test_without_a_known_mtu_the_mss_is_learned_but_not_touched() -> None:
    flows = world(IPV4)
    packet = tcp(IPV4, "SA", options=[("MSS", 8960)])
    [delivered] = joined(open_all([packet], flows))
    assert assert_sound(delivered)[TCP].options == [("MSS", 8960)]
    flow = flows.find(IPV4.key(TCP_))
    assert flow is not None
    assert flow.mss == 8960


@pytest.mark.parametrize(("flags", "state"), [("FA", FIN_IN), ("R", RESET), ("RA", RESET)])
def test_the_end_of_a_connection_is_noted(flags: str, state: int) -> None:
    flows = world(IPV4)
    assert len(open_all([tcp(IPV4, flags)], flows).packets) == 1
    flow = flows.find(IPV4.key(TCP_))
    assert flow is not None
    assert flow.state == state


def test_a_syn_comes_in_only_while_we_connect() -> None:
    flows = world(IPV4)
    flow = flows.find(IPV4.key(TCP_))
    assert flow is not None
    for state in (0, SYN_OUT | SYN_IN, RESET):
        flow.state = state
        opened = open_all([tcp(IPV4, "S")], flows)
        assert opened.packets == []
        assert opened.drops == {PacketDrop.UNEXPECTED_SYN: 1}
    flow.state = SYN_OUT
    assert len(open_all([tcp(IPV4, "S")], flows).packets) == 1


@BOTH
def test_a_packet_without_a_flow_is_never_delivered(ends: Ends) -> None:
    flows = world(ends)
    flows.add(ends.key(UDP_, port=1), Route.DIRECT, 0.0)
    packets = [udp(ends, port=1), udp(ends, port=2), tcp(ends, sport=80, payload=b"data"), tcp(ends, dport=1)]
    opened = open_all([packet + bytes(8) for packet in packets], flows)
    assert opened.packets == []
    assert [packet for _, packet in opened.slow] == packets
    assert {session.peer for session, _ in opened.slow} == {PEER}


@BOTH
@pytest.mark.parametrize("payload", [b"", b"data"])
def test_a_flow_takes_nothing_from_another_peer(ends: Ends, payload: bytes) -> None:
    flows = world(ends)
    opened = open_all([udp(ends, payload), tcp(ends, payload=payload)], flows, peer=OTHER_PEER)
    assert opened.packets == []
    assert opened.drops == {PacketDrop.FOREIGN_SOURCE: 2}


def test_what_is_not_plain_takes_the_slow_path() -> None:
    flows = world(IPV4)
    for protocol in (TCP_, UDP_):
        tunnelled(flows, IPV6, protocol)
    answer = UDP(sport=443, dport=40000) / b"answer"
    odd = [
        bytes(IP(src=IPV4.server, dst=IPV4.tunnel, options=[IPOption_NOP()] * 4) / answer),
        bytes(IPV6.ip(IPV6.server, IPV6.tunnel) / IPv6ExtHdrDestOpt() / answer),
        bytes(IPV4.ip(IPV4.server, IPV4.tunnel, flags="MF") / UDP(sport=443, dport=40000, len=99) / bytes(32)),
        bytes(IPV4.ip(IPV4.server, IPV4.tunnel, frag=5, proto=6) / bytes(64)),
        bytes(IPV4.ip(IPV4.server, IPV4.tunnel) / ICMP(type=3, code=1) / udp(IPV4)),
        bytes(IPV4.ip(IPV4.server, IPV4.tunnel) / ICMP(type=8)),
        bytes(IPV4.ip(IPV4.server, IPV4.tunnel, proto=47) / bytes(32)),
    ]
    opened = open_all(odd, flows)
    assert [packet for _, packet in opened.slow] == odd
    assert not opened.packets
    assert not opened.drops


@pytest.mark.parametrize("case", vectors("decapsulation")["cases"], ids=lambda case: case["name"])
def test_plain_texts_are_treated_as_the_vectors_say(case: dict[str, str]) -> None:
    opened = open_all([bytes.fromhex(case["plaintext"])], flow_table())
    [(_, packets, size, data)] = opened.received
    assert (packets, size) == (1, len(case["plaintext"]) // 2 + 32)
    assert data == (case["expect"] != "keepalive")
    assert not opened.packets
    if case["expect"] == "deliver":
        assert [packet.hex() for _, packet in opened.slow] == [case["inner"]]
    elif case["expect"] == "drop" and "not allowed" not in case["name"] and "not in the allowed" not in case["name"]:
        assert opened.drops.total() == 1
        assert not opened.slow


def test_a_buffer_of_equal_datagrams_is_opened_in_one_go() -> None:
    flows = world(IPV4)
    packets = [udp(IPV4, bytes([number]) * 100) for number in range(9)] + [udp(IPV4, b"short")]
    opened = open_all(packets, flows, segment=128)
    assert [bytes(assert_sound(packet)[UDP].payload) for packet in joined(opened)] == [
        *(bytes([number]) * 100 for number in range(9)),
        b"short",
    ]
    [(session, count, size, data)] = opened.received
    assert (session.peer, count, size, data) == (PEER, 10, 9 * 160 + 65, 10)


def test_keepalives_count_but_carry_nothing() -> None:
    opened = open_all([b"", udp(IPV4)], world(IPV4))
    assert [row[1:] for row in opened.received] == [(1, 32, 0), (1, 66, 1)]
    assert len(opened.packets) == 1


def test_handshake_messages_are_handed_on_unread() -> None:
    opened = Opened()
    messages = [bytes((kind, 0, 0, 0)) + bytes(size - 4) for kind, size in ((1, 148), (2, 92), (3, 64), (1, 40))]
    for message in messages:
        open_datagrams(bytearray(message), 0, {}, flow_table(), 1.0, opened)
    assert opened.control == messages
    assert not opened.drops


@pytest.mark.parametrize(
    ("datagram", "drop"),
    [
        (bytes(31), PacketDrop.DATAGRAM_SHORT),
        (b"\x04", PacketDrop.DATAGRAM_SHORT),
        (bytes(32), PacketDrop.DATAGRAM_TYPE),
        (b"\x05\0\0\0" + bytes(40), PacketDrop.DATAGRAM_TYPE),
        (b"\x04\1\0\0" + bytes(40), PacketDrop.DATAGRAM_TYPE),
        (b"\x04\0\0\0\7\0\0\0" + bytes(24), PacketDrop.UNKNOWN_SESSION),
        (b"\x04\0\0\0\1\0\0\0" + bytes(24), PacketDrop.FORGED),
        (
            b"\x04\0\0\0\1\0\0\0" + REJECT_AFTER_MESSAGES.to_bytes(8, "little") + bytes(16),
            PacketDrop.COUNTER_LIMIT,
        ),
    ],
)
def test_datagrams_that_are_not_ours_are_counted_by_name(datagram: bytes, drop: PacketDrop) -> None:
    near, _ = session_pair()
    opened = Opened()
    open_datagrams(bytearray(datagram), 0, {1: near}, flow_table(), 1.0, opened)
    assert opened.drops == {drop: 1}
    assert not opened.received


def test_nothing_at_all_is_nothing() -> None:
    opened = Opened()
    open_datagrams(bytearray(), 0, {}, flow_table(), 1.0, opened)
    open_datagrams(bytearray(), 1452, {}, flow_table(), 1.0, opened)
    assert not opened.drops


def test_a_replay_is_dropped_and_a_forgery_does_not_mark_the_window() -> None:
    near, far = session_pair()
    flows = world(IPV4)
    good = sealed(far, udp(IPV4))
    forged = bytearray(good)
    forged[-1] ^= 1
    opened = Opened()
    for datagram in (forged, bytearray(good), bytearray(good)):
        open_datagrams(datagram, 0, {1: near}, flows, 1.0, opened)
    assert opened.drops == {PacketDrop.FORGED: 1, PacketDrop.REPLAYED: 1}
    assert len(opened.packets) == 1
    assert [row[1] for row in opened.received] == [1]


def test_a_session_that_is_too_old_receives_nothing_though_no_tick_forgot_it() -> None:
    flows = world(IPV4)
    young = open_all([udp(IPV4)], flows, now=REJECT_AFTER_TIME - 0.1)
    assert (len(young.packets), young.drops) == (1, {})
    for segment in (None, len(udp(IPV4))):
        old = open_all([udp(IPV4)] * 2, flows, now=REJECT_AFTER_TIME, segment=segment)
        assert (old.packets, old.slow, old.received) == ([], [], [])
        assert old.drops == {PacketDrop.UNKNOWN_SESSION: 2}


def test_sessions_may_change_within_a_buffer() -> None:
    near, far = session_pair()
    other_near, other_far = session_pair(OTHER_PEER, near_index=5, far_index=6)
    flows = world(IPV4)
    flow = tunnelled(flows, IPV4, UDP_, peer=OTHER_PEER, port=2)
    sequence = [(far, 40000), (far, 40000), (other_far, 2), (far, 40000)]
    buffer = bytearray().join(sealed(session, udp(IPV4, port=port)) for session, port in sequence)
    opened = Opened()
    open_datagrams(buffer, len(buffer) // 4, {1: near, 5: other_near}, flows, 1.0, opened)
    assert [(session.peer, packets) for session, packets, *_ in opened.received] == [
        (PEER, 2),
        (OTHER_PEER, 1),
        (PEER, 1),
    ]
    assert len(opened.packets) == 4
    assert flow.packets_in == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 200), st.booleans())
def test_no_datagram_makes_opening_raise(data: bytes, segment: int, as_transport: bool) -> None:
    near, _ = session_pair()
    if as_transport:
        data = b"\4\0\0\0\1\0\0\0" + data
    opened = Opened()
    open_datagrams(bytearray(data), segment, {1: near}, flow_table(), 1.0, opened)
    assert not opened.packets


def damaged(case: tuple[bytes, int, int]) -> bytes:
    packet, place, change = case
    place %= len(packet)
    return packet[:place] + bytes((packet[place] ^ change,)) + packet[place + 1 :]


def with_any_transport(case: tuple[Ends, int, bytes, bytes]) -> bytes:
    ends, protocol, transport, padding = case
    return bytes(ends.ip(ends.server, ends.tunnel, protocol) / (b"\x01\xbb\x9c\x40" + transport)) + padding


WHOLE = [tcp(IPV4, payload=b"data"), tcp(IPV6, "SA", options=[("MSS", 1)]), udp(IPV4), udp(IPV6)]
PLAINTEXTS = st.one_of(
    st.binary(max_size=80),
    st.tuples(
        st.sampled_from([IPV4, IPV6]), st.sampled_from([1, 6, 17, 58]), st.binary(max_size=80), st.binary(max_size=3)
    ).map(with_any_transport),
    st.tuples(st.sampled_from(WHOLE), st.integers(0, 99), st.integers(0, 255)).map(damaged),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PLAINTEXTS, max_size=6), st.sampled_from([None, 64, 96]))
def test_no_authentic_plain_text_makes_opening_raise_and_each_is_accounted_for(
    plaintexts: list[bytes], segment: int | None
) -> None:
    flows = world(IPV4)
    for protocol in (TCP_, UDP_):
        tunnelled(flows, IPV6, protocol)
    if segment is not None:
        plaintexts = [plain[:segment].ljust(segment, b"\0") for plain in plaintexts]
    opened = open_all(plaintexts, flows, segment=segment)
    delivered = sum(flow.packets_in for flow in flows)
    empty = sum(not plain for plain in plaintexts)
    assert delivered + len(opened.slow) + opened.drops.total() + empty == len(plaintexts)
    for packet in joined(opened):
        read = dissect(packet)
        assert len(packet) == (read.len if read.version == 4 else 40 + read.plen)
        assert read.dst in (IPV4.host, IPV6.host)
