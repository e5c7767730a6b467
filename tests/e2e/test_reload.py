"""Another configuration while the client runs: sessions stay, flows go the new way, and none goes on the wrong one."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from wiresock_py.errors import EXIT_CONFIG
from wiresock_py.lab import (
    CLIENT,
    ECHO_PORT,
    INTERNET,
    SERVER,
    App,
    Capture,
    Client,
    KeyPair,
    Lab,
    LabError,
    Peer,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

MakeClient = Callable[..., Client]
OWN = {CLIENT.of(4), CLIENT.of(6)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wg0.conf"
    path.touch(mode=0o600)
    return path


def test_flows_go_the_new_way_and_the_session_stays(
    client: MakeClient, server: Server, file: Path, chrome: App, firefox: App, lab: Lab, capture: Capture
) -> None:
    peer = server.add_peer()
    file.write_text(server.client_config(peer, allowed_apps="chrome"))
    running = client(file)
    for app in (chrome, firefox):
        app.open_session(name="before", address=INTERNET.of(4), port=ECHO_PORT)
        assert app.exchange(name="before", text="hello") == "hello"
    handshake = server.state(peer).handshake
    file.write_text(server.client_config(peer, allowed_apps="firefox"))
    assert running.reload() == "reloaded wg0"
    reloaded = time.monotonic()
    # both are told at once, without having sent anything
    for app in (chrome, firefox):
        assert app.wait_for_end(name="before") == "ECONNRESET"
    assert chrome.http(url=INTERNET.url(4)) == CLIENT.of(4)
    assert firefox.http(url=INTERNET.url(4)) == SERVER.of(4)
    assert server.state(peer).handshake == handshake
    capture.stop()
    ports = range(38_000, 61_000)  # what the client's kernel gives out
    frames = [frame for frame in capture.of_ports(ports, OWN, since=reloaded) if frame.protocol == 6]
    assert frames  # chrome's new connection; none of firefox's, old or new
    assert {frame.target_port if frame.source in OWN else frame.source_port for frame in frames} == {80}


def test_an_app_that_stays_in_the_tunnel_notices_nothing(
    client: MakeClient, server: Server, file: Path, chrome: App, firefox: App
) -> None:
    peer = server.add_peer()
    file.write_text(server.client_config(peer, allowed_apps="chrome"))
    running = client(file)
    chrome.open_session(name="open", address=INTERNET.of(6), port=ECHO_PORT)
    assert chrome.exchange(name="open", text="hello") == "hello"
    file.write_text(server.client_config(peer, allowed_apps="chrome, firefox"))
    running.reload()
    assert chrome.exchange(name="open", text="still here") == "still here"
    assert firefox.http(url=INTERNET.url(6)) == SERVER.of(6)


def test_a_faulty_file_changes_nothing_and_says_where(
    client: MakeClient, server: Server, file: Path, chrome: App
) -> None:
    text = server.client_config(server.add_peer(), allowed_apps="chrome")
    file.write_text(text)
    running = client(file)
    chrome.open_session(name="open", address=INTERNET.of(4), port=ECHO_PORT)
    file.write_text(text.replace("AllowedApps", "AlowedApps"))
    with pytest.raises(LabError, match=rf"ended with {EXIT_CONFIG}: .*wg0\.conf:\d+:1: found 'AlowedApps'"):
        running.reload()
    assert chrome.exchange(name="open", text="hello") == "hello"
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


def test_sighup_reloads_and_the_next_worker_follows_the_new_file(
    client: MakeClient, server: Server, file: Path, chrome: App, firefox: App
) -> None:
    peer = server.add_peer()
    file.write_text(server.client_config(peer, allowed_apps="chrome"))
    running = client(file)
    running.wait_until_connected()
    file.write_text(server.client_config(peer, allowed_apps="firefox"))
    psutil.Process(running.pid).send_signal(signal.SIGHUP)
    running.wait_for_log("reloaded ")
    assert firefox.http(url=INTERNET.url(4)) == SERVER.of(4)
    running.kill_worker()
    running.wait_for_log("handshake with", times=2)
    assert firefox.http(url=INTERNET.url(4)) == SERVER.of(4)
    assert chrome.http(url=INTERNET.url(4)) == CLIENT.of(4)


def test_another_port_and_another_server_are_taken_on(
    client: MakeClient, server: Server, lab: Lab, file: Path, chrome: App
) -> None:
    file.write_text(server.client_config(server.add_peer(), allowed_apps="chrome", listen_port=40_100))
    running = client(file)
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    other = lab.start_core_server(peer=Peer(KeyPair.generate()), port=51_900)
    try:
        file.write_text(other.client_config(other.peer, allowed_apps="chrome", listen_port=40_101))
        running.reload()
        assert chrome.udp_echo(address=INTERNET.of(4), port=9, sizes=[100], tries=3) == [100]
        assert running.status()["tunnels"][0]["port"] == 40_101
    finally:
        other.stop()
