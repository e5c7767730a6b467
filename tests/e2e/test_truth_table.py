"""The truth table: for every app, destination, IP version, protocol and state of the tunnel, where a packet goes.

Every cell is one packet, told from all others by its source port (its identifier, or the name it asks for) on the two
links it can be seen on: the access link in the clear, and the server's tunnel device. Each is first sent with the
client off and has to be seen on the access link: a probe that nothing shows proves nothing.

An *unowned* packet is one whose socket nobody has: written by hand to a raw socket of this process.
"""

import dataclasses
import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from tests.support.dns_messages import query
from wiresock_py.lab import (
    CLIENT,
    INNER_CLIENT,
    INTERNET,
    LAN_HOST,
    OTHER_SITE,
    SERVER,
    TUNNEL_RESOLVER,
    App,
    Capture,
    Client,
    Frame,
    Lab,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

APPS = {"allowed": "chrome", "disallowed": "steam", "unlisted": "firefox", "unowned": ""}
NOWHERE_LISTED = {4: "198.51.100.77", 6: "2001:db8:2::77"}  # a host of the server's network, in no prefix of the file
DESTINATIONS: dict[str, Mapping[int, str]] = {
    "in": {family: INTERNET.of(family) for family in (4, 6)},
    "out": NOWHERE_LISTED,
    "disallowed": {family: OTHER_SITE.of(family) for family in (4, 6)},
    "lan": {family: LAN_HOST.of(family) for family in (4, 6)},
}
ALLOWED = "203.0.113.0/24, 192.168.0.0/16, 192.0.2.53/32, 2001:db8:3::/64, 2001:db8:1::/64, 2001:db8:53::53/128"
DISALLOWED = f"{OTHER_SITE.v4}/32, {OTHER_SITE.v6}/128"
DISCARD_PORT, DNS_PORT = 9, 53
LISTS = {
    "both lists": "AllowedApps = chrome\nDisallowedApps = steam\n",
    "disallowed only": "DisallowedApps = steam\n",
}
SETTLE = 1.5


class Way(Enum):
    """Where the packets of a cell were seen."""

    DIRECT = "on the access link in the clear"
    TUNNEL = "in the tunnel"
    NOWHERE = "nowhere"
    BOTH = "inside and outside"


@dataclass(frozen=True)
class Cell:
    """One packet."""

    app: str
    destination: str
    family: int
    protocol: str
    dns: bool
    port: int
    """Its source port, or identifier."""

    @property
    def address(self) -> str:
        return DESTINATIONS[self.destination][self.family]

    @property
    def remote_port(self) -> int:
        return 0 if self.protocol == "icmp" else DNS_PORT if self.dns else DISCARD_PORT

    @property
    def payload(self) -> bytes:
        return query(f"n{self.port}.probe.lab", identifier=self.port) if self.dns else b"probe %05d" % self.port

    def is_on(self, frame: Frame) -> bool:
        """Whether *frame* carries it; a query over UDP may have got another port, so its name tells."""
        protocols = {"tcp": (6,), "udp": (17,), "icmp": (1, 58)}[self.protocol]
        if frame.protocol not in protocols:
            return False
        if self.dns and self.protocol == "udp":
            return frame.target_port == DNS_PORT and b"n%d\x05probe" % self.port in frame.payload
        return frame.source_port == self.port

    def as_probe(self) -> dict[str, object]:
        """For the verb ``cast`` of lab applications."""
        return {
            "protocol": self.protocol,
            "address": self.address,
            "port": self.remote_port,
            "source_port": self.port,
            "payload": self.payload.hex(),
        }

    def as_packet(self) -> bytes:
        """The whole packet, for nobody's socket to send."""
        layers: dict[tuple[str, int], Callable[[], Any]] = {
            ("tcp", 4): lambda: TCP(sport=self.port, dport=self.remote_port, flags="S"),
            ("udp", 4): lambda: UDP(sport=self.port, dport=self.remote_port) / Raw(self.payload),
            ("icmp", 4): lambda: ICMP(id=self.port, seq=1) / Raw(self.payload),
            ("icmp", 6): lambda: ICMPv6EchoRequest(id=self.port, seq=1, data=self.payload),
        }
        transport = layers.get((self.protocol, self.family), layers[self.protocol, 4])()
        header = IP if self.family == 4 else IPv6
        return bytes(header(src=CLIENT.of(self.family), dst=self.address) / transport)


def cells(ports: Iterator[int]) -> list[Cell]:
    """The table, every cell with a port of its own."""
    kinds = [("tcp", False), ("tcp", True), ("udp", False), ("udp", True), ("icmp", False)]
    return [
        Cell(app, destination, family, protocol, dns, next(ports))
        for app, destination, family, (protocol, dns) in itertools.product(APPS, DESTINATIONS, (4, 6), kinds)
    ]


def expected(cell: Cell, lists: str, state: str) -> set[Way]:
    """The design, sentence by sentence; two ways where the moment at which the owner is asked for decides."""
    if not cell.dns and cell.destination != "in":
        return {Way.DIRECT}  # in no AllowedIPs, in DisallowedIPs, on the LAN: whoever sends it
    into_the_tunnel = Way.TUNNEL if state == "up" else Way.NOWHERE
    unlisted = into_the_tunnel if lists == "disallowed only" else Way.DIRECT
    if cell.app == "unowned":
        # Nobody can say any more whether it is the tunnel's. Only ICMP is looked for among raw sockets, where this
        # process's may still be, which then is an application that no list names.
        return {Way.NOWHERE, unlisted} if cell.protocol == "icmp" else {Way.NOWHERE}
    return {{"allowed": into_the_tunnel, "disallowed": Way.DIRECT, "unlisted": unlisted}[cell.app]}


class Table:
    """Sends cells and sees where they went."""

    def __init__(self, lab: Lab, apps: Mapping[str, App]) -> None:
        self._lab = lab
        self._apps = apps

    def observe(self, table: list[Cell], inner: Capture | None) -> dict[Cell, Way]:
        """Send every cell once; where each was seen."""
        with self._lab.capture() as access:
            sending = [
                self._apps[app].submit("cast", probes=[cell.as_probe() for cell in table if cell.app == app])
                for app in self._apps
            ]
            self._send_unowned([cell for cell in table if cell.app == "unowned"])
            for sent in sending:
                # nothing was refused before it was a packet
                assert set(sent.result(20)) <= {"", "ECONNREFUSED", "EACCES", "EPERM"}
            time.sleep(SETTLE)
        assert access.lost == 0
        outside = [frame for frame in access.frames if frame.source == CLIENT.of(4) or frame.source == CLIENT.of(6)]
        inside = inner.frames if inner is not None else []
        inside = [frame for frame in inside if frame.source in (INNER_CLIENT.of(4), INNER_CLIENT.of(6))]
        return {cell: self._way(cell, outside, inside) for cell in table}

    @staticmethod
    def _way(cell: Cell, outside: list[Frame], inside: list[Frame]) -> Way:
        clear = [frame for frame in outside if cell.is_on(frame)]
        through = [frame for frame in inside if cell.is_on(frame)]
        assert {frame.target for frame in clear} <= {cell.address}
        resolvers = {TUNNEL_RESOLVER.of(4), TUNNEL_RESOLVER.of(6)}
        assert {frame.target for frame in through} <= (resolvers if cell.dns else {cell.address})
        if clear and through:
            return Way.BOTH
        return Way.DIRECT if clear else Way.TUNNEL if through else Way.NOWHERE

    def _send_unowned(self, table: list[Cell]) -> None:
        raw = {
            family: self._lab.client.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
            for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6))
        }
        for cell in table:
            raw[cell.family].sendto(cell.as_packet(), (cell.address, 0))
        for each in raw.values():
            each.close()


@pytest.fixture
def table(lab: Lab, app: Callable[[str], App]) -> Table:
    """With every cell seen on the access link while there is no client."""
    made = Table(lab, {kind: app(name) for kind, name in APPS.items() if name})
    ways = made.observe(cells(iter(lab.probe_ports())), None)
    assert Counter(ways.values()) == {Way.DIRECT: 160}
    return made


def config_of(server: Server, lists: str, **more: str) -> str:
    text = server.client_config(server.add_peer(), allowed_ips=ALLOWED, disallowed_ips=DISALLOWED, **more)  # type: ignore[arg-type]
    return text.replace("[Interface]\n", "[Interface]\nBypassLan = true\n") + LISTS[lists]


def assert_as_expected(ways: Mapping[Cell, Way], lists: str, state: str) -> None:
    wrong = {
        tuple(dataclasses.astuple(cell)): (way.value, [right.value for right in expected(cell, lists, state)])
        for cell, way in ways.items()
        if way not in expected(cell, lists, state)
    }
    assert wrong == {}
    assert len(ways) == 160


@pytest.mark.parametrize("lists", list(LISTS))
def test_where_each_packet_goes_while_the_tunnel_is_up(
    table: Table, lab: Lab, client: Callable[..., Client], server: Server, lists: str
) -> None:
    client(config_of(server, lists)).wait_until_connected()
    with lab.capture_inner(server) as inner:
        ways = table.observe(cells(iter(lab.probe_ports())), inner)
    assert_as_expected(ways, lists, "up")


@pytest.mark.parametrize("lists", list(LISTS))
def test_where_each_packet_goes_while_the_tunnel_connects(
    table: Table, lab: Lab, client: Callable[..., Client], server: Server, lists: str
) -> None:
    silent = SERVER.endpoint(4, DISCARD_PORT)
    client(config_of(server, lists, endpoint=silent), options=("--connect-timeout", "0"))
    with lab.capture_inner(server) as inner:
        ways = table.observe(cells(iter(lab.probe_ports())), inner)
    assert_as_expected(ways, lists, "connecting")


@pytest.mark.parametrize("lists", list(LISTS))
def test_where_each_packet_goes_when_the_tunnels_server_is_dead(
    table: Table, lab: Lab, client: Callable[..., Client], server: Server, lists: str
) -> None:
    client(config_of(server, lists)).wait_until_connected()
    server.stop()
    ways = table.observe(cells(iter(lab.probe_ports())), None)
    assert_as_expected(ways, lists, "dead")
