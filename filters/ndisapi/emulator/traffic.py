"""Frames on their way past the emulated driver: modes and filters decide, queues hold what is for the client."""

import threading

from wiresock_py.filters.ndisapi.emulator.adapter import EmulatedAdapter
from wiresock_py.filters.ndisapi.emulator.events import Events
from wiresock_py.filters.ndisapi.emulator.filter_table import FilterTable
from wiresock_py.filters.ndisapi.emulator.memory import entry
from wiresock_py.filters.ndisapi.raw import constants as c

SEND, RECEIVE = c.PACKET_FLAG_ON_SEND, c.PACKET_FLAG_ON_RECEIVE
_TO_US = (c.FILTER_PACKET_REDIRECT, c.FILTER_PACKET_PASS_RDR, c.FILTER_PACKET_DROP_RDR)
_ONWARD = (c.FILTER_PACKET_PASS, c.FILTER_PACKET_PASS_RDR)
_TUNNEL = {SEND: c.MSTCP_FLAG_SENT_TUNNEL, RECEIVE: c.MSTCP_FLAG_RECV_TUNNEL}
_LISTEN = {SEND: c.MSTCP_FLAG_SENT_LISTEN, RECEIVE: c.MSTCP_FLAG_RECV_LISTEN}


class Traffic:
    """The adapters by handle and what happens to their frames. Its owner shares *lock* with it."""

    def __init__(self, lock: threading.RLock, events: Events, filters: FilterTable, pool_size: int) -> None:
        self.adapters: dict[int, EmulatedAdapter] = {}
        self.pool_size = pool_size
        """Packets that all queues together can hold."""
        self.queued = 0
        self.pool_exhausted = 0
        """Packets that found the pool empty: lost."""
        self._lock = lock
        self._events = events
        self._filters = filters

    def frame(self, adapter: EmulatedAdapter, content: bytes, direction: int, vlan: int) -> None:
        """A frame comes by. Raises ValueError for one that NDIS would not show this driver."""
        if len(content) > c.MAX_ETHER_FRAME:
            raise ValueError(f"NDIS shows this driver no frame of {len(content)} bytes")
        with self._lock:
            mode = adapter.mode
            if not mode or adapter.handle not in self.adapters:
                adapter.onward(content, direction)
                return
            if direction == RECEIVE and mode & c.MSTCP_FLAG_FILTER_DIRECT and not _for_host(content, adapter.mac):
                return
            action, number = self._filters.decide(content, direction, adapter.handle)
            action = action or _action_of_mode(mode, direction)
            if action in _TO_US:
                self.queue(adapter, entry(content, direction, vlan, number))
            if action in _ONWARD:
                adapter.onward(content, direction)

    def looped_back(self, adapter: EmulatedAdapter, content: bytes) -> None:
        """NDIS loops a frame back."""
        with self._lock:
            if adapter.mode & c.MSTCP_FLAG_LOOPBACK_BLOCK and not _to_group(content):
                return
            if adapter.mode & c.MSTCP_FLAG_LOOPBACK_FILTER:
                self.frame(adapter, content, RECEIVE, 0)
            else:
                adapter.onward(content, RECEIVE)

    def queue(self, adapter: EmulatedAdapter, queued: bytes) -> None:
        """Hold a packet for the client; lost if the pool is empty."""
        with self._lock:
            if self.queued >= self.pool_size:
                self.pool_exhausted += 1
                return
            self.queued += 1
            adapter.entries.append(queued)
            self._events.signal(adapter.event)


def _action_of_mode(mode: int, direction: int) -> int:
    """What the mode does with a packet that no filter decides. Tunnel and listen together count as tunnel."""
    if mode & _TUNNEL[direction]:
        return c.FILTER_PACKET_REDIRECT
    return c.FILTER_PACKET_PASS_RDR if mode & _LISTEN[direction] else c.FILTER_PACKET_PASS


def _to_group(content: bytes) -> bool:
    return bool(content[:1] and content[0] & 1)


def _for_host(content: bytes, mac: bytes) -> bool:
    return _to_group(content) or content[:6] == mac
