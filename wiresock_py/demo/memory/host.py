"""The host's end of the memory backend: applications, their sockets, and as much of a TCP/IP stack as they need.

One thread speaks for all applications. Nothing gets lost between here and the servers but by a fault, so nothing is
ever sent twice: an answer that does not come is a TimeoutError.
"""

import hashlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from wiresock_py.datapath import Header, PacketDrop, parse
from wiresock_py.datapath.flows import ICMP, ICMPV6, TCP, UDP
from wiresock_py.demo.memory.packets import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    End,
    echo,
    is_sound,
    tcp,
    tcp_numbers,
    tcp_payload,
    udp,
)
from wiresock_py.filters import PacketFlag
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import App, FiveTuple
from wiresock_py.lab import Host

PATIENCE = 5.0
"""Seconds without a packet after which an answer counts as missing."""
TRANSFER_TIMEOUT = 40.0
"""Seconds for everything that is echoed over one connection."""
FIRST_PORT = 40_000  # also of ICMP identifiers
FIRST_PID = 1000
LINK_MSS = 1460
SUPER_PACKET = 64_000
"""Bytes of payload the stack leaves to the hardware to cut."""
OFFLOADED = PacketFlag.SUPER_PACKET | PacketFlag.CHECKSUM_PARTIAL
IN_FLIGHT = 2 * SUPER_PACKET
"""Bytes a connection sends ahead of what came back: as segments they fit an ordinary UDP socket's buffer."""


class Echoed(NamedTuple):
    """Bytes that went to an echo server and came back."""

    size: int
    sha256: str
    seconds: float
    packets_out: int
    packets_in: int
    """Packets that brought them back; fewer than segments, because the data path merges those."""


@dataclass(slots=True)
class Socket:
    """A TCP connection's or a datagram socket's state on this host."""

    key: FiveTuple
    sequence: int = 0
    """The next to send."""
    expected: int = 0
    """The next to receive."""

    @property
    def ends(self) -> tuple[End, End]:
        return End(self.key.local, self.key.local_port), End(self.key.remote, self.key.remote_port)


class MemoryHost:
    """A host with applications; to the engine it is also the table of who owns which socket."""

    def __init__(self, backend: MemoryBackend, addresses: Host) -> None:
        self._backend = backend
        self._addresses = addresses
        self._apps: dict[str, App] = {}
        self._owners: dict[FiveTuple, App] = {}
        self._arrived: dict[FiveTuple, deque[tuple[bytes, Header]]] = defaultdict(deque)
        self._numbers = count(FIRST_PORT)
        self.opened: list[FiveTuple] = []
        """Every flow so far, oldest first."""
        self.drops: Counter[str] = Counter()
        """Packets that the stack would have refused, by cause."""

    # -- owners, for the engine ----------------------------------------------------------------------------------------

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The applications of flows."""
        return [self._owners.get(key) for key in keys]

    def ancestors(self, app: App) -> tuple[App, ...]:  # noqa: ARG002 - as the engine asks
        return ()

    def listening(self, protocol: int, address: bytes, port: int) -> bool:  # noqa: ARG002 - as the engine asks
        """No application here waits for strangers."""
        return False

    # -- what applications do ------------------------------------------------------------------------------------------

    def ask(self, app: str, server: Host, family: int, port: int, question: bytes) -> bytes:
        """Send a datagram; the answer's payload."""
        socket = self._open(app, UDP, server, family, port)
        self._backend.stack_sends(udp(*socket.ends, question))
        packet, header = self._next(socket)
        return packet[header.transport + 8 : header.length]

    def ping(self, app: str, server: Host, family: int, number: int) -> int:
        """Send *number* echo requests, one after the other; how many were answered whole."""
        socket = self._open(app, ICMPV6 if family == 6 else ICMP, server, family, 0)
        key = socket.key
        answered = 0
        for sequence in range(number):
            data = sequence.to_bytes(2, "big") * 28
            self._backend.stack_sends(echo(key.local, key.remote, key.local_port, sequence, data))
            try:
                packet, header = self._next(socket)
            except TimeoutError:
                continue
            answered += packet[header.transport + 8 : header.length] == data
        return answered

    def request(self, app: str, server: Host, family: int, port: int, text: bytes) -> bytes:
        """Open a connection, send *text*, and close it after the first data that comes back: that data."""
        socket = self._connect(app, server, family, port)
        self._send(socket, ACK | PSH, text)
        answer = self._receive(socket)
        self._close(socket)
        return answer

    def echo(self, app: str, server: Host, family: int, port: int, blocks: Iterable[bytes]) -> Echoed:
        """Send *blocks* over a connection, in super-packets, and take them back meanwhile."""
        started = time.monotonic()
        socket = self._connect(app, server, family, port)
        digest = hashlib.sha256()
        packets_out = packets_in = size = in_flight = 0
        supers = (
            memoryview(block)[start : start + SUPER_PACKET]
            for block in blocks
            for start in range(0, len(block), SUPER_PACKET)
        )
        following = next(supers, None)
        while following is not None or in_flight:
            while following is not None and in_flight < IN_FLIGHT:
                self._send(socket, ACK | PSH, following, OFFLOADED)
                packets_out += 1
                in_flight += len(following)
                following = next(supers, None)
            data = self._receive(socket)
            if time.monotonic() - started > TRANSFER_TIMEOUT:
                raise TimeoutError(f"{socket.key}: {size} bytes were back after {TRANSFER_TIMEOUT:g} s, and not all")
            packets_in += 1
            digest.update(data)
            size += len(data)
            in_flight -= len(data)
        self._close(socket)
        return Echoed(size, digest.hexdigest(), time.monotonic() - started, packets_out, packets_in)

    # -- the stack -----------------------------------------------------------------------------------------------------

    def _open(self, app: str, protocol: int, server: Host, family: int, port: int) -> Socket:
        local, remote = ((host.v6.packed if family == 6 else host.v4.packed) for host in (self._addresses, server))
        key = FiveTuple(protocol, local, next(self._numbers), remote, port)
        pid = FIRST_PID + len(self._apps)
        self._owners[key] = self._apps.setdefault(app, App(pid, 1.0, f"/usr/bin/{app}"))
        self.opened.append(key)
        return Socket(key)

    def _connect(self, app: str, server: Host, family: int, port: int) -> Socket:
        socket = self._open(app, TCP, server, family, port)
        self._backend.stack_sends(tcp(*socket.ends, 0, 0, SYN, mss=LINK_MSS))
        packet, header = self._next(socket)
        socket.sequence = 1
        socket.expected = tcp_numbers(packet, header)[0] + 1
        self._send(socket, ACK)
        return socket

    def _send(
        self, socket: Socket, flags: int, data: bytes | memoryview = b"", kind: PacketFlag = PacketFlag.NONE
    ) -> None:
        partial = PacketFlag.CHECKSUM_PARTIAL in kind
        packet = tcp(*socket.ends, socket.sequence, socket.expected, flags, data, partial=partial)
        self._backend.stack_sends(packet, flags=kind)
        socket.sequence += len(data) + bool(flags & FIN)

    def _receive(self, socket: Socket) -> bytes:
        """The next data of a connection."""
        packet, header = self._next(socket)
        sequence, _ = tcp_numbers(packet, header)
        if sequence != socket.expected & 0xFFFFFFFF:
            raise ConnectionError(f"{socket.key}: sequence number {sequence} instead of {socket.expected & 0xFFFFFFFF}")
        data = tcp_payload(packet, header)
        socket.expected += len(data) + bool(header.tcp_flags & FIN)
        return data

    def _close(self, socket: Socket) -> None:
        self._send(socket, FIN | ACK)
        self._receive(socket)  # the other end's FIN
        self._send(socket, ACK)
        del self._owners[socket.key], self._arrived[socket.key]

    def _next(self, socket: Socket) -> tuple[bytes, Header]:
        """The next packet for a socket; those of others wait for their turn."""
        queue = self._arrived[socket.key]
        deadline = time.monotonic() + PATIENCE
        while not queue:
            packets = self._backend.stack_received(max(0.0, deadline - time.monotonic()))
            if not packets:
                raise TimeoutError(f"{socket.key}: nothing came back for {PATIENCE:g} s")
            for packet in packets:
                header = parse(packet)
                if isinstance(header, PacketDrop):
                    self.drops[header] += 1
                elif not is_sound(packet, header):
                    self.drops["bad checksum"] += 1
                elif (key := header.five_tuple(inbound=True)) not in self._owners:
                    # the client ends closed connections as well: it cannot know that the stack has forgotten them
                    self.drops["no such socket"] += not header.tcp_flags & RST
                else:
                    self._arrived[key].append((packet, header))
        packet, header = queue.popleft()
        if header.tcp_flags & RST:
            raise ConnectionResetError(f"{socket.key}: reset")
        return packet, header
