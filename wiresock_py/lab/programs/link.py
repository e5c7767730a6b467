"""A cable that loses, delays, reorders, repeats and corrupts: two TAP devices joined in user space.

    python link.py CLIENT_NETNS DEVICE ISP_NETNS DEVICE '{"up": {"loss": 0.01}, "down": {}, "seed": 1}'

*up* is the way from the first device to the second. Each line on standard input is a new such object (without seed)
and takes effect at once; each is answered by the counters so far, one JSON object a line. The same seed and the same
frames give the same fate. (Kernels without netem are common where tests run; and a fate from a seed can be repeated.)
"""

import ctypes
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x4000_0000
TUNSETIFF = 0x4004_54CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
QUEUE_LIMIT = 10_000  # frames under way in one direction; a cable holds no more


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to frames in one direction; probabilities between 0 and 1."""

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    """One bit of the frame, behind its Ethernet header, is turned over."""
    reorder: float = 0.0
    """The frame is held back by *reorder_by* seconds, so that later ones overtake it."""
    reorder_by: float = 0.005
    delay: float = 0.0
    """Seconds, for every frame."""
    jitter: float = 0.0
    """Up to so many seconds more, a different amount for each frame; the order is kept."""


@dataclass(slots=True)
class Direction:
    """One direction of the cable: frames go in with the time, come out when they are due. Knows no clock, no device."""

    impairment: Impairment
    chance: random.Random
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("sent", "lost", "duplicated", "corrupted", "reordered", "overflow"), 0)
    )
    _queue: list[tuple[float, int, bytes]] = field(default_factory=list)
    _number: int = 0
    _latest: float = 0.0

    def put(self, frame: bytes, now: float) -> None:
        """Take a frame in."""
        what, chance, counters = self.impairment, self.chance.random, self.counters
        counters["sent"] += 1
        # always the same number of draws a frame, so that one knob does not change what another one does
        lost, repeated, bent, late = chance() < what.loss, chance() < what.duplicate, chance(), chance() < what.reorder
        where, wait = chance(), what.jitter * chance()
        if lost:
            counters["lost"] += 1
            return
        if bent < what.corrupt:
            counters["corrupted"] += 1
            frame = _flip(frame, where)
        due = now + what.delay + wait
        if late:
            counters["reordered"] += 1
            due += what.reorder_by
        else:
            due = self._latest = max(due, self._latest)
        for _ in range(1 + repeated):
            if len(self._queue) >= QUEUE_LIMIT:
                counters["overflow"] += 1
                return
            self._number += 1
            heapq.heappush(self._queue, (due, self._number, frame))
        counters["duplicated"] += repeated

    def take(self, now: float) -> list[bytes]:
        """The frames that are due, in their order."""
        frames = []
        while self._queue and self._queue[0][0] <= now:
            frames.append(heapq.heappop(self._queue)[2])
        return frames

    def due(self) -> float | None:
        """When the next frame is due; None if none is under way."""
        return self._queue[0][0] if self._queue else None


def _flip(frame: bytes, where: float) -> bytes:
    bent = bytearray(frame)
    bit = int(where * 8 * max(1, len(frame) - 14))
    bent[min(14 + bit // 8, len(frame) - 1)] ^= 1 << bit % 8
    return bytes(bent)


def tap(namespace: str, name: str) -> int:
    """Make a TAP device in a namespace; its file descriptor. Leaves this process in that namespace."""
    if sys.platform == "win32":
        sys.exit("the impaired link is made of Linux TAP devices")
    import fcntl

    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(handle)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def carry(devices: tuple[int, int], directions: tuple[Direction, Direction]) -> None:
    """Move frames between the devices until standard input ends."""
    if sys.platform == "win32":
        return
    commands = sys.stdin.fileno()
    os.set_blocking(commands, False)
    text = b""
    while True:
        now = time.monotonic()
        dues = [due for due in (direction.due() for direction in directions) if due is not None]
        wait = max(0.0, min(dues) - now) if dues else None
        readable, _, _ = select.select([*devices, commands], [], [], wait)
        if commands in readable:
            chunk = os.read(commands, 65536)
            if not chunk:
                return
            text += chunk
            *lines, text = text.split(b"\n")
            for line in lines:
                command(json.loads(line), directions)
        now = time.monotonic()
        for source, direction, target in ((0, directions[0], 1), (1, directions[1], 0)):
            if devices[source] in readable:
                read_frames(devices[source], direction, now)
            for frame in direction.take(now):
                try:
                    os.write(devices[target], frame)
                except OSError:
                    pass  # the device is down, or its queue full: the frame is lost, as on a cable


def read_frames(device: int, direction: Direction, now: float) -> None:
    """Take in what a device has, up to a bound that keeps the other direction alive."""
    try:
        for _ in range(64):
            direction.put(os.read(device, 65536), now)
    except OSError:
        pass  # nothing more, or the device is down


def command(wanted: dict[str, dict[str, float]], directions: tuple[Direction, Direction]) -> None:
    """Change what is named, and print the counters."""
    for name, direction in zip(("up", "down"), directions, strict=True):
        if name in wanted:
            direction.impairment = Impairment(**wanted[name])
    print(json.dumps({"up": directions[0].counters, "down": directions[1].counters}), flush=True)


def main() -> None:
    first, first_device, second, second_device, settings = sys.argv[1:]
    wanted = json.loads(settings)
    seed = wanted.get("seed", 0)
    up = Direction(Impairment(**wanted.get("up", {})), random.Random(seed))
    down = Direction(Impairment(**wanted.get("down", {})), random.Random(seed + 1))
    for name in (first, second):
        if not Path("/run/netns", name).exists():
            sys.exit(f"there is no namespace {name}")
    devices = (tap(first, first_device), tap(second, second_device))
    print("ready", flush=True)
    carry(devices, (up, down))


if __name__ == "__main__":
    main()
