"""The WinDivert backend: a filter from the plan, one handle to receive by, one to send by.

A filter cannot be changed while it is open. So a change opens a new handle, and only then stops the old one: what
waits in the old one is received first, and no packet of both plans passes unseen.

A filter ends with its process. What is blocked for the kill switch is blocked by a handle that this process holds, so
where the whole process dies, the plan is open until another one serves it.
"""

import ctypes
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, NamedTuple

from wiresock_py.errors import BackendError, NetworkError
from wiresock_py.filters.base import MAX_PACKET, Buffer, CapturePlan, PacketBatch, PacketFlag, Verdict
from wiresock_py.filters.host import HostAdapter, HostNetwork
from wiresock_py.filters.ndisapi.watch import Watch
from wiresock_py.filters.plan import UDP, PlanMatcher
from wiresock_py.filters.windivert.address import BATCH_MAX, LOOPBACK_INDEX, SIZE, Address, address
from wiresock_py.filters.windivert.filter_text import filter_text
from wiresock_py.filters.windivert.handle import INSTALL, Driver, End, Flag, Handle, load_driver, missing
from wiresock_py.filters.windivert.packets import complete, packet_length
from wiresock_py.filters.windivert.sparing import Sparing

log = logging.getLogger(__name__)

BATCH_BYTES = 16 * (MAX_PACKET + 1)
# Between two looks at what may make the filter outdated; also at the adapters, where nothing tells of their changes.
LOOK_INTERVAL = 1.0
_PARTIAL, _SUPER, _LOOPBACK = int(PacketFlag.CHECKSUM_PARTIAL), int(PacketFlag.SUPER_PACKET), int(PacketFlag.LOOPBACK)
_DROP, _BYPASS = int(Verdict.DROP), int(Verdict.BYPASS)


class _Standing(NamedTuple):
    """A plan that is blocked in this process."""

    plan: CapturePlan
    sparing: Sparing
    handle: Handle


class WinDivertBackend:
    """Captures what leaves by the adapters of the plan; one instance a process."""

    name: ClassVar[str] = "windivert"
    sees_loopback: ClassVar[bool] = True
    largest_to_stack: ClassVar[int] = MAX_PACKET
    mark: ClassVar[int] = 0
    """Windows has no marks; ``exempt`` does the work."""
    _standing: ClassVar[_Standing | None] = None

    def __init__(self, host: HostNetwork | None, driver: Callable[[], Driver] = load_driver) -> None:
        """*host* answers questions about adapters; *driver* is loaded when the backend is opened."""
        if host is None:
            raise BackendError("the windivert backend needs to be told about the host's network")
        self._host = host
        self._load = driver
        self._driver: Driver | None = None
        self._plan = CapturePlan(())
        self._matcher = PlanMatcher(self._plan)
        self._sparing = Sparing()
        self._adapters: dict[int, HostAdapter] = {}
        self._chosen: frozenset[int] = frozenset()
        self._text = ""
        self._receiving: list[Handle] = []
        """The first is received from; those before the last are stopped, and closed once they are empty."""
        self._sending: Handle | None = None
        self._spans: list[tuple[int, int]] = []
        """Where each packet that was received last lies: offset and length."""
        self._counters = Counter(
            captured=0, passed=0, bypassed=0, dropped=0, injected=0, sent=0, sent_on=0, queue_full=0, truncated=0
        )
        self._packets = (ctypes.c_char * BATCH_BYTES)()
        self._place = ctypes.addressof(self._packets)
        self._addresses = (Address * BATCH_MAX)()
        self._batch = PacketBatch(memoryview(self._packets).cast("B"))
        self._opened = False
        self._changing = threading.RLock()  # plan and handles
        self._serving = threading.Lock()  # the handle that is received from, and the batch
        self._switching = threading.Lock()  # the list of handles
        self._changed = threading.Event()
        self._watch: Watch | None = None
        self._unfollow: Callable[[], None] = _nothing

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why WinDivert cannot be used here, and the remedy, in one line; None if it can. Loads no driver."""
        if reason := missing():
            return f"{reason}; {INSTALL}"
        if not _is_administrator():
            return "WinDivert needs an administrator's rights; run as administrator"
        return None

    @classmethod
    def reset(cls) -> list[str]:
        """Lift the block that this process holds; another process' ended with it."""
        standing, WinDivertBackend._standing = WinDivertBackend._standing, None
        if standing is None:
            return []
        standing.handle.close()
        return ["the block on the plan of an earlier run"]

    @classmethod
    def guard(cls) -> AbstractContextManager[object]:
        """Nothing: a filter ends with the process that opened it, and one that blocks would block the worker's, too."""
        return nullcontext()

    def open(self, plan: CapturePlan) -> None:
        """Start to capture by *plan*; flows that an earlier run bypassed are shown again."""
        with self._changing:
            self._sparing.forget_flows()
            self._start(plan)

    def attach(self, plan: CapturePlan) -> None:
        """Serve the plan that stands in this process, with its bypassed flows; *plan* if none stands."""
        with self._changing:
            standing = WinDivertBackend._standing
            if standing is not None and standing.sparing is not self._sparing:
                self._sparing.take_flows(standing.sparing)
            self._start(plan if standing is None else standing.plan)

    def update(self, plan: CapturePlan) -> None:
        """Change the plan of an open backend; bypassed flows are shown again."""
        with self._changing:
            self._sparing.forget_flows()
            self._plan, self._matcher = plan, PlanMatcher(plan)
            if self._opened:
                self._choose()
                self._renew()

    def close(self, *, keep_blocking: bool = False) -> None:
        """Stop capturing; with *keep_blocking* what matches the plan is dropped as long as this process lives."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._unfollow()
            watch.stop(self._changed.set)
        with self._changing:
            if not self._opened:
                return
            if keep_blocking and self._driver is not None:
                ports, _flows = self._sparing.for_filter()
                block = self._driver.open(filter_text(self._plan, self._chosen, ports), Flag.DROP)
                WinDivertBackend._standing = _Standing(self._plan, self._sparing, block)
            self._stop_serving()

    def exempt(self, port: int, protocol: int = UDP) -> AbstractContextManager[None]:
        """Within the block nothing from local *port* is captured, or what is is sent on unseen."""
        return self._sparing.port(protocol, port)

    def receive(self, timeout: float) -> PacketBatch | None:
        """The next batch, waiting up to *timeout* seconds; None if there was nothing or the backend was closed."""
        until = time.monotonic() + timeout
        with self._serving:
            while self._opened:
                if self._watch is not None and self._watch.failure is not None:
                    raise BackendError("the thread that follows the adapters ended") from self._watch.failure
                if self._sparing.outdated:
                    self._changed.set()
                handle = self._receiving[0]
                found = handle.receive(self._packets, self._addresses, max(0.0, until - time.monotonic()))
                if found is End.TIMEOUT:
                    return None
                if found is End.EMPTY:
                    if not self._drop(handle):
                        return None
                    continue
                length, count = found
                self._sort(length, count)
                if len(self._batch):
                    self._counters["captured"] += len(self._batch)
                    return self._batch
            return None

    def finish(self, batch: PacketBatch) -> None:
        """Carry out ``batch.verdict``. The packets can be read until the next ``receive``."""
        with self._serving:
            if not batch.token:
                return
            verdicts = batch.verdict
            for i, verdict in enumerate(verdicts):
                if verdict == _BYPASS:
                    self._sparing.bypass(bytes(batch.data[batch.offset[i] : batch.offset[i] + batch.length[i]]))
            self._send_on([token for token, verdict in zip(batch.token, verdicts, strict=True) if verdict != _DROP])
            dropped, bypassed = verdicts.count(_DROP), verdicts.count(_BYPASS)
            self._counters["dropped"] += dropped
            self._counters["bypassed"] += bypassed
            self._counters["passed"] += len(verdicts) - dropped - bypassed
            batch.token.clear()  # decided

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        """Hand packets addressed to this host to its stack; one whose address is gone is refused."""
        taken = 0
        for parts in packets:
            packet = b"".join(parts)
            index = self._adapter_of(_destination(packet))
            if len(packet) > MAX_PACKET:
                self._counters["not_injected_too_big"] += 1
            elif not index:
                self._counters["not_injected_no_such_address"] += 1
            else:
                taken += self._inject(packet, index, False, "not_injected")
        self._counters["injected"] += taken
        return taken

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int = 0) -> int:
        """Send packets of this host by *adapter* (0: the one with their source address), past the capture."""
        taken = 0
        for parts in packets:
            packet = b"".join(parts)
            index = adapter or self._adapter_of(_source(packet))
            known = self._adapters.get(index)
            if len(packet) > (known.mtu if known else MAX_PACKET):
                self._counters["not_sent_too_big"] += 1
            else:
                taken += self._inject(packet, index, True, "not_sent")
        self._counters["sent"] += taken
        return taken

    def statistics(self) -> dict[str, int]:
        """captured = passed + bypassed + dropped (+ the batch in hand); then injected, sent, and causes of loss.

        ``sent_on``: captured beyond the plan, from an exempt port or of a bypassed flow, and sent on unseen. WinDivert
        does not tell what it dropped because its queue was full; ``queue_full`` is what the Linux driver tells.
        """
        counters = dict(self._counters)
        with self._switching:
            for handle in self._receiving:
                for name, value in handle.statistics().items():
                    counters[name] = counters.get(name, 0) + value
        return counters

    def _start(self, plan: CapturePlan) -> None:
        if self._opened:
            raise BackendError("the windivert backend is open already")
        self._driver = self._driver or self._load()
        self._plan, self._matcher = plan, PlanMatcher(plan)
        self._look()
        try:
            self._sending = self._driver.open("false", Flag.SEND_ONLY)
            self._text = ""
            self._opened = True
            self._renew()
        except BaseException:
            self._stop_serving()
            raise
        self.reset()  # a block of before: now this serves
        self._changed.clear()
        self._unfollow = self._host.follow(self._changed.set)
        self._watch = Watch("windivert watch", lambda: self._changed.wait(LOOK_INTERVAL), self._follow)
        self._watch.start()
        names = [one.name for index, one in self._adapters.items() if index in self._chosen]
        log.info("capturing on %s", ", ".join(names) or "no adapter yet: there is no default route")

    def _follow(self) -> None:
        """Renew the filter if the adapters changed, or what it spares."""
        self._changed.clear()
        with self._changing:
            if not self._opened:
                return
            before = self._chosen
            try:
                self._look()
            except NetworkError as error:
                log.debug("the adapters are not known anew: %s", error)
            if self._chosen != before or self._sparing.outdated:
                self._renew()

    def _look(self) -> None:
        self._adapters = {adapter.index: adapter for adapter in self._host.adapters()}
        self._choose()

    def _choose(self) -> None:
        wanted = self._plan.adapters
        self._chosen = frozenset(
            index
            for index, adapter in self._adapters.items()
            if (adapter.name in wanted if wanted else adapter.gateways)
        )

    def _renew(self) -> None:
        """Open a handle with the filter that is right now, and then stop the one before."""
        assert self._driver is not None
        text = filter_text(self._plan, sorted(self._chosen), *self._sparing.for_filter())
        if text == self._text:
            return
        handle = self._driver.open(text)
        self._text = text
        log.debug("capturing by the filter: %s", text)
        with self._switching:
            for old in self._receiving:
                old.stop()
            self._receiving.append(handle)

    def _drop(self, handle: Handle) -> bool:
        """Close a handle that is empty; whether there is one after it."""
        with self._switching:
            self._receiving.remove(handle)
            handle.close()
            return bool(self._receiving)

    def _stop_serving(self) -> None:
        self._opened = False
        with self._switching:
            for handle in self._receiving:
                handle.stop()
        with self._serving, self._switching:
            for handle in self._receiving:
                handle.close()
            self._receiving.clear()
            self._batch.clear()
            sending, self._sending = self._sending, None
            if sending is not None:
                sending.close()

    def _sort(self, length: int, count: int) -> None:
        """Fill the batch with what the engine is to see; the rest is sent on."""
        batch, data, addresses = self._batch, self._batch.data, self._addresses
        batch.clear()
        self._spans = []
        unseen: list[int] = []
        at = 0
        for i in range(count):
            size = packet_length(data, at, length)
            self._spans.append((at, size))
            one = addresses[i]
            if not self._is_wanted(data[at : at + size], one):
                unseen.append(i)
            else:
                flags = _LOOPBACK if one.loopback else 0
                if complete(data, at, size, one):
                    flags |= _PARTIAL
                known = self._adapters.get(one.interface)
                if known is not None and size > known.mtu:
                    flags |= _SUPER
                batch.offset.append(at)
                batch.length.append(size)
                batch.flags.append(flags)
                batch.adapter.append(one.interface)
                batch.token.append(i)
                batch.verdict.append(_DROP)
            at += size
        self._send_on(unseen)
        self._counters["sent_on"] += len(unseen)

    def _is_wanted(self, packet: memoryview, one: Address) -> bool:
        loopback = bool(one.loopback)
        if not self._matcher.captures(packet, loopback=loopback) or self._sparing.spares(bytes(packet[:60])):
            return False
        if loopback or one.interface in self._chosen:
            return True
        return not self._plan.adapters and self._matcher.captures(packet, loopback=True)  # DNS, by any adapter

    def _send_on(self, numbers: Sequence[int]) -> None:
        """Send captured packets as they came, runs of neighbours in one call."""
        sending = self._sending
        if sending is None:
            return
        entries = ctypes.addressof(self._addresses)
        start = 0
        while start < len(numbers):
            end = start + 1
            while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
                end += 1
            first, last = self._spans[numbers[start]], self._spans[numbers[end - 1]]
            size = last[0] + last[1] - first[0]
            try:
                sending.send(self._place + first[0], size, entries + numbers[start] * SIZE, end - start)
            except OSError as error:
                self._counters["not_passed"] += end - start
                log.debug("captured packets could not be sent on: %s", error)
            start = end

    def _inject(self, packet: bytes, index: int, outbound: bool, counter: str) -> bool:
        sending = self._sending
        if sending is None:
            return False
        entry = address(index, outbound=outbound, ipv6=packet[0] >> 4 == 6)
        memory = ctypes.create_string_buffer(packet, len(packet))
        try:
            sending.send(ctypes.addressof(memory), len(packet), ctypes.addressof(entry), 1)
        except OSError as error:
            self._counters[f"{counter}_error_{error.errno}"] += 1
            return False
        return True

    def _adapter_of(self, own: bytes) -> int:
        """The index of the adapter with an address of this host; 0 if there is none."""
        if (own[:1] == b"\x7f" and len(own) == 4) or own == bytes(15) + b"\x01":
            return LOOPBACK_INDEX
        return next((index for index, adapter in self._adapters.items() if own in adapter.addresses), 0)


def _source(packet: bytes) -> bytes:
    return packet[8:24] if packet[:1] and packet[0] >> 4 == 6 else packet[12:16]


def _destination(packet: bytes) -> bytes:
    return packet[24:40] if packet[:1] and packet[0] >> 4 == 6 else packet[16:20]


def _is_administrator() -> bool:
    if sys.platform == "win32":
        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    return os.geteuid() == 0


def _nothing() -> None:
    """There is nothing to end."""
