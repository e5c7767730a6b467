"""Frames as the NDISRD driver hands them over, sound or not: shown are packets that lie within, by compiled code the
same ones, and the rest goes on."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.fuzz import packets
from tests.fuzz.reader import Reader, block
from tests.support.captures import ADAPTERS, EVERYTHING
from tests.support.ethernet import EthernetHost
from wiresock_py.datapath import NATIVE
from wiresock_py.filters import Verdict
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER

MOST = 24
"""Frames of a case."""
_TAGS = (b"", b"", b"", b"\x81\0\0\x64", b"\x88\xa8\0\7\x81\0\0\x64")
_TYPES = (b"\x08\0", b"\x86\xdd", b"\x08\x06", b"\x88\x8e")


class Queued(NamedTuple):
    """A frame in the driver's queue."""

    to: bytes
    """A MAC; empty for the router's."""
    rest: bytes
    """From its type on."""
    said: int
    """What the driver says of its length, in tens, if that is not the right one."""
    direction: int
    vlan: int


class Host(EthernetHost):
    """Knows its router without asking for it: the network does not read what it gets."""

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes:
        return self.networks["eth0"].mac


def run(data: bytes) -> None:
    reader = Reader(data)
    verdict = reader.number()
    queued: list[Queued] = []
    while reader and len(queued) < MOST:
        to, link = reader.choose((b"", b"", b"\xff" * 6, bytes(6))), reader.choose(_TAGS) + reader.choose(_TYPES)
        said, direction, vlan = reader.number(), reader.choose((1, 1, 1, 2)), reader.choose((0, 0, 0x640003))
        queued += [Queued(to, link + packet, said, direction, vlan) for packet in packets.burst(reader, inbound=False)]
    assert _shown(queued, verdict, compiled=False) == _shown(queued, verdict, compiled=NATIVE is not None)


def _shown(queued: list[Queued], verdict: int, *, compiled: bool) -> list[object]:
    """What the backend shows of the frames; all of it is counted."""
    driver = Emulator()
    host = Host(driver, ADAPTERS, default=("eth0",))
    inside = host.networks["eth0"].plugged
    assert isinstance(inside, EmulatedAdapter)
    backend = NdisApiBackend(host, driver.open, compiled=compiled)
    backend.open(EVERYTHING)
    shown: list[object] = []
    try:
        for one in queued:
            frame = ((one.to or host.networks["eth0"].mac) + inside.mac + one.rest)[:1514]
            length = len(frame) if one.said < 200 else one.said * 10
            buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=one.direction, m_Length=length, m_8021q=one.vlan)
            buffer.m_IBuffer[: len(frame)] = frame
            inside.queue(buffer)
        while batch := backend.receive(0.0):
            for i, (offset, size) in enumerate(zip(batch.offset, batch.length, strict=True)):
                assert size >= 20
                assert offset + size <= len(batch.data)
                batch.verdict[i] = Verdict((verdict + i) % len(Verdict))
                shown.append((bytes(batch.data[offset : offset + size]), batch.flags[i], batch.adapter[i]))
            backend.finish(batch)
        counted = backend.statistics()
        assert counted["captured"] == len(shown) == sum(counted[name] for name in ("passed", "bypassed", "dropped"))
        answers = [[one.rest[2:22], one.rest[22:]] for one in queued]
        assert 0 <= backend.send_to_stack(answers) <= len(answers)
        assert 0 <= backend.send_to_network(answers, 2) <= len(answers)
        return shown
    finally:
        backend.close()


def seeds() -> Iterator[bytes]:
    for number, seed in enumerate(packets.seeds(inbound=False)):
        yield bytes((number % 3, 0, number % 5, number % 2, 0, 0, 0)) + seed
    yield bytes((0, 2, 0, 2, 0, 0, 0, 0)) + block(bytes(28)) + bytes((0, 0, 0, 255, 0, 0, 0)) + block(b"")
