"""What the tests of all backends send, and look for: a plan, what is captured by it, and what leaves."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from tests.backends.packets import read
from tests.backends.worlds import World, all_packets
from wiresock_py.filters import CapturePlan, PacketBatch, Verdict

INSIDE = {4: "203.0.113.1", 6: "2001:db8::1"}
OUTSIDE = {4: "198.51.100.1", 6: "2001:db9::1"}
HOST = {4: "10.77.0.2", 6: "fd77::2"}
BOTH = pytest.mark.parametrize("version", [4, 6])


def plan(*capture: str, leave: Sequence[str] = (), **options: object) -> CapturePlan:
    return CapturePlan(
        tuple(map(ip_network, capture)),
        tuple(map(ip_network, leave)),
        **options,  # type: ignore[arg-type] # a test's shorthand
    )


INSIDE_PLAN = plan("203.0.113.0/24", "2001:db8::/32")
EVERYTHING = plan("0.0.0.0/0", "::/0", leave=["10.77.0.0/24", "fd77::/64"])


def captured(world: World) -> PacketBatch:
    batch = world.backend.receive(5.0)
    assert batch is not None, "nothing was captured"
    return batch


def payloads(packets: Sequence[bytes]) -> list[bytes]:
    found = [read(packet) for packet in packets]
    return [datagram.payload for datagram in found if datagram]


def take(world: World, count: int, verdict: Verdict = Verdict.DROP) -> list[bytes]:
    """The payloads of the next *count* captured packets, all given one verdict."""
    found: list[bytes] = []
    while len(found) < count:
        batch = captured(world)
        found += payloads(all_packets(batch))
        batch.verdict[:] = [verdict] * len(batch)
        world.backend.finish(batch)
    return found


def nothing_captured(world: World) -> bool:
    """To be asked once the wire has been looked at: what was going to be captured has been by then."""
    return world.backend.receive(0.0) is None


def left(world: World) -> list[bytes]:
    return [datagram.payload for datagram in world.left()]
