"""The whole engine over the ndisapi backend and a driver double: real sockets to a WireGuard server, apps by rule.

The host, its apps and the internet are those of the memory demo; between them lie Ethernet frames and the driver.
"""

import hashlib
import queue
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_interface
from typing import Any, cast

import pytest

from tests.support.drivers import DRIVERS
from tests.support.ethernet import EthernetHost
from wiresock_py.config import parse
from wiresock_py.crypto import Event
from wiresock_py.datapath import parse as parse_packet
from wiresock_py.datapath.headers import Header
from wiresock_py.demo.examples import fitted
from wiresock_py.demo.memory.host import MemoryHost
from wiresock_py.demo.memory.internet import DNS_PORT, ECHO_PORT, HTTP_PORT, Internet, Isp
from wiresock_py.demo.memory.packets import ACK, PSH, End, tcp, tcp_numbers
from wiresock_py.demo.memory.server import MemoryServer
from wiresock_py.engine import Engine, Link
from wiresock_py.filters import PacketFlag
from wiresock_py.filters.ndisapi import NdisApi
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.lab import CLIENT, INNER_CLIENT, INTERNET, LAN_HOST, ROUTER, SERVER, TUNNEL_RESOLVER, Host
from wiresock_py.lab.programs.wire import answers, question
from wiresock_py.rules import Rules

BOTH = pytest.mark.parametrize("family", [4, 6])
RULES = """[Interface]
PrivateKey = YEocP0e2o1WT5GlvBvQzVF7EeR6z9aCk+ZdZ5NKEuXA=
Address = 10.66.66.2/32, fd42:42:42::2/128
DNS = 192.0.2.53, 2001:db8:53::53
MTU = 1420
[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
Endpoint = 198.51.100.2:51820
AllowedIPs = 0.0.0.0/0, ::/0
AllowedApps = chrome
DisallowedIPs = 192.168.1.0/24, 2001:db8:1::/64
"""
# What an interface of 1500 bytes lets a stack put into a segment over either family.
SEGMENT = 1440


class Wires:
    """The wires' ends of the memory backend, as the demo's hosts want them, over Ethernet and the driver."""

    def __init__(self, host: EthernetHost) -> None:
        self._host = host
        self.offloading = False
        """Whether the stack leaves the checksums of data to the adapter."""

    def stack_sends(self, packet: bytes, _adapter: str = "", flags: PacketFlag = PacketFlag.NONE) -> None:
        for segment in _segments(packet, self.offloading) if PacketFlag.SUPER_PACKET in flags else [packet]:
            self._host.stack_sends(segment)

    def stack_received(self, timeout: float = 0.0) -> list[bytes]:
        return self._host.stack_received(timeout=timeout)

    def network_received(self, timeout: float = 0.0) -> list[bytes]:
        return self._host.network_received(timeout=timeout)

    def network_sends(self, packet: bytes) -> None:
        self._host.network_sends(packet)


def _segments(packet: bytes, partial: bool) -> list[bytes]:
    """A TCP packet as a stack without segmentation offload sends it."""
    header = parse_packet(packet)
    assert isinstance(header, Header)
    sequence, acknowledgment = tcp_numbers(packet, header)
    data = packet[header.transport + 20 : header.length]
    ends = End(header.source, header.source_port), End(header.destination, header.destination_port)
    return [
        tcp(*ends, sequence + at, acknowledgment, ACK | PSH, data[at : at + SEGMENT], partial=partial)
        for at in range(0, len(data), SEGMENT)
    ]


class Stage:
    """A client on the driver, its engine running, a server on loopback, and the internet behind both ways."""

    def __init__(self, driver: Any, resources: ExitStack) -> None:
        addresses = (f"{CLIENT.v4}/24", f"{CLIENT.v6}/64")
        self.ethernet = EthernetHost(driver, {"eth0": addresses}, default=("eth0",))
        self.wires = Wires(self.ethernet)
        self.host = MemoryHost(cast("Any", self.wires), CLIENT)
        self.isp = Isp(cast("Any", self.wires), Internet([ROUTER, LAN_HOST, INTERNET], [ROUTER]))
        resources.callback(self.isp.stop)
        server = MemoryServer(Internet([INTERNET], [TUNNEL_RESOLVER]), preshared=False)
        resources.callback(server.stop)
        config = fitted(
            parse(RULES, "wg0.conf"),
            private_key=server.client_key,
            addresses=[ip_interface(INNER_CLIENT.v4), ip_interface(INNER_CLIENT.v6)],
            public_key=server.public_key,
            preshared_key=None,
            endpoint=server.endpoint,
        )
        rules = Rules([config])
        self.backend = NdisApiBackend(self.ethernet, driver.open)
        lock = threading.Lock()
        link = Link(config, 1500, self.backend.mark, lock)
        resources.callback(link.close)
        resources.enter_context(self.backend.exempt(link.socket.port))
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.failures: list[BaseException] = []
        self.engine = Engine(
            rules,
            self.backend,
            cast("Any", self.host),
            lock,
            [link],
            on_event=lambda _link, _peer, event: events.put(event),
            on_failure=self.failures.append,
        )
        self.backend.open(rules.plan())
        resources.callback(self.backend.close)
        resources.callback(self.engine.stop)
        self.engine.start()
        while events.get(timeout=10.0) is not Event.CONNECTED:
            pass

    def outside(self, first: int) -> int:
        """Packets that left or came outside the tunnel, of the host's flows from number *first* on."""
        return sum(map(self.isp.seen, self.host.opened[first:]))


@pytest.fixture(params=DRIVERS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with DRIVERS[request.param]() as driver:
        with ExitStack() as resources:
            made = Stage(driver, resources)
            yield made
            assert made.failures == []
        with NdisApi(driver.open()) as api:
            assert api.restore() == [], "the driver is not as it was"


@BOTH
def test_an_app_of_the_tunnel_is_seen_with_the_servers_address_and_others_with_the_hosts(
    stage: Stage, family: int
) -> None:
    for app, seen in (("chrome", SERVER), ("curl", CLIENT)):
        first = len(stage.host.opened)
        answer = stage.host.request(app, INTERNET, family, HTTP_PORT, b"GET / HTTP/1.0\r\n\r\n")
        assert answer.decode() == seen.of(family)
        assert bool(stage.outside(first)) == (app == "curl")


def test_a_disallowed_network_is_reached_directly(stage: Stage) -> None:
    assert stage.host.request("chrome", LAN_HOST, 4, HTTP_PORT, b"x").decode() == CLIENT.of(4)
    assert stage.backend.statistics()["captured"] == 0, "it never left the kernel"


@BOTH
def test_a_transfer_through_the_tunnel_comes_back_whole(stage: Stage, family: int) -> None:
    block = random.Random(family).randbytes(3_000_000)
    first = len(stage.host.opened)
    echoed = stage.host.echo("chrome", INTERNET, family, ECHO_PORT, [block])
    assert (echoed.size, echoed.sha256) == (len(block), hashlib.sha256(block).hexdigest())
    assert stage.outside(first) == 0
    counted = stage.backend.statistics()
    assert counted["queue_full"] == counted["not_passed"] == counted["truncated"] == 0
    assert not [cause for cause in counted if cause.startswith("not_injected")]


@BOTH
def test_a_stack_that_leaves_checksums_to_its_adapter_is_tunnelled_with_right_ones(stage: Stage, family: int) -> None:
    stage.wires.offloading = True
    block = random.Random(family).randbytes(500_000)
    echoed = stage.host.echo("chrome", INTERNET, family, ECHO_PORT, [block])
    assert echoed.sha256 == hashlib.sha256(block).hexdigest()


def test_a_direct_connection_stays_in_the_kernel_once_it_is_decided(stage: Stage) -> None:
    for _ in range(10):
        stage.host.request("curl", INTERNET, 4, HTTP_PORT, b"x")
    counted = stage.backend.statistics()
    assert counted["bypassed"] >= 10
    assert counted["captured"] < 40  # of 50


@BOTH
def test_pings_of_an_app_of_the_tunnel_go_through_it(stage: Stage, family: int) -> None:
    first = len(stage.host.opened)
    assert stage.host.ping("chrome", INTERNET, family, 3) == 3
    assert stage.outside(first) == 0
    assert stage.host.ping("ping", INTERNET, family, 3) == 3
    assert stage.outside(first) == 6


@BOTH
@pytest.mark.parametrize(("app", "resolver"), [("chrome", TUNNEL_RESOLVER), ("curl", ROUTER)])
def test_names_are_asked_of_the_tunnels_resolver_or_of_the_hosts(
    stage: Stage, family: int, app: str, resolver: Host
) -> None:
    named = []
    for kind in ("A", "AAAA"):  # of the family that the resolver was asked over, whichever that is
        asked = question("resolver.lab", kind, 77)
        named += answers(stage.host.ask(app, ROUTER, family, DNS_PORT, asked), asked)
    assert len(named) == 1
    assert named[0] in (str(resolver.v4), str(resolver.v6))


def test_everything_at_once(stage: Stage) -> None:
    block = random.Random(1).randbytes(200_000)
    for _ in range(3):
        for family in (4, 6):
            assert stage.host.echo("chrome", INTERNET, family, ECHO_PORT, [block]).size == len(block)
            assert stage.host.request("curl", INTERNET, family, HTTP_PORT, b"x").decode() == CLIENT.of(family)
            for app in ("chrome", "curl"):
                assert stage.host.ping(app, INTERNET, family, 1) == 1
    assert not any(stage.host.drops.values()), stage.host.drops
