"""A network that changes, a machine that slept: who is called, and how soon."""

import socket
from collections.abc import Callable

import pytest

from tests.support.worlds import EVERYTHING, SERVERS, World, config, packed
from wiresock_py.engine.roaming import SLEPT, Roaming
from wiresock_py.errors import NetworkError
from wiresock_py.network import Change, DefaultRoute


class Host:
    """The host as the test says: its way out, its clocks, and what it tells of changes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sources: dict[bytes, bytes | None] = {}
        self.path_mtu: dict[bytes, int] = {}
        self.source: bytes | None = packed("192.168.1.100")
        self.routes: tuple[DefaultRoute, ...] = (DefaultRoute(socket.AF_INET, "eth0", 2, packed("192.168.1.1"), 0),)
        self.mtu = {"eth0": 1500, "wlan0": 1400}
        self.told = Change.NONE
        self.waking = 1000.0
        self.asleep = 0.0
        patch.setattr("wiresock_py.engine.roaming.default_adapters", lambda: self.routes)
        patch.setattr("wiresock_py.engine.roaming.adapter_mtu", self._mtu)
        patch.setattr("wiresock_py.engine.roaming.source_address", self._source)
        patch.setattr("wiresock_py.engine.roaming.path_mtu", self._path_mtu)

    def _path_mtu(self, to: bytes, *, mark: int) -> int | None:
        return self.path_mtu.get(to)

    def _source(self, to: bytes, *, mark: int) -> bytes | None:
        return self.sources.get(to, self.source)

    def _mtu(self, name: str) -> int:
        if name not in self.mtu:
            raise NetworkError(f"there is no adapter {name}")
        return self.mtu[name]

    def wait(self, _timeout: float) -> Change:
        told, self.told = self.told, Change.NONE
        return told


Follow = Callable[[], list[int]]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, host: Host) -> World:
    world = World(monkeypatch, config(EVERYTHING, "AllowedIPs = 10.9.0.0/16"))
    monkeypatch.setattr("wiresock_py.engine.roaming.clock", lambda: world.now)
    world.pass_time(20)
    return world


@pytest.fixture
def follow(world: World, host: Host) -> Follow:
    """One turn of the thread; the types of what was sent, by the number of the peer."""
    roaming = Roaming(
        world.links,
        host,
        boot_clock=lambda: host.waking + host.asleep,
        waking_clock=lambda: host.waking,
        sleep=lambda _seconds: None,
    )

    def follow() -> list[int]:
        roaming.follow()
        sent = world.wire(world.links[0]).sent
        found = [SERVERS.index(endpoint) * 10 + data[0] for data, endpoint in sent]
        sent.clear()
        return found

    return follow


INITIATION, DATA = 1, 4
BOTH_CALLED = [DATA, INITIATION, 10 + DATA, 10 + INITIATION]


def test_without_news_nobody_is_called(follow: Follow) -> None:
    assert follow() == []


def test_news_that_leave_the_ways_as_they_are_call_nobody(host: Host, follow: Follow) -> None:
    host.told = Change.ALL
    assert follow() == []


def test_another_address_is_told_to_every_peer_in_its_session_and_by_a_handshake(host: Host, follow: Follow) -> None:
    host.source, host.told = packed("192.168.1.120"), Change.ADDRESS
    assert follow() == BOTH_CALLED
    host.told = Change.ALL
    assert follow() == []


def test_another_router_behind_the_same_address_may_translate_differently(host: Host, follow: Follow) -> None:
    host.routes = (DefaultRoute(socket.AF_INET, "eth0", 2, packed("192.168.1.2"), 0),)
    host.told = Change.ROUTE
    assert follow() == BOTH_CALLED


def test_only_the_peer_whose_way_changes_is_called(host: Host, follow: Follow) -> None:
    host.sources[packed(SERVERS[1].address)] = packed("192.168.7.7")
    host.told = Change.ROUTE
    assert follow() == [10 + DATA, 10 + INITIATION]


def test_a_link_that_comes_back_is_noticed_though_it_looks_as_before(host: Host, follow: Follow) -> None:
    before = host.source, host.routes
    host.source, host.routes, host.told = None, (), Change.ALL
    assert follow() == []  # there is nowhere to call
    (host.source, host.routes), host.told = before, Change.ALL
    assert follow() == BOTH_CALLED


def test_after_a_sleep_every_peer_is_called(host: Host, follow: Follow) -> None:
    host.asleep = SLEPT / 2
    assert follow() == []
    host.asleep += 2 * SLEPT
    assert follow() == BOTH_CALLED
    assert follow() == []


def test_after_a_sleep_longer_than_a_session_lives_only_a_handshake_is_sent(
    world: World, host: Host, follow: Follow
) -> None:
    host.asleep = 3600
    world.now += 3600
    assert follow() == [INITIATION, 10 + INITIATION]


def test_the_tunnel_fits_the_adapter_that_the_default_route_leads_over(
    world: World, host: Host, follow: Follow
) -> None:
    (link,) = world.links
    assert link.mtu == 1420
    host.routes = (DefaultRoute(socket.AF_INET, "wlan0", 3, packed("10.1.1.1"), 0),)
    host.told = Change.ROUTE
    follow()
    assert (link.adapter_mtu, link.mtu) == (1400, 1320)
    assert {peer.mtu for peer in link.peers} == {1320}


def test_the_tunnel_fits_the_narrowest_way_to_a_peer_without_any_news(world: World, host: Host, follow: Follow) -> None:
    (link,) = world.links
    host.path_mtu = {packed(SERVERS[0].address): 1500, packed(SERVERS[1].address): 1400}
    assert follow() == []
    assert (link.adapter_mtu, link.mtu) == (1500, 1320)
    host.path_mtu = {}  # the kernel forgets what routers asked for after a while
    follow()
    assert link.mtu == 1420


def test_an_mtu_given_in_the_file_stays(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    world = World(monkeypatch, config(EVERYTHING, interface="Address = 10.66.66.2/32\nMTU = 1390"))
    world.links[0].fit(1400)
    assert (world.links[0].adapter_mtu, world.links[0].mtu) == (1400, 1390)


def test_an_adapter_that_is_gone_already_changes_nothing(world: World, host: Host, follow: Follow) -> None:
    host.routes = (DefaultRoute(socket.AF_INET, "usb0", 9, b"", 0),)
    host.told = Change.LINK
    follow()
    assert world.links[0].mtu == 1420


def test_a_peer_that_never_spoke_and_is_nowhere_is_not_called(world: World, host: Host, follow: Follow) -> None:
    world.links[0].peers[1].endpoint = None
    host.source, host.told = packed("192.168.1.120"), Change.ADDRESS
    assert follow() == [DATA, INITIATION]
