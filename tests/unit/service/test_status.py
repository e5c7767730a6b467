"""What a running client says of itself."""

import json
import socket
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from tests.support.worlds import CHROME, CLIENT_KEY, EVERYTHING, SERVER_KEYS, SERVERS, World, config, incoming, outgoing
from wiresock_py.service import status
from wiresock_py.service.options import RunOptions
from wiresock_py.service.status import describe


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch, config(f"{EVERYTHING}\nAllowedApps = chrome", "AllowedIPs = 10.0.0.0/8"))
    monkeypatch.setattr(status, "clock", lambda: world.now + 75)
    world.owners.own(CHROME, socket.IPPROTO_UDP, 5000)
    world.host_sends(outgoing(UDP(sport=5000, dport=7) / Raw(b"hello")), outgoing(UDP(sport=9, dport=7)))
    world.server_sends(incoming(UDP(sport=7, dport=5000) / Raw(b"hi")))
    return world


@pytest.fixture
def said(world: World) -> dict[str, Any]:
    described = describe(world.engine, world.backend, RunOptions(("wg0.conf",)))
    again: dict[str, Any] = json.loads(json.dumps(described))
    assert again == described, "it is plain data"
    return again


def test_it_tells_tunnels_peers_flows_and_drops(said: dict[str, Any]) -> None:
    (tunnel,) = said["tunnels"]
    first, second = tunnel["peers"]
    assert (tunnel["name"], tunnel["file"], tunnel["mtu"]) == ("wg0", "wg0.conf", 1420)
    assert first["endpoint"] == first["configured_endpoint"] == str(SERVERS[0])
    assert first["handshake_age"] == pytest.approx(75)
    assert first["rx_packets"] >= 1
    assert first["tx_bytes"] > 0
    assert second["configured_endpoint"] == str(SERVERS[1])
    assert said["flows"] == {"direct": 0, "tunnel": 1, "block": 0}
    assert said["drops"] == {"owner_gone": 1}
    assert (said["backend"], said["kill_switch"]) == ("memory", "app")


def test_a_tunnel_through_another_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, config(EVERYTHING, file="inner.conf"), config(EVERYTHING, file="outer.conf"))
    world.links[0].outer = world.links[1]
    told = describe(world.engine, world.backend, RunOptions(("inner.conf", "outer.conf")))
    assert [(tunnel["name"], tunnel["via"]) for tunnel in told["tunnels"]] == [("inner", "outer"), ("outer", None)]


def test_no_secret_is_in_it(said: dict[str, Any]) -> None:
    text = json.dumps(said)
    for key in (CLIENT_KEY, *SERVER_KEYS):
        assert key.to_base64() not in text
