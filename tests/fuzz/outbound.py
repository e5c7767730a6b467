"""What the stack sends, whatever it is: both data paths sort, cut and seal it alike, and raise nothing."""

from collections.abc import Iterator

from tests.fuzz import packets
from tests.fuzz.reader import Reader
from tests.support.differential import equal, leaving
from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES

MOST = 12
"""Packets of a batch."""


def run(data: bytes) -> None:
    reader = Reader(data)
    mtu = reader.choose((1420, 1280, 576, 1299))
    mss = reader.choose((0, 1, 536, 901, 1400))
    counter = reader.choose((0, 41, REJECT_AFTER_MESSAGES - 3))
    everything = reader.number() % 2 == 1
    batch: list[tuple[bytes, int]] = []
    while reader and len(batch) < MOST:
        flags = reader.choose((0, 1, 8, 2, 16))
        batch += [(packet, flags) for packet in packets.burst(reader, inbound=False)]
    half = len(batch) // 2
    equal(
        lambda path: leaving(
            path, [batch[:half], batch[half:]], mtu=mtu, mss=mss, counter=counter, everything=everything
        )
    )


def seeds() -> Iterator[bytes]:
    for number, seed in enumerate(packets.seeds(inbound=False)):
        yield bytes((number % 4, number % 5, 0, number % 2, number % 2)) + seed
