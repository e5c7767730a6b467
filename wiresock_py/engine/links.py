"""One configuration at work: its WireGuard device, its UDP socket, and where its peers are.

The engine's one lock guards devices, their timers, and the counters that sessions send with. It is held for a batch,
never during a system call, and with a compiled data path neither while a batch is encrypted or decrypted: what is sent
takes its place (its counters) in the order of the lock, and may overtake the rest on the wire. WireGuard's replay
window puts up with that.
"""

import ipaddress
import logging
import threading
import time
from collections.abc import Iterable, Sequence

from wiresock_py.config import Config, Peer
from wiresock_py.crypto import Datagram, Device, Drop, Event, Stats, Tunnel
from wiresock_py.datapath import DEFAULT, DatagramBuffer, DataPath, Flow, FlowTable, Opened, translate_batch
from wiresock_py.engine.udp import Endpoint, UdpSocket
from wiresock_py.errors import NetworkError
from wiresock_py.filters import MAX_PACKET, PacketBatch
from wiresock_py.network import Exempt, lookup

log = logging.getLogger(__name__)

DEFAULT_MTU = 1420
OVERHEAD = 80
"""Bytes a datagram over IPv6 adds to an inner packet: 40 IPv6, 8 UDP, 16 header, 16 tag."""
OVERHEAD_IPV4 = 60
"""The same over IPv4; counted where every byte does, in a tunnel through another one."""


class Link:
    """A tunnel as the user names it: one file, one private key, one UDP socket, some peers."""

    def __init__(
        self,
        config: Config,
        adapter_mtu: int,
        mark: int,
        lock: threading.Lock,
        datapath: DataPath = DEFAULT,
        exempt: Exempt | None = None,
        outer: "Link | None" = None,
    ) -> None:
        """Resolves every endpoint and opens the socket. Raises NetworkError for a name or a port that fails.

        *mark* and *exempt* are the backend's; the exemption of the socket's own port is the caller's business. The
        datagrams of a link with an *outer* one are captured, to go through that: its socket has no mark.
        """
        self.name = config.name
        self.adapter_mtu = adapter_mtu
        """The MTU the host's stack believes in."""
        self.lock = lock
        """The engine's."""
        self.datapath = datapath
        self.mark = mark
        """SO_MARK of what must not be captured."""
        self.outer = outer
        self.depth: int = outer.depth + 1 if outer else 0
        """How many tunnels this one's datagrams go through."""
        self._exempt = exempt
        self._path_mtu = MAX_PACKET
        self.peers: list[Tunnel] = []
        """In the order of the file."""
        self.adopt(config)
        self.device = Device(config.interface.private_key, wall_clock=time.time_ns, ciphers=datapath.ciphers)
        for peer in config.peers:
            endpoint = self.resolve(peer.endpoint.host, peer.endpoint.port) if peer.endpoint else None
            self.peers.append(self.add_peer(peer, endpoint))
        self.fit(adapter_mtu)  # now that it is known over which version of IP the peers are reached
        try:
            self.socket = UdpSocket(config.interface.listen_port, mark=0 if outer else mark, compiled=datapath.compiled)
        except NetworkError as error:
            raise NetworkError(f"{config.file}: {error}", error.remedy) from None

    def adopt(self, config: Config) -> None:
        """Take over what *config* says of the tunnel itself, its keys and peers apart."""
        self.config = config
        self.mtu = self._fitting_mtu()
        self.addresses: dict[int, bytes] = {}
        """The tunnel's own address by family (4, 6), packed: what inner packets carry as source."""
        for interface in config.interface.addresses:
            self.addresses.setdefault(interface.version, interface.ip.packed)

    def fit(self, adapter_mtu: int, path_mtu: int = MAX_PACKET) -> bool:
        """Go on over an adapter of this MTU and ways to the peers that carry *path_mtu*; whether anything changes.

        The tunnel's own MTU follows, unless the file gives it.
        """
        with self.lock:
            before = self.mtu
            self.adapter_mtu = adapter_mtu
            self._path_mtu = path_mtu
            self.mtu = self._fitting_mtu()
            for peer in self.peers:
                peer.mtu = self.mtu
            return self.mtu != before

    def _fitting_mtu(self) -> int:
        if self.config.interface.mtu:
            return self.config.interface.mtu
        if self.outer is None:
            return min(DEFAULT_MTU, min(self.adapter_mtu, self._path_mtu) - OVERHEAD)
        endpoints = [peer.endpoint for peer in self.peers]
        over_ipv4 = all(isinstance(endpoint, Endpoint) and ":" not in endpoint.address for endpoint in endpoints)
        return self.outer.mtu - (OVERHEAD_IPV4 if over_ipv4 else OVERHEAD)

    def add_peer(self, peer: Peer, endpoint: Endpoint | None) -> Tunnel:
        """Make *peer* known to the device; ``peers`` is the caller's to keep."""
        return self.device.add_peer(
            peer.public_key,
            peer.allowed_ips,
            preshared_key=peer.preshared_key,
            persistent_keepalive=peer.persistent_keepalive,
            endpoint=endpoint,
            mtu=self.mtu,
        )

    def resolve(self, host: str, port: int) -> Endpoint:
        """Where *host* is now, asked outside the tunnel."""
        try:
            address = lookup(host, mark=self.mark, exempt=self._exempt)[0]
        except NetworkError as error:
            raise NetworkError(f"{self.config.file}: {error}", error.remedy) from None
        return Endpoint(str(address), port)

    def configured(self, peer: Tunnel) -> Peer | None:
        """What the file says of *peer*; None if a reload took it out."""
        with self.lock:
            return self.config.peers[self.peers.index(peer)] if peer in self.peers else None

    def send(self, datagrams: Iterable[Datagram]) -> None:
        """Send single datagrams: handshakes, keepalives, released packets."""
        for data, endpoint in datagrams:
            assert isinstance(endpoint, Endpoint)  # this class gives the core no others
            self.socket.send_run(data, len(data), endpoint)

    def transmit(
        self,
        peer: Tunnel,
        batch: PacketBatch,
        indices: Sequence[int],
        flow: Sequence[Flow | None],
        flows: FlowTable,
        out: DatagramBuffer,
        now: float,
    ) -> list[int]:
        """Send the packets *indices* of *batch* through the tunnel, or stage them until there is a session.

        *flow* is the flow of each packet of the batch. Returns the indices of packets larger than the tunnel's MTU
        that may not be cut. *out* belongs to the calling thread.
        """
        out.clear()
        with self.lock:
            session = peer.sending_session(now)
            if session is None:
                packets, oversized = translate_batch(batch, indices, flow, flows, self.mtu, now)
                answers = peer.write(packets, now)
            else:
                oversized = self.datapath.seal(batch, indices, flow, flows, session, self.mtu, now, out)
                answers = peer.sealed(now, out.packets, out.end, True) if out.packets else []
            endpoint = peer.endpoint
        out.encrypt()
        if isinstance(endpoint, Endpoint):
            self.socket.send_runs(out.view, out.runs, endpoint)
        self.send(answers)
        return oversized

    def write(self, peer: Tunnel, packets: Sequence[bytes], now: float) -> None:
        """Send inner packets, translated already, through the tunnel."""
        with self.lock:
            datagrams = peer.write(packets, now)
        self.send(datagrams)

    def open(
        self,
        buffer: memoryview,
        segment_size: int,
        source: Endpoint,
        flows: FlowTable,
        out: Opened,
        now: float,
    ) -> None:
        """Open received datagrams into *out*, answer what must be answered.

        *buffer* is overwritten and belongs to *out* until its packets were handed on.
        """
        out.clear()
        answers: list[Datagram] = []
        sessions = self.device.sessions
        self.datapath.open_datagrams(buffer, segment_size, sessions, flows, now, out)
        with self.lock:
            for session, packets, size, data_packets in out.received:
                if sessions.get(session.local_index) is session:  # not erased meanwhile
                    answers += session.peer.opened(session, source, packets, size, data_packets > 0, now)
            for message in out.control:
                answers += self.device.read(message, source, now).datagrams
        self.send(answers)

    def tick(self, now: float) -> list[tuple[Tunnel, Event]]:
        """Run the timers; returns what happened since the last tick."""
        with self.lock:
            ticked = self.device.tick(now)
        self.send(ticked.datagrams)
        return ticked.events

    def connect(self, now: float) -> None:
        """Start the device, and a handshake with every peer that has an endpoint."""
        with self.lock:
            datagrams = self.device.up(now)
        self.send(datagrams)
        for peer in self.peers:
            self.call(peer, now)

    def call(self, peer: Tunnel, now: float) -> None:
        """Start a handshake with *peer*, if it is known where it is."""
        if peer.endpoint is not None:
            with self.lock:
                datagrams = peer.force_handshake(now)
            self.send(datagrams)

    def greet(self, peer: Tunnel, now: float) -> None:
        """Let *peer* hear from where we are now: in the session there is, and by a handshake."""
        if peer.endpoint is None:
            return
        with self.lock:
            datagrams = peer.write([b""], now) if peer.sending_session(now) else []
            datagrams += peer.force_handshake(now)
        self.send(datagrams)

    def refresh_endpoint(self, peer: Tunnel) -> None:
        """Ask again where the name of a peer that does not answer leads; may take seconds."""
        configured = self.configured(peer)
        if configured is None or configured.endpoint is None or _is_address(configured.endpoint.host):
            return
        host, port = configured.endpoint.host, configured.endpoint.port
        try:
            endpoint = self.resolve(host, port)
        except NetworkError as error:
            log.debug("%s: %s", self.name, error)
            return
        if endpoint != peer.endpoint:
            log.info("%s: %s is now at %s", self.name, host, endpoint.address)
            with self.lock:
                peer.endpoint = endpoint

    def stats(self, now: float) -> list[tuple[Tunnel, Peer, Stats]]:
        """Each peer, what the file says of it, and its figures."""
        with self.lock:
            return [(peer, said, peer.stats(now)) for peer, said in zip(self.peers, self.config.peers, strict=True)]

    def drops(self) -> dict[Drop, int]:
        """What was dropped before it was proven to be any peer's."""
        with self.lock:
            return dict(self.device.drops)

    def close(self) -> None:
        """Erase the keys and close the socket."""
        with self.lock:
            self.device.down()
        self.socket.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
