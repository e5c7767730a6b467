"""Two tunnels over a link that may lose, reorder, duplicate, delay, corrupt and echo, all on a virtual clock."""

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from tests.support.peers import CLIENT, SERVER
from wiresock_py.crypto.results import Address, Datagram
from wiresock_py.crypto.tunnel import Tunnel

ATTACKER = ("203.0.113.66", 666)


@dataclass
class Impairment:
    """What the link does to a datagram; parts of 1, and seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    delay: float = 0.05
    jitter: float = 0.0
    echo: float = 0.0
    """What was accepted is sent again from the attacker's address."""


class Network:
    """The client, the server, and time. Packets handed to ``send`` leave at once; what arrives is in ``delivered``."""

    def __init__(self, client: Tunnel, server: Tunnel, impairment: Impairment, seed: int = 0) -> None:
        self.now = 0.0
        self.ends: dict[Address, Tunnel] = {CLIENT: client, SERVER: server}
        self.impairment = impairment
        self.sent: dict[Address, list[bytes]] = {CLIENT: [], SERVER: []}
        self.delivered: dict[Address, list[bytes]] = {CLIENT: [], SERVER: []}
        self.rekeys = 0
        self.after_each_step: Callable[[Network], object] = id
        self._random = random.Random(seed)
        self._order = count()
        self._on_the_way: list[tuple[float, int, Address, Address, bytes]] = []

    def send(self, sender: Address, packets: Iterable[bytes]) -> None:
        packets = list(packets)
        self.sent[sender] += packets
        self.carry(sender, self.ends[sender].write(packets, self.now))

    def carry(self, source: Address, datagrams: Iterable[Datagram]) -> None:
        for datagram in datagrams:
            data = bytes(datagram.data)
            self.rekeys += data[0] == 2
            if datagram.endpoint not in self.ends or self._chance(self.impairment.loss):
                continue
            copies = 2 if self._chance(self.impairment.duplication) else 1
            for _ in range(copies):
                damaged = self._chance(self.impairment.corruption)
                self._post(source, datagram.endpoint, self._damage(data) if damaged else data)

    def run_until(self, until: float) -> None:
        while True:
            arrival = self._on_the_way[0][0] if self._on_the_way else until + 1
            due = min(arrival, *(end.timers.deadline for end in self.ends.values()))
            if due > until:
                break
            self.now = max(self.now, due)
            for place, end in self.ends.items():
                self.carry(place, end.tick(self.now).datagrams)
            while self._on_the_way and self._on_the_way[0][0] <= self.now:
                self._arrive(*heapq.heappop(self._on_the_way)[2:])
            self.after_each_step(self)
        self.now = until

    def _arrive(self, source: Address, destination: Address, data: bytes) -> None:
        received = self.ends[destination].read(data, source, self.now)
        if received.packet is not None:
            self.delivered[destination].append(bytes(received.packet))
        self.carry(destination, received.datagrams)
        if received.drop is None and source != ATTACKER and self._chance(self.impairment.echo):
            self._post(ATTACKER, destination, data)

    def _post(self, source: Address, destination: Address, data: bytes) -> None:
        arrival = self.now + self.impairment.delay + self._random.random() * self.impairment.jitter
        heapq.heappush(self._on_the_way, (arrival, next(self._order), source, destination, data))

    def _damage(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        damaged[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(damaged)[: self._random.randint(0, len(data)) if self._chance(0.2) else None]

    def _chance(self, part: float) -> bool:
        return part > 0 and self._random.random() < part
