"""What a running client says of itself."""

import io
import json
import socket
from typing import Any

import pytest
from rich.console import Console
from scapy.layers.inet import UDP
from scapy.packet import Raw

from tests.support.worlds import CHROME, CLIENT_KEY, EVERYTHING, SERVER_KEYS, SERVERS, World, config, incoming, outgoing
from wiresock_py.service import status
from wiresock_py.service.options import RunOptions
from wiresock_py.service.status import describe, table


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


def shown(said: dict[str, Any]) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(table(said))
    return out.getvalue()


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


def test_no_secret_is_in_it(said: dict[str, Any]) -> None:
    text = json.dumps(said)
    for key in (CLIENT_KEY, *SERVER_KEYS):
        assert key.to_base64() not in text


def test_the_table_has_a_row_for_each_peer(said: dict[str, Any]) -> None:
    text = shown(said)
    assert str(SERVERS[0]) in text
    assert str(SERVERS[1]) in text
    assert "1 min 15 s ago" in text
    assert "0 direct, 1 tunnel, 0 block" in text


def test_a_peer_that_never_answered_says_so(world: World, said: dict[str, Any]) -> None:
    peer = said["tunnels"][0]["peers"][1]
    peer.update(handshake_age=None, handshake_rtt=None, endpoint=None, configured_endpoint=None)
    assert "none yet" in shown(said)
    assert "(waits to be called)" in shown(said)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_061, "25 h 1 min")]
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert status._duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes_read_well(size: int, words: str) -> None:
    assert status._size(size) == words
