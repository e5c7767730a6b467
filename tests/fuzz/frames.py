"""Frames as the NDISRD driver hands them over, sound or not: shown are packets that lie within, the rest goes on."""

from collections.abc import Iterator

from tests.fuzz import packets
from tests.fuzz.reader import Reader, block
from tests.support.captures import ADAPTERS, EVERYTHING
from tests.support.ethernet import EthernetHost
from wiresock_py.filters import Verdict
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER

MOST = 24
"""Frames of a case."""
_TAGS = (b"", b"", b"", b"\x81\0\0\x64", b"\x88\xa8\0\7\x81\0\0\x64")
_TYPES = (b"\x08\0", b"\x86\xdd", b"\x08\x06", b"\x88\x8e")


class Host(EthernetHost):
    """Knows its router without asking for it: the network does not read what it gets."""

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes:
        return self.networks["eth0"].mac


def run(data: bytes) -> None:
    reader = Reader(data)
    driver = Emulator()
    host = Host(driver, ADAPTERS, default=("eth0",))
    inside = host.networks["eth0"].plugged
    assert isinstance(inside, EmulatedAdapter)
    backend = NdisApiBackend(host, driver.open)
    backend.open(EVERYTHING)
    try:
        count = 0
        while reader and count < MOST:
            link = reader.choose((host.networks["eth0"].mac, b"\xff" * 6, bytes(6))) + inside.mac + reader.choose(_TAGS)
            link += reader.choose(_TYPES)
            length, direction, vlan = reader.number(), reader.choose((1, 1, 1, 2)), reader.choose((0, 0, 0x640003))
            for packet in packets.burst(reader, inbound=False):
                count += 1
                frame = (link + packet)[:1514]
                said = len(frame) if length < 200 else length * 10
                buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=direction, m_Length=said, m_8021q=vlan)
                buffer.m_IBuffer[: len(frame)] = frame
                inside.queue(buffer)
        verdict = reader.number()
        while batch := backend.receive(0.0):
            for i, (offset, size) in enumerate(zip(batch.offset, batch.length, strict=True)):
                assert size >= 20
                assert offset + size <= len(batch.data)
                batch.verdict[i] = Verdict((verdict + i) % len(Verdict))
            backend.finish(batch)
        counted = backend.statistics()
        settled = ("passed", "bypassed", "dropped")
        assert counted["captured"] == sum(counted[name] for name in settled)
    finally:
        backend.close()


def seeds() -> Iterator[bytes]:
    for number, seed in enumerate(packets.seeds(inbound=False)):
        yield bytes((0, number % 5, number % 2, 0, 0, 0)) + seed
    yield bytes((1, 0, 2, 0, 0, 0, 0)) + block(bytes(28)) + bytes((0, 0, 0, 255, 0, 0, 0)) + block(b"")
