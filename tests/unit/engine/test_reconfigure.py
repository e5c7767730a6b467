"""Other configurations while the engine works: who stays keeps its session, what goes another way now ends."""

import socket
import threading
from collections.abc import Sequence

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import TCP, UDP

from tests.support.worlds import (
    ADDRESSES,
    CHROME,
    CLIENT_KEY,
    EVERYTHING,
    FIREFOX,
    HOST,
    REMOTE,
    SERVER_KEYS,
    SERVERS,
    Wire,
    World,
    config,
    incoming,
    outgoing,
    packed,
)
from wiresock_py.config import parse
from wiresock_py.crypto import PrivateKey, Tunnel
from wiresock_py.engine.links import Link
from wiresock_py.engine.reconfigure import prepare
from wiresock_py.engine.udp import Endpoint
from wiresock_py.errors import ConfigError, NetworkError
from wiresock_py.filters import Buffer, CapturePlan
from wiresock_py.flow import SYSTEM, App, FiveTuple, Route
from wiresock_py.rules import Rules

CHROME_ONLY = f"{EVERYTHING}\nAllowedApps = chrome"
BOTH = f"{EVERYTHING}\nAllowedApps = chrome, firefox"
FIREFOX_ONLY = f"{EVERYTHING}\nAllowedApps = firefox"
NOTHING_OF_REMOTE = "AllowedIPs = 10.99.0.0/16\nAllowedApps = chrome"
PORT = {CHROME: 5000, FIREFOX: 6000}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("wiresock_py.engine.engine.time.sleep", lambda _seconds: None)
    world = World(monkeypatch, config(CHROME_ONLY))
    for app, port in PORT.items():
        world.owners.own(app, socket.IPPROTO_UDP, port)
        world.owners.own(app, socket.IPPROTO_TCP, port)
    return world


def key(app: App, protocol: int = socket.IPPROTO_TCP) -> FiveTuple:
    return FiveTuple(protocol, packed(HOST[4]), PORT[app], packed(REMOTE[4]), 7)


def datagram(app: App) -> bytes:
    return outgoing(UDP(sport=PORT[app], dport=7))


def segment(app: App, flags: str, seq: int = 1000) -> bytes:
    return outgoing(TCP(sport=PORT[app], dport=7, flags=flags, seq=seq, ack=77))


def route(world: World, app: App, protocol: int = socket.IPPROTO_TCP) -> Route | None:
    flow = world.engine.flows.find(key(app, protocol))
    return flow.route if flow else None


def delivered_flags(world: World) -> list[tuple[str, int]]:
    """Flags and sequence numbers of the TCP packets that the host's stack got."""
    from scapy.layers.inet import IP

    return [(str(IP(packet)[TCP].flags), IP(packet)[TCP].seq) for packet in world.delivered()]


# Peers


def test_a_peer_that_stays_keeps_its_session_and_its_flows(world: World) -> None:
    world.host_sends(segment(CHROME, "S"), segment(CHROME, "A", 1001))
    (peer,) = world.links[0].peers
    session = peer.sending_session(world.now)
    world.server.take()
    world.reload(config(BOTH))
    world.host_sends(segment(CHROME, "PA", 1001))
    assert world.links[0].peers == [peer]
    assert peer.sending_session(world.now) is session
    assert len(world.server.take()) == 1
    assert delivered_flags(world) == []


def test_a_new_peer_is_called_and_takes_its_prefixes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.links[0].peers[0]
    change = prepare(world.links[0], config(CHROME_ONLY, "AllowedIPs = 203.0.113.0/24\nAllowedApps = chrome"))
    assert change.endpoints == {SERVER_KEYS[1].public_key(): SERVERS[1]}
    world.reload(change.config)
    first, second = world.links[0].peers
    assert first is before
    assert second.endpoint == SERVERS[1]
    assert world.links[0].device.route(packed(REMOTE[4])) is second


def test_a_peer_that_is_gone_loses_its_session_and_its_prefixes(world: World) -> None:
    world.host_sends(datagram(CHROME))
    departed = world.links[0].peers[0]
    world.reload(config(CHROME_ONLY, first_server=1))
    (peer,) = world.links[0].peers
    assert peer is not departed
    assert departed.sending_session(world.now) is None
    assert list(world.links[0].device.peers.values()) == [peer]
    assert world.links[0].device.sessions == {}


def test_another_endpoint_is_called_and_one_that_stayed_is_not(world: World) -> None:
    (peer,) = world.links[0].peers
    peer.endpoint = Endpoint("198.51.100.77", 7)  # it roamed
    world.reload(config(BOTH))
    assert peer.endpoint == Endpoint("198.51.100.77", 7)
    text = config(CHROME_ONLY)
    moved = parse(
        f"[Interface]\nPrivateKey = {CLIENT_KEY.to_base64()}\nAddress = 10.66.66.2/32, fd42:42:42::2/128\n[Peer]\n"
        f"PublicKey = {SERVER_KEYS[0].public_key().to_base64()}\nEndpoint = 198.51.100.9:9\n{CHROME_ONLY}\n",
        text.file,
    )
    world.pass_time(6)
    world.reload(moved)
    assert peer.endpoint == Endpoint("198.51.100.9", 9)


def test_another_private_key_starts_anew_with_every_peer(world: World) -> None:
    (peer,) = world.links[0].peers
    other = PrivateKey(bytes(range(2, 34)))
    text = config(CHROME_ONLY)
    changed = parse(
        f"[Interface]\nPrivateKey = {other.to_base64()}\nAddress = 10.66.66.2/32, fd42:42:42::2/128\n[Peer]\n"
        f"PublicKey = {SERVER_KEYS[0].public_key().to_base64()}\nEndpoint = {SERVERS[0]}\n{CHROME_ONLY}\n",
        text.file,
    )
    world.reload(changed)
    assert world.links[0].device.identity.public == other.public_key()
    assert peer.sending_session(world.now) is None


def test_another_port_is_another_socket_and_the_old_one_is_closed(world: World) -> None:
    before = world.wire(world.links[0])
    world.reload(config(CHROME_ONLY, interface="Address = 10.66.66.2/32, fd42:42:42::2/128\nListenPort = 777"))
    assert world.wire(world.links[0]).port == 777
    assert before.closed


def test_a_port_in_use_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(port: int, mark: int = 0, **_: object) -> Wire:
        raise NetworkError(f"UDP port {port} is in use by another program")

    monkeypatch.setattr("wiresock_py.engine.reconfigure.UdpSocket", refuse)
    before = world.links[0].config
    with pytest.raises(NetworkError, match="UDP port 777 is in use"):
        prepare(world.links[0], config(CHROME_ONLY, interface="Address = 10.66.66.2/32\nListenPort = 777"))
    assert world.links[0].config is before


def test_a_change_of_via_needs_a_new_start(world: World) -> None:
    changed = config(CHROME_ONLY, interface="Address = 10.66.66.2/32\nVia = outer")
    with pytest.raises(ConfigError, match="Via cannot change while the tunnel is up") as raised:
        prepare(world.links[0], changed)
    assert raised.value.line == 4


def test_what_a_peer_sent_before_it_departed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{EVERYTHING}\nAllowInbound = 7/udp"
    world = World(monkeypatch, config(text), connected=True)
    (departed,) = world.links[0].peers
    world.reload(config(text, first_server=1))
    inbound = world.engine._inbound[0]
    assert inbound._inspect(departed, incoming(UDP(sport=9, dport=7)), world.now) == []
    assert inbound.counters["inner_unsolicited"] == 1
    assert not world.engine._admission.leads_to(departed, packed(REMOTE[4]))


def test_another_machines_flow_is_decided_while_peers_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capture thread waits for nothing: it goes by the peers of the rules that it goes by."""
    world = World(monkeypatch, config(EVERYTHING))
    (peer,) = world.links[0].peers
    routes: list[Route] = []
    add_peer = type(world.links[0]).add_peer

    def admit_meanwhile(link: Link, *given: object) -> Tunnel:
        flow = world.engine._admission.admit_forwarded(key(CHROME), world.now)
        routes.append(flow.route)
        assert flow.peer is peer
        return add_peer(link, *given)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(type(world.links[0]), "add_peer", admit_meanwhile)
    world.reload(config(EVERYTHING, first_server=1))
    assert routes == [Route.TUNNEL]


def test_a_query_is_carried_whole_before_rules_and_servers_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, config(CHROME_ONLY, interface=f"{ADDRESSES}\nDNS = 10.66.66.1"))
    world.owners.own(CHROME, socket.IPPROTO_UDP, PORT[CHROME])
    reloading = threading.Thread(target=lambda: world.engine.reload(rules, rules.plan(), changes))
    following = config(CHROME_ONLY)
    rules, changes = Rules([following]), [prepare(world.links[0], following)]
    decide = world.engine._admission.decide

    def reload_meanwhile(*given: object) -> object:
        decided = decide(*given)  # type: ignore[arg-type]  # as it came
        reloading.start()
        reloading.join(0.2)
        assert reloading.is_alive()
        return decided

    monkeypatch.setattr(world.engine._admission, "decide", reload_meanwhile)
    world.host_sends(outgoing(UDP(sport=PORT[CHROME], dport=53) / DNS(qd=DNSQR(qname="example.com"))))
    monkeypatch.undo()
    reloading.join()
    assert len(world.server.take()) == 1


# Flows


def test_a_datagram_flow_goes_the_new_way_with_its_next_packet(world: World) -> None:
    world.host_sends(datagram(CHROME), datagram(FIREFOX))
    assert (len(world.server.take()), len(world.outside())) == (1, 1)
    world.reload(config(FIREFOX_ONLY))
    world.host_sends(datagram(CHROME), datagram(FIREFOX))
    assert route(world, CHROME, socket.IPPROTO_UDP) is Route.DIRECT
    assert route(world, FIREFOX, socket.IPPROTO_UDP) is Route.TUNNEL
    assert (len(world.server.take()), len(world.outside())) == (1, 1)


def test_a_connection_that_leaves_the_tunnel_is_reset_and_does_not_go_on_outside(world: World) -> None:
    world.host_sends(segment(CHROME, "A", 1001))
    world.server.take()
    world.reload(config(FIREFOX_ONLY))
    (told,) = world.server.take()
    assert told[33] & 0x04  # the far end got a reset
    assert [flags for flags, _ in delivered_flags(world)] == ["A", "A"]  # the stack was asked where it stands
    world.host_sends(segment(CHROME, "A", 1001))
    assert delivered_flags(world) == [("R", 77)]  # exactly what RFC 5961 demands
    assert (world.server.take(), world.outside()) == ([], [])


def test_a_connection_that_belongs_in_the_tunnel_now_is_reset_and_does_not_go_on_outside(world: World) -> None:
    world.host_sends(segment(FIREFOX, "S"), segment(FIREFOX, "A", 1001))
    assert len(world.outside()) == 2
    world.connections = [(key(FIREFOX), FIREFOX)]
    world.reload(config(BOTH))
    assert [flags for flags, _ in delivered_flags(world)] == ["A", "A"]
    world.host_sends(segment(FIREFOX, "A", 1001))
    assert delivered_flags(world) == [("R", 77)]
    assert (world.server.take(), world.outside()) == ([], [])


def test_a_new_connection_by_the_ports_of_a_reset_one_is_decided_anew(world: World) -> None:
    world.host_sends(segment(CHROME, "S"), segment(CHROME, "A", 1001))
    world.reload(config(FIREFOX_ONLY))
    world.outside()
    world.host_sends(segment(CHROME, "S", 9000))
    assert route(world, CHROME) is Route.DIRECT
    assert len(world.outside()) == 1


def test_a_connection_that_the_other_end_opened_stays(world: World) -> None:
    world.owners.listeners.add((socket.IPPROTO_TCP, PORT[FIREFOX]))
    world.host_sends(segment(FIREFOX, "SA"))
    world.connections = [(key(FIREFOX), FIREFOX)]
    world.reload(config(EVERYTHING))
    world.host_sends(segment(FIREFOX, "A", 1001))
    assert route(world, FIREFOX) is Route.DIRECT
    assert delivered_flags(world) == []


def test_an_owner_that_was_never_asked_for_is_asked_before_its_connection_is_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, config(EVERYTHING))  # every app: nobody is asked
    world.host_sends(segment(CHROME, "S"), segment(CHROME, "A", 1001))
    flow = world.engine.flows.find(key(CHROME))
    assert flow is not None
    assert flow.owner == SYSTEM
    world.connections = [(key(CHROME), CHROME)]
    world.reload(config(CHROME_ONLY))
    assert world.engine.flows.find(key(CHROME)) is flow


def test_the_capture_narrows_only_after_connections_that_leave_were_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    update, deliver = world.backend.update, world.backend.send_to_stack

    def note_update(plan: CapturePlan) -> None:
        order.append("capture")
        update(plan)

    def note_delivery(packets: Sequence[Sequence[Buffer]]) -> int:
        order.append("ask")
        return deliver(packets)

    monkeypatch.setattr(world.backend, "update", note_update)
    monkeypatch.setattr(world.backend, "send_to_stack", note_delivery)
    monkeypatch.setattr("wiresock_py.engine.engine.time.sleep", lambda _seconds: order.append("wait"))
    world.host_sends(segment(CHROME, "S"), segment(CHROME, "A", 1001))
    world.reload(config(NOTHING_OF_REMOTE))
    assert order[:3] == ["ask", "wait", "capture"]
    world.outside()
    world.host_sends(datagram(CHROME))
    assert len(world.outside()) == 1
    assert world.backend.statistics()["captured"] == 2


def test_what_was_decided_by_rules_that_just_changed_is_decided_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = world.engine._admission
    old, decide = admission._rules, type(admission._rules).decide

    def change_meanwhile(self: object, *given: object, **more: object) -> object:
        if self is old and admission._rules is old:
            from wiresock_py.rules import Rules

            admission.follow(Rules([config(FIREFOX_ONLY)]))
        return decide(self, *given, **more)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(type(old), "decide", change_meanwhile)
    assert admission.admit(key(CHROME), CHROME, world.now).route is Route.DIRECT
