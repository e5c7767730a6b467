"""A WireGuard server on our own core: one client, a UDP socket on loopback, and an internet behind it."""

import socket
import threading
import time
from collections.abc import Iterable
from ipaddress import ip_network

from wiresock_py.config import Endpoint
from wiresock_py.crypto import Datagram, Device, PresharedKey, PrivateKey
from wiresock_py.datapath import Header, parse
from wiresock_py.demo.memory.internet import Internet
from wiresock_py.demo.memory.packets import readdressed
from wiresock_py.lab import INNER_CLIENT, SERVER

BATCH = 64
POLL = 0.05
RECEIVE_BUFFER = 4 << 20
MAX_DATAGRAM = 65_535


class MemoryServer:
    """Serves from the moment it is made; sends the client's packets on under its own address, as the lab's does."""

    def __init__(self, internet: Internet, *, preshared: bool) -> None:
        own, self.client_key = PrivateKey.generate(), PrivateKey.generate()
        self.public_key = own.public_key()
        self.preshared_key = PresharedKey.generate() if preshared else None
        self._internet = internet
        self._device = Device(own, wall_clock=time.time_ns)
        inner = [ip_network(address) for address in (INNER_CLIENT.v4, INNER_CLIENT.v6)]
        self._device.add_peer(self.client_key.public_key(), inner, preshared_key=self.preshared_key)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self.endpoint = Endpoint(*self._socket.getsockname())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and erase the keys. May be repeated."""
        self._stopping.set()
        self._thread.join()
        self._device.down()
        self._socket.close()

    def _serve(self) -> None:
        self._send(self._device.up(time.monotonic()))
        while not self._stopping.is_set():
            datagrams = self._receive()
            now = time.monotonic()
            packets: list[bytes] = []
            for data, source in datagrams:
                received = self._device.read(data, source, now)
                self._send(received.datagrams)
                if received.packet is not None:
                    packets.append(bytes(received.packet))
            answers = self._internet.answer(map(_outward, packets))
            self._send(self._device.write(map(_inward, answers), now))
            self._send(self._device.tick(now).datagrams)

    def _receive(self) -> list[tuple[bytes, object]]:
        """What has arrived, waiting a moment for the first datagram."""
        self._socket.settimeout(POLL)
        datagrams: list[tuple[bytes, object]] = []
        try:
            while len(datagrams) < BATCH:
                datagrams.append(self._socket.recvfrom(MAX_DATAGRAM))
                self._socket.setblocking(False)
        except (TimeoutError, BlockingIOError):
            pass  # that was all for now
        except ConnectionResetError:
            pass  # Windows: the client's socket has gone
        return datagrams

    def _send(self, datagrams: Iterable[Datagram]) -> None:
        for data, endpoint in datagrams:
            assert isinstance(endpoint, tuple)  # a socket address, as read() was given
            self._socket.sendto(data, endpoint)


def _outward(packet: bytes) -> bytes:
    header = parse(packet)
    assert isinstance(header, Header)  # the core has read its addresses, and our own client sent it
    return readdressed(packet, header, source=SERVER.v6.packed if header.version == 6 else SERVER.v4.packed)


def _inward(packet: bytes) -> bytes:
    header = parse(packet)
    assert isinstance(header, Header)  # made by the internet
    return readdressed(packet, header, target=INNER_CLIENT.v6.packed if header.version == 6 else INNER_CLIENT.v4.packed)
