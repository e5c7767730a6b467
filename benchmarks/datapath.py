"""What the data path costs a packet, as a multiple of the bare AEAD call on the same bytes in the same run.

    python -m benchmarks.datapath [--rounds N]

Machines and moments differ by more than any change to the code, so look at the last column. Every round measures all
rows one after the other; the figure is the fastest round.
"""

import argparse
import os
import socket
import struct
import time
from collections.abc import Callable

from wiresock_py.crypto import CRYPTOGRAPHY, Session
from wiresock_py.datapath import Classified, DatagramBuffer, FlowTable, Opened, classify, open_datagrams, seal
from wiresock_py.datapath.checksum import finish, pseudo_sum, word_sum
from wiresock_py.filters.base import PacketBatch, PacketFlag, Verdict
from wiresock_py.flow import FiveTuple, Route

MTU = 1420
PARTIAL = int(PacketFlag.CHECKSUM_PARTIAL)
APP, TUNNEL, SERVER = (
    bytes(map(int, address.split("."))) for address in ("192.168.1.5", "10.66.66.2", "93.184.216.34")
)
PORT, SERVICE = 40000, 443
TIMESTAMPS = bytes.fromhex("0101080a00000001 00000002".replace(" ", ""))
HEADERS = 20 + 20 + len(TIMESTAMPS)


class Peer:
    """Stands for the tunnel that owns both sessions."""


def tcp_packet(payload: bytes, sequence: int = 1) -> bytes:
    """An outbound data segment, super-packet or ACK, with its checksums right."""
    segment = bytearray(struct.pack(">HHIIBBHHH", PORT, SERVICE, sequence, 1, 8 << 4, 0x10, 500, 0, 0))
    segment += TIMESTAMPS + payload
    struct.pack_into(">H", segment, 16, finish(pseudo_sum(APP, SERVER, 6, len(segment)) + word_sum(segment)))
    return ipv4(socket.IPPROTO_TCP, bytes(segment))


def udp_packet(payload: bytes) -> bytes:
    """An outbound datagram without a checksum."""
    return ipv4(socket.IPPROTO_UDP, struct.pack(">HHHH", PORT, SERVICE, 8 + len(payload), 0) + payload)


def ipv4(protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet from the app's address to the server's."""
    header = bytearray(struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0x4000, 64, protocol, 0) + APP + SERVER)
    struct.pack_into(">H", header, 10, finish(word_sum(header)))
    return bytes(header) + payload


def make_batch(packets: list[bytes], flags: int = PARTIAL) -> PacketBatch:
    """The packets as a backend would show them."""
    batch = PacketBatch(memoryview(bytearray().join(packets)))
    offset = 0
    for packet in packets:
        batch.offset.append(offset)
        batch.length.append(len(packet))
        batch.flags.append(flags)
        batch.adapter.append(1)
        batch.token.append(0)
        batch.verdict.append(Verdict.DROP)
        offset += len(packet)
    return batch


class Bench:
    """One pair of sessions and a flow table for each end."""

    def __init__(self) -> None:
        keys = os.urandom(32), os.urandom(32)
        self.peer = Peer()
        self.near = self.session(keys)
        self.far = self.session(keys[::-1])
        self.flows = FlowTable()
        self.far_flows = FlowTable()
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            key = FiveTuple(protocol, APP, PORT, SERVER, SERVICE)
            self.flows.add(key, Route.TUNNEL, 0.0, peer=self.peer, local=TUNNEL)
            # The far end sees the tunnel's address as its remote; as if it were another client's.
            back = FiveTuple(protocol, SERVER, SERVICE, TUNNEL, PORT)
            self.far_flows.add(back, Route.TUNNEL, 0.0, peer=self.peer, local=SERVER)
        self.classified = Classified()
        self.sealed = DatagramBuffer()
        self.opened = Opened()

    def session(self, keys: tuple[bytes, bytes]) -> Session:
        return Session(
            self.peer,  # type: ignore[arg-type]  # any object: the data path only compares it
            local_index=1,
            remote_index=1,
            sending_key=keys[0],
            receiving_key=keys[1],
            initiator=True,
            created=0.0,
        )

    def out(self, batch: PacketBatch) -> int:
        """Classify and seal a batch; returns the number of datagrams."""
        self.sealed.clear()
        classify(batch, self.flows, 1.0, self.classified)
        for indices in self.classified.tunnel.values():
            seal(batch, indices, self.classified.flow, self.flows, self.near, MTU, 1.0, self.sealed)
        return self.sealed.packets

    def into(self, batch: PacketBatch) -> Callable[[], tuple[int, float]]:
        """Seal *batch*, and return what opens it: gives the number of datagrams and the seconds it took."""

        def measure() -> tuple[int, float]:
            packets = self.out(batch)
            self.opened.clear()
            begin = time.perf_counter()
            for start, end, segment in self.sealed.runs:
                received = self.sealed.view[start:end]
                open_datagrams(received, segment, {1: self.far}, self.far_flows, 1.0, self.opened)
            took = time.perf_counter() - begin
            assert sum(row[1] for row in self.opened.received) == packets
            assert not self.opened.slow
            return packets, took

        return measure

    def from_batch(self, batch: PacketBatch) -> Callable[[], tuple[int, float]]:
        """What classifies and seals *batch*."""

        def measure() -> tuple[int, float]:
            begin = time.perf_counter()
            packets = self.out(batch)
            return packets, time.perf_counter() - begin

        return measure

    def bare(self, size: int, *, opening: bool) -> Callable[[], tuple[int, float]]:
        """The AEAD alone, in place, on slices of one buffer, as the data path calls it."""
        count = 256
        step = size + 32
        view = memoryview(bytearray(count * step))
        key, nonce = os.urandom(32), bytes(12)
        sealer, opener = CRYPTOGRAPHY.sealer(key), CRYPTOGRAPHY.opener(key)

        def measure() -> tuple[int, float]:
            begin = time.perf_counter()
            for at in range(16, count * step, step):
                sealer.encrypt_into(nonce, view[at : at + size], None, view[at : at + size + 16])
            took = time.perf_counter() - begin
            if opening:
                begin = time.perf_counter()
                for at in range(16, count * step, step):
                    opener.decrypt_into(nonce, view[at : at + size + 16], None, view[at : at + size])
                took = time.perf_counter() - begin
            return count, took

        return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds

    bench = Bench()
    data = os.urandom(65_535)
    segment = MTU - HEADERS
    whole_segments = (65_535 - HEADERS) // segment * segment
    bulk = make_batch([tcp_packet(data[:whole_segments], 1 + i * whole_segments) for i in range(16)])
    single = make_batch([tcp_packet(data[:segment], 1 + i * segment) for i in range(256)])
    acks = make_batch([tcp_packet(b"")] * 256)
    datagrams = make_batch([udp_packet(data[: MTU - 28])] * 256, 0)
    rows: list[tuple[str, int, bool, Callable[[], tuple[int, float]]]] = [
        ("out: TCP super-packets of 64 KB", MTU, False, bench.from_batch(bulk)),
        ("out: TCP packets of 1420 bytes", MTU, False, bench.from_batch(single)),
        ("out: UDP packets of 1420 bytes", MTU, False, bench.from_batch(datagrams)),
        ("out: TCP acknowledgments", 64, False, bench.from_batch(acks)),
        ("in: TCP, merged to 64 KB", MTU, True, bench.into(bulk)),
        ("in: UDP packets of 1420 bytes", MTU, True, bench.into(datagrams)),
        ("in: TCP acknowledgments", 64, True, bench.into(acks)),
    ]
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, size, opening, measure in rows:
            for label, function in ((f"{name} bare", bench.bare(size, opening=opening)), (name, measure)):
                packets, took = function()
                best[label] = min(best.get(label, 1.0), took / packets)
    print(f"{'':34}{'µs a packet':>12}{'bare AEAD':>12}{'multiple':>10}")
    for name, *_ in rows:
        cost, bare = best[name] * 1e6, best[f"{name} bare"] * 1e6
        print(f"{name:34}{cost:12.2f}{bare:12.2f}{cost / bare:10.2f}")


if __name__ == "__main__":
    main()
