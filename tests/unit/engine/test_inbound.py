"""The way in: what belongs to a flow of ours is delivered, everything else dropped and counted."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

from tests.support.traffic import assert_sound, dissect
from tests.support.worlds import (
    CHROME,
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
)
from wiresock_py.flow import Route

CHROME_ONLY = f"{EVERYTHING}\nAllowedApps = chrome"
PORT, ECHO = 5000, 7

Make = Callable[..., World]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(*peers: str) -> World:
        world = World(monkeypatch, config(*(peers or (CHROME_ONLY,))))
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            world.owners.own(CHROME, protocol, PORT)
            world.owners.own(FIREFOX, protocol, PORT + 1)
        return world

    return make


@pytest.fixture
def world(make: Make) -> World:
    """With a UDP and a TCP flow of chrome's in each family."""
    world = make()
    for version in (4, 6):
        world.host_sends(
            outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello"), version),
            outgoing(TCP(sport=PORT, dport=443, flags="S", seq=100), version),
        )
    assert len(world.server.take()) == 4
    assert world.server_sends(*(incoming(syn_ack(), version) for version in (4, 6)))
    return world


def answer(data: bytes = b"answer", **fields: Any) -> Packet:
    return UDP(**{"sport": ECHO, "dport": PORT, **fields}) / Raw(data)


def syn_ack() -> Packet:
    return TCP(sport=443, dport=PORT, flags="SA", seq=500, ack=101, options=[("MSS", 1460)])


def new_drops(world: World, act: Callable[[], Any]) -> dict[str, int]:
    before = world.engine.counters()
    act()
    return {name: count for name, count in (world.engine.counters() - before).items() if count}


# What is delivered


@pytest.mark.parametrize("version", [4, 6])
def test_an_answer_reaches_the_address_its_flow_was_opened_from(world: World, version: int) -> None:
    (delivered,) = map(assert_sound, world.server_sends(incoming(answer(), version)))
    assert (delivered.src, delivered.dst, delivered.dport) == (REMOTE[version], HOST[version], PORT)
    assert delivered[Raw].load == b"answer"


def test_segments_in_one_run_of_datagrams_are_merged(world: World) -> None:
    packets = [
        incoming(TCP(sport=443, dport=PORT, flags="A", seq=501 + at, ack=101) / Raw(bytes(1000)))
        for at in range(0, 10_000, 1000)
    ]
    run = [bytes(datagram.data) for datagram in world.server.tunnel.write(packets, world.now)]
    world.wire_of(world.server).arrive(b"".join(run), world.server.endpoint, len(run[0]))
    world.settle()
    (merged,) = map(assert_sound, world.delivered())
    assert len(merged[Raw].load) == 10_000


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_follow_their_first_one_whatever_their_order(world: World, version: int) -> None:
    datagram = bytes(answer(bytes(2000)))
    first, second, third = datagram[:1200], datagram[1200:1600], datagram[1600:]

    def piece(data: bytes, at: int, more: bool) -> bytes:
        if version == 4:
            return incoming(Raw(data), 4, proto=17, id=77, frag=at // 8, flags="MF" if more else 0)
        header = bytes((17, 0)) + (at | more).to_bytes(2, "big") + (77).to_bytes(4, "big")
        return incoming(Raw(header + data), 6, nh=44)

    early = world.server_sends(piece(second, 1200, True))
    assert early == []
    delivered = world.server_sends(piece(first, 0, True), piece(third, 1600, False))
    assert len(delivered) == 3
    assert all(dissect(packet).dst == HOST[version] for packet in delivered)


def test_headers_the_fast_path_does_not_take_are_translated_too(world: World) -> None:
    rare = incoming(IPv6ExtHdrDestOpt() / answer(), 6)
    (delivered,) = map(assert_sound, world.server_sends(rare))
    assert delivered.dst == HOST[6]
    optional = incoming(answer(), 4, options=b"\x01\x01\x01\x00")
    (delivered,) = map(assert_sound, world.server_sends(optional))
    assert delivered.dst == HOST[4]


def test_an_icmp_error_about_a_flow_is_delivered_as_about_what_the_host_sent(world: World) -> None:
    sent = IP(outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello"), source=TUNNEL[4]))
    for source in (REMOTE[4], "192.0.2.99"):  # the far end, and any router on the way
        (delivered,) = map(assert_sound, world.server_sends(incoming(ICMP(type=3, code=3) / sent, source=source)))
        assert (delivered.src, delivered.dst) == (source, HOST[4])
        assert delivered[ICMP].payload.src == HOST[4]


def test_an_icmpv6_error_about_a_flow_is_delivered(world: World) -> None:
    sent = dissect(outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello"), 6, source=TUNNEL[6]))
    for error in (ICMPv6TimeExceeded(), ICMPv6PacketTooBig(mtu=1300)):
        (delivered,) = world.server_sends(incoming(error / sent, 6, source="2001:db8:99::1"))
        assert dissect(delivered).dst == HOST[6]


# What is not


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(incoming(TCP(sport=50_000, dport=22, flags="S")), id="syn-to-a-listener"),
        pytest.param(incoming(TCP(sport=443, dport=22, flags="A")), id="segment-of-no-connection"),
        pytest.param(incoming(UDP(sport=ECHO, dport=53) / Raw(b"x")), id="datagram-to-another-port"),
        pytest.param(incoming(UDP(sport=ECHO + 1, dport=PORT) / Raw(b"x")), id="datagram-from-another-port"),
        pytest.param(incoming(UDP(sport=ECHO, dport=PORT) / Raw(b"x"), source="203.0.113.11"), id="from-another-host"),
        pytest.param(incoming(answer(), to=HOST[4]), id="to-the-hosts-own-address"),
        pytest.param(incoming(answer(), to="127.0.0.1"), id="to-loopback"),
        pytest.param(incoming(answer(), to="255.255.255.255"), id="to-everybody"),
        pytest.param(incoming(answer(), source="127.0.0.1"), id="from-loopback"),
        pytest.param(incoming(answer(), source=HOST[4]), id="from-the-host-itself"),
        pytest.param(incoming(answer(), source=TUNNEL[4]), id="from-the-tunnel-address"),
        pytest.param(incoming(answer(), source="192.168.1.50"), id="from-the-lan"),
        pytest.param(incoming(answer(), source="0.0.0.0"), id="from-nowhere"),
        pytest.param(incoming(answer(), source="224.0.0.1"), id="from-a-group"),
        pytest.param(incoming(answer(), 6, source="::1"), id="from-loopback-v6"),
        pytest.param(incoming(answer(), 6, source=HOST[6]), id="from-the-host-itself-v6"),
        pytest.param(incoming(answer(), 6, source="fe80::1"), id="from-the-link-v6"),
        pytest.param(incoming(echo(4, PORT)), id="ping"),
        pytest.param(incoming(echo(6, PORT), 6), id="ping-v6"),
        pytest.param(incoming(echo(4, PORT, reply=True)), id="echo-reply-nobody-asked-for"),
        pytest.param(incoming(Raw(bytes(20)), proto=47), id="gre"),
        pytest.param(incoming(UDP(sport=ECHO, dport=53) / Raw(bytes(64)), flags="MF"), id="first-fragment-of-no-flow"),
        pytest.param(
            incoming(UDP(sport=ECHO, dport=PORT + 1) / Raw(b"x"), options=b"\x01\x01\x01\x00"), id="rare-header-no-flow"
        ),
    ],
)
def test_what_belongs_to_no_flow_is_dropped_and_counted(world: World, packet: bytes) -> None:
    delivered: list[bytes] = []
    drops = new_drops(world, lambda: delivered.extend(world.server_sends(packet)))
    assert delivered == []
    assert drops == {"inner_unsolicited": 1}


def test_a_fragment_without_its_first_is_counted_when_its_time_is_over(world: World) -> None:
    lone = incoming(Raw(bytes(64)), proto=17, id=5, frag=8)
    assert world.server_sends(lone) == []
    world.pass_time(31, step=1)
    world.server_sends(incoming(Raw(bytes(64)), proto=17, id=6, frag=8))
    assert world.engine.counters()["fragment_without_first"] == 1


@pytest.mark.parametrize(
    ("error", "source", "counter"),
    [
        (ICMP(type=3, code=3), "127.0.0.1", "inner_false_source"),
        (ICMP(type=3, code=3), HOST[4], "inner_false_source"),
        (ICMP(type=3, code=4, nexthopmtu=576), "169.254.1.1", "inner_false_source"),
        (ICMP(type=11), "224.0.0.1", "inner_false_source"),
        (ICMP(type=5, gw="192.168.1.66"), "192.0.2.99", "inner_unsolicited"),
        (ICMP(type=5, gw="192.168.1.66"), REMOTE[4], "inner_unsolicited"),
        (ICMP(type=4), REMOTE[4], "inner_unsolicited"),
    ],
)
def test_an_icmp_error_that_no_router_in_the_tunnel_sends_is_dropped_and_counted(
    world: World, error: Packet, source: str, counter: str
) -> None:
    sent = IP(outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello"), source=TUNNEL[4]))
    delivered: list[bytes] = []
    drops = new_drops(world, lambda: delivered.extend(world.server_sends(incoming(error / sent, source=source))))
    assert delivered == []
    assert drops == {counter: 1}


def test_an_icmp_error_from_an_excluded_network_is_dropped_and_counted(make: Make) -> None:
    world = make(f"{CHROME_ONLY}\nDisallowedIPs = 192.168.0.0/16")
    world.host_sends(outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello")))
    (sent,) = map(dissect, world.server.take())
    assert world.server_sends(incoming(ICMP(type=11) / sent, source="192.168.1.1")) == []
    assert world.engine.counters()["inner_false_source"] == 1


@pytest.mark.parametrize(
    "about",
    [
        UDP(sport=PORT, dport=ECHO + 1) / Raw(b"x"),
        UDP(sport=PORT + 1, dport=ECHO) / Raw(b"x"),
        TCP(sport=PORT, dport=80),
    ],
)
def test_an_icmp_error_about_a_packet_we_did_not_send_is_dropped_and_counted(world: World, about: Packet) -> None:
    embedded = IP(outgoing(about, source=TUNNEL[4]))
    drops = new_drops(world, lambda: world.server_sends(incoming(ICMP(type=3, code=1) / embedded)))
    assert drops == {"inner_unsolicited": 1}
    assert world.delivered() == []


@pytest.mark.parametrize(("version", "about"), [(4, 6), (6, 4)])
def test_an_icmp_error_about_a_packet_of_the_other_ip_version_is_dropped_and_counted(
    world: World, version: int, about: int
) -> None:
    error = ICMP(type=11) if version == 4 else ICMPv6TimeExceeded()
    sent = dissect(outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello"), about, source=TUNNEL[about]))
    assert new_drops(world, lambda: world.server_sends(incoming(error / sent, version))) == {"inner_unsolicited": 1}
    assert world.delivered() == []


def test_an_icmp_error_about_a_direct_flow_is_dropped_and_counted(world: World) -> None:
    world.host_sends(outgoing(UDP(sport=PORT + 1, dport=ECHO) / Raw(b"direct")))
    embedded = IP(outgoing(UDP(sport=PORT + 1, dport=ECHO) / Raw(b"direct")))
    assert world.server_sends(incoming(ICMP(type=3, code=1) / embedded)) == []
    assert world.engine.counters()["inner_unsolicited"] == 1


@pytest.mark.parametrize("rare", [False, True])
def test_a_packet_from_another_peer_than_the_flows_is_dropped_and_counted(make: Make, rare: bool) -> None:
    world = make("AllowedIPs = 203.0.113.0/24", "AllowedIPs = 0.0.0.0/0")
    world.host_sends(outgoing(UDP(sport=PORT, dport=ECHO) / Raw(b"hello")))
    first, second = world.servers
    (sent,) = map(IP, first.take())
    forged = incoming(answer(), options=b"\x01\x01\x01\x00") if rare else incoming(answer())
    second.send(forged)
    world.settle()
    assert world.delivered() == []
    counters = world.engine.counters()
    assert counters["inner_unsolicited"] + counters["inner_foreign_source"] == 1
    second.send(incoming(ICMP(type=3, code=1) / sent, source="192.0.2.1"))
    world.settle()
    assert world.delivered() == []


def test_a_rare_syn_to_an_open_connection_is_dropped_and_counted(world: World) -> None:
    syn = incoming(TCP(sport=443, dport=PORT, flags="S", seq=9), options=b"\x01\x01\x01\x00")
    assert world.server_sends(syn) == []
    assert world.engine.counters()["inner_unsolicited"] == 1


def test_malformed_inner_packets_are_dropped_and_counted(world: World) -> None:
    whole = incoming(answer())
    broken = [b"\x45", whole[:20], whole[:24], b"\x00" * 40, b"\x65" + whole[1:], whole[:2] + b"\xff\xff" + whole[4:]]
    drops = new_drops(world, lambda: world.server_sends(*broken))
    assert world.delivered() == []
    assert sum(drops.values()) == len(broken)


def test_what_is_no_wireguard_is_dropped_and_counted(world: World) -> None:
    wire = world.wire_of(world.server)
    for data in (b"", b"\x00", b"\x04", b"hello, world", bytes(1500), b"\x05" + bytes(31), b"\x04" + bytes(31)):
        wire.arrive(data, world.server.endpoint)
    world.settle()
    assert world.delivered() == []
    link = world.links[0]
    assert sum(world.engine.counters().values()) + sum(link.drops().values()) == 6  # an empty one is nothing


def test_a_flow_of_another_route_is_never_answered_from_the_tunnel(world: World) -> None:
    world.host_sends(outgoing(UDP(sport=PORT + 1, dport=ECHO) / Raw(b"direct")))
    assert {flow.route for flow in world.engine.flows} == {Route.TUNNEL, Route.DIRECT}
    for to in (HOST[4], TUNNEL[4]):
        assert world.server_sends(incoming(answer(dport=PORT + 1), to=to)) == []


def test_while_connections_are_being_reset_nothing_is_delivered(world: World) -> None:
    world.engine._inbound[0].delivering = False
    assert world.server_sends(incoming(answer())) == []


# Ports that AllowInbound opens


def visit(port: int, flags: str = "S", *, seq: int = 900, options: Any = ()) -> Packet:
    return TCP(sport=41000, dport=port, flags=flags, seq=seq, options=options)


@pytest.fixture
def open_world(make: Make) -> World:
    return make(f"{EVERYTHING}\nDisallowedIPs = 192.168.0.0/16\nAllowInbound = 22/tcp, 5000-5010/udp")


@pytest.mark.parametrize("version", [4, 6])
def test_a_connection_to_an_allowed_port_arrives_and_its_answers_go_back_through_the_tunnel(
    open_world: World, version: int
) -> None:
    syn = incoming(visit(22, options=[("MSS", 1460)]), version)
    (arrived,) = map(assert_sound, open_world.server_sends(syn))
    assert (arrived.src, arrived.dst, arrived[TCP].dport) == (REMOTE[version], HOST[version], 22)
    limit = 1420 - (40 if version == 4 else 60)
    assert dict(arrived[TCP].options)["MSS"] == limit
    reply = TCP(sport=22, dport=41000, flags="SA", seq=5, ack=901, options=[("MSS", 1460)])
    open_world.host_sends(outgoing(reply, version))
    (inner,) = map(assert_sound, open_world.server.take())
    assert (inner.src, inner.dst, inner[TCP].sport) == (TUNNEL[version], REMOTE[version], 22)
    assert dict(inner[TCP].options)["MSS"] == limit
    (data,) = open_world.server_sends(incoming(visit(22, "PA", seq=901) / Raw(b"hello"), version))
    assert assert_sound(data)[Raw].load == b"hello"
    assert open_world.outside() == []
    assert open_world.owners.asked == []


def test_a_datagram_to_an_allowed_port_arrives_and_is_answered(open_world: World) -> None:
    (arrived,) = open_world.server_sends(incoming(UDP(sport=41000, dport=5005) / Raw(b"q")))
    assert assert_sound(arrived).dst == HOST[4]
    open_world.host_sends(outgoing(UDP(sport=5005, dport=41000) / Raw(b"a")))
    (inner,) = map(assert_sound, open_world.server.take())
    assert (inner.src, inner.sport) == (TUNNEL[4], 5005)


@pytest.mark.parametrize(
    "packet",
    [
        incoming(visit(23)),
        incoming(visit(5000)),
        incoming(UDP(sport=41000, dport=22) / Raw(b"q")),
        incoming(UDP(sport=41000, dport=5011) / Raw(b"q")),
        incoming(visit(22, "A")),
        incoming(visit(22, "SA")),
        incoming(visit(22), to=HOST[4]),
        incoming(visit(22), to="127.0.0.1"),
        incoming(visit(22), source="127.0.0.1"),
        incoming(visit(22), source=HOST[4]),
        incoming(visit(22), source="192.168.1.7"),
        incoming(visit(22), source="224.0.0.1"),
        incoming(visit(22), flags="MF"),
        incoming(echo(4, 5000)),
    ],
    ids=lambda packet: dissect(packet).summary(),
)
def test_nothing_else_is_opened(open_world: World, packet: bytes) -> None:
    assert open_world.server_sends(packet) == []
    assert len(open_world.engine.flows) == 0


def test_visitors_are_bounded_and_those_that_were_answered_stay(
    open_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiresock_py.engine.inbound.MAX_VISITORS", 2)

    def visits(port: int) -> bool:
        return bool(open_world.server_sends(incoming(UDP(sport=port, dport=5005) / Raw(b"q"))))

    def answers(port: int) -> None:
        open_world.host_sends(outgoing(UDP(sport=5005, dport=port) / Raw(b"a")))

    assert visits(41000)
    answers(41000)
    assert all(visits(port) for port in (41001, 41002))
    assert {flow.key.remote_port for flow in open_world.engine.flows} == {41000, 41002}
    answers(41002)
    assert not visits(41003)
    assert {flow.key.remote_port for flow in open_world.engine.flows} == {41000, 41002}


def test_only_the_peer_that_was_named_may_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        monkeypatch,
        config("AllowedIPs = 203.0.113.0/24\nAllowInbound = 22", "AllowedIPs = 192.0.2.0/24"),
    )
    first, second = world.servers
    second.send(incoming(visit(22), source="192.0.2.1"))
    second.send(incoming(visit(22), source="203.0.113.9"))
    first.send(incoming(visit(22), source="192.0.2.1"))
    world.settle()
    assert world.delivered() == []
    first.send(incoming(visit(22), source="203.0.113.9"))
    world.settle()
    assert len(world.delivered()) == 1
