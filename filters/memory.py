"""The in-memory backend: a host's stack and a network as two wires, with the capture plan between them.

It keeps every promise of the contract without touching the system: for tests, for the demo without rights, and to
measure the engine by itself. It cannot vanish while it is open, so ``CapturePlan.fail_open`` makes no difference.

Whoever plays the host uses ``stack_sends`` and ``stack_received``; whoever plays the network ``network_received`` and
``network_sends``. All methods may be called from any thread.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import ClassVar

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import MAX_PACKET, Buffer, CapturePlan, PacketBatch, PacketFlag, Verdict
from wiresock_py.filters.plan import PORTED, UDP, PlanMatcher

LOOPBACK = "lo"
LOOPBACK_INDEX = 1
ADAPTERS: Mapping[str, int] = MappingProxyType({LOOPBACK: LOOPBACK_INDEX, "eth0": 2, "side0": 3})
BATCH_PACKETS = 128
BATCH_BYTES = 16 * (MAX_PACKET + 1)
# Packets waiting in each of the three queues; what comes on top is lost and counted.
QUEUE_LENGTH = 4096
# Bypassed flows remembered; beyond it the oldest is shown again.
MAX_BYPASSED = 4096

_ICMP = (1, 58)


class MemoryBackend:
    """Two wires and a plan. The host has the adapters ``lo``, ``eth0`` (the default route) and ``side0``."""

    name: ClassVar[str] = "memory"
    sees_loopback: ClassVar[bool] = True
    mark: ClassVar[int] = 0
    """There are no sockets to mark."""

    def __init__(
        self,
        adapters: Mapping[str, int] = ADAPTERS,
        default: Sequence[str] = ("eth0",),
        queue_length: int = QUEUE_LENGTH,
        largest_to_stack: int = MAX_PACKET,
    ) -> None:
        """*adapters* are interface indices by name; *default* names those that carry a default route."""
        self.largest_to_stack = largest_to_stack
        self._adapters = dict(adapters)
        self._default = tuple(default)
        self._queue_length = queue_length
        self._counters = Counter(
            captured=0, passed=0, bypassed=0, dropped=0, injected=0, sent=0, truncated=0, queue_full=0, too_big=0
        )
        self._batch = PacketBatch(memoryview(bytearray(BATCH_BYTES)))
        self._captured: deque[tuple[bytes, int, int]] = deque()
        self._to_stack: deque[bytes] = deque()
        self._to_network: deque[bytes] = deque()
        self._bypassed: dict[bytes, None] = {}
        self._exempt: Counter[tuple[int, int]] = Counter()
        self._plan = CapturePlan(())
        self._matcher = PlanMatcher(self._plan)
        self._opened = False
        self._standing = False
        self._changed = threading.Condition()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """None: it works everywhere."""
        return None

    @classmethod
    def reset(cls) -> list[str]:
        """Nothing: what is in memory does not outlive its process."""
        return []

    @classmethod
    def guard(cls) -> AbstractContextManager[object]:
        """Nothing, likewise."""
        return nullcontext()

    def open(self, plan: CapturePlan) -> None:
        """Start to capture by *plan*, which replaces one left standing by ``close(keep_blocking=True)``."""
        with self._changed:
            self._start()
            self._take(plan)

    def attach(self, plan: CapturePlan) -> None:
        """Serve the plan left standing by ``close(keep_blocking=True)``; *plan* only if none stands."""
        with self._changed:
            standing = self._standing
            self._start()
            if not standing:
                self._take(plan)

    def update(self, plan: CapturePlan) -> None:
        """Change the plan; bypassed flows are shown again."""
        with self._changed:
            self._take(plan)

    def close(self, *, keep_blocking: bool = False) -> None:
        """Stop; packets not yet decided are lost. With *keep_blocking* packets that match the plan stay lost."""
        with self._changed:
            if not self._opened:
                return
            self._opened = False
            self._standing = keep_blocking
            self._captured.clear()
            if not keep_blocking:
                self._bypassed.clear()
            self._changed.notify_all()

    @contextmanager
    def exempt(self, port: int, protocol: int = UDP) -> Iterator[None]:
        """Within the block nothing from local *port* is captured."""
        with self._changed:
            self._exempt[protocol, port] += 1
        try:
            yield
        finally:
            with self._changed:
                self._exempt[protocol, port] -= 1

    def receive(self, timeout: float) -> PacketBatch | None:
        """The next batch, waiting up to *timeout* seconds; None if there was nothing or the backend was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._captured or not self._opened, timeout)
            if not self._captured:
                return None
            batch = self._batch
            batch.clear()
            position = 0
            while self._captured and len(batch) < BATCH_PACKETS:
                packet, adapter, flags = self._captured[0]
                if position + len(packet) > BATCH_BYTES:
                    break
                self._captured.popleft()
                batch.data[position : position + len(packet)] = packet
                batch.offset.append(position)
                batch.length.append(len(packet))
                batch.flags.append(flags)
                batch.adapter.append(adapter)
                batch.token.append(0)
                batch.verdict.append(int(Verdict.DROP))
                position += len(packet)
            self._counters["captured"] += len(batch)
            return batch

    def finish(self, batch: PacketBatch) -> None:
        """Carry out ``batch.verdict``. The packets can be read until the next ``receive``."""
        with self._changed:
            if not batch.token:
                return
            batch.token.clear()  # decided
            for offset, length, adapter, verdict in zip(
                batch.offset, batch.length, batch.adapter, batch.verdict, strict=True
            ):
                if verdict == Verdict.DROP:
                    self._counters["dropped"] += 1
                    continue
                packet = bytes(batch.data[offset : offset + length])
                if verdict == Verdict.BYPASS:
                    self._bypass(packet)
                self._counters["bypassed" if verdict == Verdict.BYPASS else "passed"] += 1
                self._leave(packet, adapter)

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        """Put packets on the stack's wire."""
        taken = 0
        with self._changed:
            for packet in packets if self._opened else ():
                whole = b"".join(packet)
                if len(whole) > self.largest_to_stack:
                    self._counters["too_big"] += 1
                else:
                    taken += self._put(self._to_stack, whole)
            self._counters["injected"] += taken
        return taken

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int = 0) -> int:
        """Put packets on the network's wire (the stack's, if *adapter* is the loopback), past the capture."""
        taken = 0
        with self._changed:
            for packet in packets if self._opened else ():
                taken += self._leave(b"".join(packet), adapter)
            self._counters["sent"] += taken
        return taken

    def statistics(self) -> dict[str, int]:
        """captured = passed + bypassed + dropped (+ the batch in hand); then injected, sent, and causes of loss."""
        with self._changed:
            return dict(self._counters)

    # The host's and the network's ends.

    def stack_sends(self, packet: Buffer, adapter: str = "eth0", flags: PacketFlag = PacketFlag.NONE) -> None:
        """The host's stack sends a packet by *adapter*: captured if the plan says so, else on its way."""
        index = self._adapters[adapter]
        content = bytes(packet)
        loopback = adapter == LOOPBACK
        with self._changed:
            if not (self._standing and self._watched(adapter, content) and self._flow_shown(content)):
                self._leave(content, index)
                return
            if not self._opened:
                return
            if len(self._captured) >= self._queue_length:
                self._counters["queue_full"] += 1
                return
            if len(content) > MAX_PACKET:
                content, flags = content[:MAX_PACKET], flags | PacketFlag.TRUNCATED
                self._counters["truncated"] += 1
            self._captured.append((content, index, int(flags | PacketFlag.LOOPBACK if loopback else flags)))
            self._changed.notify_all()

    def stack_received(self, timeout: float = 0.0) -> list[bytes]:
        """Take everything that has arrived at the host's stack, waiting up to *timeout* seconds for the first."""
        return self._take_all(self._to_stack, timeout)

    def network_received(self, timeout: float = 0.0) -> list[bytes]:
        """Take everything that has left the host, waiting up to *timeout* seconds for the first."""
        return self._take_all(self._to_network, timeout)

    def network_sends(self, packet: Buffer) -> None:
        """A packet arrives from the network: inbound is never captured."""
        with self._changed:
            self._put(self._to_stack, bytes(packet))

    def _start(self) -> None:
        if self._opened:
            raise BackendError("the memory backend is open already")
        self._opened = self._standing = True

    def _take(self, plan: CapturePlan) -> None:
        self._plan = plan
        self._matcher = PlanMatcher(plan)
        self._bypassed.clear()

    def _watched(self, adapter: str, packet: bytes) -> bool:
        """Whether the plan captures *packet* where it leaves."""
        if self._exempt and self._exempt[_source(packet)]:
            return False
        if adapter == LOOPBACK:
            return self._matcher.captures(packet, loopback=True)
        if not self._matcher.captures(packet):
            return False
        chosen = self._plan.adapters or self._default
        return adapter in chosen or (not self._plan.adapters and self._matcher.captures(packet, loopback=True))

    def _flow_shown(self, packet: bytes) -> bool:
        return not self._bypassed or flow_key(packet) not in self._bypassed

    def _bypass(self, packet: bytes) -> None:
        if len(self._bypassed) >= MAX_BYPASSED:
            del self._bypassed[next(iter(self._bypassed))]
        self._bypassed[flow_key(packet)] = None

    def _leave(self, packet: bytes, adapter: int) -> bool:
        """A packet that nobody holds any more goes where it was going."""
        return self._put(self._to_stack if adapter == LOOPBACK_INDEX else self._to_network, packet)

    def _put(self, queue: deque[bytes], packet: bytes) -> bool:
        if len(queue) >= self._queue_length:
            self._counters["queue_full"] += 1
            return False
        queue.append(packet)
        self._changed.notify_all()
        return True

    def _take_all(self, queue: deque[bytes], timeout: float) -> list[bytes]:
        with self._changed:
            self._changed.wait_for(lambda: queue, timeout)
            found = list(queue)
            queue.clear()
            return found


def _source(packet: bytes) -> tuple[int, int]:
    """Protocol and port a packet comes from; port -1 if it comes from none."""
    key = flow_key(packet)
    return key[0], int.from_bytes(key[-4:-2], "big") if key[0] in PORTED and len(key) in (13, 37) else -1


def flow_key(packet: bytes) -> bytes:
    """What all packets of a flow from this host share: protocol, addresses, ports (ICMP echo: the identifier)."""
    if packet[:1] and packet[0] >> 4 == 6:
        protocol, ends, transport = packet[6], packet[8:40], 40
    else:
        protocol, ends, transport = packet[9] if len(packet) > 9 else 0, packet[12:20], (packet[0] & 15) * 4
    ports = packet[transport : transport + 4] if protocol in PORTED else b""
    if protocol in _ICMP:
        ports = packet[transport + 4 : transport + 6]
    return bytes((protocol,)) + ends + ports
