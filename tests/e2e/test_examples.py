"""Every example in configs/, run: its keys, addresses and names become the lab's, its rules stay, and they hold."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wiresock_py.crypto import PrivateKey
from wiresock_py.lab import (
    CLIENT,
    INNER_CLIENT,
    INTERNET,
    LAN_HOST,
    OTHER_SITE,
    ROUTER,
    SERVER,
    TUNNEL_RESOLVER,
    App,
    Client,
    Lab,
    LabError,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

EXAMPLES = Path(__file__).parents[2] / "configs"
NETWORK = "203.0.113.11/32"
"""OTHER_SITE: stands for the networks of the examples, which the lab does not have."""
IN_THE_LAB = {
    "10.20.0.0/16": f"{NETWORK}, {TUNNEL_RESOLVER.v4}/32",
    "10.30.0.0/16": NETWORK,
    "2001:db8:30::/48": "2001:db8:3::11/128",
    "192.168.1.0/24": "192.168.1.0/24, 2001:db8:1::/64",
    "office.example": "other.lab",
    "example.com": "internet.lab",
    "ads.example": "lan.lab",
}

Apps = Callable[[str], App]
Start = Callable[..., Client]


@pytest.fixture
def run(client: Callable[..., Client], server: Server, tmp_path: Path) -> Start:
    """Runs examples by their names, each as a client of its own of the server."""

    def start(*names: str, settings: str = "settings.yaml", options: tuple[str, ...] = ()) -> Client:
        files = []
        for number, name in enumerate(names):
            text = (EXAMPLES / f"{name}.conf").read_text()
            files.append(tmp_path / f"{name}.conf")
            files[-1].touch(mode=0o600)
            files[-1].write_text(fitted(text, server, 2 + number))
        chosen = tmp_path / settings
        text = (EXAMPLES / settings).read_text()
        for example, here in IN_THE_LAB.items():
            text = text.replace(example, here.partition(",")[0])
        chosen.write_text(text)
        running = client(*files, options=("--settings", str(chosen), *options))
        running.wait_until_connected()
        return running

    return start


def fitted(text: str, server: Server, number: int) -> str:
    """The example *text* for the first peer's place at *server*; further peers are nobody."""
    peer = server.add_peer(
        preshared="PresharedKey" in text.partition("[Peer]")[2].partition("[Peer]")[0], number=number
    )
    versions = [version for version, mark in ((4, "."), (6, ":")) if mark in line_of("Address", text)]
    addresses = [address for address in peer.addresses if (6 if ":" in address else 4) in versions]
    own, *peers = text.split("[Peer]")
    own = put("PrivateKey", peer.keys.private, put("Address", ", ".join(addresses), own))
    own = put("DNS", ", ".join(TUNNEL_RESOLVER.of(version) for version in versions), own)
    own = re.sub("(?m)^ListenPort = .*\n", "", own)
    for place, section in enumerate(peers):
        key = server.keys.public if place == 0 else PrivateKey.generate().public_key().to_base64()
        section = put("Endpoint", SERVER.endpoint(4, server.port if place == 0 else 9), put("PublicKey", key, section))
        peers[place] = put("PresharedKey", peer.preshared_key, section) if place == 0 else section
    result = "[Peer]".join([own, *peers])
    for example, here in IN_THE_LAB.items():
        result = result.replace(example, here)
    return result


def line_of(key: str, text: str) -> str:
    found = re.search(rf"(?m)^{key} = (.*)$", text)
    return found[1] if found else ""


def put(key: str, value: str, text: str) -> str:
    return re.sub(rf"(?m)^{key} = .*$", lambda _: f"{key} = {value}", text)


def seen_as(app: App, host: object, family: int = 4) -> str:
    """Where *app* comes from, for *host*."""
    address: str = app.http(url=host.url(family))  # type: ignore[attr-defined]
    return address


TUNNEL, DIRECT = SERVER.of(4), CLIENT.of(4)


def test_every_example_is_run_by_a_test_of_its_name() -> None:
    names = {path.stem.replace("-", "_") for path in EXAMPLES.glob("*.conf")} - {
        "home",  # run with work
        "entry",  # with double-vpn
        "hotspot",  # in test_forwarded.py, which has a machine behind this one
    }
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert names <= tests


def test_chrome(run: Start, chrome: App, firefox: App) -> None:
    run("chrome")
    assert (seen_as(chrome, INTERNET), seen_as(chrome, LAN_HOST), seen_as(firefox, INTERNET)) == (
        TUNNEL,
        DIRECT,
        DIRECT,
    )
    assert chrome.resolve(name="resolver.lab") == [TUNNEL_RESOLVER.of(4)]


def test_all_apps(run: Start, chrome: App, firefox: App) -> None:
    run("all-apps")
    assert seen_as(chrome, INTERNET) == seen_as(firefox, INTERNET) == TUNNEL


def test_all_but_one_app(run: Start, app: Apps, chrome: App) -> None:
    run("all-but-one-app")
    assert (seen_as(chrome, INTERNET), seen_as(app("steam"), INTERNET)) == (TUNNEL, DIRECT)
    assert seen_as(chrome, LAN_HOST) == DIRECT


def test_one_network(run: Start, chrome: App, firefox: App) -> None:
    run("one-network")
    for each in (chrome, firefox):
        assert (seen_as(each, OTHER_SITE), seen_as(each, INTERNET)) == (TUNNEL, DIRECT)


def test_several_peers(run: Start, chrome: App, app: Apps) -> None:
    run("several-peers")
    assert (seen_as(chrome, INTERNET), seen_as(app("curl"), INTERNET)) == (TUNNEL, DIRECT)
    with pytest.raises(LabError):  # the peer for ssh is nobody: it waits, rather than to go outside
        app("ssh").http(url=OTHER_SITE.url(4), timeout=1)
    assert seen_as(chrome, OTHER_SITE) == DIRECT


def test_lan(run: Start, chrome: App) -> None:
    run("lan")
    for family in (4, 6):
        assert seen_as(chrome, INTERNET, family) == SERVER.of(family)
        assert seen_as(chrome, LAN_HOST, family) == CLIENT.of(family)


def test_domains(run: Start, chrome: App, app: Apps) -> None:
    run("domains")
    assert chrome.dns(name="internet.lab") == [INTERNET.of(4)]
    assert chrome.dns(name="other.lab") == [OTHER_SITE.of(4)]
    assert (seen_as(chrome, INTERNET), seen_as(chrome, OTHER_SITE)) == (TUNNEL, DIRECT)
    assert seen_as(app("curl"), INTERNET) == DIRECT


def test_split_dns(run: Start, chrome: App, firefox: App) -> None:
    run("split-dns")
    (text,) = chrome.dns(name="other.lab", kind="TXT")
    assert f"resolver={TUNNEL_RESOLVER.of(4)}" in text
    (text,) = chrome.dns(name="internet.lab", kind="TXT")
    assert f"resolver={ROUTER.of(4)}" in text
    assert chrome.dns(name="other.lab") == [OTHER_SITE.of(4)]
    assert (seen_as(firefox, OTHER_SITE), seen_as(firefox, INTERNET)) == (TUNNEL, DIRECT)


def test_work(run: Start, lab: Lab, server: Server, chrome: App, app: Apps) -> None:
    run("work", "home")
    with lab.capture_inner(server) as inner:
        assert seen_as(app("thunderbird"), INTERNET) == seen_as(chrome, INTERNET) == TUNNEL
        assert seen_as(app("curl"), INTERNET) == DIRECT
    sources = [frame.source for frame in inner.frames if frame.target == INTERNET.of(4)]
    assert list(dict.fromkeys(sources)) == ["10.66.66.2", "10.66.66.3"]


def test_the_rules_beside_two_tunnels(run: Start, chrome: App, app: Apps) -> None:
    run("work", "home", settings="rules.yaml")
    curl, ssh = app("curl"), app("ssh")
    assert (seen_as(curl, OTHER_SITE), seen_as(curl, INTERNET)) == (TUNNEL, DIRECT)
    assert seen_as(ssh, OTHER_SITE) == seen_as(chrome, INTERNET) == TUNNEL
    with pytest.raises(LabError):
        seen_as(ssh, INTERNET)
    with pytest.raises(LabError):
        chrome.dns(name="lan.lab")
    assert chrome.udp_echo(address=INTERNET.of(4), port=7, sizes=[10]) == [10]


def test_ipv6_only(run: Start, chrome: App, app: Apps) -> None:
    run("ipv6-only")
    assert seen_as(chrome, INTERNET, 6) == SERVER.of(6)
    with pytest.raises(LabError, match="refused"):
        seen_as(chrome, INTERNET)
    assert (seen_as(app("curl"), INTERNET, 6), seen_as(app("curl"), INTERNET)) == (CLIENT.of(6), DIRECT)


def test_kill_switch(run: Start, server: Server, chrome: App, app: Apps) -> None:
    running = run("kill-switch", options=("--kill-switch", "all"))
    steam = app("steam")
    assert (seen_as(chrome, INTERNET), seen_as(steam, INTERNET)) == (TUNNEL, DIRECT)
    running.kill_all()
    for each in (chrome, steam):
        with pytest.raises(LabError):
            each.http(url=INTERNET.url(4), timeout=1)
    running.reset()
    time.sleep(0.2)
    assert seen_as(steam, INTERNET) == DIRECT


def test_server(run: Start, lab: Lab, app: Apps, chrome: App) -> None:
    sshd, visitor = app("sshd"), lab.app("visitor", namespace=lab.server)
    for port in (22, 23, 27005):
        sshd.listen(port=port)
    run("server")
    visitor.open_session(name="ssh", address=INNER_CLIENT.of(4), port=22)
    assert visitor.exchange(name="ssh", text="hello") == "hello"
    assert visitor.udp_echo(address=INNER_CLIENT.of(6), port=27005, sizes=[100]) == [100]
    with pytest.raises(LabError):
        visitor.open_session(name="telnet", address=INNER_CLIENT.of(4), port=23, timeout=0.5)
    assert seen_as(chrome, INTERNET) == DIRECT
    visitor.stop()


def test_double_vpn(
    client: Callable[..., Client], lab: Lab, server: Server, chrome: App, firefox: App, tmp_path: Path
) -> None:
    second = lab.start_server(site=1)
    try:
        files = []
        for name, at in (("double-vpn", second), ("entry", server)):
            text = fitted((EXAMPLES / f"{name}.conf").read_text(), at, 2).replace("198.51.100.20/32", f"{SERVER.v4}/32")
            files.append(tmp_path / f"{name}.conf")
            files[-1].touch(mode=0o600)
            files[-1].write_text(text)
        client(*files, options=("--settings", str(EXAMPLES / "settings.yaml")))
        with lab.capture() as capture, lab.capture_inner(second) as inmost:
            assert (seen_as(chrome, INTERNET), seen_as(firefox, INTERNET)) == (TUNNEL, TUNNEL)  # both are @browsers
        assert [frame for frame in inmost.frames if frame.target == INTERNET.of(4)]
        sent = {frame.target_port for frame in capture.frames if frame.wireguard and frame.target == SERVER.of(4)}
        assert sent == {server.port}
    finally:
        second.stop()
