"""From a decision to a flow, and to the first line about an app."""

import logging
import socket
from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet, Raw

from tests.support.traffic import dissect
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
    incoming,
    outgoing,
    packed,
)
from wiresock_py.config import Config, Settings
from wiresock_py.engine.admission import MAX_INTRODUCED, Admission
from wiresock_py.filters import PacketFlag
from wiresock_py.flow import SYSTEM, App, FiveTuple, Route

CHROME_ONLY = f"{EVERYTHING}\nAllowedApps = chrome"


def key(port: int = 443, *, protocol: int = socket.IPPROTO_TCP, version: int = 4, remote: str = "") -> FiveTuple:
    return FiveTuple(protocol, packed(HOST[version]), 5000, packed(remote or REMOTE[version]), port)


Make = Callable[..., tuple[Admission, World]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(*configs: Config, with_links: bool = True) -> tuple[Admission, World]:
        world = World(monkeypatch, *configs, with_links=with_links)
        return world.engine._outbound._admission, world

    return make


@pytest.mark.parametrize("version", [4, 6])
def test_a_tunnelled_flow_gets_its_peer_and_the_tunnels_address(make: Make, version: int) -> None:
    admission, world = make(config(CHROME_ONLY))
    flow = admission.admit(key(version=version), CHROME, 1.0)
    assert (flow.route, flow.peer, flow.owner) == (Route.TUNNEL, world.links[0].peers[0], CHROME)
    assert flow.inner == key(version=version)._replace(local=packed(TUNNEL[version]))
    assert world.engine.flows.find(flow.key) is flow
    assert world.engine.flows.find_inner(flow.inner) is flow


def test_another_apps_flow_is_direct_and_keeps_its_addresses(make: Make) -> None:
    admission, world = make(config(CHROME_ONLY))
    flow = admission.admit(key(), FIREFOX, 1.0)
    assert (flow.route, flow.peer, flow.inner) == (Route.DIRECT, None, key())
    assert world.engine.flows.find_inner(flow.inner) is None


def test_the_destination_chooses_among_peers_and_tunnels(make: Make) -> None:
    admission, world = make(
        config("AllowedIPs = 203.0.113.0/24", "AllowedIPs = 203.0.113.128/25", file="a.conf"),
        config("AllowedIPs = 192.0.2.0/24", first_server=2, file="b.conf"),
    )
    (first, second), (third,) = world.links[0].peers, world.links[1].peers
    for remote, peer in (("203.0.113.1", first), ("203.0.113.200", second), ("192.0.2.1", third)):
        assert admission.admit(key(remote=remote), SYSTEM, 1.0).peer is peer


def test_a_query_of_a_tunnelled_app_goes_to_the_tunnels_server(make: Make) -> None:
    admission, _ = make(config(CHROME_ONLY, interface=f"{ADDRESSES}\nDNS = {DNS[4]}"))
    asked = key(53, protocol=socket.IPPROTO_UDP, remote="192.168.1.1")
    flow = admission.admit(asked, CHROME, 1.0)
    assert flow.inner == asked._replace(local=packed(TUNNEL[4]), remote=packed(DNS[4]))
    assert admission.admit(asked, FIREFOX, 1.0).route is Route.DIRECT


def test_a_query_of_a_family_without_a_server_is_refused(make: Make) -> None:
    admission, _ = make(config(CHROME_ONLY, interface=f"{ADDRESSES}\nDNS = {DNS[4]}"))
    asked = key(53, protocol=socket.IPPROTO_UDP, version=6)
    assert admission.admit(asked, CHROME, 1.0).route is Route.BLOCK


def test_without_links_a_tunnelled_flow_has_nobody_to_go_to(make: Make) -> None:
    admission, _ = make(config(CHROME_ONLY), with_links=False)
    flow = admission.admit(key(), CHROME, 1.0)
    assert (flow.route, flow.peer) == (Route.TUNNEL, None)
    assert admission.admit(key(), FIREFOX, 1.0).route is Route.DIRECT


def test_an_app_is_introduced_once_for_each_way_its_packets_go(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    admission, _ = make(config(f"{CHROME_ONLY}\nDisallowedIPs = 192.168.0.0/16"))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            admission.admit(key(), CHROME, 1.0)
            admission.admit(key(remote="192.168.1.1"), CHROME, 1.0)
    tunnelled, direct = caplog.messages
    assert tunnelled.startswith("chrome (pid 100): first TCP packet goes into the tunnel: ")
    assert direct.startswith("chrome (pid 100): first TCP packet goes direct: ")


def test_at_the_level_debug_every_further_flow_is_told_with_its_destination(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    admission, _ = make(config(CHROME_ONLY))
    with caplog.at_level(logging.DEBUG):
        admission.admit(key(), CHROME, 1.0)
        admission.admit(key(remote="203.0.113.7"), CHROME, 1.0)
    first, further = caplog.messages
    assert "first TCP packet" in first
    assert further.startswith("chrome (pid 100): TCP to 203.0.113.7:443 goes into the tunnel: AllowedApps = ")


def test_where_nobody_asked_whose_packets_they_are_all_apps_are_introduced(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    admission, _ = make(config(EVERYTHING))
    with caplog.at_level(logging.INFO):
        admission.admit(key(), SYSTEM, 1.0)
    assert caplog.messages[0].startswith("every app: first TCP packet goes into the tunnel: AllowedIPs = ")
    caplog.clear()
    admission, _ = make(config(f"{EVERYTHING}\nDisallowedApps = chrome"))
    with caplog.at_level(logging.INFO):
        admission.admit(key(), SYSTEM, 1.0)
    assert caplog.messages[0].startswith("SYSTEM: first TCP packet goes into the tunnel: ")


def test_introductions_are_bounded(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    admission, _ = make(config(CHROME_ONLY))
    with caplog.at_level(logging.INFO):
        for number in range(MAX_INTRODUCED + 10):
            admission.admit(key(), App(number, 0.0, f"/opt/{number}"), 1.0)
    assert len(caplog.messages) == MAX_INTRODUCED


def test_an_address_leads_to_the_peer_whose_prefix_holds_it_unless_it_is_excluded(make: Make) -> None:
    admission, world = make(
        config("AllowedIPs = 0.0.0.0/0\nDisallowedIPs = 192.168.0.0/16", "AllowedIPs = 10.9.0.0/16")
    )
    whole, part = world.links[0].peers
    for address, peer in (("1.2.3.4", whole), ("10.9.0.1", part)):
        assert [one for one in (whole, part) if admission.leads_to(one, packed(address))] == [peer]
    for address in ("192.168.1.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "::1", "fe80::1", "2001:db8::1"):
        assert not any(admission.leads_to(one, packed(address)) for one in (whole, part))


# Tunnels through tunnels


@pytest.fixture
def nested(make: Make) -> tuple[Admission, World]:
    """The first tunnel's own datagrams go through the second one, whatever the second one's app lists say."""
    inner = config("AllowedIPs = 10.7.0.0/16", file="inner.conf")
    outer = config("AllowedIPs = 198.51.100.0/24\nAllowedApps = nobody", first_server=1, file="outer.conf")
    admission, world = make(inner, outer)
    world.links[0].outer = world.links[1]
    world.wire(world.links[0]).port = 40_000
    admission.follow(admission._rules)
    return admission, world


def own_datagram(remote: str = "198.51.100.2", port: int = 40_000) -> FiveTuple:
    return FiveTuple(socket.IPPROTO_UDP, packed(HOST[4]), port, packed(remote), 51_820)


def test_a_tunnels_own_datagrams_go_through_the_outer_one_and_nobody_is_asked_for_their_owner(
    nested: tuple[Admission, World],
) -> None:
    admission, world = nested
    assert not admission.needs_owner(own_datagram())
    flow = admission.admit(own_datagram(), SYSTEM, 1.0)
    assert (flow.route, flow.peer) == (Route.TUNNEL, world.links[1].peers[0])
    assert admission.review({}, 2.0) == []
    assert world.engine.flows.find(own_datagram()) is flow


def test_a_tunnels_own_datagram_that_the_outer_one_does_not_lead_to_is_refused(
    nested: tuple[Admission, World],
) -> None:
    admission, _ = nested
    assert admission.admit(own_datagram("203.0.113.9"), SYSTEM, 1.0).route is Route.BLOCK


def test_another_port_or_protocol_is_an_apps(nested: tuple[Admission, World]) -> None:
    admission, _ = nested
    assert admission.needs_owner(own_datagram(port=40_001))
    assert admission.needs_owner(own_datagram()._replace(protocol=socket.IPPROTO_TCP))


# Other machines


GUEST = "10.88.0.2"


def guests(layer: Packet) -> bytes:
    return outgoing(layer, source=GUEST)


def forwards(world: World, *packets: bytes) -> None:
    world.host_sends(*packets, flags=PacketFlag.FORWARDED)


def test_another_machines_packet_goes_as_the_rules_say_of_system_without_waiting_for_an_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = SYSTEM"))
    forwards(world, guests(UDP(sport=5000, dport=7) / Raw(b"from behind")))
    assert world.owners.asked == []
    (inner,) = world.server.take()
    assert dissect(inner)[IP].src == TUNNEL[4]
    (back,) = world.server_sends(incoming(UDP(sport=7, dport=5000) / Raw(b"back")))
    assert dissect(back)[IP].dst == GUEST


def test_another_machines_packet_is_direct_where_only_apps_are_tunnelled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = chrome"))
    packet = guests(UDP(sport=5000, dport=7))
    forwards(world, packet)
    assert (world.outside(), world.server.take()) == ([packet], [])


def test_two_machines_with_the_same_ports_get_ports_of_their_own_in_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, config(EVERYTHING))
    forwards(world, guests(UDP(sport=5000, dport=7) / Raw(b"guest")))
    world.host_sends(outgoing(UDP(sport=5000, dport=7) / Raw(b"host")))
    first, second = (dissect(packet)[UDP].sport for packet in world.server.take())
    assert first != second
    back = world.server_sends(*(incoming(UDP(sport=7, dport=port)) for port in (first, second)))
    assert [(dissect(p)[IP].dst, dissect(p)[UDP].dport) for p in back] == [(GUEST, 5000), (HOST[4], 5000)]


def test_an_answer_of_another_machine_to_a_connection_from_outside_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, config(EVERYTHING))
    packet = guests(TCP(sport=80, dport=7, flags="SA"))
    forwards(world, packet)
    assert world.outside() == [packet]


def test_blocked_by_choice_another_machine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, config(EVERYTHING), settings=Settings(forwarded="block"))
    forwards(world, guests(TCP(sport=5000, dport=7, flags="S")))
    (answer,) = world.delivered()
    assert (dissect(answer)[IP].dst, str(dissect(answer)[TCP].flags)) == (GUEST, "RA")
    assert (world.outside(), world.server.take()) == ([], [])
