"""The hosts beyond the wire: web, echo and DNS servers that answer whole batches of packets, all on one thread."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from wiresock_py.datapath import Header, parse
from wiresock_py.datapath.flows import TCP, UDP
from wiresock_py.datapath.headers import ECHO_REQUESTS
from wiresock_py.demo.memory.packets import (
    ACK,
    FIN,
    PSH,
    SYN,
    End,
    echo,
    is_sound,
    tcp,
    tcp_mss,
    tcp_numbers,
    tcp_payload,
    udp,
)
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import FiveTuple
from wiresock_py.lab import Host
from wiresock_py.lab.programs.services import Resolver

HTTP_PORT, ECHO_PORT, DNS_PORT = 80, 7, 53
FIRST_SEQUENCE = 0xFFFF_F000
"""Near its end, so that sequence numbers wrap within the first packets."""
LINK_MSS = 1460
POLL = 0.1


@dataclass(slots=True)
class Connection:
    """A TCP connection as its server sees it: nothing is lost here, so it never sends anything twice."""

    mss: int
    expected: int
    """The client's next sequence number."""
    sequence: int
    """The server's own."""
    closing: bool = False
    """It has sent its FIN."""


class Internet:
    """Servers at some addresses.

    TCP port 80: the caller's address, as text. TCP port 7: what comes goes back, in segments of the caller's MSS. UDP
    port 53 of *resolvers*: the names of the lab's resolvers. Pings are answered.
    """

    def __init__(self, servers: Iterable[Host], resolvers: Iterable[Host]) -> None:
        self._servers = {address.packed for host in servers for address in (host.v4, host.v6)}
        self._resolvers = {address.packed for host in resolvers for address in (host.v4, host.v6)}
        self._connections: dict[FiveTuple, Connection] = {}
        self.drops: Counter[str] = Counter()
        """What was not answered, by cause."""

    def answer(self, packets: Iterable[bytes]) -> list[bytes]:
        """What comes back for *packets*.

        Echoed data comes last, and acknowledges all of a batch at once: only segments with one acknowledgment number
        can be merged on their way back.
        """
        answers: list[bytes] = []
        echoes: dict[FiveTuple, list[bytes]] = {}
        for packet in packets:
            header = parse(packet)
            if not isinstance(header, Header) or header.destination not in self._servers | self._resolvers:
                self.drops["no such host"] += 1
            elif not is_sound(packet, header):
                self.drops["bad checksum"] += 1
            elif header.icmp_type in ECHO_REQUESTS:
                identifier, sequence = header.source_port, int.from_bytes(packet[header.transport + 6 :][:2], "big")
                data = packet[header.transport + 8 : header.length]
                answers.append(echo(header.destination, header.source, identifier, sequence, data, reply=True))
            elif header.protocol == UDP:
                answers += self._resolve(packet, header)
            elif header.protocol == TCP:
                answers += self._converse(packet, header, echoes)
        for key, pieces in echoes.items():
            answers += self._send(key, b"".join(pieces))
        return answers

    def _resolve(self, packet: bytes, header: Header) -> list[bytes]:
        if header.destination not in self._resolvers or header.destination_port != DNS_PORT:
            self.drops["no such service"] += 1
            return []
        resolver = Resolver(str(ip_address(header.destination)), {})
        asker = str(ip_address(header.source))
        reply = resolver.answer(packet[header.transport + 8 : header.length], asker, "udp")
        here, there = End(header.destination, DNS_PORT), End(header.source, header.source_port)
        return [udp(here, there, reply)]

    def _converse(self, packet: bytes, header: Header, echoes: dict[FiveTuple, list[bytes]]) -> list[bytes]:
        key = header.five_tuple(inbound=True)
        sequence, _ = tcp_numbers(packet, header)
        if header.tcp_flags & SYN and header.destination_port in (HTTP_PORT, ECHO_PORT):
            connection = Connection(tcp_mss(packet, header), sequence + 1, FIRST_SEQUENCE + 1)
            self._connections[key] = connection
            return [tcp(*_ends(key), FIRST_SEQUENCE, connection.expected, SYN | ACK, mss=LINK_MSS)]
        known = self._connections.get(key)
        if known is None:
            self.drops["no such connection"] += 1
            return []
        data = tcp_payload(packet, header)
        if sequence != known.expected & 0xFFFFFFFF:
            self.drops["out of order"] += 1
            return []
        known.expected += len(data)
        if header.tcp_flags & FIN:
            known.expected += 1
            known.closing = True
            return [tcp(*_ends(key), known.sequence, known.expected, FIN | ACK)]
        if known.closing:
            del self._connections[key]
        if not data:
            return []
        if key.local_port == HTTP_PORT:
            return self._send(key, str(ip_address(key.remote)).encode())
        echoes.setdefault(key, []).append(data)
        return []

    def _send(self, key: FiveTuple, data: bytes) -> list[bytes]:
        connection = self._connections[key]
        packets = []
        for offset in range(0, len(data), connection.mss):
            segment = data[offset : offset + connection.mss]
            flags = ACK | PSH if offset + len(segment) == len(data) else ACK
            packets.append(tcp(*_ends(key), connection.sequence, connection.expected, flags, segment))
            connection.sequence += len(segment)
        return packets


def _ends(key: FiveTuple) -> tuple[End, End]:
    return End(key.local, key.local_port), End(key.remote, key.remote_port)


class Isp:
    """The network's end of the memory backend: carries packets to *internet* and back, and remembers whose."""

    def __init__(self, backend: MemoryBackend, internet: Internet) -> None:
        self._backend = backend
        self._internet = internet
        self._flows: Counter[FiveTuple] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="isp", daemon=True)
        self._thread.start()

    def seen(self, flow: FiveTuple) -> int:
        """Packets of *flow* (as the host sees it), both ways, so far."""
        return self._flows[flow]

    def stop(self) -> None:
        """End the thread. May be repeated."""
        self._stopping.set()
        self._thread.join()

    def _carry(self) -> None:
        while not self._stopping.is_set():
            packets = self._backend.network_received(POLL)
            answers = self._internet.answer(packets)
            for direction, inbound in ((packets, False), (answers, True)):
                headers = (header for packet in direction if isinstance(header := parse(packet), Header))
                self._flows.update(header.five_tuple(inbound=inbound) for header in headers)
            for answer in answers:
                self._backend.network_sends(answer)
