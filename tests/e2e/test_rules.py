"""The rules on real traffic: settings.yaml, names, servers behind the tunnel, DNS beside a dead tunnel."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wiresock_py.lab import (
    CLIENT,
    INNER_CLIENT,
    INNER_SERVER,
    INTERNET,
    LAN_HOST,
    OTHER_SITE,
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
NOBODY = "AllowedApps = nobody-has-this-name\n"
DEAD_SERVER = SERVER.endpoint(4, 9)


@pytest.fixture
def stating(client: MakeClient, tmp_path: Path) -> MakeClient:
    """Starts our client with rules of settings.yaml."""

    def start(text: str, *configs: str | Path) -> Client:
        settings = tmp_path / "settings.yaml"
        settings.write_text(text)
        return client(*configs, options=("--settings", str(settings), "--connect-timeout", "0"))

    return start


def named(tmp_path: Path, name: str, text: str) -> Path:
    """A file, so that its tunnel has a name that rules can say."""
    path = tmp_path / f"{name}.conf"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_complaint_10_these_addresses_for_every_app_and_that_app_to_everywhere(
    stating: MakeClient, server: Server, chrome: App, firefox: App, tmp_path: Path
) -> None:
    work = named(tmp_path, "work", server.client_config(server.add_peer()) + NOBODY)
    stating(f"rules:\n- {{to: {OTHER_SITE.v4}, action: tunnel work}}\n- {{apps: chrome, action: tunnel work}}\n", work)
    assert firefox.http(url=OTHER_SITE.url(4)) == SERVER.of(4)
    assert firefox.http(url=INTERNET.url(4)) == CLIENT.of(4)
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    assert chrome.resolve(name="resolver.lab") == [TUNNEL_RESOLVER.of(4)]
    assert firefox.resolve(name="resolver.lab") == [ROUTER.of(4)]


def test_the_first_rule_that_is_met_decides(
    stating: MakeClient, server: Server, chrome: App, firefox: App, tmp_path: Path
) -> None:
    work = named(tmp_path, "work", server.client_config(server.add_peer()))
    stating(
        "rules:\n- {apps: chrome, ports: 7, action: block}\n- {apps: chrome, action: direct}\n"
        f"- {{to: {OTHER_SITE.v4}, action: block}}\n",
        work,
    )
    assert chrome.http(url=OTHER_SITE.url(4)) == CLIENT.of(4)
    began = time.monotonic()
    with pytest.raises(LabError):
        chrome.open_session(name="echo", address=INTERNET.of(4), port=7)
    with pytest.raises(LabError):
        firefox.http(url=OTHER_SITE.url(4))
    assert time.monotonic() - began < 2  # refused, not waited for
    assert firefox.http(url=INTERNET.url(4)) == SERVER.of(4)


def test_complaint_1_two_tunnels_by_app_each_on_its_own(
    stating: MakeClient, lab: Lab, server: Server, chrome: App, firefox: App, tmp_path: Path
) -> None:
    one, other = server.add_peer(number=2), server.add_peer(number=3)
    files = [named(tmp_path, name, server.client_config(peer)) for name, peer in (("a", one), ("b", other))]
    stating(
        "rules:\n- {apps: firefox, action: tunnel b}\n- {apps: chrome, action: tunnel a}\n- {action: direct}", *files
    )
    with lab.capture_inner(server) as inner:
        for app in (chrome, firefox):
            assert app.http(url=INTERNET.url(4)) == SERVER.of(4)
    sources = [frame.source for frame in inner.frames if frame.target == INTERNET.of(4)]
    assert list(dict.fromkeys(sources)) == ["10.66.66.2", "10.66.66.3"]


def test_a_program_is_tunnelled_for_what_started_it(client: MakeClient, server: Server, firefox: App) -> None:
    tree = os.path.basename(os.path.realpath(sys.executable))  # noqa: PTH119 - this process started firefox
    client(server.client_config(server.add_peer()) + f"AllowedAppTrees = {tree}\n")
    assert firefox.http(url=INTERNET.url(4)) == SERVER.of(4)


def test_a_program_that_nobody_of_the_tree_started_is_not(client: MakeClient, server: Server, firefox: App) -> None:
    client(server.client_config(server.add_peer()) + "AllowedAppTrees = chrome\n")
    assert firefox.http(url=INTERNET.url(4)) == CLIENT.of(4)


def test_complaint_3_an_app_outside_the_tunnel_costs_us_its_first_packets_only(
    client: MakeClient, server: Server, chrome: App, firefox: App
) -> None:
    running = client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    assert firefox.download(url=INTERNET.url(4, "/bytes/50000000"))["size"] == 50_000_000
    for _ in range(5):
        assert firefox.upload(url=INTERNET.url(6), size=1_000_000)["intact"]
    assert running.status()["capture"]["captured"] < 100
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


# -- names -------------------------------------------------------------------------------------------------------------


@FAMILIES
def test_complaint_14_a_domain_is_tunnelled_and_the_rest_is_not(
    client: MakeClient, server: Server, chrome: App, firefox: App, family: int
) -> None:
    """internet.lab and other.lab lie at two addresses of one host; every app is meant."""
    client(server.client_config(server.add_peer()) + "AllowedDomains = internet.lab\n")
    kind = "A" if family == 4 else "AAAA"
    assert chrome.http(url=INTERNET.url(family)) == CLIENT.of(family)  # nobody asked for a name yet
    assert firefox.dns(name="internet.lab", kind=kind) == [INTERNET.of(family)]
    assert chrome.http(url=INTERNET.url(family)) == SERVER.of(family)
    assert firefox.dns(name="other.lab", kind=kind, server=ROUTER.of(family)) == [OTHER_SITE.of(family)]
    assert chrome.http(url=OTHER_SITE.url(family)) == CLIENT.of(family)


def test_a_query_for_a_tunnelled_name_goes_to_the_tunnels_resolver_and_others_stay(
    client: MakeClient, server: Server, chrome: App, capture: Capture
) -> None:
    client(server.client_config(server.add_peer()) + "AllowedDomains = *.probe.lab\n")
    (text,) = chrome.dns(name="x.probe.lab", kind="TXT")
    assert f"resolver={TUNNEL_RESOLVER.of(4)}" in text
    (text,) = chrome.dns(name="asker.lab", kind="TXT")
    assert text.split()[:2] == [f"asker={CLIENT.of(4)}", f"resolver={ROUTER.of(4)}"]
    capture.stop()
    assert not [frame for frame in capture.frames if b"\x01x\x05probe" in frame.payload]
    assert [frame for frame in capture.frames if b"\x05asker" in frame.payload]


def test_a_disallowed_domain_is_direct(client: MakeClient, server: Server, chrome: App) -> None:
    client(server.client_config(server.add_peer()) + "DisallowedDomains = other.lab\n")
    assert chrome.resolve(name="other.lab") == sorted(OTHER_SITE.of(family) for family in (4, 6))
    assert chrome.http(url=OTHER_SITE.url(4)) == CLIENT.of(4)
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


def test_a_name_can_be_blocked_and_its_query_is_refused_at_once(
    stating: MakeClient, server: Server, chrome: App, tmp_path: Path
) -> None:
    work = named(tmp_path, "work", server.client_config(server.add_peer()))
    stating("rules: [{domains: other.lab, action: block}]", work)
    with pytest.raises(LabError):
        chrome.dns(name="other.lab")
    assert chrome.dns(name="internet.lab") == [INTERNET.of(4)]


def test_names_outlive_a_worker(client: MakeClient, server: Server, chrome: App, capture: Capture) -> None:
    running = client(server.client_config(server.add_peer()) + "AllowedDomains = internet.lab\n")
    running.wait_until_connected()
    assert chrome.dns(name="internet.lab") == [INTERNET.of(4)]
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    running.kill_worker()
    with pytest.raises(LabError):  # the line is held: it waits, though its name was learned by a process that is gone
        chrome.http(url=INTERNET.url(4), timeout=0.3)
    running.wait_for_log("handshake with", times=2)
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    capture.stop()
    assert not [frame for frame in capture.frames if INTERNET.of(4) in (frame.source, frame.target)]


# -- DNS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tcp", [False, True])
@FAMILIES
def test_complaint_2_other_apps_dns_works_while_the_tunnels_server_is_dead(
    stating: MakeClient, server: Server, chrome: App, firefox: App, tmp_path: Path, family: int, tcp: bool
) -> None:
    config = server.client_config(server.add_peer(), allowed_apps="chrome", endpoint=DEAD_SERVER)
    stating("", named(tmp_path, "dead", config))
    (text,) = firefox.dns(name="asker.lab", kind="TXT", server=ROUTER.of(family), tcp=tcp)
    assert text.split()[:2] == [f"asker={CLIENT.of(family)}", f"resolver={ROUTER.of(family)}"]
    with pytest.raises(LabError):
        chrome.dns(name="asker.lab", kind="TXT", server=ROUTER.of(family), tcp=tcp, timeout=1)


def test_names_are_learned_for_others_while_the_tunnels_server_is_dead(
    stating: MakeClient, server: Server, firefox: App, tmp_path: Path
) -> None:
    config = server.client_config(server.add_peer(), endpoint=DEAD_SERVER)
    stating("", named(tmp_path, "dead", config + "AllowedDomains = internet.lab\n"))
    assert firefox.dns(name="other.lab") == [OTHER_SITE.of(4)]
    assert firefox.http(url=OTHER_SITE.url(4)) == CLIENT.of(4)


def test_a_silent_resolver_is_passed_over_for_the_next(client: MakeClient, server: Server, chrome: App) -> None:
    silent = INNER_SERVER.of(4)  # nothing listens there: refused by ICMP, which is no answer
    client(server.client_config(server.add_peer(), allowed_apps="chrome", dns=f"{silent}, {TUNNEL_RESOLVER.v4}"))
    assert chrome.resolve(name="resolver.lab") == [TUNNEL_RESOLVER.of(4)]


def test_a_host_with_only_ipv6_resolvers_asks_a_tunnel_with_only_ipv4_ones(
    client: MakeClient, server: Server, chrome: App
) -> None:
    client(server.client_config(server.add_peer(), allowed_apps="chrome", dns=str(TUNNEL_RESOLVER.v4)))
    (text,) = chrome.dns(name="asker.lab", kind="TXT", server=ROUTER.of(6))
    assert text.split()[:2] == [f"asker={SERVER.of(4)}", f"resolver={TUNNEL_RESOLVER.of(4)}"]


def test_search_domains_beside_the_servers_are_accepted(client: MakeClient, server: Server, chrome: App) -> None:
    dns = f"office.example, {TUNNEL_RESOLVER.v4}"
    client(server.client_config(server.add_peer(), allowed_apps="chrome", dns=dns))
    assert chrome.resolve(name="resolver.lab") == [TUNNEL_RESOLVER.of(4)]


@pytest.mark.parametrize(
    ("policy", "resolver"), [("rules", ROUTER), ("tunnel", TUNNEL_RESOLVER), ("tunnel_or_direct", TUNNEL_RESOLVER)]
)
def test_a_shared_resolver_follows_its_policy(
    stating: MakeClient, server: Server, app: Callable[[str], App], tmp_path: Path, policy: str, resolver: object
) -> None:
    config = server.client_config(server.add_peer(), allowed_apps="chrome")
    stating(f"shared_resolver: {policy}", named(tmp_path, "a", config)).wait_until_connected()
    assert app("systemd-resolved").resolve(name="resolver.lab") == [resolver.of(4)]  # type: ignore[attr-defined]
    assert app("firefox").resolve(name="resolver.lab") == [ROUTER.of(4)]


# -- IPv6 and the local network ----------------------------------------------------------------------------------------


def test_complaint_5_the_version_a_tunnel_lacks_is_refused_at_once_for_its_apps_and_untouched_for_others(
    client: MakeClient, server: Server, chrome: App, firefox: App, capture: Capture
) -> None:
    peer = server.add_peer()
    client(server.client_config(peer, allowed_apps="chrome", addresses=peer.addresses[0], allowed_ips="0.0.0.0/0"))
    began = time.monotonic()
    with pytest.raises(LabError, match="refused"):
        chrome.http(url=INTERNET.url(6))
    assert chrome.ping(address=INTERNET.of(6), timeout=0.5)["answered"] == 0
    assert time.monotonic() - began < 2
    assert firefox.http(url=INTERNET.url(6)) == CLIENT.of(6)
    assert firefox.ping(address=INTERNET.of(6))["answered"] == 1
    capture.stop()
    targets = [frame.target for frame in capture.frames if frame.source == CLIENT.of(6) and frame.protocol == 58]
    assert targets.count(INTERNET.of(6)) == 1


@FAMILIES
def test_complaint_6_the_local_network_is_reached_with_bypass_lan_and_the_rest_is_tunnelled(
    client: MakeClient, server: Server, firefox: App, family: int
) -> None:
    config = server.client_config(server.add_peer()).replace("[Interface]\n", "[Interface]\nBypassLan = true\n")
    client(config)
    assert firefox.http(url=LAN_HOST.url(family)) == CLIENT.of(family)
    assert firefox.http(url=INTERNET.url(family)) == SERVER.of(family)


# -- servers reached through the tunnel --------------------------------------------------------------------------------


@FAMILIES
def test_complaint_18_a_server_on_this_host_is_reached_through_the_tunnel_on_the_ports_it_allows(
    client: MakeClient, server: Server, lab: Lab, app: Callable[[str], App], capture: Capture, family: int
) -> None:
    sshd, visitor = app("sshd"), lab.app("visitor", namespace=lab.server)
    for port in (2222, 2223):
        sshd.listen(port=port)
    config = server.client_config(server.add_peer(), allowed_apps="chrome") + "AllowInbound = 2222\n"
    client(config).wait_until_connected()
    inside = INNER_CLIENT.of(family)
    visitor.open_session(name="tcp", address=inside, port=2222)
    assert visitor.exchange(name="tcp", text="hello" * 2000) == "hello" * 2000
    assert visitor.udp_echo(address=inside, port=2222, sizes=[100, 1000]) == [100, 1000]
    assert {visit.split()[1].removeprefix("::ffff:") for visit in sshd.visitors(port=2222)} == {INNER_SERVER.of(family)}
    with pytest.raises(LabError):
        visitor.open_session(name="other", address=inside, port=2223, timeout=1)
    assert sshd.visitors(port=2223) == []
    visitor.stop()
    capture.stop()
    assert not [frame for frame in capture.frames if 2222 in (frame.source_port, frame.target_port)]
