"""The engine in a world of its own: a host and a network in memory, real WireGuard peers, a clock that a test moves.

The threads' turns are taken one by one (``World.settle``), so that every run is the same; ``World.engine.start`` starts
them for real.
"""

import ipaddress
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from tests.support.peers import CountingRandom, WallClock
from wiresock_py.config import Config, Settings, parse
from wiresock_py.crypto import Event, PrivateKey, Tunnel
from wiresock_py.engine import Engine, Link
from wiresock_py.engine.reconfigure import prepare
from wiresock_py.engine.udp import Endpoint, Received
from wiresock_py.filters import PacketFlag
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import App, FiveTuple
from wiresock_py.rules import Rules

CLIENT_KEY = PrivateKey(bytes(range(1, 33)))
SERVER_KEYS = tuple(PrivateKey(bytes(range(start, start + 32))) for start in (33, 65, 97))
SERVERS = tuple(Endpoint(f"198.51.100.{number}", 51820) for number in (2, 3, 4))
CLIENT = Endpoint("192.168.1.100", 40000)

HOST = {4: "192.168.1.100", 6: "2001:db8:1::100"}
TUNNEL = {4: "10.66.66.2", 6: "fd42:42:42::2"}
REMOTE = {4: "203.0.113.10", 6: "2001:db8:3::10"}
DNS = {4: "94.140.14.14", 6: "2a10:50c0::ad1:ff"}
ADDRESSES = "Address = 10.66.66.2/32, fd42:42:42::2/128"
EVERYTHING = "AllowedIPs = 0.0.0.0/0, ::/0"

CHROME = App(100, 1000.0, "/opt/google/chrome/chrome")
FIREFOX = App(200, 2000.0, "/usr/lib/firefox/firefox")


def config_text(*peers: str, interface: str = ADDRESSES, first_server: int = 0) -> str:
    """A wg0.conf whose peers are the servers from *first_server* on, each with the given lines."""
    text = f"[Interface]\nPrivateKey = {CLIENT_KEY.to_base64()}\n{interface}\n"
    for number, lines in enumerate(peers, first_server):
        public = SERVER_KEYS[number].public_key().to_base64()
        text += f"[Peer]\nPublicKey = {public}\nEndpoint = {SERVERS[number]}\n{lines}\n"
    return text


def config(*peers: str, interface: str = ADDRESSES, first_server: int = 0, file: str = "wg0.conf") -> Config:
    """As :func:`config_text`, parsed."""
    return parse(config_text(*peers, interface=interface, first_server=first_server), file)


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


class Owners:
    """Owners of sockets as the test says: by protocol and local port."""

    def __init__(self) -> None:
        self.apps: dict[tuple[int, int], App] = {}
        self.listeners: set[tuple[int, int]] = set()
        self.asked: list[list[FiveTuple]] = []
        """The keys of each call of ``find``."""
        self.failure: Exception | None = None

    def own(self, app: App, protocol: int, *ports: int) -> None:
        self.apps.update(dict.fromkeys(((protocol, port) for port in ports), app))

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        if self.failure is not None:
            raise self.failure
        self.asked.append(list(keys))
        return [self.apps.get((key.protocol, key.local_port)) for key in keys]

    def ancestors(self, app: App) -> tuple[App, ...]:
        return ()

    def listening(self, protocol: int, _address: bytes, port: int) -> bool:
        return (protocol, port) in self.listeners

    def close(self) -> None:
        pass


class Wire:
    """Stands for a link's UDP socket: what is sent lies in ``sent``, what arrives is put in ``arriving``."""

    def __init__(self, port: int = 0, mark: int = 0, *, compiled: bool = False) -> None:
        self.port = port or 51820
        self.mark = mark
        self.sent: deque[tuple[bytes, Endpoint]] = deque()
        self.arriving: deque[tuple[bytes, int, Endpoint]] = deque()
        self.closed = False
        self._changed = threading.Condition()

    def send_run(self, data: Any, segment_size: int, endpoint: Endpoint) -> int:
        whole = bytes(data)
        assert 0 < len(whole) <= 65_507
        pieces = [whole[at : at + segment_size] for at in range(0, len(whole), segment_size)]
        assert len(pieces) <= 64
        self.sent += [(piece, endpoint) for piece in pieces]
        return len(pieces)

    def send_runs(self, data: memoryview, runs: list[tuple[int, int, int]], endpoint: Endpoint) -> None:
        for start, end, segment_size in runs:
            self.send_run(data[start:end], segment_size, endpoint)

    def arrive(self, data: bytes, source: Endpoint, segment_size: int = 0) -> None:
        with self._changed:
            self.arriving.append((data, segment_size or len(data), source))
            self._changed.notify()

    def receive_into(self, buffer: memoryview, timeout: float) -> Received | None:
        with self._changed:
            if not self.arriving and not self.closed:
                self._changed.wait(timeout)
            if not self.arriving or self.closed:
                return None
            data, segment_size, source = self.arriving.popleft()
        buffer[: len(data)] = data
        return Received(len(data), segment_size, source)

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def statistics(self) -> dict[str, int]:
        return {}


class Server:
    """A peer of the client: a real core, and what it got out of the tunnel."""

    def __init__(self, world: "World", number: int, endpoint: Endpoint) -> None:
        self._world = world
        self.endpoint = endpoint
        self.tunnel = Tunnel(
            SERVER_KEYS[number], CLIENT_KEY.public_key(), wall_clock=WallClock(), random=CountingRandom(number + 10)
        )
        self.silent = False
        """While set, nothing that arrives is read."""
        self.received: list[bytes] = []
        """Inner packets, oldest first."""

    def take(self) -> list[bytes]:
        """The inner packets received since the last call."""
        taken, self.received = self.received, []
        return taken

    def read(self, data: bytes) -> None:
        if self.silent:
            return
        received = self.tunnel.read(data, CLIENT, self._world.now)
        if received.packet is not None:
            self.received.append(bytes(received.packet))
        self.send_datagrams(received.datagrams)

    def send(self, *packets: bytes) -> None:
        """Seal inner packets and let them arrive, each in a datagram of its own."""
        self.send_datagrams(self.tunnel.write(packets, self._world.now))

    def send_datagrams(self, datagrams: Iterable[Any]) -> None:
        for datagram in datagrams:
            self._world.wire_of(self).arrive(bytes(datagram.data), self.endpoint)


class World:
    """A host with the engine on it, the servers its configurations name, and time."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        *configs: Config,
        with_links: bool = True,
        kill_switch: str = "app",
        replacing: bool = False,
        adapter_mtu: int = 1500,
        connected: bool = True,
        settings: Settings | None = None,
    ) -> None:
        self.now = 1000.0
        self.configs = configs or (config(f"{EVERYTHING}\nAllowedApps = chrome"),)
        self.owners = Owners()
        self.connections: list[tuple[FiveTuple, App]] = []
        """The connected sockets of the host, as the test says."""
        self.backend = MemoryBackend()
        self.events: list[tuple[Link, Tunnel, Event]] = []
        self.failures: list[BaseException] = []
        self.adapter_mtu = adapter_mtu
        patch.setattr("wiresock_py.engine.links.UdpSocket", Wire)
        for module in ("engine", "outbound", "inbound"):
            patch.setattr(f"wiresock_py.engine.{module}.clock", lambda: self.now)
        patch.setattr("wiresock_py.engine.outbound._mtu", lambda _index: self.adapter_mtu)
        patch.setattr(
            "wiresock_py.engine.inbound.source_address", lambda remote: packed(HOST[4 if len(remote) == 4 else 6])
        )
        patch.setattr("wiresock_py.engine.inbound.local_addresses", self._local_addresses, raising=False)
        patch.setattr("wiresock_py.engine.reconfigure.UdpSocket", Wire)
        lock = threading.Lock()
        rules = Rules(self.configs, settings)
        self.links = [Link(one, adapter_mtu, 0, lock) for one in self.configs] if with_links else []
        self.servers: list[Server] = []
        self._wires: dict[int, Wire] = {}
        for link in self.links:
            for peer in link.config.peers:
                public = peer.public_key.to_base64()
                number = next(i for i, key in enumerate(SERVER_KEYS) if key.public_key().to_base64() == public)
                server = Server(self, number, SERVERS[number])
                self.servers.append(server)
                self._wires[id(server)] = self.wire(link)
        self.engine = Engine(
            rules,
            self.backend,
            self.owners,
            lock,
            self.links,
            kill_switch=kill_switch,
            replacing=replacing,
            connections=lambda: self.connections,
            on_event=self._on_event,
            on_failure=self.failures.append,
        )
        self.backend.open(rules.plan())
        if connected:
            for link in self.links:
                link.connect(self.now)
            self.settle()

    def _on_event(self, link: Link, peer: Tunnel, event: Event) -> None:
        self.events.append((link, peer, event))
        if event is Event.GONE:  # as the worker does
            link.call(peer, self.now)

    def _local_addresses(self) -> tuple[Any, ...]:
        from wiresock_py.network import LocalAddress

        return tuple(LocalAddress(packed(text), 24, "eth0") for text in (*HOST.values(), "127.0.0.1", "::1"))

    @property
    def server(self) -> Server:
        return self.servers[0]

    @staticmethod
    def wire(link: Link) -> Wire:
        assert isinstance(link.socket, Wire)
        return link.socket

    def wire_of(self, server: Server) -> Wire:
        return self._wires[id(server)]

    def settle(self) -> None:
        """Give every thread its turns until nothing moves any more."""
        outbound = self.engine._outbound
        moved = True
        while moved:
            moved = False
            while self.backend._captured:
                outbound.capture()
                moved = True
            if len(outbound._holding):
                outbound.resolve()
                moved = True
            for inbound in self.engine._inbound:
                while self.wire(inbound.link).arriving:
                    inbound.receive()
                    moved = True
            for link in self.links:
                wire = self.wire(link)
                while wire.sent:
                    data, endpoint = wire.sent.popleft()
                    moved = True
                    for server in self.servers:
                        if server.endpoint == endpoint and self._wires[id(server)] is wire:
                            server.read(data)

    def pass_time(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass, with ticks at both ends."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            self.tick()

    def tick(self) -> None:
        """One turn of the tick thread, and of the servers' timers."""
        self.engine.tick(self.now)
        for server in self.servers:
            if not server.silent:
                server.send_datagrams(server.tunnel.tick(self.now).datagrams)
        self.settle()

    def reload(self, *configs: Config) -> None:
        """Go on by other configurations, as many as before."""
        changes = [prepare(link, one) for link, one in zip(self.links, configs, strict=True)]
        rules = Rules(configs)
        self.engine.reload(rules, rules.plan(), changes)
        self.settle()

    def host_sends(self, *packets: bytes, adapter: str = "eth0", flags: PacketFlag = PacketFlag.NONE) -> None:
        """The host's stack sends packets, in one batch."""
        for packet in packets:
            self.backend.stack_sends(packet, adapter, flags)
        self.settle()

    def server_sends(self, *packets: bytes) -> list[bytes]:
        """The first server sends inner packets; returns what arrived at the host's stack."""
        self.server.send(*packets)
        self.settle()
        return self.delivered()

    def delivered(self) -> list[bytes]:
        """What arrived at the host's stack since the last call."""
        return self.backend.stack_received()

    def outside(self) -> list[bytes]:
        """What left the host outside the tunnel since the last call."""
        return self.backend.network_received()


# Packets of the host and of the far end, built by scapy. Addresses default to HOST and REMOTE of the version.


def outgoing(layer: Packet, version: int = 4, *, source: str = "", to: str = "", **ip: Any) -> bytes:
    """A packet from the host."""
    header = (IP if version == 4 else IPv6)(src=source or HOST[version], dst=to or REMOTE[version], **ip)
    return bytes(header / layer)


def incoming(layer: Packet, version: int = 4, *, source: str = "", to: str = "", **ip: Any) -> bytes:
    """A packet from the far end to the tunnel's address."""
    header = (IP if version == 4 else IPv6)(src=source or REMOTE[version], dst=to or TUNNEL[version], **ip)
    return bytes(header / layer)


def echo(version: int, identifier: int, *, reply: bool = False, data: bytes = b"ping") -> Packet:
    """An ICMP echo message."""
    if version == 4:
        return ICMP(type=0 if reply else 8, id=identifier, seq=1) / Raw(data)
    return (ICMPv6EchoReply if reply else ICMPv6EchoRequest)(id=identifier, seq=1, data=data)
