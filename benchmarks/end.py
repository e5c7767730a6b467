"""Our end of a tunnel as a data path sees it, with as many flows and peers as wanted, and datagrams to open."""

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.datapath import APP, MTU, TUNNEL, make_batch
from wiresock_py.crypto import Session
from wiresock_py.crypto.constants import TYPE_TRANSPORT
from wiresock_py.datapath import Classified, DataPath, Opened
from wiresock_py.datapath.checksum import finish, word_sum
from wiresock_py.flow import FiveTuple, Route

BATCH, BATCHES = 256, 8
"""Packets of a batch, and batches of one measurement."""
SIZE = 576
"""Of the inner packets, in bytes."""
SERVICE = 443

Step = Callable[[], float]
"""One measurement: microseconds for each packet, or flow, or turn."""


def remote(number: int) -> bytes:
    """The packed address of one of very many servers."""
    return (0x0B00_0000 + number * 256 + 7).to_bytes(4, "big")


def port(number: int) -> int:
    """The local port of one of very many flows."""
    return 1024 + number % 60_000


def datagram(source: bytes, source_port: int, destination: bytes, destination_port: int) -> bytes:
    """An inner packet with a datagram of SIZE bytes in all, without a UDP checksum."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, SIZE, 7, 0x4000, 64, socket.IPPROTO_UDP, 0) + source + destination
    header = header[:10] + finish(word_sum(header)).to_bytes(2, "big") + header[12:]
    return header + struct.pack(">HHHH", source_port, destination_port, SIZE - 20, 0) + bytes(SIZE - 28)


class End:
    """Our end: flows and sessions as a data path wants them, and datagrams from the other end to open."""

    def __init__(self, datapath: DataPath, flows: int = 1, sessions: int = 1) -> None:
        self.datapath = datapath
        self.flows = datapath.flow_table(capacity=2 * flows + 1)
        key = random.randbytes(32)
        peers = [object() for _ in range(sessions)]
        self.sessions = {
            number: Session(
                peer,  # type: ignore[arg-type]  # any object: the data path only compares it
                local_index=number,
                remote_index=number,
                sending_key=key,
                receiving_key=key,
                initiator=True,
                created=0.0,
                ciphers=datapath.ciphers,
            )
            for number, peer in enumerate(peers, 1)
        }
        self.busy = sessions
        """The index of the session that all traffic is of."""
        for number in range(flows):
            flow = FiveTuple(socket.IPPROTO_UDP, APP, port(number), remote(number), SERVICE)
            self.flows.add(flow, Route.TUNNEL, 0.0, peer=peers[-1], local=TUNNEL)
        self._count = flows
        self._classified, self._opened = Classified(), Opened()
        self._sealed = datapath.datagram_buffer()
        self._cipher, self._counter = ChaCha20Poly1305(key), 0

    def out(self, busy: int = 0) -> Step:
        """Classify, seal and encrypt batches of packets of *busy* flows, or of all flows."""
        traffic = self._traffic(busy)
        session = self.sessions[self.busy]

        def step() -> float:
            took = 0.0
            for _ in range(BATCHES):
                packets = [datagram(APP, port(number), remote(number), SERVICE) for number in next(traffic)]
                batch = make_batch(packets, 0)
                self._sealed.clear()
                begun = time.perf_counter()
                self.datapath.classify(batch, self.flows, 1.0, self._classified)
                for indices in self._classified.tunnel.values():
                    flow = self._classified.flow
                    self.datapath.seal(batch, indices, flow, self.flows, session, MTU, 1.0, self._sealed)
                self._sealed.encrypt()
                took += time.perf_counter() - begun
                assert self._sealed.packets == BATCH
            return took / (BATCH * BATCHES) * 1e6

        return step

    def into(self, busy: int = 0) -> Step:
        """Open batches of datagrams for *busy* flows, or for all flows."""
        traffic = self._traffic(busy)

        def step() -> float:
            took = 0.0
            for _ in range(BATCHES):
                received = memoryview(bytearray().join(map(self._datagram, next(traffic))))
                self._opened.clear()
                begun = time.perf_counter()
                step = len(received) // BATCH
                self.datapath.open_datagrams(received, step, self.sessions, self.flows, 1.0, self._opened)
                took += time.perf_counter() - begun
                assert sum(row[1] for row in self._opened.received) == BATCH
                assert not self._opened.slow
            return took / (BATCH * BATCHES) * 1e6

        return step

    def _traffic(self, busy: int) -> Iterator[list[int]]:
        """The flow of each packet, a batch at a time, at random: of *busy* flows that stand anywhere in the table.

        Never the same ones again, which the processor would remember.
        """
        chance = random.Random(1)
        among = chance.sample(range(self._count), busy) if busy else range(self._count)
        while True:
            yield [chance.choice(among) for _ in range(BATCH)]

    def _datagram(self, number: int) -> bytes:
        """The next transport message of the other end, with a packet for flow *number*."""
        inner = datagram(remote(number), SERVICE, TUNNEL, port(number))
        nonce = struct.pack("<4xQ", self._counter)
        self._counter += 1
        return struct.pack("<II", TYPE_TRANSPORT, self.busy) + nonce[4:] + self._cipher.encrypt(nonce, inner, None)
