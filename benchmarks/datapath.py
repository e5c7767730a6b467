"""What the data path costs a packet, as a multiple of the bare AEAD call on as many bytes in the same run.

    python -m benchmarks.datapath [--rounds N] [--datapaths python,native]

Machines and moments differ by more than any change to the code, so look at the last column. Every round measures all
rows one after the other; the figure is the fastest round. The bare call is that of ``cryptography``, from Python, for
each data path alike.
"""

import argparse
import os
import socket
import struct
import time

from wiresock_py.crypto import CRYPTOGRAPHY, Session
from wiresock_py.datapath import Classified, DataPath, Opened, choose
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

    def __init__(self, path: DataPath) -> None:
        keys = os.urandom(32), os.urandom(32)
        self.path = path
        self.peer = Peer()
        self.near = self.session(keys)
        self.far = self.session(keys[::-1])
        self.flows = path.flow_table()
        self.far_flows = path.flow_table()
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            key = FiveTuple(protocol, APP, PORT, SERVER, SERVICE)
            self.flows.add(key, Route.TUNNEL, 0.0, peer=self.peer, local=TUNNEL)
            # The far end sees the tunnel's address as its remote; as if it were another client's.
            back = FiveTuple(protocol, SERVER, SERVICE, TUNNEL, PORT)
            self.far_flows.add(back, Route.TUNNEL, 0.0, peer=self.peer, local=SERVER)
        self.classified = Classified()
        self.sealed = path.datagram_buffer()
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
            ciphers=self.path.ciphers,
        )

    def out(self, batch: PacketBatch) -> int:
        """Classify and seal a batch; returns the number of datagrams."""
        self.sealed.clear()
        self.path.classify(batch, self.flows, 1.0, self.classified)
        for indices in self.classified.tunnel.values():
            self.path.seal(batch, indices, self.classified.flow, self.flows, self.near, MTU, 1.0, self.sealed)
        self.sealed.encrypt()
        return self.sealed.packets

    def into(self, batches: list[PacketBatch]) -> tuple[int, float]:
        """Seal *batches*, and open what came of each: the number of datagrams and the seconds opening took."""
        count, took = 0, 0.0
        for batch in batches:
            count += self.out(batch)
            self.opened.clear()
            begin = time.perf_counter()
            for start, end, segment in self.sealed.runs:
                received = self.sealed.view[start:end]
                self.path.open_datagrams(received, segment, {1: self.far}, self.far_flows, 1.0, self.opened)
            took += time.perf_counter() - begin
            assert not self.opened.slow
        return count, took

    def from_batches(self, batches: list[PacketBatch]) -> tuple[int, float]:
        """Classify and seal *batches*: the number of datagrams and the seconds it took."""
        begin = time.perf_counter()
        packets = sum(map(self.out, batches))
        return packets, time.perf_counter() - begin


def bare(size: int, *, opening: bool) -> tuple[int, float]:
    """The AEAD alone, in place, on slices of one buffer, as Python's data path calls it."""
    count = 256
    step = size + 32
    view = memoryview(bytearray(count * step))
    key, nonce = os.urandom(32), bytes(12)
    sealer, opener = CRYPTOGRAPHY.sealer(key), CRYPTOGRAPHY.opener(key)
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


def cases() -> dict[str, tuple[int, list[PacketBatch]]]:
    """By name: the size of a plain text, and batches of such packets."""
    data = os.urandom(65_535)
    segment = MTU - HEADERS
    whole = (65_535 - HEADERS) // segment * segment
    bulk = [tcp_packet(data[:whole], 1 + i * whole) for i in range(16)]
    found = {
        "64 KB of TCP, 16 a batch": (MTU, [make_batch(bulk)]),
        "64 KB of TCP, one by one": (MTU, [make_batch([packet]) for packet in bulk]),
    }
    for size in (1420, 576, 64):
        tcp = [tcp_packet(data[: size - HEADERS], 1 + i * (size - HEADERS)) for i in range(128)]
        udp = [udp_packet(data[: size - 28])] * 128
        for name, packets, flags in (("TCP", tcp, PARTIAL), ("UDP", udp, 0)):
            found[f"{name} of {size}, 128 a batch"] = size, [make_batch(packets, flags)]
            found[f"{name} of {size}, one by one"] = size, [make_batch([packet], flags) for packet in packets]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--datapaths", default="python,native")
    options = parser.parse_args()
    benches = [Bench(choose(name)) for name in options.datapaths.split(",")]
    best: dict[tuple[str, ...], float] = {}

    def note(name: tuple[str, ...], measured: tuple[int, float]) -> None:
        packets, took = measured
        best[name] = min(best.get(name, 1.0), took / packets)

    measured = cases()
    for _ in range(options.rounds):
        for name, (size, batches) in measured.items():
            for way, opening in (("out", False), ("in", True)):
                note((way, name), bare(size, opening=opening))
                for bench in benches:
                    seconds = bench.into(batches) if opening else bench.from_batches(batches)
                    note((way, name, bench.path.name), seconds)
    columns = "".join(f"{bench.path.name + ' µs':>12}{'multiple':>10}" for bench in benches)
    print(f"{'':36}{'bare µs':>9}{columns}")
    for way in ("out", "in"):
        for name in measured:
            reference = best[way, name]
            row = "".join(
                f"{best[way, name, bench.path.name] * 1e6:12.2f}{best[way, name, bench.path.name] / reference:10.2f}"
                for bench in benches
            )
            print(f"{way + ': ' + name:36}{reference * 1e6:9.2f}{row}")


if __name__ == "__main__":
    main()
