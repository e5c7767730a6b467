"""The engine as a whole: its threads, its end, its figures; and nothing that arrives can end it."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.support.traffic import assert_sound, dissect
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
from wiresock_py.crypto import Event
from wiresock_py.engine.engine import RESET_ROUNDS
from wiresock_py.engine.udp import Endpoint
from wiresock_py.filters import PacketFlag
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import FiveTuple

CHROME_ONLY = f"{EVERYTHING}\nAllowedApps = chrome"
PORT = 5000
DIRECT = outgoing(UDP(sport=PORT + 1, dport=7) / Raw(b"data"))
"""Of an app that is not meant."""

Make = Callable[..., World]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[World] = []

    def make(*peers: str, interface: str = ADDRESSES, **options: object) -> World:
        world = World(monkeypatch, config(*(peers or (CHROME_ONLY,)), interface=interface), **options)  # type: ignore[arg-type]  # for World to check
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            world.owners.own(CHROME, protocol, PORT)
            world.owners.own(FIREFOX, protocol, PORT + 1)
        made.append(world)
        return world

    yield make
    for world in made:
        world.engine.stop()
        world.engine.close()


def wait_for(happened: Callable[[], object], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


# Threads


def test_started_it_carries_packets_both_ways_by_itself(make: Make) -> None:
    world = make(connected=False)
    wire = world.wire_of(world.server)
    world.engine.start()
    world.backend.stack_sends(outgoing(UDP(sport=PORT, dport=7) / Raw(b"hello")))

    def serve() -> bool:
        while wire.sent:
            world.server.read(wire.sent.popleft()[0])
        return bool(world.server.received)

    wait_for(serve)
    world.server.send(incoming(UDP(sport=7, dport=PORT) / Raw(b"hi")))
    (delivered,) = world.backend.stack_received(5.0)
    assert dissect(delivered)[Raw].load == b"hi"
    assert world.failures == []


def test_it_ends_at_once_and_only_once(make: Make) -> None:
    world = make()
    before = threading.active_count()
    world.engine.start()
    assert threading.active_count() == before + 5
    started = time.monotonic()
    world.engine.stop()
    world.engine.stop()
    assert time.monotonic() - started < 2.5
    assert threading.active_count() == before
    assert world.failures == []


def test_a_thread_that_fails_is_reported_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make()
    world.owners.failure = RuntimeError("the table is gone")
    with caplog.at_level(logging.ERROR):
        world.engine.start()
        for port in (PORT, PORT + 1):
            world.backend.stack_sends(outgoing(UDP(sport=port, dport=7)))
            time.sleep(0.02)
        wait_for(lambda: world.failures)
        world.engine.stop()
    assert world.failures == [world.owners.failure]
    assert [record.message for record in caplog.records] == ["the resolver thread failed"]


def test_several_failures_are_one_report(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    error = RuntimeError("everything is gone")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(world.engine._outbound, "capture", fail)
    monkeypatch.setattr(world.engine._inbound[0], "receive", fail)
    monkeypatch.setattr(world.engine._outbound, "resolve", fail)
    world.engine.start()
    wait_for(lambda: world.failures)
    world.engine.stop()
    assert world.failures == [error]


# The tick


def test_what_happens_to_peers_is_told(make: Make) -> None:
    world = make()
    world.tick()
    (peer,) = world.links[0].peers
    assert world.events == [(world.links[0], peer, Event.CONNECTED)]
    world.server.silent = True
    world.host_sends(outgoing(UDP(sport=PORT, dport=7)))
    world.pass_time(150, step=1)
    assert (world.links[0], peer, Event.UNANSWERED) in world.events
    assert (world.links[0], peer, Event.GONE) in world.events


def test_a_server_that_comes_back_is_picked_up(make: Make) -> None:
    world = make()
    world.server.silent = True
    world.host_sends(outgoing(UDP(sport=PORT, dport=7)))
    world.pass_time(200, step=1)
    world.server.silent = False
    world.host_sends(outgoing(UDP(sport=PORT, dport=7) / Raw(b"still there?")))
    world.pass_time(10, step=1)
    assert b"still there?" in [bytes(dissect(packet).payload.payload) for packet in world.server.take()]


def test_idle_flows_are_forgotten(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(UDP(sport=PORT, dport=7)), outgoing(UDP(sport=PORT + 1, dport=7)))
    assert world.engine.flow_counts() == {"direct": 1, "tunnel": 1, "block": 0}
    world.pass_time(310, step=5)
    assert world.engine.flow_counts() == {"direct": 0, "tunnel": 0, "block": 0}


def test_it_is_up_with_a_session_to_every_link_and_never_without_links(make: Make) -> None:
    world = make()
    assert world.engine.is_up(world.now)
    assert not world.engine.is_up(world.now + 1000)
    assert not make(connected=False).engine.is_up(world.now)
    assert not make(with_links=False).engine.is_up(world.now)


def test_counters_and_figures_hold_no_key(make: Make) -> None:
    world = make()
    world.host_sends(b"\x45rubbish", outgoing(UDP(sport=9, dport=7)))
    assert set(world.engine.counters()) >= {"owner_gone", "held_overflow", "answers_suppressed"}
    assert all(isinstance(count, int) for count in world.engine.counters().values())


# Kill switch


@pytest.mark.parametrize("with_links", [True, False])
def test_kill_switch_all_drops_direct_packets_too_while_there_is_no_tunnel(make: Make, with_links: bool) -> None:
    world = make(kill_switch="all", connected=False, with_links=with_links)
    for server in world.servers:
        server.silent = True
    world.host_sends(DIRECT)  # before any tick: undecided, then known
    world.host_sends(DIRECT)
    world.pass_time(1)
    world.host_sends(DIRECT)
    assert world.outside() == []
    assert world.engine.counters()["kill_switch"] == 3


def test_kill_switch_all_passes_direct_packets_with_a_tunnel_and_stops_them_when_it_goes(make: Make) -> None:
    world = make(kill_switch="all")
    world.tick()
    world.host_sends(DIRECT)
    world.host_sends(DIRECT)
    assert len(world.outside()) == 2
    world.server.silent = True
    world.pass_time(181, step=1)  # longer than any session lives
    world.host_sends(DIRECT)
    assert world.outside() == []
    world.server.silent = False
    world.pass_time(10, step=1)
    world.host_sends(DIRECT)
    assert len(world.outside()) == 1


def test_kill_switch_all_does_not_take_an_idle_tunnel_for_a_dead_one(make: Make) -> None:
    world = make(kill_switch="all")
    world.pass_time(400, step=1)
    world.host_sends(DIRECT)
    assert len(world.outside()) == 1


@pytest.mark.parametrize("kill_switch", ["app", "off"])
def test_other_kill_switches_leave_direct_packets_alone(make: Make, kill_switch: str) -> None:
    world = make(kill_switch=kill_switch)
    world.server.silent = True
    world.pass_time(181, step=1)
    world.host_sends(DIRECT, outgoing(UDP(sport=PORT, dport=7)))
    assert [dissect(packet).sport for packet in world.outside()] == [PORT + 1]


# The end


@pytest.mark.parametrize("version", [4, 6])
def test_stop_resets_both_ends_of_a_tunnelled_connection(make: Make, version: int) -> None:
    world = make()
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="S", seq=100), version))
    world.server_sends(incoming(TCP(sport=443, dport=PORT, flags="SA", seq=500, ack=101), version))
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="A", seq=101, ack=501), version))
    world.host_sends(outgoing(TCP(sport=PORT + 1, dport=443, flags="S", seq=1), version))
    world.server.take()
    world.engine._reset_connections()
    world.settle()
    delivered = [assert_sound(packet) for packet in world.delivered()]
    assert [(one.src, one.dst, one[TCP].flags, one[TCP].seq) for one in delivered] == [
        (REMOTE[version], HOST[version], "RA", 501)
    ] * RESET_ROUNDS
    (far,) = map(assert_sound, world.server.take())
    assert (far.src, far[TCP].flags, far[TCP].seq) == (TUNNEL[version], "RA", 101)


def test_an_end_that_took_more_than_it_acknowledged_is_reset_by_what_it_answers(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="S", seq=100)))
    world.server_sends(incoming(TCP(sport=443, dport=PORT, flags="SA", seq=500, ack=101)))
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="A", seq=101, ack=501)))
    resets: list[bytes] = []

    def challenge(_seconds: float) -> None:  # RFC 5961 section 3.2: what the stack says to a reset that is not exact
        # the far end answers its own reset, which says nothing about this end
        resets.extend(world.server_sends(incoming(TCP(sport=443, dport=PORT, flags="R", seq=501))))
        world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="A", seq=101, ack=9001)))

    monkeypatch.setattr("wiresock_py.engine.engine.time.sleep", challenge)
    world.engine._reset_connections()
    assert [dissect(packet)[TCP].seq for packet in resets] == [501, 9001, 9001, 9001]


def test_a_connection_still_being_opened_is_refused_at_the_end(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="S", seq=100)))
    world.engine._reset_connections()
    for packet in map(assert_sound, world.delivered()):
        assert (packet[TCP].flags, packet[TCP].ack) == ("RA", 101)


def test_a_connection_that_was_reset_is_left_in_peace(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="S", seq=100)))
    world.host_sends(outgoing(TCP(sport=PORT, dport=443, flags="R", seq=101)))
    world.engine._reset_connections()
    assert world.delivered() == []


@pytest.mark.parametrize(("outside", "resets"), [(False, 1), (True, 0)])
def test_a_connection_that_an_earlier_engine_carried_is_reset_at_the_end(
    make: Make, monkeypatch: pytest.MonkeyPatch, outside: bool, resets: int
) -> None:
    class Remembering(MemoryBackend):
        def goes_on_outside(self, key: FiveTuple) -> bool:
            return outside

    monkeypatch.setattr("tests.support.worlds.MemoryBackend", Remembering)
    monkeypatch.setattr("wiresock_py.engine.engine.time.sleep", lambda _: None)
    world = make(replacing=True)
    world.owners.own(CHROME, socket.IPPROTO_TCP, PORT)
    world.connections = [(FiveTuple(socket.IPPROTO_TCP, packed(HOST[4]), PORT, packed(REMOTE[4]), 7), CHROME)]
    world.engine._reset_connections()
    assert len(world.delivered()) == 2 * resets, "what makes the stack tell where the connection stands"
    world.host_sends(outgoing(TCP(sport=PORT, dport=7, flags="A", seq=1, ack=77)))
    assert [(str(dissect(packet)[TCP].flags), dissect(packet)[TCP].seq) for packet in world.delivered()] == [
        ("R", 77)
    ] * resets
    assert world.outside() == []


def test_the_threads_end_even_if_the_resets_fail(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    before = threading.active_count()
    world.engine.start()

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(world.engine, "_reset_connections", fail)
    with pytest.raises(RuntimeError):
        world.engine.stop()
    assert threading.active_count() == before


# Hostile packets on every path

PACKETS = [
    outgoing(UDP(sport=PORT, dport=7) / Raw(b"hello")),
    outgoing(UDP(sport=PORT, dport=53) / Raw(b"query")),
    outgoing(UDP(sport=PORT, dport=7) / Raw(bytes(3000))),
    outgoing(UDP(sport=PORT, dport=7) / Raw(bytes(3000)), 6),
    outgoing(UDP(sport=PORT + 1, dport=7) / Raw(bytes(2000)), 6),
    outgoing(TCP(sport=PORT, dport=443, flags="S", seq=1, options=[("MSS", 1460), ("SAckOK", b"")])),
    outgoing(TCP(sport=PORT, dport=443, flags="PA", seq=2) / Raw(bytes(5000))),
    outgoing(TCP(sport=PORT, dport=443, flags="PA", seq=2) / Raw(bytes(5000)), 6),
    outgoing(TCP(sport=PORT + 1, dport=443, flags="SA", seq=2)),
    outgoing(echo(4, PORT)),
    outgoing(echo(6, PORT), 6),
    outgoing(ICMP(type=3, code=3) / dissect(outgoing(UDP(sport=7, dport=PORT), source=REMOTE[4], to=HOST[4]))),
    outgoing(IPv6ExtHdrFragment(id=1, m=1) / UDP(sport=PORT, dport=7) / Raw(bytes(64)), 6),
    outgoing(Raw(bytes(40)), proto=47),
]
INNER = [
    incoming(UDP(sport=7, dport=PORT) / Raw(b"answer")),
    incoming(UDP(sport=7, dport=PORT) / Raw(b"answer"), 6),
    incoming(TCP(sport=443, dport=PORT, flags="SA", seq=7, ack=2, options=[("MSS", 1460)])),
    incoming(TCP(sport=443, dport=PORT, flags="A", seq=8, ack=2) / Raw(bytes(1000))),
    incoming(TCP(sport=443, dport=PORT, flags="A", seq=8, ack=2) / Raw(bytes(1000)), 6),
    incoming(echo(4, PORT, reply=True)),
    incoming(echo(6, PORT, reply=True), 6),
    incoming(ICMP(type=3, code=4) / dissect(outgoing(UDP(sport=PORT, dport=7) / Raw(b"hello"), source=TUNNEL[4]))),
    incoming(ICMPv6TimeExceeded() / dissect(outgoing(TCP(sport=PORT, dport=443), 6, source=TUNNEL[6])), 6),
    incoming(UDP(sport=7, dport=PORT) / Raw(bytes(64)), flags="MF", id=3),
    incoming(Raw(bytes(64)), proto=17, frag=9, id=3),
    incoming(IPv6ExtHdrFragment(id=1, m=1) / UDP(sport=7, dport=PORT) / Raw(bytes(64)), 6),
]


@st.composite
def damaged(draw: st.DrawFn, packets: list[bytes]) -> bytes:
    """A packet as it should be, or with some bytes changed, cut off or added; or no packet at all."""
    packet = bytearray(draw(st.sampled_from(packets)))
    for _ in range(draw(st.integers(0, 4))):
        packet[draw(st.integers(0, min(len(packet), 80) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        packet = packet[: draw(st.integers(0, len(packet)))]
    return bytes(packet) + draw(st.binary(max_size=8))


@pytest.fixture
def hostile(make: Make) -> World:
    """A world whose app has flows of every kind open."""
    world = make(f"{CHROME_ONLY}\nDisallowedIPs = 192.0.2.0/24", interface=f"{ADDRESSES}\nDNS = {DNS[4]}")
    world.host_sends(*PACKETS)
    world.server.take()
    return world


fuzzing = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@fuzzing
@given(st.lists(damaged(PACKETS), min_size=1, max_size=8), st.integers(0, 15))
def test_nothing_the_host_sends_raises_or_takes_a_tunnelled_flow_outside(
    hostile: World, packets: list[bytes], flags: int
) -> None:
    hostile.now += 0.5
    for packet in packets:
        hostile.backend.stack_sends(packet, "eth0", PacketFlag(flags))
    hostile.settle()
    hostile.tick()
    hostile.delivered()
    hostile.server.take()
    for packet in hostile.outside():
        assert not is_chromes(packet), packet.hex()


def is_chromes(packet: bytes) -> bool:
    """Whether it is a whole packet of a flow that the tunnel has, and of no kind that is the stack's own."""
    if packet[:1] not in (b"\x45", b"\x60") or len(packet) < 44 or packet[6:7] == b"\x2c":
        return False
    version = packet[0] >> 4
    protocol, transport = (packet[9], 20) if version == 4 else (packet[6], 40)
    destination = packet[16:20] if version == 4 else packet[24:40]
    flags = packet[transport + 13] if protocol == socket.IPPROTO_TCP and len(packet) > transport + 13 else 0
    return (
        protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
        and packet[transport : transport + 2] == PORT.to_bytes(2, "big")
        and destination == packed(REMOTE[version])
        and flags & 0x12 != 0x12
    )


@fuzzing
@given(st.lists(damaged(INNER), min_size=1, max_size=8))
def test_nothing_the_server_puts_in_the_tunnel_raises_or_reaches_another_address(
    hostile: World, packets: list[bytes]
) -> None:
    hostile.now += 0.5
    for packet in packets:
        hostile.server.send(packet)
    hostile.settle()
    hostile.tick()
    for packet in hostile.delivered():
        assert packet[16:20] == packed(HOST[4]) if packet[0] >> 4 == 4 else packet[24:40] == packed(HOST[6])
    hostile.server.take()


@fuzzing
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8), st.integers(0, 3), st.integers(0, 160))
def test_nothing_that_arrives_at_the_port_raises_or_is_delivered(
    hostile: World, datagrams: list[bytes], kind: int, segment_size: int
) -> None:
    wire = hostile.wire_of(hostile.server)
    stranger = Endpoint("198.51.100.66", 666)
    session = next(iter(hostile.links[0].device.sessions), 0)
    for datagram in datagrams:
        head = bytes((kind + 1, 0, 0, 0)) + session.to_bytes(4, "little")
        wire.arrive(head + datagram, stranger, segment_size)
        wire.arrive(datagram, stranger, segment_size)
    hostile.settle()
    assert hostile.delivered() == []
    assert hostile.links[0].peers[0].endpoint == hostile.server.endpoint


def test_a_replacing_engine_asks_whether_a_listeners_connection_in_mid_stream_is_outside(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside: list[FiveTuple] = []

    class Remembering(MemoryBackend):  # a class of its own: isinstance remembers what it once said of one
        def goes_on_outside(self, key: FiveTuple) -> bool:
            return key in outside

    monkeypatch.setattr("tests.support.worlds.MemoryBackend", Remembering)
    packet = outgoing(TCP(sport=PORT, dport=7, flags="A", seq=1, ack=1))
    key = FiveTuple(socket.IPPROTO_TCP, packed(HOST[4]), PORT, packed(REMOTE[4]), 7)
    for replacing, known, direct in ((True, True, 1), (True, False, 0), (False, False, 1)):
        outside[:] = [key] if known else []
        world = make(replacing=replacing)
        world.owners.listeners.add((socket.IPPROTO_TCP, PORT))
        world.host_sends(packet)
        assert (len(world.outside()), len(world.server.take())) == (direct, 1 - direct)
