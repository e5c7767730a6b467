"""A host, its apps and the wire beyond, around one backend: in memory, on a driver double, or real in namespaces.

Both have the addresses of the picture in namespaces.py. Nothing here sleeps: a *marker* datagram that no plan captures
follows what a test sent by the same adapter; once it is seen on the wire, all that was going to come has come.
"""

import itertools
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from tests.backends.packets import Datagram, build, read
from tests.support.drivers import Driver
from tests.support.ethernet import EthernetHost
from wiresock_py.filters import Backend, PacketBatch
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.filters.ndisapi import NdisApi
from wiresock_py.filters.ndisapi.backend import NdisApiBackend

ETHERNET = {"eth0": ("10.77.0.2/24", "fd77::2/64"), "side0": ("10.78.0.2/24", "fd78::2/64")}
HOST = {"eth0": ("10.77.0.2", "fd77::2"), "side0": ("10.78.0.2", "fd78::2"), "lo": ("127.0.0.1", "::1")}
NEIGHBOUR = {"eth0": "10.77.0.1", "side0": "10.78.0.1"}
MARKER_PORT = 4999
# Long enough for any machine; a test that works never waits so long.
PATIENCE = 5.0
SILENCE = 0.2


Send = Callable[[bytes, str, int], object]
"""Sends a payload to an address and port."""


class World(Protocol):
    """What a contract test may do; destinations and addresses as text, ports as numbers."""

    @property
    def backend(self) -> Backend:
        """Not yet open."""

    @property
    def adapters(self) -> dict[str, int]:
        """Interface indices by name."""

    def send(self, payload: bytes, destination: str, port: int = 7, source_port: int = 0) -> int:
        """An app on the host sends a datagram; returns the port it sent from (*source_port*, or a free one)."""

    def own_socket(self) -> AbstractContextManager[tuple["Send", int]]:
        """A socket of the client's own, which nothing captures inside the block: how to send with it, and its port."""

    def left(self) -> list[Datagram]:
        """The datagrams that left the host since the last call, in order, by eth0 and then by side0."""

    def listen(self, address: str, port: int) -> "Listener":
        """An app on the host that waits for datagrams."""

    def unavailable_reason(self) -> str | None:
        """The backend's, for this host."""

    def guard(self) -> AbstractContextManager[object]:
        """The backend's, for this host."""


class Listener(Protocol):
    def received(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram's payload and sender, waiting for it."""


def host_address(destination: str) -> tuple[str, str]:
    """(adapter, own address) that the host's routes choose for a destination."""
    v6 = ":" in destination
    if destination.startswith("127.") or destination == "::1":
        return "lo", HOST["lo"][v6]
    if any(destination in pair for pair in HOST.values()):
        return "lo", destination
    adapter = "side0" if destination.startswith(("10.78.", "fd78:")) else "eth0"
    return adapter, HOST[adapter][v6]


class MemoryWorld:
    """The memory backend with this module in the parts of host and wire."""

    def __init__(self) -> None:
        self.backend: MemoryBackend = MemoryBackend()
        self.adapters = {"lo": 1, "eth0": 2, "side0": 3}
        self._ports = itertools.count(40_000)
        self._delivered: list[Datagram] = []

    def send(self, payload: bytes, destination: str, port: int = 7, source_port: int = 0) -> int:
        adapter, own = host_address(destination)
        source_port = source_port or next(self._ports)
        self.backend.stack_sends(build(Datagram(own, source_port, destination, port, payload)), adapter)
        return source_port

    @contextmanager
    def own_socket(self) -> Iterator[tuple[Send, int]]:
        own_port = next(self._ports)
        with self.backend.exempt(own_port):
            yield lambda payload, destination, port: self.send(payload, destination, port, own_port), own_port

    def left(self) -> list[Datagram]:
        found = [read(packet) for packet in self.backend.network_received()]
        return [datagram for datagram in found if datagram is not None]

    def listen(self, address: str, port: int) -> Listener:
        return MemoryListener(self, address, port)

    def unavailable_reason(self) -> str | None:
        return self.backend.unavailable_reason()

    def guard(self) -> AbstractContextManager[object]:
        return self.backend.guard()

    def take(self, address: str, port: int) -> Datagram:
        while True:
            for datagram in self._delivered:
                if (datagram.destination, datagram.port) == (address, port):
                    self._delivered.remove(datagram)
                    return datagram
            packets = self.backend.stack_received(PATIENCE)
            assert packets, f"nothing arrived for {address} port {port}"
            self._delivered += [found for packet in packets if (found := read(packet))]


class Deliveries(Protocol):
    def take(self, address: str, port: int) -> Datagram:
        """The next datagram that arrived there."""


class MemoryListener:
    def __init__(self, world: Deliveries, address: str, port: int) -> None:
        self._world, self._address, self._port = world, address, port

    def received(self) -> tuple[bytes, tuple[str, int]]:
        datagram = self._world.take(self._address, self._port)
        return datagram.payload, (datagram.source, datagram.source_port)


class NdisApiWorld:
    """The ndisapi backend on a driver double, with this module in the parts of host and wire."""

    def __init__(self, driver: Driver, **options: Any) -> None:
        """*options* are the backend's."""
        self.host = EthernetHost(driver, ETHERNET, default=("eth0",))
        self.driver = driver
        self.backend: NdisApiBackend = NdisApiBackend(self.host, driver.open, **options)
        self.adapters = {name: network.index for name, network in self.host.networks.items()}
        self._ports = itertools.count(40_000)
        self._delivered: list[Datagram] = []

    def send(self, payload: bytes, destination: str, port: int = 7, source_port: int = 0) -> int:
        adapter, own = host_address(destination)
        source_port = source_port or next(self._ports)
        packet = build(Datagram(own, source_port, destination, port, payload))
        if adapter == "lo":
            self.host.local.append(packet)
        else:
            self.host.stack_sends(packet, adapter)
        return source_port

    @contextmanager
    def own_socket(self) -> Iterator[tuple[Send, int]]:
        own_port = next(self._ports)
        with self.backend.exempt(own_port):
            yield lambda payload, destination, port: self.send(payload, destination, port, own_port), own_port

    def left(self) -> list[Datagram]:
        found = [read(packet) for adapter in ETHERNET for packet in self.host.network_received(adapter)]
        return [datagram for datagram in found if datagram is not None]

    def listen(self, address: str, port: int) -> Listener:
        return MemoryListener(self, address, port)

    def unavailable_reason(self) -> str | None:
        return self.backend.unavailable_reason(self.driver.open)

    def guard(self) -> AbstractContextManager[object]:
        return self.backend.guard(self.driver.open)

    def take(self, address: str, port: int) -> Datagram:
        packets = [packet for adapter in ETHERNET for packet in self.host.stack_received(adapter)]
        while self.host.local:
            packets.append(self.host.local.popleft())
        self._delivered += [found for packet in packets if (found := read(packet))]
        for datagram in self._delivered:
            if (datagram.destination, datagram.port) == (address, port):
                self._delivered.remove(datagram)
                return datagram
        raise AssertionError(f"nothing arrived for {address} port {port}")


@contextmanager
def memory_world() -> Iterator[World]:
    world = MemoryWorld()
    try:
        yield world
    finally:
        world.backend.close()


@contextmanager
def ndisapi_world(driver: Driver, **options: Any) -> Iterator[NdisApiWorld]:
    """After it the adapters must be as if nobody had been there."""
    world = NdisApiWorld(driver, **options)
    try:
        yield world
    finally:
        world.backend.close()
    with NdisApi(driver.open()) as api:
        assert api.restore() == []


def all_packets(batch: PacketBatch) -> list[bytes]:
    """Copies of the packets of a batch."""
    return [
        bytes(batch.data[offset : offset + length]) for offset, length in zip(batch.offset, batch.length, strict=True)
    ]


if sys.platform == "linux":
    from tests.backends.namespaces import Namespace
    from tests.backends.served import Served
    from wiresock_py.filters import HostAdapter
    from wiresock_py.filters.netfilter import NetfilterBackend

    ETH_P_ALL = 3
    OUTGOING = 4  # a frame the far end itself sent

    class Wire:
        """Sees every IP packet that arrives at the far end of one adapter."""

        def __init__(self, wire: Namespace, device: str) -> None:
            with wire.inside():
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
                self._socket.bind((device, ETH_P_ALL))
            self._socket.settimeout(PATIENCE)

        def packet(self) -> bytes:
            """The next one, waiting for it."""
            while True:
                packet, (_device, protocol, kind, _type, _address) = self._socket.recvfrom(65_535)
                if kind != OUTGOING and protocol in (0x0800, 0x86DD):
                    return packet

        def until_marker(self, number: bytes) -> list[bytes]:
            """All packets before the marker datagram with this payload."""
            found: list[bytes] = []
            while True:
                packet = self.packet()
                datagram = read(packet)
                if datagram and datagram.port == MARKER_PORT and datagram.payload == number:
                    return found
                found.append(packet)

        def until_silence(self) -> list[bytes]:
            """All packets that have come, and come within a moment."""
            self._socket.settimeout(SILENCE)
            found: list[bytes] = []
            try:
                while True:
                    found.append(self.packet())
            except TimeoutError:
                return found
            finally:
                self._socket.settimeout(PATIENCE)

        def close(self) -> None:
            self._socket.close()

    class SocketListener:
        def __init__(self, opened: socket.socket) -> None:
            self._socket = opened

        def received(self) -> tuple[bytes, tuple[str, int]]:
            payload, source = self._socket.recvfrom(65_535)
            return payload, (source[0], source[1])

    class KernelWorld:
        """A backend on the real stack of a host's namespace; the calling thread is inside it."""

        def __init__(self, host: Namespace, wire: Namespace, stack: ExitStack, backend: Backend) -> None:
            self.host, self.wire = host, wire
            self.backend = backend
            self.adapters = {name: socket.if_nametoindex(name) for name in HOST}
            self.wires = {"eth0": Wire(wire, "far0"), "side0": Wire(wire, "beside0")}
            self._markers = itertools.count()
            self._stack = stack
            for opened in self.wires.values():
                stack.callback(opened.close)

        def open_socket(self, family: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
            opened = self._stack.enter_context(socket.socket(family, kind))
            opened.settimeout(PATIENCE)
            return opened

        def send(self, payload: bytes, destination: str, port: int = 7, source_port: int = 0) -> int:
            family = socket.AF_INET6 if ":" in destination else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as opened:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                opened.bind(("", source_port))
                scope = self.adapters["eth0"] if destination.startswith(("fe80:", "ff")) else 0
                address = (destination, port, 0, scope) if family == socket.AF_INET6 else (destination, port)
                if destination.startswith("224."):
                    own = socket.inet_aton(HOST["eth0"][0])
                    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
                opened.sendto(payload, address)
                return int(opened.getsockname()[1])

        @contextmanager
        def own_socket(self) -> Iterator[tuple[Send, int]]:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.backend.mark)
                opened.bind(("", 0))
                own_port = opened.getsockname()[1]

                def send(payload: bytes, destination: str, port: int) -> None:
                    mapped = destination if ":" in destination else f"::ffff:{destination}"
                    opened.sendto(payload, (mapped, port))

                with self.backend.exempt(own_port):
                    yield send, own_port

        def left_packets(self, adapter: str) -> list[bytes]:
            return self.wires[adapter].until_marker(self._send_marker(adapter))

        def _send_marker(self, adapter: str) -> bytes:
            number = str(next(self._markers)).encode()
            self.send(number, NEIGHBOUR[adapter], MARKER_PORT)
            return number

        def left(self) -> list[Datagram]:
            if isinstance(self.backend, Served) and self.backend.serve():
                # a marker might wait behind the batch that the test has not decided yet
                packets = [packet for wire in self.wires.values() for packet in wire.until_silence()]
            else:
                markers = {adapter: self._send_marker(adapter) for adapter in self.wires}
                if isinstance(self.backend, Served):
                    self.backend.serve()
                packets = [p for adapter, wire in self.wires.items() for p in wire.until_marker(markers[adapter])]
            return [datagram for packet in packets if (datagram := read(packet)) is not None]

        def listen(self, address: str, port: int) -> Listener:
            opened = self.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            opened.bind((address, port))
            return SocketListener(opened)

        def unavailable_reason(self) -> str | None:
            return self.backend.unavailable_reason()

        def guard(self) -> AbstractContextManager[object]:
            return self.backend.guard()

    class NetfilterWorld(KernelWorld):
        backend: NetfilterBackend

    @contextmanager
    def netfilter_world(host: Namespace, wire: Namespace, *, compiled: bool = False) -> Iterator[NetfilterWorld]:
        with host.inside(), ExitStack() as stack:
            world = NetfilterWorld(host, wire, stack, NetfilterBackend(compiled=compiled))
            try:
                yield world
            finally:
                world.backend.close()

    class KernelHost:
        """What the windivert backend asks about the host of the picture in namespaces.py."""

        def adapters(self) -> tuple[HostAdapter, ...]:
            return tuple(
                HostAdapter(
                    index=socket.if_nametoindex(name),
                    guid="",
                    name=name,
                    mtu=1500,
                    addresses=tuple(map(_packed, HOST[name])),
                    gateways=(_packed(NEIGHBOUR[name]),) if name == "eth0" else (),
                )
                for name in NEIGHBOUR
            )

        def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
            raise AssertionError("WinDivert works above frames")

        def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
            return lambda: None

    def _packed(address: str) -> bytes:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)

    @contextmanager
    def windivert_world(host: Namespace, wire: Namespace) -> Iterator[KernelWorld]:
        """WinDivert's own driver is Windows'; here it is the one that pydivert has for Linux."""
        with host.inside(), ExitStack() as stack:
            world = KernelWorld(host, wire, stack, Served(KernelHost()))
            try:
                yield world
            finally:
                world.backend.close()
                world.backend.reset()
