import socket
import threading
import time
from collections.abc import Iterator

import pytest

from wiresock_py.crypto import Tunnel
from wiresock_py.demo.memory.internet import Internet
from wiresock_py.demo.memory.packets import echo
from wiresock_py.demo.memory.server import MemoryServer
from wiresock_py.lab import CLIENT, INNER_CLIENT, INTERNET, SERVER


class RecordingInternet(Internet):
    """Remembers what the server sent on."""

    def __init__(self) -> None:
        super().__init__([INTERNET], [])
        self.asked: list[bytes] = []

    def answer(self, packets: object) -> list[bytes]:
        batch = list(packets)  # type: ignore[call-overload]
        self.asked += batch
        return super().answer(batch)


@pytest.fixture
def internet() -> RecordingInternet:
    return RecordingInternet()


@pytest.fixture(params=[False, True], ids=["", "preshared"])
def server(internet: RecordingInternet, request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    made = MemoryServer(internet, preshared=request.param)
    yield made
    made.stop()


@pytest.fixture
def wire() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        yield made


def connected(server: MemoryServer, wire: socket.socket) -> Tunnel:
    tunnel = Tunnel(
        server.client_key,
        server.public_key,
        server.preshared_key,
        wall_clock=time.time_ns,
        endpoint=server.endpoint,
    )
    (initiation,) = tunnel.force_handshake(time.monotonic())
    wire.sendto(initiation.data, server.endpoint)
    response, source = wire.recvfrom(65_535)
    for datagram in tunnel.read(response, source, time.monotonic()).datagrams:
        wire.sendto(datagram.data, server.endpoint)
    return tunnel


def exchanged(tunnel: Tunnel, server: MemoryServer, wire: socket.socket, packet: bytes) -> bytes:
    for datagram in tunnel.write([packet], time.monotonic()):
        wire.sendto(datagram.data, server.endpoint)
    while True:  # a keepalive may come first
        data, source = wire.recvfrom(65_535)
        received = tunnel.read(data, source, time.monotonic())
        if received.packet is not None:
            return bytes(received.packet)


@pytest.mark.parametrize("family", [4, 6])
def test_the_clients_packets_go_on_from_the_servers_address_and_come_back(
    server: MemoryServer, internet: RecordingInternet, wire: socket.socket, family: int
) -> None:
    inner, outer, there = ((host.v4 if family == 4 else host.v6).packed for host in (INNER_CLIENT, SERVER, INTERNET))
    tunnel = connected(server, wire)
    answer = exchanged(tunnel, server, wire, echo(inner, there, 7, 1, b"data"))
    assert internet.asked == [echo(outer, there, 7, 1, b"data")]
    assert answer == echo(there, inner, 7, 1, b"data", reply=True)


def test_strangers_are_not_served(server: MemoryServer, internet: RecordingInternet, wire: socket.socket) -> None:
    tunnel = connected(server, wire)
    wire.sendto(b"\4\0\0\0 is what a data message begins with", server.endpoint)
    wire.sendto(b"", server.endpoint)
    foreign = echo(CLIENT.v4.packed, INTERNET.v4.packed, 7, 1, b"not its inner address")
    for datagram in tunnel.write([foreign], time.monotonic()):
        wire.sendto(datagram.data, server.endpoint)
    good = echo(INNER_CLIENT.v4.packed, INTERNET.v4.packed, 7, 2, b"good")
    exchanged(tunnel, server, wire, good)
    assert len(internet.asked) == 1


def test_nothing_runs_after_its_end() -> None:
    before = threading.active_count()
    server = MemoryServer(Internet([], []), preshared=False)
    assert threading.active_count() == before + 1
    server.stop()
    server.stop()
    assert threading.active_count() == before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(server.endpoint)
