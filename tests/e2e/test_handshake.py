"""Handshakes and sessions with a real WireGuard server: who begins, with which keys, when again, and after what."""

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

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
    ProbeResult,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

MakeClient = Callable[..., Client]


def messages(capture: Capture, kind: str, source: str) -> int:
    return sum(frame.wireguard == kind and frame.source == source for frame in capture.frames)


def test_the_client_begins_the_handshake_and_says_how_long_it_took(
    client: MakeClient, server: Server, capture: Capture
) -> None:
    running = client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    running.wait_until_connected()
    capture.stop()
    assert messages(capture, "initiation", CLIENT.of(4)) == 1
    assert messages(capture, "response", SERVER.of(4)) == 1
    assert running.status()["tunnels"][0]["peers"][0]["handshake_age"] < 10


def test_the_server_can_begin_the_handshake(client: MakeClient, server: Server, chrome: App, capture: Capture) -> None:
    peer = server.add_peer(endpoint=CLIENT.endpoint(4, 40_001), keepalive=1)
    text = server.client_config(peer, allowed_apps="chrome", listen_port=40_001)
    without_endpoint = "".join(line for line in text.splitlines(True) if not line.startswith("Endpoint"))
    running = client(without_endpoint)
    running.wait_until_connected(timeout=20)
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    capture.stop()
    assert messages(capture, "initiation", SERVER.of(4)) >= 1
    assert messages(capture, "initiation", CLIENT.of(4)) == 0
    assert messages(capture, "response", CLIENT.of(4)) == 1


def test_a_preshared_key_takes_part(client: MakeClient, server: Server, chrome: App) -> None:
    peer = server.add_peer(preshared=True)
    client(server.client_config(peer, allowed_apps="chrome"))
    assert chrome.http(url=INTERNET.url(6)) == SERVER.of(6)


def rules(lab: Lab) -> list[str]:
    """The firewall rules and chains in the client's namespace."""
    lines = [line for tool in ("iptables-save", "ip6tables-save") for line in lab.client.run(tool).splitlines()]
    return sorted(line.split(" [")[0] for line in lines if line.startswith(("-A", ":")) and " ACCEPT " not in line)


@pytest.mark.parametrize("fault", ["preshared key", "server's key", "client's key"])
def test_a_wrong_key_makes_no_session_and_ends_with_one_line(
    client: MakeClient, server: Server, lab: Lab, fault: str
) -> None:
    peer = server.add_peer(preshared=True)
    other = KeyPair.generate()
    wrong = {
        "preshared key": Peer(peer.keys, peer.addresses, other.private),
        "client's key": Peer(other, peer.addresses, peer.preshared_key),
    }.get(fault, peer)
    text = server.client_config(wrong, allowed_apps="chrome")
    if fault == "server's key":
        text = text.replace(server.keys.public, other.public)
    before = rules(lab)
    running = lab.start_client(text, options=("--connect-timeout", "3"), wait=False)
    assert running.wait(15) == 5  # documented: the network outside does not let us work
    assert "no answer from 198.51.100.2:51820 within 3 s" in running.log()
    assert server.state(peer).handshake == 0
    assert rules(lab) == before
    for secret in (peer.keys.private, peer.preshared_key, other.private):
        assert secret not in running.log()


def echo_steadily(app: App, lab: Lab, seconds: float, rate: float = 50.0) -> list[ProbeResult]:
    """Probes of open flows for a while; what became of each."""
    app.start_probes(
        lab.probe_ports(), targets=INTERNET, port=ECHO_PORT, rate=rate, protocols=["tcp-open", "udp-open", "icmp"]
    )
    time.sleep(seconds)
    return app.stop_probes()


def test_keys_are_renewed_by_the_server_with_traffic_flowing(client: MakeClient, lab: Lab, chrome: App) -> None:
    peer = Peer(KeyPair.generate())
    # REKEY_AFTER_TIME is two minutes; a server that lives thirty times as fast renews after four seconds
    server = lab.start_core_server(peer=peer, pace=30.0)
    try:
        running = client(server.client_config(peer, allowed_apps="chrome"))
        running.wait_until_connected()
        time.sleep(0.3)  # its REKEY_TIMEOUT after the client's handshake
        server.call()  # only the initiator of a session renews it
        answered: list[int] = []
        started = time.monotonic()
        while time.monotonic() - started < 10:
            answered += chrome.udp_echo(address=INTERNET.of(4), port=9, sizes=[100] * 20, timeout=0.5)
            time.sleep(0.05)
    finally:
        server.stop()
    assert server.handshakes >= 4
    assert len(answered) == len(server.received)
    assert len(answered) > 500


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_keys_are_renewed_after_two_minutes_with_traffic_flowing(
    client: MakeClient, server: Server, lab: Lab, chrome: App, capture: Capture
) -> None:
    peer = server.add_peer()
    client(server.client_config(peer, allowed_apps="chrome"))
    chrome.http(url=INTERNET.url(4))
    first = server.state(peer).handshake
    probes = echo_steadily(chrome, lab, 130)
    second = server.state(peer).handshake
    capture.stop()
    assert 118 <= second - first <= 124
    assert messages(capture, "initiation", CLIENT.of(4)) == 2
    assert [probe for probe in probes if not probe["answered"]] == []


def test_a_server_that_goes_away_and_comes_back_is_picked_up(
    client: MakeClient, server: Server, chrome: App, capture: Capture
) -> None:
    client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    server.stop()
    with pytest.raises(LabError, match="TimeoutError"):
        chrome.http(url=INTERNET.url(4), timeout=1)
    server.start()  # with none of its sessions
    started = time.monotonic()
    # data without an answer makes a new handshake after KEEPALIVE_TIMEOUT + REKEY_TIMEOUT = 15 s (paper, section 6.5)
    while time.monotonic() - started < 40:
        try:
            assert chrome.http(url=INTERNET.url(4), timeout=2) == SERVER.of(4)
            break
        except LabError:
            continue
    assert time.monotonic() - started < 25
    capture.stop()
    # and what was sent meanwhile waited or was lost, but did not go out in the open
    assert [frame for frame in capture.frames if INTERNET.of(4) in (frame.source, frame.target)] == []


# -- tshark ------------------------------------------------------------------------------------------------------------

RECORD_RANDOM = '''"""Write every 32 random bytes drawn here to a file, as tshark's WireGuard key log has them."""
import base64, os

_draw = os.urandom

def urandom(size):
    drawn = _draw(size)
    if size == 32:
        with open(os.environ["KEY_LOG"], "a") as log:
            log.write(f"LOCAL_EPHEMERAL_PRIVATE_KEY = {base64.b64encode(drawn).decode()}\\\\n")
    return drawn

os.urandom = urandom
'''


def test_tshark_given_the_keys_decrypts_what_we_sent(impaired_lab: Lab, tmp_path: Path) -> None:
    assert shutil.which("tshark"), "apt-get install tshark"
    keys = tmp_path / "keys.txt"
    (tmp_path / "sitecustomize.py").write_text(RECORD_RANDOM.replace("\\\\n", "\\n"))
    server = impaired_lab.start_server()
    peer = server.add_peer(preshared=True)
    environment = {"PYTHONPATH": str(tmp_path), "KEY_LOG": str(keys)}
    # frames are whole only on this lab's link: a plain one shows what the card would still have cut
    with impaired_lab.capture(whole=True) as capture:
        client = impaired_lab.start_client(server.client_config(peer, allowed_apps="chrome"), environment=environment)
        chrome = impaired_lab.app("chrome")
        for family in (4, 6):
            assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)
            assert chrome.ping(address=INTERNET.of(family))["answered"] == 1
        assert chrome.upload(url=INTERNET.url(4), size=200_000)["intact"]
        assert chrome.udp_segments(address=INTERNET.of(4), port=ECHO_PORT, segment=500, total=2750)
        client.stop()
        chrome.stop()
    server.stop()
    pcap = tmp_path / "link.pcap"
    capture.write_pcap(pcap)
    # the order matters to tshark: static keys come first, and a preshared key belongs to the ephemeral one before it
    static = f"LOCAL_STATIC_PRIVATE_KEY = {peer.keys.private}\nREMOTE_STATIC_PUBLIC_KEY = {server.keys.public}\n"
    preshared = f"PRESHARED_KEY = {peer.preshared_key}\n"
    keys.write_text(static + "".join(ephemeral + preshared for ephemeral in keys.read_text().splitlines(True)))
    fields = ["wg.type", "ip.src", "wg.handshake_ok", "frame.protocols", "ip.checksum.status"]
    fields += ["tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status"]
    rows = dissect(pcap, keys, fields)
    ours = [row for row in rows if row["ip.src"].split(",")[0] == CLIENT.of(4)]
    kinds = Counter(row["wg.type"] for row in ours)
    assert kinds["1"] == 1
    assert kinds["4"] > 150
    assert [row["wg.handshake_ok"] for row in rows if row["wg.type"] == "2"] == ["1"]
    inner = Counter(row["frame.protocols"].partition(":wg")[2] for row in ours if row["wg.type"] == "4")
    for stack in (":ip:tcp:http", ":ip:ipv6:tcp:http", ":ip:icmp:data", ":ip:ipv6:icmpv6:data", ":ip:udp:echo"):
        assert any(name.startswith(stack) for name in inner), (stack, inner)
    undeciphered = [row for row in ours if row["wg.type"] == "4" and row["frame.protocols"].endswith(":wg")]
    assert len(undeciphered) <= 2, "only keepalives have nothing in them"
    # tshark: 0 is bad, 1 good, 2 not verified; the outer header's sum is the kernel's, the inner ones are ours
    for field in fields[4:]:
        assert "0" not in {status for row in ours for status in row[field].split(",")}, field
    assert all("1" in row["tcp.checksum.status"] for row in ours if ":wg:ip:tcp" in row["frame.protocols"])


def dissect(pcap: Path, keys: Path, fields: list[str]) -> list[dict[str, str]]:
    """tshark's fields of every WireGuard frame, several values of one joined by commas."""
    command = ["tshark", "-r", str(pcap), "-o", f"wg.keylog_file:{keys}", "-Y", "wg", "-T", "fields"]
    for name in ("ip", "tcp", "udp"):
        command += ["-o", f"{name}.check_checksum:TRUE"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [dict(zip(fields, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]
