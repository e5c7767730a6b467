"""Sorting a captured batch."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from tests.support.datapaths import classify, flow_table
from tests.support.traffic import IPV4, IPV6, OTHER_PEER, PEER, Ends, address, batch_of, flagged_batch, tunnelled
from wiresock_py.datapath import Classified, FlowTable, PacketDrop
from wiresock_py.datapath.flows import BYPASS_AFTER_PACKETS, OWNER_TRUST
from wiresock_py.filters.base import PacketFlag, Verdict
from wiresock_py.flow import FiveTuple, Route

pytestmark = pytest.mark.usefixtures("datapath")
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
TCP_, UDP_ = socket.IPPROTO_TCP, socket.IPPROTO_UDP


def tcp(ends: Ends, flags: str = "A", sequence: int = 1) -> bytes:
    return bytes(ends.ip() / TCP(sport=40000, dport=443, flags=flags, seq=sequence))


def udp(ends: Ends, port: int = 40000) -> bytes:
    return bytes(ends.ip() / UDP(sport=port, dport=443) / b"payload")


def sorted_out(packets: list[bytes], flows: FlowTable) -> Classified:
    out = Classified()
    classify(batch_of(packets), flows, 0.5, out)
    return out


@BOTH
def test_tunnelled_packets_are_grouped_by_peer_in_order(ends: Ends) -> None:
    flows = flow_table()
    first = tunnelled(flows, ends, TCP_)
    second = tunnelled(flows, ends, UDP_, peer=OTHER_PEER)
    out = sorted_out([tcp(ends), udp(ends), udp(ends, port=1), tcp(ends)], flows)
    assert out.tunnel == {PEER: [0, 3], OTHER_PEER: [1]}
    assert out.flow == [first, second, None, first]
    assert out.slow == [2]
    assert not out.drops


@BOTH
def test_direct_flows_bypass_and_blocked_ones_are_listed(ends: Ends) -> None:
    flows = flow_table()
    direct = flows.add(ends.key(TCP_), Route.DIRECT, 0.0)
    flows.add(ends.key(UDP_), Route.BLOCK, 0.0)
    batch = batch_of([tcp(ends), udp(ends), udp(ends, port=1)])
    out = Classified()
    classify(batch, flows, 0.5, out)
    assert batch.verdict == [Verdict.BYPASS, Verdict.DROP, Verdict.DROP]
    assert out.blocked == [1]
    assert out.slow == [2]
    assert out.drops == {PacketDrop.BLOCKED: 1}
    assert direct.last_out == 0.5
    assert direct.packets_out == 1


@BOTH
def test_a_direct_datagram_flow_is_bypassed_only_once_it_lasts(ends: Ends) -> None:
    flows = flow_table()
    flows.add(ends.key(UDP_), Route.DIRECT, 0.0)
    batch = batch_of([udp(ends)] * (BYPASS_AFTER_PACKETS + 1))
    classify(batch, flows, 0.5, Classified())
    assert batch.verdict == [Verdict.PASS] * BYPASS_AFTER_PACKETS + [Verdict.BYPASS]


@BOTH
def test_an_idle_datagram_flow_is_asked_about_anew_and_an_idle_connection_is_not(ends: Ends) -> None:
    flows = flow_table()
    tunnelled(flows, ends, UDP_)
    tunnelled(flows, ends, TCP_)
    out = Classified()
    for now, slow in ((OWNER_TRUST, []), (2 * OWNER_TRUST, []), (3.5 * OWNER_TRUST, [0])):
        classify(batch_of([udp(ends), tcp(ends)]), flows, now, out)
        assert out.slow == slow
        for flow in flows:
            flow.last_out = now


@BOTH
def test_an_echo_request_belongs_to_the_flow_of_its_identifier(ends: Ends) -> None:
    flows = flow_table()
    key = FiveTuple(ends.icmp, address(ends.host), 7, address(ends.server), 0)
    flow = flows.add(key, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel))
    ping = (lambda number: ICMP(id=number)) if ends is IPV4 else (lambda number: ICMPv6EchoRequest(id=number))
    out = sorted_out([bytes(ends.ip() / ping(7)), bytes(ends.ip() / ping(8))], flows)
    assert out.flow == [flow, None]
    assert out.slow == [1]


def test_an_echo_reply_never_belongs_to_a_flow_of_ours() -> None:
    flows = flow_table()
    flows.add(FiveTuple(1, address(IPV4.host), 7, address(IPV4.server), 0), Route.TUNNEL, 0.0, peer=PEER)
    assert sorted_out([bytes(IPV4.ip() / ICMP(type=0, id=7))], flows).slow == [0]


def test_what_is_not_plain_takes_the_slow_path() -> None:
    flows = flow_table()
    for ends in (IPV4, IPV6):
        for protocol in (TCP_, UDP_):
            tunnelled(flows, ends, protocol)
    layers = UDP(sport=40000, dport=443) / b"payload"
    odd = [
        IP(src=IPV4.host, dst=IPV4.server, options=[IPOption_NOP()] * 4) / layers,
        IP(src=IPV4.host, dst=IPV4.server, flags="MF") / UDP(sport=40000, dport=443, len=900) / bytes(16),
        IP(src=IPV4.host, dst=IPV4.server, frag=9, proto=17) / bytes(16),
        IPV6.ip() / IPv6ExtHdrDestOpt() / layers,
        IPV6.ip() / IPv6ExtHdrFragment(m=1) / UDP(sport=40000, dport=443, len=900) / bytes(16),
        IPV4.ip() / ICMP(type=3, code=3) / IPV4.ip() / layers,
        IPV4.ip(proto=47) / bytes(16),
        IPV4.ip(proto=58) / bytes(16),
        IPV6.ip(nh=1) / bytes(16),
    ]
    out = sorted_out([bytes(packet) for packet in odd], flows)
    assert out.slow == list(range(len(odd)))
    assert not out.drops


def test_malformed_packets_are_counted_by_name() -> None:
    whole = udp(IPV4)
    out = sorted_out([b"", whole[:27], b"\x15" + whole[1:], udp(IPV6)[:-1]], flow_table())
    assert out.drops == {PacketDrop.TOO_SHORT: 1, PacketDrop.BAD_LENGTH: 2, PacketDrop.NOT_IP: 1}
    assert not out.slow
    assert out.flow == [None] * 4


def test_a_truncated_packet_is_dropped_whatever_it_starts_with() -> None:
    flows = flow_table()
    tunnelled(flows, IPV4, UDP_)
    out = Classified()
    classify(flagged_batch([(udp(IPV4), PacketFlag.TRUNCATED)]), flows, 0.0, out)
    assert out.drops == {PacketDrop.TRUNCATED: 1}
    assert not out.tunnel


@BOTH
@pytest.mark.parametrize("route", [Route.TUNNEL, Route.DIRECT])
def test_a_new_connection_on_an_old_five_tuple_is_decided_anew(ends: Ends, route: Route) -> None:
    flows = flow_table()
    flow = flows.add(ends.key(TCP_), route, 0.0, peer=PEER, local=address(ends.tunnel))
    repeated = [tcp(ends, "S", 1000), tcp(ends, "S", 1000), tcp(ends, "A", 1001)]
    assert sorted_out(repeated, flows).flow == [flow] * 3
    assert sorted_out([tcp(ends, "S", 5000)], flows).slow == [0]
    assert sorted_out([tcp(ends, "SA", 5000)], flows).slow == []


def test_each_call_starts_afresh() -> None:
    out = Classified()
    classify(batch_of([udp(IPV4)]), flow_table(), 0.0, out)
    assert out.slow == [0]
    classify(batch_of([]), flow_table(), 0.0, out)
    assert (out.slow, out.flow) == ([], [])


@given(st.lists(st.binary(max_size=70), max_size=5), st.integers(0, 3))
def test_no_bytes_make_classify_raise_and_each_packet_is_accounted_for(packets: list[bytes], first: int) -> None:
    flows = flow_table()
    prefix = (b"", b"\x45\x00\x00\x30", b"\x60\x00\x00\x00\x00", udp(IPV4)[:16])[first]
    out = sorted_out([prefix + packet for packet in packets], flows)
    assert len(out.flow) == len(packets)
    assert len(out.slow) + out.drops.total() + sum(map(len, out.tunnel.values())) == len(packets)
