"""One configuration at work: its socket, its peers, and where they are."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from tests.support.worlds import (
    ADDRESSES,
    CHROME,
    CLIENT_KEY,
    EVERYTHING,
    SERVER_KEYS,
    SERVERS,
    Wire,
    World,
    config,
    config_text,
    incoming,
    outgoing,
    packed,
)
from wiresock_py.config import Config, parse
from wiresock_py.engine import Link
from wiresock_py.engine.udp import Endpoint
from wiresock_py.errors import NetworkError

Make = Callable[..., Link]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr("wiresock_py.engine.links.UdpSocket", Wire)

    def make(one: Config, adapter_mtu: int = 1500) -> Link:
        return Link(one, adapter_mtu, 0, threading.Lock())

    return make


def named(host: str) -> Config:
    key = SERVER_KEYS[0].public_key().to_base64()
    return parse(
        f"[Interface]\nPrivateKey = {CLIENT_KEY.to_base64()}\n{ADDRESSES}\n"
        f"[Peer]\nPublicKey = {key}\nEndpoint = {host}:51820\n{EVERYTHING}\n",
        "wg0.conf",
    )


@pytest.mark.parametrize(
    ("line", "adapter_mtu", "mtu"), [("", 1500, 1420), ("", 1480, 1400), ("", 9000, 1420), ("MTU = 1280", 1500, 1280)]
)
def test_the_mtu_is_the_files_or_what_fits_the_adapter(make: Make, line: str, adapter_mtu: int, mtu: int) -> None:
    assert make(config(EVERYTHING, interface=f"{ADDRESSES}\n{line}"), adapter_mtu).mtu == mtu


def test_the_first_address_of_each_family_is_the_tunnels(make: Make) -> None:
    link = make(config(EVERYTHING, interface="Address = 10.0.0.2/32, 10.0.0.3/32, fd00::2/128"))
    assert link.addresses == {4: packed("10.0.0.2"), 6: packed("fd00::2")}


def test_peers_come_in_the_order_of_the_file_and_know_what_it_says_of_them(make: Make) -> None:
    link = make(config("AllowedIPs = 10.1.0.0/16", "AllowedIPs = 10.2.0.0/16"))
    assert [peer.endpoint for peer in link.peers] == list(SERVERS[:2])
    assert [link.configured(peer) for peer in link.peers] == list(link.config.peers)


def test_a_name_that_does_not_resolve_is_told_with_file_and_remedy(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str, *, mark: int, exempt: object) -> None:
        raise NetworkError(f"the name {host} does not resolve: 192.0.2.1 does not answer", "check the name")

    monkeypatch.setattr("wiresock_py.engine.links.lookup", fail)
    with pytest.raises(NetworkError, match=r"wg0\.conf: the name vpn\.example\.net does not resolve") as raised:
        make(named("vpn.example.net"))
    assert raised.value.remedy == "check the name"


def test_a_port_in_use_is_told_with_the_file() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", 0))
        port = taken.getsockname()[1]
        with pytest.raises(NetworkError, match=f"wg0.conf: UDP port {port} is in use") as raised:
            Link(config(EVERYTHING, interface=f"{ADDRESSES}\nListenPort = {port}"), 1500, 0, threading.Lock())
    assert "ListenPort" in raised.value.remedy


def test_complaint_16_a_name_that_moved_is_followed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["198.51.100.2", "198.51.100.9"]

    def lookup(host: str, *, mark: int, exempt: object) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        if not answers:
            raise NetworkError("nobody answers")
        return [ipaddress.ip_address(answers.pop(0))]

    monkeypatch.setattr("wiresock_py.engine.links.lookup", lookup)
    link = make(named("vpn.example.net"))
    (peer,) = link.peers
    assert peer.endpoint == Endpoint("198.51.100.2", 51820)
    link.refresh_endpoint(peer)
    assert peer.endpoint == Endpoint("198.51.100.9", 51820)
    link.refresh_endpoint(peer)
    assert peer.endpoint == Endpoint("198.51.100.9", 51820)


def test_an_address_is_never_looked_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    link = make(named("198.51.100.2"))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr("wiresock_py.engine.links.lookup", fail)
    link.refresh_endpoint(*link.peers)


def test_a_peer_that_roams_is_answered_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = chrome"))
    world.owners.own(CHROME, socket.IPPROTO_UDP, 5000)
    world.host_sends(outgoing(UDP(sport=5000, dport=7) / Raw(b"x")))
    moved = Endpoint("198.51.100.77", 4444)
    world.server.endpoint = moved
    assert world.server_sends(incoming(UDP(sport=7, dport=5000) / Raw(b"y")))
    assert world.links[0].peers[0].endpoint == moved
    world.server.take()
    world.host_sends(outgoing(UDP(sport=5000, dport=7) / Raw(b"z")))
    assert len(world.server.take()) == 1


def test_a_keepalive_is_not_answered_and_data_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keepalive in answer to a keepalive would go on for ever."""
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = chrome"))
    (link,) = world.links
    for content, answers in (([], 0), ([incoming(UDP(sport=7, dport=5000) / Raw(b"x"))], 1)):
        tunnel = world.server.tunnel
        sent = tunnel.write(content, world.now) if content else tunnel._keepalive(world.now)
        world.server.send_datagrams(sent)
        world.settle()
        before = link.stats(world.now)[0][2].tx_packets
        world.now += 10.0
        link.tick(world.now)
        assert link.stats(world.now)[0][2].tx_packets - before == answers


def test_what_was_opened_on_a_session_erased_meanwhile_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening takes no lock, so the tick may erase a session under it."""
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = chrome"))
    (link,) = world.links
    (peer,) = link.peers
    opening = link.datapath.open_datagrams

    def erased_meanwhile(*arguments: Any) -> None:
        opening(*arguments)
        link.device.down()

    monkeypatch.setattr(link, "datapath", replace(link.datapath, open_datagrams=erased_meanwhile))
    world.server.endpoint = Endpoint("198.51.100.77", 4444)
    before = link.stats(world.now)[0][2].rx_packets
    world.server_sends(incoming(UDP(sport=7, dport=5000) / Raw(b"x")))
    assert link.stats(world.now)[0][2].rx_packets == before
    assert peer.endpoint == SERVERS[0]
    assert peer.timers.deadline == float("inf")


def test_closing_erases_the_sessions_and_may_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    (link,) = world.links
    assert link.device.sessions
    link.close()
    link.close()
    assert not link.device.sessions
    assert world.wire(link).closed


def test_after_a_sleep_the_first_packet_brings_a_new_handshake_and_old_keys_are_of_no_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock counts the hour asleep; nothing ticked in it, so no timer has erased anything yet."""
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = chrome"))
    world.owners.own(CHROME, socket.IPPROTO_UDP, 5000)
    world.host_sends(outgoing(UDP(sport=5000, dport=7) / Raw(b"before")))
    (link,) = world.links
    wire, (peer,) = world.wire(link), link.peers
    before = peer.sending_session(world.now)
    assert before is not None
    (late,) = world.server.tunnel.write([incoming(UDP(sport=7, dport=5000) / Raw(b"late"))], world.now)
    world.server.take()
    kinds: list[int] = []
    read = world.server.read

    def note(data: bytes) -> None:
        kinds.append(data[0])
        read(data)

    monkeypatch.setattr(world.server, "read", note)

    world.now += 3600
    assert peer.sending_session(world.now) is None
    wire.arrive(bytes(late.data), world.server.endpoint)
    world.settle()
    assert world.delivered() == []
    assert link.device.sessions.get(before.local_index) is before  # still there, and refused
    world.host_sends(outgoing(UDP(sport=5000, dport=7) / Raw(b"after")))
    assert kinds == [1, 4]  # an initiation, and the packet on the session it brought
    assert peer.sending_session(world.now) is not before
    assert [packet[-5:] for packet in world.server.take()] == [b"after"]
    assert world.server_sends(incoming(UDP(sport=7, dport=5000) / Raw(b"answer")))[0][-6:] == b"answer"


@pytest.mark.parametrize(("endpoint", "mtu"), [("198.51.100.2", 1360), ("[2001:db8:2::2]", 1340)])
def test_a_tunnel_through_another_takes_what_that_one_carries_less_its_own_headers(
    make: Make, monkeypatch: pytest.MonkeyPatch, endpoint: str, mtu: int
) -> None:
    outer = make(config(EVERYTHING))
    text = config_text(EVERYTHING).replace("198.51.100.2", endpoint)
    inner = Link(parse(text, "wg0.conf"), 1500, 5, threading.Lock(), outer=outer)
    assert inner.mtu == mtu
    assert {peer.mtu for peer in inner.peers} == {mtu}
    assert (World.wire(inner).mark, inner.depth) == (0, 1)  # unmarked, so that the capture sees it
    outer.fit(1400)
    inner.fit(1400)
    assert inner.mtu == mtu - 100
