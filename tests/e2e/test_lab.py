"""The lab itself: what the other end-to-end tests stand on."""

import hashlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from wiresock_py.lab import (
    CLIENT,
    ECHO_PORT,
    INNER_CLIENT,
    INNER_SERVER,
    INTERNET,
    LAN_HOST,
    ROUTER,
    SERVER,
    TUNNEL_RESOLVER,
    App,
    Capture,
    Lab,
    LabError,
    Server,
    WireGuard,
    clean,
    leftovers,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

FAMILIES = pytest.mark.parametrize("family", [4, 6])


@FAMILIES
def test_without_a_tunnel_the_internet_sees_the_clients_own_address(chrome: App, family: int) -> None:
    assert chrome.http(url=INTERNET.url(family)) == CLIENT.of(family)
    assert chrome.http(url=LAN_HOST.url(family)) == CLIENT.of(family)


@FAMILIES
def test_datagrams_and_pings_come_back_whole(chrome: App, family: int) -> None:
    sizes = [1, 1000, 1452, 9000]
    assert chrome.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=sizes) == sizes
    for raw in (False, True):
        assert chrome.ping(address=INTERNET.of(family), count=2, raw=raw) == {"answered": 2, "errors": []}


@FAMILIES
def test_udp_segment_leaves_as_the_datagrams_it_stands_for(chrome: App, family: int) -> None:
    back = chrome.udp_segments(address=INTERNET.of(family), port=ECHO_PORT, segment=1000, total=9500)
    assert back == [1000] * 9 + [500]


def test_a_download_arrives_with_the_hash_of_what_is_served(chrome: App) -> None:
    whole = chrome.download(url=INTERNET.url(4, "/bytes/3000000"))
    again = chrome.download(url=INTERNET.url(6, "/bytes/3000000"))
    assert whole["size"] == 3_000_000
    assert whole["sha256"] == again["sha256"] != hashlib.sha256(b"").hexdigest()
    assert chrome.upload(url=INTERNET.url(4), size=3_000_000)["intact"]


@FAMILIES
@pytest.mark.parametrize("tcp", [False, True])
def test_the_isps_resolver_says_who_asked_it(chrome: App, family: int, tcp: bool) -> None:
    (text,) = chrome.dns(name="asker.lab", kind="TXT", server=ROUTER.of(family), tcp=tcp)
    assert text == f"asker={CLIENT.of(family)} resolver={ROUTER.of(family)} over={'tcp' if tcp else 'udp'}"
    assert chrome.dns(name="nothing.lab", server=ROUTER.of(family), tcp=tcp) == ["NXDOMAIN"]


def test_the_c_library_asks_the_isps_resolver(chrome: App) -> None:
    assert chrome.resolve(name="resolver.lab") == [str(ROUTER.v4)]
    assert set(chrome.resolve(name="vpn.lab")) == {str(SERVER.v4), str(SERVER.v6)}


@FAMILIES
def test_the_tunnels_resolver_cannot_be_reached_without_the_tunnel(chrome: App, family: int) -> None:
    with pytest.raises(LabError, match=r"TimeoutError|unreachable"):
        chrome.dns(name="asker.lab", server=TUNNEL_RESOLVER.of(family), timeout=0.5)


def test_an_application_is_known_by_its_executable(chrome: App, lab: Lab) -> None:
    assert Path(f"/proc/{chrome.pid}/exe").readlink().name == "chrome"
    assert chrome.pid in lab.client.pids()
    assert chrome.pid not in lab.server.pids()


def test_a_failure_inside_an_application_is_raised_outside(chrome: App) -> None:
    with pytest.raises(LabError, match="chrome: ConnectionRefusedError"):
        chrome.http(url=INTERNET.url(4).replace("10/", "10:81/"))


def test_sessions_stay_open_between_requests(chrome: App) -> None:
    address, _ = chrome.open_session(name="s", address=INTERNET.of(6), port=ECHO_PORT)
    assert address == CLIENT.of(6)
    assert chrome.exchange(name="s", text="hello") == "hello"
    chrome.close_session(name="s")


def test_a_host_of_the_lan_reaches_a_listener_of_the_client(app: Callable[[str], App], lab: Lab) -> None:
    sshd = app("sshd")
    sshd.listen(port=2222)
    visitor = lab.app("visitor", namespace=lab.isp)
    visitor.open_session(name="in", address=CLIENT.of(4), port=2222)
    assert visitor.exchange(name="in", text="login") == "login"
    assert visitor.udp_echo(address=CLIENT.of(6), port=2222, sizes=[10]) == [10]
    visitor.stop()
    assert sshd.visitors(port=2222) == [f"tcp ::ffff:{ROUTER.v4}", f"udp {ROUTER.v6}"]


def test_probes_of_every_kind_are_answered_and_seen_on_the_capture(chrome: App, lab: Lab, capture: Capture) -> None:
    ports = lab.probe_ports()
    chrome.start_probes(ports, targets=INTERNET, resolvers=ROUTER, port=ECHO_PORT, rate=200)
    time.sleep(1)
    probes = chrome.stop_probes()
    capture.stop()
    assert len(probes) == pytest.approx(200, abs=20)
    assert len({entry["kind"] for entry in probes}) == 14
    assert [entry for entry in probes if not entry["answered"]] == []
    frames = capture.of_ports(ports, (CLIENT.of(4), CLIENT.of(6)))
    assert capture.lost == 0
    assert Counter(frame.protocol for frame in frames).keys() == {1, 6, 17, 58}
    # a question and an answer each at the least
    assert len(frames) >= 2 * len(probes)
    assert capture.of_ports(lab.probe_ports(), (CLIENT.of(4), CLIENT.of(6))) == []


@pytest.fixture
def wireguard_client(lab: Lab, server: Server) -> Iterator[WireGuard]:
    """wireguard-go in the client's namespace, with a preshared key; the internet host is routed into its device."""
    peer = server.add_peer(preshared=True)
    made = lab.start_wireguard_client("debian", server.wireguard_config(peer), *peer.addresses)
    for host in (INTERNET, TUNNEL_RESOLVER):
        for address in (host.v4, host.v6):
            lab.client.ip(f"route add {address} dev {made.interface}")
    lab.client.ip(
        f"route add {INNER_SERVER.v4} dev {made.interface}", f"route add {INNER_SERVER.v6} dev {made.interface}"
    )
    yield made
    made.stop()


@FAMILIES
def test_wireguard_go_answers_wireguard_go(
    capture: Capture, wireguard_client: WireGuard, server: Server, chrome: App, family: int
) -> None:
    assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)
    assert chrome.ping(address=INNER_SERVER.of(family))["answered"] == 1
    (text,) = chrome.dns(name="asker.lab", kind="TXT", server=TUNNEL_RESOLVER.of(family))
    assert text == f"asker={SERVER.of(family)} resolver={TUNNEL_RESOLVER.of(family)} over=udp"
    assert chrome.http(url=LAN_HOST.url(family)) == CLIENT.of(family)
    (state,) = server.wireguard.peers()
    assert state.handshake
    assert state.received
    assert state.endpoint.startswith(f"{CLIENT.v4}:")
    capture.stop()
    kinds = Counter(frame.wireguard for frame in capture.frames if SERVER.of(4) in (frame.source, frame.target))
    assert kinds["initiation"] >= 1
    assert kinds["response"] >= 1
    assert kinds["data"] > 10
    assert [frame for frame in capture.frames if INTERNET.of(family) in (frame.source, frame.target)] == []


def test_a_server_that_restarts_has_forgotten_its_sessions(
    wireguard_client: WireGuard, server: Server, chrome: App
) -> None:
    assert chrome.ping(address=INNER_SERVER.of(4))["answered"] == 1
    server.stop()
    assert chrome.ping(address=INNER_SERVER.of(4), timeout=0.3)["answered"] == 0
    server.start()
    assert server.wireguard.peers()[0].handshake == 0


def test_a_server_with_an_endpoint_and_keepalive_begins_the_handshake(lab: Lab, server: Server, chrome: App) -> None:
    peer = server.add_peer(number=3, endpoint=CLIENT.endpoint(6, 40_000), keepalive=1)
    client = lab.start_wireguard_client("debian", server.wireguard_config(peer), *peer.addresses)
    deadline = time.monotonic() + 10
    while not (state := server.state(peer)).handshake and time.monotonic() < deadline:
        time.sleep(0.05)
    client.stop()
    assert state.handshake, "the client knows no endpoint, so only the server can have begun"


# -- the impaired link -------------------------------------------------------------------------------------------------


@pytest.fixture
def impaired_app(impaired_lab: Lab) -> Iterator[App]:
    made = impaired_lab.app("chrome")
    yield made
    made.stop()
    impaired_lab.impair(up={}, down={})


def test_the_impaired_link_loses_what_it_says(impaired_lab: Lab, impaired_app: App) -> None:
    before = impaired_lab.impair(up={"loss": 0.3}, down={})
    answered = impaired_app.ping(address=INTERNET.of(4), count=40, timeout=0.05)["answered"]
    after = impaired_lab.impair()
    lost = after["up"]["lost"] - before["up"]["lost"]
    assert after["down"]["lost"] == before["down"]["lost"]
    assert 3 <= lost <= 25
    assert answered == 40 - lost or answered == 40 - lost + 1  # neighbour discovery may be among the lost


def test_the_impaired_link_repeats_delays_and_holds_back(impaired_lab: Lab, impaired_app: App) -> None:
    impaired_lab.impair(up={"duplicate": 1.0, "delay": 0.03}, down={})
    with impaired_lab.capture() as capture:
        started = time.monotonic()
        assert impaired_app.udp_echo(address=INTERNET.of(4), port=ECHO_PORT, sizes=[100]) == [100]
        assert time.monotonic() - started >= 0.03
        time.sleep(0.1)
    assert [frame.target for frame in capture.frames if frame.protocol == 17].count(INTERNET.of(4)) == 2
    impaired_lab.impair(up={"reorder": 0.5, "reorder_by": 0.05}, down={})
    back = impaired_app.udp_segments(address=INTERNET.of(4), port=ECHO_PORT, segment=100, total=2000)
    assert back == [100] * 20


def test_a_corrupted_datagram_is_not_delivered(impaired_lab: Lab, impaired_app: App) -> None:
    impaired_app.http(url=INTERNET.url(4))  # addresses of the link layer are known
    impaired_lab.impair(up={"corrupt": 1.0}, down={})
    assert impaired_app.udp_echo(address=INTERNET.of(4), port=ECHO_PORT, sizes=[200, 300], timeout=0.2) == []
    assert impaired_lab.impair(up={}, down={})["up"]["corrupted"] >= 2


# -- order -------------------------------------------------------------------------------------------------------------


def test_two_labs_live_side_by_side_and_each_takes_its_own_things_along(lab: Lab) -> None:
    with Lab() as other:
        mine, theirs = ({namespace.name for namespace in one.namespaces} for one in (lab, other))
        assert not mine & theirs
        server = other.start_server()
        app = other.app("chrome")
        assert app.http(url=INTERNET.url(4)) == CLIENT.of(4)
        pids = [app.pid, *other.server.pids()]
        socket = Path("/var/run/wireguard", f"{server.wireguard.interface}.sock")
        assert socket.exists()
        folder = other.folder
    assert not any(Path("/run/netns", name).exists() for name in theirs)
    assert not any(map(runs, pids))
    assert not socket.exists()
    assert not folder.exists()
    assert all(Path("/run/netns", name).exists() for name in mine)


def test_a_lab_whose_block_fails_is_torn_down() -> None:
    made = Lab()
    names = [namespace.name for namespace in made.namespaces]
    with pytest.raises(LabError, match="nonsense"), made:
        made.client.run("ip", "nonsense")
    assert not any(Path("/run/netns", name).exists() for name in names)


def test_what_a_killed_run_left_behind_is_found_and_removed() -> None:
    code = "from wiresock_py.lab import Lab; Lab().open(); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        mine = [name for name in namespaces() if f"-{child.pid}-" in name]
        assert len(mine) == 4
        assert not set(mine) & set(leftovers()), "a living run's lab is no leftover"
        child.send_signal(signal.SIGKILL)
    assert set(mine) <= set(leftovers())
    pids = [pid for name in mine for pid in map(int, _pids(name))]
    assert pids
    assert set(mine) <= set(clean())
    assert not set(mine) & set(namespaces())
    assert not any(map(runs, pids))


def runs(pid: int) -> bool:
    """Whether there is such a process; one that ended but that nobody has waited for yet does not count."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def namespaces() -> list[str]:
    return [path.name for path in Path("/run/netns").iterdir()]


def _pids(name: str) -> list[str]:
    return subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split()


def test_the_hosts_own_network_is_left_alone(lab: Lab) -> None:
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "lan0" not in links
    assert lab.label not in links
    assert str(INNER_CLIENT.v4)[:9] not in rules
