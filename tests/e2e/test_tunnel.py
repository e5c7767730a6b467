"""Applications through our client and a real WireGuard server: what arrives where, from whom, and whole."""

import time
from collections.abc import Callable, Iterator

import pytest

from wiresock_py.lab import (
    CLIENT,
    CLIENT_OTHER,
    ECHO_PORT,
    INNER_SERVER,
    INTERNET,
    LAN_HOST,
    ROUTER,
    SERVER,
    TUNNEL_RESOLVER,
    App,
    Capture,
    Client,
    Lab,
    LabError,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

FAMILIES = pytest.mark.parametrize("family", [4, 6])

MakeClient = Callable[..., Client]
SIZES = [1, 1000, 1392, 1393, 1452, 3000, 9000, 65_000]
"""Datagrams around the tunnel's MTU of 1420, around the adapter's of 1500, and well beyond."""


@pytest.fixture
def tunnel(client: MakeClient, server: Server) -> Client:
    """Our client with the article's rules: chrome through the tunnel, the local network excepted."""
    peer = server.add_peer()
    return client(server.client_config(peer, allowed_apps="chrome", disallowed_ips="192.168.1.0/24, 2001:db8:1::/64"))


@FAMILIES
def test_complaint_13_the_named_application_comes_from_the_server_and_the_other_from_itself(
    tunnel: Client, chrome: App, firefox: App, family: int
) -> None:
    assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)
    assert firefox.http(url=INTERNET.url(family)) == CLIENT.of(family)
    assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)


@FAMILIES
def test_disallowed_networks_are_reached_directly(tunnel: Client, chrome: App, family: int) -> None:
    assert chrome.http(url=LAN_HOST.url(family)) == CLIENT.of(family)


@FAMILIES
def test_everything_but_the_disallowed_application_goes_through_the_tunnel(
    client: MakeClient, server: Server, chrome: App, firefox: App, family: int
) -> None:
    client(server.client_config(server.add_peer(), disallowed_apps="firefox"))
    assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)
    assert firefox.http(url=INTERNET.url(family)) == CLIENT.of(family)


@FAMILIES
def test_without_application_rules_everything_goes_through_the_tunnel(
    client: MakeClient, server: Server, firefox: App, family: int
) -> None:
    client(server.client_config(server.add_peer()))
    assert firefox.http(url=INTERNET.url(family)) == SERVER.of(family)
    assert firefox.ping(address=INNER_SERVER.of(family), count=3) == {"answered": 3, "errors": []}


@pytest.mark.parametrize("outer", [f"vpn.lab:{51820}", SERVER.endpoint(4, 51820), SERVER.endpoint(6, 51820)])
def test_the_server_is_reached_over_either_family_and_by_name(
    client: MakeClient, server: Server, chrome: App, outer: str
) -> None:
    client(server.client_config(server.add_peer(), allowed_apps="chrome", endpoint=outer))
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    assert chrome.http(url=INTERNET.url(6)) == SERVER.of(6)


@FAMILIES
@pytest.mark.parametrize("tcp", [False, True])
def test_the_applications_dns_is_answered_by_the_tunnels_resolver(
    tunnel: Client, chrome: App, firefox: App, family: int, tcp: bool
) -> None:
    (text,) = chrome.dns(name="asker.lab", kind="TXT", server=ROUTER.of(family), tcp=tcp)
    asker, resolver, _ = text.split()
    assert asker in {f"asker={SERVER.of(4)}", f"asker={SERVER.of(6)}"}
    assert resolver in {f"resolver={TUNNEL_RESOLVER.of(4)}", f"resolver={TUNNEL_RESOLVER.of(6)}"}
    (text,) = firefox.dns(name="asker.lab", kind="TXT", server=ROUTER.of(family), tcp=tcp)
    assert text.split()[:2] == [f"asker={CLIENT.of(family)}", f"resolver={ROUTER.of(family)}"]


def test_the_c_librarys_resolver_gets_the_tunnels_answers(tunnel: Client, chrome: App, firefox: App) -> None:
    assert chrome.resolve(name="resolver.lab") == [str(TUNNEL_RESOLVER.v4)]
    assert firefox.resolve(name="resolver.lab") == [str(ROUTER.v4)]


@pytest.mark.parametrize("tcp", [False, True])
def test_a_resolver_on_loopback_is_answered_for_by_the_tunnels(
    tunnel: Client, lab: Lab, chrome: App, firefox: App, tcp: bool
) -> None:
    resolver = lab.start_loopback_resolver("127.0.0.53")
    try:
        (text,) = firefox.dns(name="asker.lab", kind="TXT", server="127.0.0.53", tcp=tcp)
        assert text.split()[:2] == ["asker=127.0.0.1", "resolver=127.0.0.53"]
        # the application's socket is connected to 127.0.0.53: only an answer from there reaches it
        (text,) = chrome.dns(name="asker.lab", kind="TXT", server="127.0.0.53", tcp=tcp)
        assert text.split()[:2] == [f"asker={SERVER.of(4)}", f"resolver={TUNNEL_RESOLVER.of(4)}"]
    finally:
        resolver.stop()


@FAMILIES
def test_datagrams_of_every_size_come_back_whole(tunnel: Client, chrome: App, family: int) -> None:
    back = chrome.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=SIZES, timeout=1, tries=3)
    assert back == SIZES


@FAMILIES
@pytest.mark.parametrize("raw", [False, True])
def test_pings_are_answered_through_the_tunnel(
    tunnel: Client, server: Server, lab: Lab, chrome: App, family: int, raw: bool
) -> None:
    with lab.capture_inner(server) as inner:
        assert chrome.ping(address=INTERNET.of(family), count=3, raw=raw) == {"answered": 3, "errors": []}
    assert sum(frame.protocol in (1, 58) and frame.target == INTERNET.of(family) for frame in inner.frames) == 3


@FAMILIES
def test_a_ping_that_may_not_be_fragmented_learns_the_tunnels_mtu(tunnel: Client, chrome: App, family: int) -> None:
    header = 28 if family == 4 else 48
    fits = chrome.ping(address=INTERNET.of(family), size=1420 - header, dont_fragment=True)
    assert fits == {"answered": 1, "errors": []}
    first, *rest = (
        chrome.ping(address=INTERNET.of(family), size=1421 - header, dont_fragment=True, timeout=0.5) for _ in range(2)
    )
    assert first["answered"] == 0
    assert rest[0]["errors"] == ["Message too long"]


@FAMILIES
def test_a_udp_segment_senders_datagrams_keep_their_boundaries(tunnel: Client, chrome: App, family: int) -> None:
    address = INTERNET.of(family)
    for segment, total in ((1000, 9500), (1372, 20 * 1372), (100, 6_400)):
        back = chrome.udp_segments(address=address, port=ECHO_PORT, segment=segment, total=total)
        whole, rest = divmod(total, segment)
        assert back == [segment] * whole + ([rest] if rest else [])


@FAMILIES
def test_a_download_and_an_upload_arrive_unchanged(tunnel: Client, chrome: App, firefox: App, family: int) -> None:
    url = INTERNET.url(family, "/bytes/20000000")
    assert chrome.download(url=url)["sha256"] == firefox.download(url=url)["sha256"]
    assert chrome.upload(url=INTERNET.url(family), size=10_000_000)["intact"]


@FAMILIES
def test_every_local_address_gets_its_own_answers(tunnel: Client, chrome: App, family: int) -> None:
    for host in (CLIENT, CLIENT_OTHER):
        assert chrome.http(url=INTERNET.url(family), source=host.of(family)) == SERVER.of(family)
        assert chrome.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=[100], source=host.of(family)) == [
            100
        ]


def test_two_sockets_with_the_same_ports_on_two_addresses_do_not_meet(tunnel: Client, chrome: App) -> None:
    sizes = [500, 501, 502]
    asked = [
        chrome.submit(
            "udp_echo", address=INTERNET.of(4), port=ECHO_PORT, sizes=sizes, source=host.of(4), source_port=3000
        )
        for host in (CLIENT, CLIENT_OTHER)
    ]
    assert [answer.result(10) for answer in asked] == [sizes, sizes]


def test_several_addresses_on_the_interface_are_accepted(client: MakeClient, server: Server, chrome: App) -> None:
    peer = server.add_peer()
    addresses = f"{peer.addresses[0]}, 10.66.66.102/32, {peer.addresses[1]}, fd42:42:42::102/128"
    client(server.client_config(peer, allowed_apps="chrome", addresses=addresses))
    assert [chrome.http(url=INTERNET.url(family)) for family in (4, 6)] == [SERVER.of(4), SERVER.of(6)]


def test_two_tunnels_run_side_by_side_each_with_its_own_application(
    client: MakeClient, lab: Lab, server: Server, chrome: App, firefox: App, app: Callable[[str], App]
) -> None:
    one, other = server.add_peer(number=2), server.add_peer(number=3)
    client(server.client_config(one, allowed_apps="chrome"), server.client_config(other, allowed_apps="firefox"))
    with lab.capture_inner(server) as inner:
        assert chrome.http(url=INTERNET.url(4)) == firefox.http(url=INTERNET.url(4)) == SERVER.of(4)
        assert app("curl").http(url=INTERNET.url(4)) == CLIENT.of(4)
    sources = {frame.source for frame in inner.frames if frame.target == INTERNET.of(4)}
    assert sources == {"10.66.66.2", "10.66.66.3"}


@FAMILIES
def test_an_inbound_session_is_left_alone(
    client: MakeClient, server: Server, lab: Lab, app: Callable[[str], App], family: int
) -> None:
    sshd, visitor = app("sshd"), lab.app("visitor", namespace=lab.internet)
    sshd.listen(port=2222)
    visitor.open_session(name="before", address=CLIENT.of(family), port=2222)
    client(server.client_config(server.add_peer()))
    visitor.open_session(name="after", address=CLIENT.of(family), port=2222)
    for name in ("before", "after", "before"):
        assert visitor.exchange(name=name, text="still here") == "still here"
    visitor.stop()


def test_a_family_that_the_tunnel_has_no_address_in_is_blocked_for_its_applications(
    client: MakeClient, server: Server, chrome: App, firefox: App
) -> None:
    peer = server.add_peer()
    config = server.client_config(
        peer, allowed_apps="chrome", addresses=peer.addresses[0], dns=str(TUNNEL_RESOLVER.v4), allowed_ips="0.0.0.0/0"
    )
    client(config)
    with pytest.raises(LabError, match="chrome"):
        chrome.http(url=INTERNET.url(6), timeout=2)
    assert firefox.http(url=INTERNET.url(6)) == CLIENT.of(6)
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


# -- on the wire -------------------------------------------------------------------------------------------------------


def outside(capture: Capture, *addresses: str) -> list[object]:
    """Frames on the access link that carry one of these remote addresses in the clear."""
    return [frame for frame in capture.frames if frame.source in addresses or frame.target in addresses]


def test_nothing_of_a_tunnelled_flow_is_on_the_access_link(tunnel: Client, chrome: App, capture: Capture) -> None:
    for family in (4, 6):
        chrome.http(url=INTERNET.url(family))
        chrome.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=[100, 5000])
        chrome.ping(address=INTERNET.of(family))
    capture.stop()
    assert capture.lost == 0
    assert outside(capture, INTERNET.of(4), INTERNET.of(6)) == []
    assert any(frame.wireguard == "data" for frame in capture.frames)


@pytest.fixture
def bulk(tunnel: Client, app: Callable[[str], App]) -> Iterator[App]:
    """A second process named chrome that keeps a download running through the tunnel."""
    made = app("chrome")
    transfer = made.submit("download", url=INTERNET.url(4, "/bytes/60000000"))
    yield made
    assert transfer.result(60)["size"] == 60_000_000


def test_an_undecided_flow_beside_a_bulk_flow_puts_no_frame_on_the_wrong_link(
    tunnel: Client, bulk: App, server: Server, lab: Lab, chrome: App, firefox: App, capture: Capture
) -> None:
    chrome_ports, firefox_ports = lab.probe_ports(), lab.probe_ports()
    with lab.capture_inner(server) as inner:
        for app, ports in ((chrome, chrome_ports), (firefox, firefox_ports)):
            app.start_probes(ports, targets=INTERNET, port=ECHO_PORT, rate=100, protocols=["tcp-new", "udp-new"])
        time.sleep(3)
        through, direct = chrome.stop_probes(), firefox.stop_probes()
    capture.stop()
    assert capture.lost == inner.lost == 0
    clients = {CLIENT.of(4), CLIENT.of(6)}
    assert capture.of_ports(chrome_ports, clients) == []
    assert inner.of_ports(firefox_ports, {"10.66.66.2", "fd42:42:42::2"}) == []
    # each of them did travel, on its own way
    assert len(capture.of_ports(firefox_ports, clients)) >= len(direct) >= 250
    assert len(inner.of_ports(chrome_ports, {"10.66.66.2", "fd42:42:42::2"})) >= len(through) >= 250
    for probes in (through, direct):
        assert sum(1 for probe in probes if probe["answered"]) >= 0.98 * len(probes)
