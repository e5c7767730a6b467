"""What is captured and none of the engine's business: the client's own ports, flows decided direct.

WinDivert cannot take a flow out of a filter that is open. So such packets are sent on as they come, and those ports
and flows that send much are named in the filter at its next renewal, which is asked for once some are worth it.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wiresock_py.filters.memory import flow_key
from wiresock_py.filters.plan import PORTED
from wiresock_py.filters.windivert.filter_text import MAX_FLOWS, MAX_PORTS, Flow, Port

# Flows remembered; beyond it the oldest is shown again.
MAX_BYPASSED = 4096
# Packets sent on by hand before a port or flow is worth a place in the filter.
WORTH = 256


class Sparing:
    """May be asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ports: Counter[Port] = Counter()
        self._flows: dict[bytes, int] = {}
        """Packets sent on by hand, by flow; the latest decided is the last."""
        self._port_packets: Counter[Port] = Counter()
        self._ports_in_filter: frozenset[Port] = frozenset()
        self.outdated = False
        """Whether the filter spares a port that is to be shown again, or some port or flow is worth a place in it."""

    def spares(self, packet: bytes) -> bool:
        """Whether a captured packet is to be sent on; one that is counts for its port or flow."""
        key = flow_key(packet)
        with self._lock:
            count = self._flows.get(key)
            if count is not None:
                self._flows[key] = count = count + 1
            else:
                port = _source(key)
                if port not in self._ports:
                    return False
                self._port_packets[port] += 1
                count = self._port_packets[port]
            self.outdated = self.outdated or count == WORTH
            return True

    def bypass(self, packet: bytes) -> None:
        """The flow of *packet* need not be shown any more."""
        key = flow_key(packet)
        with self._lock:
            self._flows.pop(key, None)
            self._flows[key] = 0
            while len(self._flows) > MAX_BYPASSED:
                del self._flows[next(iter(self._flows))]

    def forget_flows(self) -> None:
        with self._lock:
            self._flows.clear()

    def take_flows(self, other: "Sparing") -> None:
        """Bypass what *other* bypassed."""
        flows = other.flows()
        with self._lock:
            self._flows = flows

    def flows(self) -> dict[bytes, int]:
        """The bypassed flows, each with the packets of it that were sent on."""
        with self._lock:
            return dict(self._flows)

    @contextmanager
    def port(self, protocol: int, number: int) -> Iterator[None]:
        """Within the block packets from that port are none of the engine's business."""
        port = protocol, number
        with self._lock:
            self._ports[port] += 1
        try:
            yield
        finally:
            with self._lock:
                self._ports[port] -= 1
                if self._ports[port] <= 0:
                    del self._ports[port]
                    del self._port_packets[port]
                    self.outdated = self.outdated or port in self._ports_in_filter

    def for_filter(self) -> tuple[list[Port], list[Flow]]:
        """The ports and flows for a new filter, the busiest first."""
        with self._lock:
            ports = sorted(self._ports, key=lambda port: -self._port_packets[port])[:MAX_PORTS]
            busy = sorted((-count, key) for key, count in self._flows.items() if count >= WORTH)
            flows = [flow for _count, key in busy if (flow := _flow(key)) is not None][:MAX_FLOWS]
            self._ports_in_filter = frozenset(ports)
            self.outdated = False
            return ports, flows


def _source(key: bytes) -> Port:
    """Protocol and port a flow comes from; port -1 if it comes from none."""
    return key[0], int.from_bytes(key[-4:-2], "big") if key[0] in PORTED and len(key) in (13, 37) else -1


def _flow(key: bytes) -> Flow | None:
    if key[0] not in PORTED or len(key) not in (13, 37):
        return None
    half = (len(key) - 5) // 2
    return key[0], key[1 + half : 1 + 2 * half], int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big")
