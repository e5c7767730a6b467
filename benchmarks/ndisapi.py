"""What a packet costs through the ndisapi backend and the engine, as a multiple of the bare AEAD call in the same run.

    python -m benchmarks.ndisapi [--rounds N] [--datapaths python,native]

The driver is the emulator. Its own work is what the real one does in the kernel, so it is measured apart and not
counted; nor is what the UDP socket does, in whose place the datagrams are only taken and given. Everything else of a
turn of the engine's threads is: reading and sorting a batch, flows, translation, sealing or opening, verdicts, frames
for the stack. Packets are TCP segments of 1420 bytes. Machines and moments differ by more than any change to the code,
so look at the last column; every figure is the fastest round.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from benchmarks.datapath import APP, HEADERS, MTU, PORT, SERVER, SERVICE, TUNNEL, tcp_packet
from wiresock_py.config import parse
from wiresock_py.crypto import CRYPTOGRAPHY, Device, PrivateKey, Tunnel
from wiresock_py.datapath import DataPath, choose
from wiresock_py.datapath.checksum import word_sum
from wiresock_py.engine import Engine, Link
from wiresock_py.engine.udp import Endpoint, Received
from wiresock_py.filters import HostAdapter
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.device import Device as DriverDevice
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, EmulatedDevice, Emulator
from wiresock_py.filters.ndisapi.serving import BATCH_PACKETS
from wiresock_py.flow import App, FiveTuple
from wiresock_py.rules import Rules

PACKETS = 512
ROUTER = b"\x02\x01\0\0\0\x01"
CLIENT = Endpoint("192.168.1.5", 40000)
GATHERED = 64
"""Datagrams that one receive brings."""


class Host:
    """One adapter, whose router is known."""

    def __init__(self, plugged: EmulatedAdapter) -> None:
        guid = plugged.name.rpartition("\\")[2]
        self._adapter = HostAdapter(2, guid, plugged.friendly_name, 1500, (APP,), (bytes((192, 168, 1, 1)),))

    def adapters(self) -> tuple[HostAdapter, ...]:
        return (self._adapter,)

    def next_hop_mac(self, _adapter: int, _destination: bytes) -> bytes | None:
        return ROUTER

    def follow(self, _changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class Timed:
    """Seconds spent in calls of each kind, those they make themselves left out."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = 0.0

    def wrap(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            begin = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                took = time.perf_counter() - begin
                self.seconds[kind] = self.seconds.get(kind, 0.0) + took - self._inner
                self._inner = outer + took

        return timed


class TimedDevice(EmulatedDevice):
    """A handle whose requests are timed while the test's thread makes them."""

    def __init__(self, driver: Emulator, timed: Timed) -> None:
        super().__init__(driver)
        thread = threading.get_ident()
        inner = timed.wrap("driver", super().control)
        plain = super().control
        self.control = lambda *call: (inner if threading.get_ident() == thread else plain)(*call)  # type: ignore[method-assign]


class Wire:
    """Stands for the UDP socket: takes what is sent, and gives what was sealed for it."""

    def __init__(self, port: int = 0, **_: object) -> None:
        self.port = port or 51820
        self.sent: list[tuple[bytes, int]] = []
        self.keep = True
        self.datagrams = 0
        self.arriving: list[tuple[bytes, int]] = []
        self.source = Endpoint("198.51.100.2", 51820)

    def send_run(self, data: memoryview, segment_size: int, _endpoint: object) -> int:
        count = -(-len(data) // segment_size)
        self.datagrams += count
        if self.keep:
            self.sent.append((bytes(data), segment_size))
        return count

    def send_runs(self, data: memoryview, runs: list[tuple[int, int, int]], endpoint: object) -> None:
        for start, end, segment_size in runs:
            self.send_run(data[start:end], segment_size, endpoint)

    def receive_into(self, buffer: memoryview, _timeout: float) -> Received | None:
        data, segment_size = self.arriving.pop()
        buffer[: len(data)] = data
        return Received(len(data), segment_size, self.source)

    def close(self) -> None:
        pass

    def statistics(self) -> dict[str, int]:
        return {}


class Owners:
    """Everything is one app's."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        return [App(1, 1.0, "/usr/bin/app")] * len(keys)

    def ancestors(self, app: App) -> tuple[App, ...]:  # noqa: ARG002 - as the engine asks
        return ()

    def listening(self, *_: object) -> bool:
        return False

    def close(self) -> None:
        pass


class Bench:
    """An engine over the backend over the emulator, and a peer with a session."""

    def __init__(self, datapath: DataPath) -> None:
        self.timed = Timed()
        emulator = Emulator(pool_size=2 * PACKETS)
        self.plugged = emulator.add_adapter("Ethernet")
        self.backend = NdisApiBackend(Host(self.plugged), lambda: self._open(emulator), compiled=datapath.compiled)
        own, far = PrivateKey.generate(), PrivateKey.generate()
        text = f"[Interface]\nPrivateKey = {own.to_base64()}\nAddress = 10.66.66.2/32\nMTU = {MTU}\n"
        text += f"[Peer]\nPublicKey = {far.public_key().to_base64()}\nEndpoint = 198.51.100.2:51820\n"
        config = parse(text + "AllowedIPs = 0.0.0.0/0\n", "wg0.conf")
        lock = threading.Lock()
        with mock.patch("wiresock_py.engine.links.UdpSocket", Wire):
            self.link = Link(config, 1500, 0, lock, datapath)
        rules = Rules([config])
        self.engine = Engine(rules, self.backend, Owners(), lock, [self.link], datapath=datapath)
        # their turns are taken one by one, in place of the engine's threads
        self.outbound, (self.inbound,) = self.engine._outbound, self.engine._inbound  # noqa: SLF001
        self.backend.open(rules.plan())
        self.far = Device(far, wall_clock=time.time_ns)
        self.peer: Tunnel = self.far.add_peer(own.public_key(), config.peers[0].allowed_ips, endpoint=CLIENT)
        self.far.up(time.monotonic())
        self._connect()
        payload = os.urandom(MTU - HEADERS)
        link_header = ROUTER + self.plugged.mac + b"\x08\x00"
        size = len(payload)
        self.frames = [link_header + tcp_packet(payload, 1 + i * size) for i in range(PACKETS)]
        self._begin_flow(link_header)
        for name in ("receive", "finish", "send_to_stack"):
            setattr(self.backend, name, self.timed.wrap("backend", getattr(self.backend, name)))

    def _open(self, emulator: Emulator) -> DriverDevice:
        emulator.open().close()
        return TimedDevice(emulator, self.timed)

    @property
    def wire(self) -> Any:
        return self.link.socket

    def _connect(self) -> None:
        self.link.connect(time.monotonic())
        self._exchange()

    def _exchange(self) -> None:
        """Let both ends have what the other sent."""
        while self.wire.sent:
            data, _size = self.wire.sent.pop(0)
            for answer in self.far.read(data, CLIENT, time.monotonic()).datagrams:
                self.wire.arriving.append((bytes(answer.data), len(answer.data)))
            while self.wire.arriving:
                self.inbound.receive()

    def _begin_flow(self, link_header: bytes) -> None:
        """A connection that a tunnel decision made."""
        syn = bytearray(tcp_packet(b""))
        syn[20 + 13] = 2
        syn[36:38] = ((int.from_bytes(syn[36:38], "big") + 0x10 - 2) % 65535).to_bytes(2, "big")
        self.plugged.stack_sends(link_header + syn)
        self.outbound.capture()
        self.outbound.resolve()
        self._exchange()
        self.wire.sent.clear()
        self.wire.keep = False

    def out(self) -> tuple[int, float]:
        """Frames that the stack sent, through capture, engine and seal."""
        for frame in self.frames:
            self.plugged.stack_sends(frame)
        self.wire.datagrams = 0
        begin = time.perf_counter()
        while self.wire.datagrams < PACKETS:
            self.outbound.capture()
        return PACKETS, time.perf_counter() - begin

    def into(self) -> tuple[int, float]:
        """Datagrams of the peer, through the engine to the stack."""
        packets = [self._answer(frame[14:]) for frame in self.frames]
        sealed = [bytes(datagram.data) for datagram in self.peer.write(packets, time.monotonic())]
        runs = [b"".join(sealed[at : at + GATHERED]) for at in range(0, PACKETS, GATHERED)]
        self.wire.arriving = [(run, len(sealed[0])) for run in reversed(runs)]
        begin = time.perf_counter()
        while self.wire.arriving:
            self.inbound.receive()
        took = time.perf_counter() - begin
        assert len(self.plugged.stack_received()) == PACKETS
        return PACKETS, took

    @staticmethod
    def _answer(packet: bytes) -> bytes:
        """The same segment the other way, to the tunnel's address: sums stay the same but for that address."""
        turned = bytearray(packet)
        turned[12:20] = SERVER + TUNNEL
        turned[20:24] = SERVICE.to_bytes(2, "big") + PORT.to_bytes(2, "big")
        for place in (10, 36):  # both checksums cover the addresses
            field = int.from_bytes(turned[place : place + 2], "big") + word_sum(APP) - word_sum(TUNNEL)
            turned[place : place + 2] = (field % 65535).to_bytes(2, "big")
        return bytes(turned)

    def close(self) -> None:
        self.engine.close()
        self.backend.close()


def bare(opening: bool) -> tuple[int, float]:
    """The AEAD alone, in place, on buffers of a packet's size."""
    step = MTU + 32
    view = memoryview(bytearray(PACKETS * step))
    key, nonce = os.urandom(32), bytes(12)
    sealer, opener = CRYPTOGRAPHY.sealer(key), CRYPTOGRAPHY.opener(key)
    begin = time.perf_counter()
    for at in range(16, PACKETS * step, step):
        sealer.encrypt_into(nonce, view[at : at + MTU], None, view[at : at + MTU + 16])
    if opening:
        begin = time.perf_counter()
        for at in range(16, PACKETS * step, step):
            opener.decrypt_into(nonce, view[at : at + MTU + 16], None, view[at : at + MTU])
    return PACKETS, time.perf_counter() - begin


def measure(name: str, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds a packet each way, the fastest of *rounds*: ``all``, of that in the ``backend``; ``driver``; ``bare``."""
    bench = Bench(choose(name))
    best: dict[str, dict[str, float]] = {"out": {}, "in": {}}
    for _ in range(rounds):
        for direction, step in (("out", bench.out), ("in", bench.into)):
            found = best[direction]
            count, took = bare(direction == "in")
            found["bare"] = min(found.get("bare", 1.0), took / count)
            bench.timed.seconds.clear()
            count, took = step()
            spent = bench.timed.seconds
            driver, backend = spent.get("driver", 0.0), spent.get("backend", 0.0)
            if (took - driver) / count < found.get("all", 1.0):
                found |= {"all": (took - driver) / count, "backend": backend / count, "driver": driver / count}
    bench.close()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--datapaths", default="python,native")
    arguments = parser.parse_args()
    print(f"batches of {BATCH_PACKETS} packets; µs a packet")
    columns = ("packets/s", "in all", "backend", "engine", "bare AEAD", "multiple", "(driver)")
    print(f"{'':16}" + "".join(f"{column:>11}" for column in columns))
    for name in arguments.datapaths.split(","):
        for direction, best in measure(name, arguments.rounds).items():
            whole, back, drove, aead = (best[part] * 1e6 for part in ("all", "backend", "driver", "bare"))
            figures = (
                f"{1e6 / whole:11,.0f}",
                *(f"{f:11.2f}" for f in (whole, back, whole - back, aead, whole / aead, drove)),
            )
            print(f"{name + ', ' + direction:16}" + "".join(figures))


if __name__ == "__main__":
    main()
