"""The way out, on the memory backend, turn by turn: what leaves outside, what in the tunnel, what comes back."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from tests.support.dns_messages import A, answer, query
from tests.support.traffic import assert_sound, dissect, partial
from tests.support.worlds import (
    ADDRESSES,
    CHROME,
    DNS,
    EVERYTHING,
    FIREFOX,
    HOST,
    REMOTE,
    TUNNEL,
    World,
    config,
    echo,
    incoming,
    outgoing,
    packed,
)
from wiresock_py.datapath.flows import BYPASS_AFTER_PACKETS, OWNER_TRUST
from wiresock_py.engine.holding import MAX_PACKETS_PER_FLOW
from wiresock_py.engine.outbound import OWNER_ATTEMPTS
from wiresock_py.filters import PacketFlag
from wiresock_py.flow import App, FiveTuple, Route

TCP_, UDP_ = socket.IPPROTO_TCP, socket.IPPROTO_UDP
CHROME_ONLY = f"{EVERYTHING}\nAllowedApps = chrome"
CHROME_PORT, FIREFOX_PORT, ORPHAN_PORT = 5000, 6000, 7000
NO_ADAPTER = 0x7FFF_FFFF
"""An interface index that no host gives away."""

Make = Callable[..., World]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(*peers: str, interface: str = ADDRESSES, **options: object) -> World:
        world = World(monkeypatch, config(*(peers or (CHROME_ONLY,)), interface=interface), **options)  # type: ignore[arg-type]  # for World to check
        for protocol in (TCP_, UDP_, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            world.owners.own(CHROME, protocol, CHROME_PORT)
            world.owners.own(FIREFOX, protocol, FIREFOX_PORT)
        return world

    return make


def udp(port: int, data: bytes = b"data", remote_port: int = 7) -> Packet:
    return UDP(sport=port, dport=remote_port) / Raw(data)


def tcp(port: int, flags: str = "S", data: bytes = b"", seq: int = 0) -> Packet:
    return TCP(sport=port, dport=443, flags=flags, seq=seq) / Raw(data)


# New flows


@pytest.mark.parametrize("version", [4, 6])
def test_only_the_chosen_app_goes_into_the_tunnel(make: Make, version: int) -> None:
    world = make()
    for port in (CHROME_PORT, FIREFOX_PORT):
        world.host_sends(outgoing(udp(port), version))
    (inner,) = map(assert_sound, world.server.take())
    assert (inner.src, inner.dst, inner.sport) == (TUNNEL[version], REMOTE[version], CHROME_PORT)
    (direct,) = map(assert_sound, world.outside())
    assert (direct.src, direct.sport) == (HOST[version], FIREFOX_PORT)


def test_first_packets_are_held_and_leave_in_order(make: Make) -> None:
    world = make()
    packets = [outgoing(udp(port, bytes([n]) * 10), id=n) for n in range(5) for port in (CHROME_PORT, FIREFOX_PORT)]
    world.host_sends(*packets)
    assert [dissect(packet)[Raw].load[0] for packet in world.server.take()] == list(range(5))
    assert [dissect(packet)[Raw].load[0] for packet in world.outside()] == list(range(5))
    assert [len(keys) for keys in world.owners.asked] == [2]


def test_a_direct_datagram_flow_that_lasts_is_not_shown_any_more(make: Make) -> None:
    world = make()
    for _ in range(BYPASS_AFTER_PACKETS + 10):
        world.host_sends(outgoing(udp(FIREFOX_PORT)))
    captured = world.backend.statistics()["captured"]
    assert captured <= BYPASS_AFTER_PACKETS + 1
    assert len(world.outside()) == BYPASS_AFTER_PACKETS + 10


def test_the_next_owner_of_a_port_does_not_inherit_its_route(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(udp(FIREFOX_PORT)))
    assert len(world.outside()) == 1
    world.owners.own(CHROME, UDP_, FIREFOX_PORT)
    world.pass_time(1.5 * OWNER_TRUST)
    world.host_sends(outgoing(udp(FIREFOX_PORT)))
    assert world.outside() == []
    assert next(iter(world.engine.flows)).route is Route.TUNNEL


def test_one_search_settles_all_flows_that_wait(make: Make) -> None:
    world = make()
    ports = range(20_000, 20_030)
    world.owners.own(CHROME, UDP_, *ports)
    world.host_sends(*(outgoing(udp(port)) for port in ports))
    assert [len(keys) for keys in world.owners.asked] == [30]
    assert len(world.server.take()) == 30


def test_a_socket_found_on_the_second_look_still_counts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    answers = iter([[None], [CHROME]])
    monkeypatch.setattr(world.owners, "find", lambda _keys: next(answers))
    world.host_sends(outgoing(udp(ORPHAN_PORT)))
    assert len(world.server.take()) == 1


def test_packets_of_a_socket_that_is_gone_are_dropped_and_counted(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(udp(ORPHAN_PORT)), outgoing(udp(ORPHAN_PORT)))
    assert len(world.owners.asked) == OWNER_ATTEMPTS
    assert (world.outside(), world.server.take()) == ([], [])
    assert world.engine.counters()["owner_gone"] == 2


def test_without_app_rules_nobody_is_asked_for_the_owner(make: Make) -> None:
    world = make(EVERYTHING)
    world.host_sends(outgoing(udp(ORPHAN_PORT)))
    assert world.owners.asked == []
    assert len(world.server.take()) == 1


def test_an_excluded_network_is_never_shown(make: Make) -> None:
    world = make(f"{EVERYTHING}\nDisallowedIPs = 203.0.113.0/24")
    world.host_sends(outgoing(udp(CHROME_PORT)))
    assert len(world.outside()) == 1
    assert world.backend.statistics()["captured"] == 0


def test_a_direct_packet_of_an_adapter_that_has_gone_is_not_the_end_of_the_engine(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wiresock_py.engine import outbound

    original = outbound._mtu
    world = make()
    monkeypatch.setattr(outbound, "_mtu", original)
    monkeypatch.setitem(world.backend._adapters, "eth0", NO_ADAPTER)
    with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
        socket.if_indextoname(NO_ADAPTER)
    packet = outgoing(udp(FIREFOX_PORT))
    world.host_sends(packet)
    assert world.outside() == [packet]


def test_held_direct_packets_get_the_checksum_that_offload_left_out(make: Make) -> None:
    world = make()
    whole = outgoing(udp(FIREFOX_PORT))
    world.host_sends(partial(whole), flags=PacketFlag.CHECKSUM_PARTIAL)
    assert world.outside() == [whole]


def test_a_held_direct_super_packet_leaves_cut(make: Make) -> None:
    world = make()
    data = bytes(range(256)) * 16
    packet = outgoing(tcp(FIREFOX_PORT, "PA", data))
    world.host_sends(partial(packet), flags=PacketFlag.CHECKSUM_PARTIAL | PacketFlag.SUPER_PACKET)
    pieces = [assert_sound(piece) for piece in world.outside()]
    assert all(len(piece) <= 1500 for piece in pieces)
    assert b"".join(piece[Raw].load for piece in pieces) == data


@pytest.mark.parametrize("version", [4, 6])
def test_a_held_direct_datagram_larger_than_the_link_leaves_in_fragments(make: Make, version: int) -> None:
    world = make()
    world.host_sends(outgoing(udp(FIREFOX_PORT, bytes(3000)), version))
    pieces = world.outside()
    assert len(pieces) >= 3
    assert all(len(piece) <= 1500 for piece in pieces)


# TCP


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R"])
def test_tcp_without_flow_and_owner_never_counts_as_direct(make: Make, flags: str) -> None:
    world = make()
    world.host_sends(outgoing(tcp(ORPHAN_PORT, flags)))
    assert (world.outside(), world.server.take()) == ([], [])
    assert world.engine.counters()["owner_gone"] == 1


@pytest.mark.parametrize("rules", [CHROME_ONLY, EVERYTHING])
@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_port_refuses_a_connection_from_outside_the_way_it_came(make: Make, rules: str, version: int) -> None:
    """In the tunnel its refusal would tell who asked from where else this host speaks; to hold it lets a flood in."""
    world = make(rules)
    world.host_sends(outgoing(tcp(ORPHAN_PORT, "RA"), version))
    assert [assert_sound(packet)[TCP].flags for packet in world.outside()] == ["RA"]
    assert (world.server.take(), world.owners.asked, len(world.engine.flows)) == ([], [], 0)


def test_an_app_that_aborts_a_connection_that_nobody_remembers_does_not_do_so_outside(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(tcp(ORPHAN_PORT, "RA", seq=1000)), outgoing(tcp(ORPHAN_PORT, "R", seq=1000)))
    assert (world.outside(), world.server.take()) == ([], [])


def test_a_connection_met_in_mid_stream_goes_where_its_app_goes(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(tcp(CHROME_PORT, "PA", b"x")), outgoing(tcp(FIREFOX_PORT, "PA", b"x")))
    assert len(world.server.take()) == 1
    assert len(world.outside()) == 1


def test_the_answer_to_a_connection_from_outside_passes_and_is_not_shown_again(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(tcp(CHROME_PORT, "SA")))
    world.host_sends(outgoing(tcp(CHROME_PORT, "PA", b"hello")))
    assert [dissect(packet)[TCP].flags for packet in world.outside()] == ["SA", "PA"]
    assert world.backend.statistics()["captured"] == 1
    assert world.owners.asked == []


def test_a_connection_from_outside_older_than_the_engine_is_left_alone(make: Make) -> None:
    world = make(EVERYTHING)
    world.owners.listeners.add((TCP_, 22))
    world.host_sends(outgoing(TCP(sport=22, dport=50_000, flags="PA") / Raw(b"prompt")))
    for _ in range(2):
        world.host_sends(outgoing(TCP(sport=22, dport=50_000, flags="PA") / Raw(b"more")))
    assert len(world.outside()) == 3
    assert world.backend.statistics()["captured"] == 2, "the second one was bypassed"


def test_a_new_connection_from_a_port_that_also_listens_is_decided_by_its_app(make: Make) -> None:
    world = make()
    world.owners.listeners.add((TCP_, CHROME_PORT))
    world.host_sends(outgoing(tcp(CHROME_PORT, "S")))
    assert len(world.server.take()) == 1
    assert world.outside() == []


def test_a_new_connection_on_old_ports_is_decided_anew(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(tcp(CHROME_PORT, "S", seq=1)))
    world.owners.own(FIREFOX, TCP_, CHROME_PORT)
    world.host_sends(outgoing(tcp(CHROME_PORT, "S", seq=1)))  # a retransmission, not a new one
    assert len(world.server.take()) == 2
    world.host_sends(outgoing(tcp(CHROME_PORT, "S", seq=99)))
    assert world.server.take() == []
    assert len(world.outside()) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_ack_of_a_tunnelled_connection_stays_in_the_tunnel(make: Make, version: int) -> None:
    """A far end that answers a SYN with a SYN of its own gets a SYN-ACK: that is no connection from outside."""
    world = make()
    world.host_sends(outgoing(tcp(CHROME_PORT, "S", seq=1), version))
    options = IPv6ExtHdrDestOpt() / tcp(CHROME_PORT, "SA", seq=1) if version == 6 else tcp(CHROME_PORT, "SA", seq=1)
    ip: dict[str, Any] = {} if version == 6 else {"options": b"\x01\x01\x01\x00"}  # headers the fast path does not take
    world.host_sends(outgoing(options, version, **ip))
    assert len(world.server.take()) == 2
    assert world.outside() == []


def test_a_syn_announces_no_more_than_fits_the_tunnel(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(TCP(sport=CHROME_PORT, dport=443, flags="S", options=[("MSS", 1460)])))
    (inner,) = map(assert_sound, world.server.take())
    assert dict(inner[TCP].options)["MSS"] == 1380


def test_a_super_packet_is_cut_for_the_tunnel(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(tcp(CHROME_PORT, "S", seq=1)))
    world.server.take()
    data = bytes(range(256)) * 100
    packet = partial(outgoing(tcp(CHROME_PORT, "PA", data, seq=2)))
    world.host_sends(packet, flags=PacketFlag.CHECKSUM_PARTIAL | PacketFlag.SUPER_PACKET)
    pieces = [assert_sound(piece) for piece in world.server.take()]
    assert all(len(piece) <= 1420 for piece in pieces)
    assert b"".join(piece[Raw].load for piece in pieces) == data


# Too big


def test_an_ipv4_packet_that_may_not_be_fragmented_is_answered_with_the_mtu(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(udp(CHROME_PORT)))
    world.server.take()
    world.host_sends(outgoing(udp(CHROME_PORT, bytes(1430)), flags="DF"))
    assert world.server.take() == []
    (answer,) = map(dissect, world.delivered())
    assert (answer.src, answer.dst) == (REMOTE[4], HOST[4])
    assert (answer[ICMP].type, answer[ICMP].code, answer[ICMP].nexthopmtu) == (3, 4, 1420)


def test_an_ipv6_packet_between_the_two_mtus_is_answered_once_and_then_fragmented(make: Make) -> None:
    world = make()
    packet = outgoing(udp(CHROME_PORT, bytes(1430)), 6)
    world.host_sends(packet)
    assert world.server.take() == []
    (answer,) = map(dissect, world.delivered())
    assert answer[ICMPv6PacketTooBig].mtu == 1420
    world.host_sends(packet)
    pieces = world.server.take()
    assert len(pieces) == 2
    assert world.delivered() == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_larger_than_the_link_goes_into_the_tunnel_in_fragments(make: Make, version: int) -> None:
    world = make()
    world.host_sends(outgoing(udp(CHROME_PORT, bytes(3000)), version))
    pieces = [dissect(piece) for piece in world.server.take()]
    assert len(pieces) == 3
    assert all(len(piece) <= 1420 and piece.src == TUNNEL[version] for piece in pieces)
    assert (world.outside(), world.delivered()) == ([], [])


def test_what_cannot_be_fragmented_is_dropped_and_counted(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(IPv6ExtHdrHopByHop() / udp(CHROME_PORT, bytes(3000)), 6))
    assert (world.server.take(), world.outside(), world.delivered()) == ([], [], [])
    assert world.engine.counters()["unfragmentable"] == 1


# Blocked


def test_the_family_that_the_tunnel_lacks_is_refused_to_its_apps_and_left_to_others(make: Make) -> None:
    world = make("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome", interface="Address = 10.66.66.2/32")
    world.host_sends(outgoing(tcp(CHROME_PORT, "S", seq=8), 6), outgoing(udp(CHROME_PORT), 6))
    reset, unreachable = map(dissect, world.delivered())
    assert (reset[TCP].flags, reset[TCP].ack) == ("RA", 9)
    assert ICMPv6DestUnreach in unreachable
    world.host_sends(outgoing(udp(CHROME_PORT), 6))  # known by now
    assert len(world.delivered()) == 1
    world.host_sends(outgoing(udp(FIREFOX_PORT), 6))
    assert len(world.outside()) == 1
    assert world.server.take() == []


# DNS


@pytest.mark.parametrize("asked", ["192.168.1.1", "127.0.0.53"])
def test_a_query_goes_to_the_tunnels_server_and_is_answered_by_the_one_it_asked(make: Make, asked: str) -> None:
    world = make(interface=f"{ADDRESSES}\nDNS = {DNS[4]}")
    loopback = asked.startswith("127.")
    source = "127.0.0.1" if loopback else HOST[4]
    asked_for = query("example.com")
    world.host_sends(
        outgoing(udp(CHROME_PORT, asked_for, 53), source=source, to=asked), adapter="lo" if loopback else "eth0"
    )
    (inner,) = map(assert_sound, world.server.take())
    assert (inner.src, inner.dst, inner[UDP].dport) == (TUNNEL[4], DNS[4], 53)
    told = answer(asked_for, [("example.com", A, 60, "192.0.2.1")])
    (delivered,) = map(
        assert_sound, world.server_sends(incoming(UDP(sport=53, dport=inner.sport) / Raw(told), source=DNS[4]))
    )
    assert (delivered.src, delivered.dst, delivered[UDP].sport) == (asked, source, 53)
    assert (delivered[UDP].dport, bytes(delivered[UDP].payload)) == (CHROME_PORT, told)
    assert world.outside() == []


def test_the_query_of_another_app_is_left_alone(make: Make) -> None:
    world = make(interface=f"{ADDRESSES}\nDNS = {DNS[4]}")
    world.host_sends(outgoing(udp(FIREFOX_PORT, b"query", 53), to="192.168.1.1"))
    assert len(world.outside()) == 1
    world.host_sends(outgoing(udp(FIREFOX_PORT, b"query", 53), source="127.0.0.1", to="127.0.0.53"), adapter="lo")
    assert [dissect(packet).dst for packet in world.delivered()] == ["127.0.0.53"]


# ICMP


@pytest.mark.parametrize("version", [4, 6])
def test_a_ping_of_the_chosen_app_goes_through_the_tunnel_and_back(make: Make, version: int) -> None:
    world = make()
    world.host_sends(outgoing(echo(version, CHROME_PORT), version))
    (inner,) = map(assert_sound, world.server.take())
    assert inner.src == TUNNEL[version]
    (reply,) = map(assert_sound, world.server_sends(incoming(echo(version, CHROME_PORT, reply=True), version)))
    assert (reply.src, reply.dst) == (REMOTE[version], HOST[version])


@pytest.mark.parametrize("version", [4, 6])
def test_the_stacks_answer_to_a_ping_goes_back_the_way_the_ping_came(make: Make, version: int) -> None:
    world = make(EVERYTHING)
    world.host_sends(outgoing(echo(version, 9, reply=True), version))
    assert len(world.outside()) == 1
    assert world.server.take() == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_complaint_about_a_tunnelled_packet_goes_through_the_tunnel(make: Make, version: int) -> None:
    world = make()
    world.host_sends(outgoing(udp(CHROME_PORT), version))
    world.server.take()
    (arrived,) = world.server_sends(incoming(UDP(sport=7, dport=CHROME_PORT) / Raw(b"late"), version))
    unreachable = ICMP(type=3, code=3) if version == 4 else ICMPv6DestUnreach(code=4)
    world.host_sends(outgoing(unreachable / dissect(arrived), version))
    (inner,) = map(dissect, world.server.take())
    assert (inner.src, inner.dst) == (TUNNEL[version], REMOTE[version])
    assert world.outside() == []


def test_a_complaint_about_a_tunnelled_packet_is_a_counted_drop_without_a_tunnel(make: Make) -> None:
    world = make(with_links=False)
    world.host_sends(outgoing(udp(CHROME_PORT)))
    arrived = incoming(UDP(sport=7, dport=CHROME_PORT) / Raw(b"late"), to=HOST[4])
    world.host_sends(outgoing(ICMP(type=3, code=3) / dissect(arrived)))
    assert world.outside() == []
    assert world.engine.counters()["no_tunnel"] == 2


def test_a_complaint_about_anything_else_passes(make: Make) -> None:
    world = make()
    about = dissect(outgoing(udp(9), source=REMOTE[4], to=HOST[4]))
    world.host_sends(outgoing(ICMP(type=3, code=3) / about))
    assert len(world.outside()) == 1


# What cannot be taken


def test_a_packet_that_did_not_come_whole_is_dropped_and_counted(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(udp(CHROME_PORT)), flags=PacketFlag.TRUNCATED)
    assert (world.server.take(), world.outside()) == ([], [])
    assert world.engine.counters()["packet_truncated"] == 1


def test_a_later_fragment_names_nobody_and_is_dropped_and_counted(make: Make) -> None:
    world = make(EVERYTHING)
    world.host_sends(outgoing(Raw(b"data"), frag=3, proto=17))
    assert (world.server.take(), world.outside()) == ([], [])
    assert world.engine.counters()["outbound_fragment"] == 1


def test_too_many_packets_of_an_undecided_flow_are_counted(make: Make) -> None:
    world = make()
    for _ in range(MAX_PACKETS_PER_FLOW + 8):
        world.backend.stack_sends(outgoing(udp(CHROME_PORT)))
    world.settle()
    assert len(world.server.take()) == MAX_PACKETS_PER_FLOW
    assert world.engine.counters()["held_overflow"] == 8


# No tunnel


def test_what_belongs_in_the_tunnel_waits_until_there_is_one(make: Make) -> None:
    world = make(connected=False)
    world.host_sends(outgoing(udp(CHROME_PORT, b"first")), outgoing(udp(CHROME_PORT, b"second")))
    assert [dissect(packet)[Raw].load for packet in world.server.take()] == [b"first", b"second"]
    assert world.outside() == []


def test_without_links_the_line_drops_the_tunnels_packets_and_passes_the_others(make: Make) -> None:
    world = make(with_links=False)
    world.host_sends(outgoing(udp(CHROME_PORT)), outgoing(udp(FIREFOX_PORT)))
    world.host_sends(outgoing(udp(CHROME_PORT)), outgoing(tcp(CHROME_PORT, "PA", b"x")))
    assert [dissect(packet).sport for packet in world.outside()] == [FIREFOX_PORT]
    assert world.engine.counters()["no_tunnel"] == 3
    assert world.delivered() == []


# A flow entered while its packet was on its way


def test_a_packet_held_while_its_flow_was_entered_follows_that_flow(make: Make) -> None:
    world = make()
    outbound = world.engine._outbound
    world.backend.stack_sends(outgoing(udp(CHROME_PORT, b"held")))
    outbound.capture()
    key = FiveTuple(UDP_, packed(HOST[4]), CHROME_PORT, packed(REMOTE[4]), 7)
    flow = outbound._admission.admit(key, App(9, 9.0, "/opt/chrome"), world.now)
    world.settle()
    assert world.engine.flows.find(key) is flow
    assert flow.route is Route.TUNNEL
    assert world.owners.asked == [[key]]
    assert len(world.server.take()) == 1
