import io
from typing import Any

import pytest
from rich.console import Console

from wiresock_py.cli import status_table

ANSWERS: dict[str, Any] = {
    "configured_endpoint": "vpn.example.net:51820",
    "endpoint": "192.0.2.1:51820",
    "handshake_age": 75.5,
    "handshake_rtt": 0.031,
    "tx_bytes": 1000,
    "rx_bytes": 5_000_000,
    "loss": 0.004,
}
WAITS = {**ANSWERS, "configured_endpoint": None, "endpoint": None, "handshake_age": None, "handshake_rtt": None}


def tunnel(*peers: dict[str, Any], name: str = "wg0", via: str | None = None) -> dict[str, Any]:
    return {"name": name, "via": via, "peers": peers}


def shown(*tunnels: dict[str, Any], width: int = 200) -> str:
    status = {
        "backend": "netfilter",
        "datapath": "native",
        "kill_switch": "app",
        "tunnels": tunnels,
        "flows": {"direct": 2, "tunnel": 3, "block": 0},
    }
    out = io.StringIO()
    Console(file=out, width=width).print(status_table.table(status))
    return out.getvalue()


def test_the_table_has_a_row_for_each_peer() -> None:
    text = shown(tunnel(ANSWERS, {**ANSWERS, "configured_endpoint": "198.51.100.9:51820"}))
    assert text.count("wg0") == 2
    for words in ("vpn.example.net:51820", "198.51.100.9:51820", "1 min 15 s ago", "4.8 MiB", "0.4%", "31 ms"):
        assert words in text


def test_in_a_narrow_terminal_nothing_is_cut_off() -> None:
    text = shown(tunnel({**ANSWERS, "configured_endpoint": "[2001:db8:1234:5678::1]:51820"}, name="x" * 40), width=80)
    assert "…" not in text
    assert text.count("x") == 40
    assert max(map(len, text.splitlines())) <= 80


def test_a_tunnel_through_another_says_through_which() -> None:
    assert "inner via outer" in shown(tunnel(ANSWERS, name="inner", via="outer"))
    assert "via" not in shown(tunnel(ANSWERS, name="outer"))


def test_it_tells_how_the_client_works_and_its_flows() -> None:
    text = shown(tunnel(ANSWERS))
    assert "netfilter backend, native data path, kill switch app" in text
    assert "flows: 2 direct, 3 in the tunnel, 0 blocked" in text


def test_a_peer_that_never_answered_says_so() -> None:
    text = shown(tunnel(WAITS))
    assert "none yet" in text
    assert "(waits to be called)" in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_061, "25 h 1 min")]
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert status_table._duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes_read_well(size: int, words: str) -> None:
    assert status_table._size(size) == words
