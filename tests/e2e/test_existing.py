"""Connections that were open before the start: reset at once or left by choice, never carried on by accident."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wiresock_py.lab import CLIENT, ECHO_PORT, INTERNET, SERVER, App, Capture, Client, Lab, Server

pytestmark = [pytest.mark.lab, pytest.mark.root]

MakeClient = Callable[..., Client]
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def open_session(app: App, family: int) -> range:
    """An echo session named "before", used once; its local port."""
    _, port = app.open_session(name="before", address=INTERNET.of(family), port=ECHO_PORT)
    assert app.exchange(name="before", text="hello") == "hello"
    return range(port, port + 1)


@FAMILIES
def test_an_idle_connection_of_an_app_of_the_tunnel_is_reset_at_once(
    client: MakeClient, server: Server, chrome: App, firefox: App, capture: Capture, family: int
) -> None:
    ports = open_session(chrome, family)
    open_session(firefox, family)
    before = time.monotonic()
    assert capture.of_ports(ports, {CLIENT.of(family)})  # the capture sees it
    running = client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    assert chrome.wait_for_end(name="before") == "ECONNRESET"
    running.wait_for_log("connections from before that belong in the tunnel: 1 reset")
    assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)
    assert firefox.exchange(name="before", text="still here") == "still here"
    capture.stop()
    # not a frame of it, neither a reset nor a farewell, on the link
    assert capture.of_ports(ports, {CLIENT.of(family)}, since=before) == []


def test_a_connection_in_use_is_reset_before_it_carries_anything_on(
    client: MakeClient, server: Server, chrome: App, capture: Capture
) -> None:
    download = chrome.submit("download", url=INTERNET.url(4, "/bytes/2000000000"), timeout=100)
    time.sleep(0.3)
    client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    up = time.monotonic()
    with pytest.raises(Exception, match="Reset"):
        download.result(10)
    capture.stop()
    # the server's own packets arrive until it gives up; nothing answers them
    assert [f for f in capture.frames if f.source == CLIENT.of(4) and f.target == INTERNET.of(4) and f.time > up] == []


def test_by_choice_connections_from_before_are_left(
    client: MakeClient, server: Server, chrome: App, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("existing: leave\n")
    open_session(chrome, 4)
    running = client(
        server.client_config(server.add_peer(), allowed_apps="chrome"), options=("--settings", str(settings))
    )
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    for text in ("left alone", "and again"):
        assert chrome.exchange(name="before", text=text) == text
    running.reload()  # decides everything again, but what was left is left
    assert chrome.exchange(name="before", text="even now") == "even now"


def test_a_replaced_worker_resets_nothing(client: MakeClient, server: Server, chrome: App, firefox: App) -> None:
    running = client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    running.wait_until_connected()
    for app in (chrome, firefox):
        open_session(app, 4)
    running.kill_worker()
    running.wait_for_log("handshake with", times=2)
    time.sleep(1)
    for app in (chrome, firefox):
        assert app.exchange(name="before", text="still here") == "still here"


@FAMILIES
def test_an_idle_connection_that_outlived_its_worker_is_reset_at_the_end(
    client: MakeClient, server: Server, chrome: App, capture: Capture, family: int
) -> None:
    running = client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    running.wait_until_connected()
    ports = open_session(chrome, family)
    running.kill_worker()
    running.wait_for_log("handshake with", times=2)
    assert running.stop() == 0
    assert chrome.wait_for_end(name="before") == "ECONNRESET"
    capture.stop()
    assert capture.of_ports(ports, {CLIENT.of(family)}) == []


def test_a_connection_from_a_listening_port_goes_on_in_the_tunnel_after_a_crash(
    client: MakeClient, server: Server, lab: Lab, chrome: App, capture: Capture
) -> None:
    port = 6881
    chrome.listen(port=port, address="0.0.0.0")
    visitor = lab.app("visitor", namespace=lab.internet)
    running = client(server.client_config(server.add_peer()))
    running.wait_until_connected()
    visitor.open_session(name="inbound", address=CLIENT.of(4), port=port)
    assert visitor.exchange(name="inbound", text="hello") == "hello"
    chrome.open_session(name="outbound", address=INTERNET.of(4), port=ECHO_PORT, source=CLIENT.of(4), source_port=port)
    assert chrome.exchange(name="outbound", text="hello") == "hello"
    running.kill_worker()
    running.wait_for_log("handshake with", times=2)
    for _ in range(2):
        assert chrome.exchange(name="outbound", text="in the tunnel", timeout=10) == "in the tunnel"
        assert visitor.exchange(name="inbound", text="outside", timeout=10) == "outside"
    capture.stop()
    ours = capture.of_ports(range(port, port + 1), {CLIENT.of(4)})
    assert ours
    assert {frame.target_port for frame in ours if frame.source == CLIENT.of(4)} & {ECHO_PORT} == set()
    visitor.stop()
