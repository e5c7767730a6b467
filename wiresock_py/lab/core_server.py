"""A WireGuard server on our own core, whose inner side is a Python function: for what no real server would do.

It can answer with any inner packet, send unasked ones, begin handshakes, and live faster than its client: with *pace*
20 its timers of minutes run in seconds, so that rekeying happens while one waits.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from wiresock_py.crypto import Datagram, Device, PresharedKey, PrivateKey, PublicKey
from wiresock_py.lab.namespaces import Namespace
from wiresock_py.lab.topology import SERVER
from wiresock_py.lab.wireguard import PORT, Endpoint, Peer

EVERYTHING = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
POLL = 0.02

Answer = Callable[[bytes], Iterable[bytes]]
"""What the server sends back for an inner packet."""


def echo_udp(packet: bytes) -> list[bytes]:
    """The same datagram the other way; swapped ends leave every checksum as it is."""
    if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP and packet[0] & 15 == 5:
        ports = packet[22:24] + packet[20:22]
        return [packet[:12] + packet[16:20] + packet[12:16] + ports + packet[24:]]
    if packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_UDP:
        ports = packet[42:44] + packet[40:42]
        return [packet[:8] + packet[24:40] + packet[8:24] + ports + packet[44:]]
    return []


class CoreServer(Endpoint):
    """Serves one client in a thread of this process, on a socket in *namespace*, from the moment it is made."""

    def __init__(
        self, namespace: Namespace, peer: Peer, *, answer: Answer = echo_udp, pace: float = 1.0, port: int = PORT
    ) -> None:
        super().__init__(port)
        self.peer = peer
        self.received: list[bytes] = []
        """Inner packets from the client, oldest first."""
        self.handshakes = 0
        """Sessions that came to be."""
        self._answer = answer
        self._pace = pace
        self._lock = threading.Lock()
        self._device = Device(PrivateKey.from_base64(self.keys.private), wall_clock=time.time_ns)
        self._tunnel = self._device.add_peer(
            PublicKey.from_base64(peer.keys.public),
            EVERYTHING,
            preshared_key=PresharedKey.from_base64(peer.preshared_key) if peer.preshared_key else None,
        )
        self._socket = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((str(SERVER.v4), self.port))
        self._socket.settimeout(POLL)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        with self._lock:
            self._send(self._device.up(self._now()))
        self._thread.start()

    def send(self, *packets: bytes) -> None:
        """Send inner packets to the client, whatever they are."""
        with self._lock:
            self._send(self._tunnel.write(packets, self._now()))

    def answer_with(self, answer: Answer) -> None:
        """From now on answer the client's packets with this function."""
        self._answer = answer

    def call(self) -> None:
        """Begin a handshake."""
        with self._lock:
            self._send(self._tunnel.force_handshake(self._now()))

    def stop(self) -> None:
        """Stop serving. May be repeated."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _now(self) -> float:
        return time.monotonic() * self._pace

    def _send(self, datagrams: Iterable[Datagram]) -> None:
        for datagram in datagrams:
            if isinstance(datagram.endpoint, tuple):  # a socket address, as read() was given; None before the first
                self._socket.sendto(datagram.data, datagram.endpoint)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                data, source = self._socket.recvfrom(65535)
            except TimeoutError:
                data, source = b"", None
            with self._lock:
                if data:
                    received = self._device.read(data, source, self._now())
                    self._send(received.datagrams)
                    if received.packet is not None:
                        packet = bytes(received.packet)
                        self.received.append(packet)
                        self._send(self._tunnel.write(list(self._answer(packet)), self._now()))
                ticked = self._device.tick(self._now())
                self._send(ticked.datagrams)
                self.handshakes += sum(event == "connected" for _, event in ticked.events)
