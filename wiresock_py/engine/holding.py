"""First packets wait here, copied and bounded, while the owner of their socket is found.

The capture thread holds packets, the resolver thread takes them. A flow is asked for once; what arrives for it before
the answer joins the packets already waiting, in order.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from wiresock_py.flow import FiveTuple

MAX_FLOWS = 1024
MAX_PACKETS_PER_FLOW = 128  # UDP_MAX_SEGMENTS of linux/udp.h: what one send call of a UDP_SEGMENT sender becomes
MAX_BYTES = 16 * 1024 * 1024


class HeldPacket(NamedTuple):
    """A copy, from the IP header on, and the flags it was captured with."""

    data: bytes
    flags: int


@dataclass(slots=True)
class HeldFlow:
    """A flow without an owner yet, and its packets."""

    key: FiveTuple
    adapter: int
    """Index of the adapter they were leaving by."""
    packets: list[HeldPacket] = field(default_factory=list)
    attempts: int = 0
    """Look-ups of its owner that found none."""


class Holding:
    """The waiting room; every method may be called from any thread."""

    def __init__(self) -> None:
        self._flows: OrderedDict[FiveTuple, HeldFlow] = OrderedDict()
        self._asked: list[HeldFlow] = []
        self._bytes = 0
        self._condition = threading.Condition()
        self._closed = False
        self.overflows = 0
        """Packets not held because a bound was reached; they are dropped."""

    def hold(self, key: FiveTuple, packet: bytes, flags: int, adapter: int) -> None:
        """Keep *packet* until the flow's fate is known."""
        with self._condition:
            flow = self._flows.get(key)
            if self._bytes + len(packet) > MAX_BYTES or (flow is None and len(self._flows) >= MAX_FLOWS):
                self.overflows += 1
                return
            if flow is None:
                flow = self._flows[key] = HeldFlow(key, adapter)
                self._asked.append(flow)
                self._condition.notify()
            elif len(flow.packets) >= MAX_PACKETS_PER_FLOW:
                self.overflows += 1
                return
            flow.packets.append(HeldPacket(packet, flags))
            self._bytes += len(packet)

    def asked(self, timeout: float) -> list[HeldFlow]:
        """Flows to find the owner of, waiting up to *timeout* seconds for the first; they stay held."""
        with self._condition:
            if not self._asked and not self._closed:
                self._condition.wait(timeout)
            asked, self._asked = self._asked, []
            return asked

    def ask_again(self, flow: HeldFlow) -> None:
        """Put *flow* back among the asked ones."""
        with self._condition:
            self._asked.append(flow)

    def release(self, flow: HeldFlow) -> list[HeldPacket]:
        """End the wait of *flow* and give its packets away."""
        with self._condition:
            self._flows.pop(flow.key, None)
            self._bytes -= sum(len(packet.data) for packet in flow.packets)
            packets, flow.packets = flow.packets, []
            return packets

    def close(self) -> None:
        """Wake the resolver for good."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def __len__(self) -> int:
        return len(self._flows)
