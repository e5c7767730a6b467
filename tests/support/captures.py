"""What tests of the ndisapi backend share: a host's addresses, its packets, and batches taken."""

import time
from collections.abc import Callable
from ipaddress import ip_network

from tests.backends.packets import Datagram, build, read
from tests.support.drivers import Driver
from wiresock_py.filters import CapturePlan, PacketBatch, Verdict
from wiresock_py.filters.ndisapi import (
    NdisApi,
)
from wiresock_py.filters.ndisapi.backend import NdisApiBackend

OWN, REMOTE, NEIGHBOUR = {4: "10.77.0.2", 6: "fd77::2"}, {4: "203.0.113.1", 6: "2001:db8::1"}, "10.77.0.9"
PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
EVERYTHING = CapturePlan((ip_network("0.0.0.0/0"), ip_network("::/0")))
ADAPTERS = {"eth0": ("10.77.0.2/24", "fd77::2/64"), "side0": ("10.78.0.2/24", "fd78::2/64")}
PATIENCE = 10.0


def datagram(payload: bytes, version: int = 4, port: int = 5000, to: str = "", source: str = "") -> bytes:
    return build(Datagram(source or OWN[version], port, to or REMOTE[version], 7, payload))


def packets(batch: PacketBatch | None) -> list[bytes]:
    assert batch is not None, "nothing was captured"
    return [bytes(batch.data[at : at + length]) for at, length in zip(batch.offset, batch.length, strict=True)]


def payloads(found: list[bytes]) -> list[bytes]:
    return [datagram.payload for packet in found if (datagram := read(packet))]


def take(backend: NdisApiBackend, verdict: Verdict = Verdict.DROP) -> list[bytes]:
    """The payloads of the next batch, which gets one verdict."""
    batch = backend.receive(PATIENCE)
    found = payloads(packets(batch))
    assert batch is not None
    batch.verdict[:] = [verdict] * len(batch)
    backend.finish(batch)
    return found


def wait_for(happened: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


def modes(driver: Driver) -> list[int]:
    with NdisApi(driver.open()) as api:
        return [int(api.mode(adapter)) for adapter in api.adapters()]
