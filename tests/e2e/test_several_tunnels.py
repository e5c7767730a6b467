"""Several tunnels in one client, side by side and one through the other: what is where, and how fast."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wiresock_py.errors import EXIT_CONFIG
from wiresock_py.lab import CLIENT, ECHO_PORT, INTERNET, SERVER, App, Capture, Client, Frame, Lab, LabError, Server

pytestmark = [pytest.mark.lab, pytest.mark.root]

MakeClient = Callable[..., Client]
FAMILIES = pytest.mark.parametrize("family", [4, 6])
WIREGUARD_OVERHEAD = 60


@pytest.fixture
def sites(lab: Lab) -> Iterator[list[Server]]:
    """Three servers, each with a port and inner networks of its own."""
    made = [lab.start_server(site=site) for site in range(3)]
    yield made
    for one in made:
        one.stop()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """A configuration in a file of that name."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.conf"
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    return write


Write = Callable[[str, str], Path]


def iperf(lab: Lab, name: str, *arguments: str) -> float:
    """A second of iperf3, run by a program called *name*; Mbit/s."""
    program = lab.folder / "iperf" / name
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        shutil.copy2(shutil.which("iperf3") or "", program)
    text = lab.client.run(str(program), "-c", INTERNET.of(4), "-t", "1", "--json", *arguments, timeout=30)
    rate: float = json.loads(text)["end"]["sum_received"]["bits_per_second"]
    return rate / 1e6


def ports(capture: Capture) -> set[int]:
    """The servers' ports that datagrams of WireGuard went to."""
    return {
        frame.target_port
        for frame in capture.frames
        if frame.wireguard and frame.source in (CLIENT.of(4), CLIENT.of(6))
    }


def in_the_open(capture: Capture) -> list[Frame]:
    sites = {INTERNET.of(4), INTERNET.of(6)}
    return [frame for frame in capture.frames if sites & {frame.source, frame.target}]


def connections(capture: Capture) -> set[frozenset[int]]:
    """The internet host's connections, by the ports of both ends."""
    return {frozenset((frame.source_port, frame.target_port)) for frame in in_the_open(capture)}


def test_two_tunnels_by_app_each_to_its_own_server(
    client: MakeClient, sites: list[Server], lab: Lab, write: Write, capture: Capture
) -> None:
    apps = ("alpha", "beta")
    texts = [
        server.client_config(server.add_peer(), allowed_apps=app) for server, app in zip(sites, apps, strict=False)
    ]
    client(*map(write, apps, texts))
    known: set[frozenset[int]] = set()  # what is left of connections of before may come late
    for number, (app, options) in enumerate(zip(apps, ((), ("-R",)), strict=True)):
        with lab.capture_inner(sites[0]) as first, lab.capture_inner(sites[1]) as second:
            rate = iperf(lab, app, *options)
        print(f"iperf3 through tunnel {number}: {rate:.0f} Mbit/s")
        assert rate > 5
        new = [connections(inner) - known for inner in (first, second)]
        assert [bool(each) for each in new] == [number == 0, number == 1]
        known |= new[number]
    capture.stop()
    assert ports(capture) == {51_820, 51_821}
    assert in_the_open(capture) == []


def test_where_two_tunnels_want_the_same_the_first_file_has_it(
    client: MakeClient, sites: list[Server], lab: Lab, chrome: App, firefox: App, write: Write
) -> None:
    one, other = sites[:2]
    both = write("both", one.client_config(one.add_peer(number=3), allowed_apps="chrome, firefox"))
    only = write("only", other.client_config(other.add_peer(number=3), allowed_apps="chrome"))
    with lab.capture_inner(one) as first, lab.capture_inner(other) as second:
        client(only, both)
        for app in (chrome, firefox):
            assert app.http(url=INTERNET.url(4)) == SERVER.of(4)
        assert {frame.source for frame in second.frames if frame.target == INTERNET.of(4)} == {"10.66.67.3"}
        assert {frame.source for frame in first.frames if frame.target == INTERNET.of(4)} == {"10.66.66.3"}
        hosts = len([frame for frame in first.frames if frame.target_port == 80])
    assert hosts


@FAMILIES
def test_a_tunnel_through_a_tunnel_shows_the_link_the_outer_one_only(
    client: MakeClient, sites: list[Server], lab: Lab, chrome: App, write: Write, capture: Capture, family: int
) -> None:
    outer, inner = sites[:2]
    inside = inner.client_config(
        inner.add_peer(), allowed_apps="chrome, alpha", mtu=0, endpoint=SERVER.endpoint(family, inner.port)
    )
    running = client(
        write("inner", nested(inside, "outer")),
        write("outer", outer.client_config(outer.add_peer(), allowed_ips=f"{SERVER.v4}/32, {SERVER.v6}/128", mtu=0)),
    )
    with lab.capture_inner(outer) as between, lab.capture_inner(inner) as inmost:
        assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
        assert chrome.http(url=INTERNET.url(6)) == SERVER.of(6)
        assert chrome.udp_echo(address=INTERNET.of(4), port=ECHO_PORT, sizes=[100, 1300, 1400, 5000], tries=3) == [
            100,
            1300,
            1400,
            5000,
        ]
        up, down = iperf(lab, "alpha"), iperf(lab, "alpha", "-R")
        print(f"iperf3 through two tunnels: {up:.0f} Mbit/s up, {down:.0f} down")
        assert any(frame.target == INTERNET.of(4) for frame in inmost.frames)
        # between the servers there is nothing but the inner tunnel
        assert {frame.target_port for frame in between.frames if frame.target in (SERVER.of(4), SERVER.of(6))} == {
            inner.port
        }
        assert in_the_open(between) == []
    capture.stop()
    assert ports(capture) == {outer.port}
    assert in_the_open(capture) == []
    told = {tunnel["name"]: (tunnel["mtu"], tunnel["via"]) for tunnel in running.status()["tunnels"]}
    assert told == {"outer": (1420, None), "inner": (1420 - (60 if family == 4 else 80), "outer")}


def nested(text: str, outer: str) -> str:
    return text.replace("[Interface]\n", f"[Interface]\nVia = {outer}\n", 1)


def test_three_tunnels_one_in_the_other(
    client: MakeClient, sites: list[Server], lab: Lab, chrome: App, write: Write, capture: Capture
) -> None:
    servers_only = f"{SERVER.v4}/32"
    texts = [
        sites[0].client_config(sites[0].add_peer(), allowed_ips=servers_only, mtu=0, dns=""),
        nested(sites[1].client_config(sites[1].add_peer(), allowed_ips=servers_only, mtu=0, dns=""), "one"),
        nested(sites[2].client_config(sites[2].add_peer(), allowed_apps="chrome, alpha", mtu=0), "two"),
    ]
    names = ("one", "two", "three")
    files = [write(name, text) for name, text in zip(names, texts, strict=True)]
    running = client(*reversed(files))
    with (
        lab.capture_inner(sites[0]) as first,
        lab.capture_inner(sites[1]) as second,
        lab.capture_inner(sites[2]) as third,
    ):
        assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
        print(
            f"iperf3 through three tunnels: {iperf(lab, 'alpha'):.0f} Mbit/s up, {iperf(lab, 'alpha', '-R'):.0f} down"
        )
        assert {f.target_port for f in first.frames if f.target == SERVER.of(4)} == {sites[1].port}
        assert {f.target_port for f in second.frames if f.target == SERVER.of(4)} == {sites[2].port}
        assert any(f.target == INTERNET.of(4) for f in third.frames)
    capture.stop()
    assert ports(capture) == {sites[0].port}
    assert in_the_open(capture) == []
    assert {tunnel["name"]: tunnel["mtu"] for tunnel in running.status()["tunnels"]} == {
        "one": 1420,
        "two": 1420 - WIREGUARD_OVERHEAD,
        "three": 1420 - 2 * WIREGUARD_OVERHEAD,
    }


def test_without_the_outer_tunnel_the_inner_one_waits_and_nothing_of_it_leaves(
    client: MakeClient, sites: list[Server], chrome: App, write: Write, capture: Capture
) -> None:
    outer, inner = sites[:2]
    client(
        write("inner", nested(inner.client_config(inner.add_peer(), allowed_apps="chrome"), "outer")),
        write("outer", outer.client_config(outer.add_peer(), allowed_ips=f"{SERVER.v4}/32")),
    )
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    outer.stop()
    with pytest.raises(LabError):
        chrome.http(url=INTERNET.url(4), timeout=2)
    capture.stop()
    assert ports(capture) == {outer.port}
    assert in_the_open(capture) == []


def test_a_via_that_leads_nowhere_or_in_a_circle_is_told_with_its_line(
    lab: Lab, sites: list[Server], write: Write
) -> None:
    one, other = (server.client_config(server.add_peer()) for server in sites[:2])
    alone = lab.start_client(write("alone", nested(one, "elsewhere")), wait=False)
    assert alone.wait() == EXIT_CONFIG
    assert "alone.conf:2:7: Via: found 'elsewhere', expected the name of another tunnel" in alone.log()
    circle = lab.start_client(write("a", nested(one, "b")), write("b", nested(other, "a")), wait=False)
    assert circle.wait() == EXIT_CONFIG
    assert "a.conf:2:7: Via leads in a circle: a -> b -> a" in circle.log()
