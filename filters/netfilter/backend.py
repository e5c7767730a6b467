"""The Linux backend: rules, queues and injection put together."""

import errno
import logging
import os
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

assert sys.platform == "linux"

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import MAX_PACKET, Buffer, CapturePlan, PacketBatch, PacketFlag
from wiresock_py.filters.netfilter import conntrack, iptables
from wiresock_py.filters.netfilter.injection import Injector
from wiresock_py.filters.netfilter.iptables import Iptables, Standing
from wiresock_py.filters.netfilter.queue import BYPASS, DROP, LARGEST_MESSAGE, Queue, supported
from wiresock_py.filters.netfilter.rules import Marks, Surroundings, tables
from wiresock_py.filters.netfilter.surroundings import surroundings
from wiresock_py.filters.netfilter.watch import Watch
from wiresock_py.flow import FiveTuple

log = logging.getLogger(__name__)

# A batch: up to 16 super-packets or 128 small packets. Larger ones leave the processor's cache before they are sealed.
BATCH_BYTES = 16 * LARGEST_MESSAGE
BATCH_PACKETS = 128
LOOPBACK, FORWARDED = int(PacketFlag.LOOPBACK), int(PacketFlag.FORWARDED)
SMALLEST_LINK = 1280  # RFC 8200 section 5
MAX_SENDERS = 4096
# Seconds that open waits for a former holder of the queues to let go.
HANDOVER_PATIENCE = 1.0
# Bits of CapEff in /proc/self/status: CAP_NET_ADMIN, CAP_NET_RAW.
CAPABILITIES = (1 << 12) | (1 << 13)


class NetfilterBackend:
    """Captures through NFQUEUE what leaves by the default-route adapters; one instance a network namespace.

    A thread of its own follows routes and rules: when a default route moves, or another program (firewalld, ufw,
    docker) removes our rules or puts others before them, it installs them again and logs it. If that thread fails,
    ``receive`` raises.
    """

    name: ClassVar[str] = "netfilter"
    sees_loopback: ClassVar[bool] = True

    def __init__(
        self, marks: Marks | None = None, queues: tuple[int, int] = (51820, 51821), *, compiled: bool = False
    ) -> None:
        """*queues* are the NFQUEUE numbers for TCP and for everything else; *compiled* says whether the compiled data
        path is in use, which brings its own system calls."""
        self._compiled = compiled
        self._marks = marks or Marks()
        self._tcp = Queue(queues[0], self._marks.bypass, gso=True, compiled=compiled)
        self._other = Queue(queues[1], self._marks.bypass, gso=False, compiled=compiled)
        self._batch = PacketBatch(memoryview(bytearray(BATCH_BYTES)))
        self._split = 0  # packets of the batch before this one came from the queue for everything but TCP
        self._counters = Counter(captured=0, passed=0, bypassed=0, dropped=0, injected=0, sent=0)
        self._plan = CapturePlan(())
        self._families: list[Iptables] = []
        self._surroundings = Surroundings()
        self._installed: dict[int, Standing] = {}
        self._senders: dict[bytes, None] = {}
        """The addresses of other machines whose packets were captured: what is for them leaves this host again."""
        self._loopback = 0
        self._complaint = ""
        self._into_stack: Injector | None = None
        self._past_capture: Injector | None = None
        self._watch: Watch | None = None
        self._opened = False
        self._changing = threading.RLock()  # rules, and opening and closing
        self._serving = threading.Lock()  # queues and batch
        self._wake = -1
        self._poll = select.poll()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why NFQUEUE cannot be used here, and the remedy, in one line; None if it can. Changes nothing."""
        if program := iptables.missing_program():
            return f"{program}; apt install iptables"
        if not _capable():
            return "it needs CAP_NET_ADMIN and CAP_NET_RAW; run as root (sudo wiresock-py …)"
        try:
            if supported():
                return None
        except OSError as error:
            return f"this kernel gives no netfilter socket ({error.strerror}); load nfnetlink_queue"
        return "this kernel has no NFQUEUE; load nfnetlink_queue or use a kernel with it"

    @classmethod
    def guard(cls) -> AbstractContextManager[object]:
        """Nothing: rules are the kernel's, and no process' end removes them."""
        return nullcontext()

    @property
    def largest_to_stack(self) -> int:
        """What comes back for another machine has to go through a link."""
        return SMALLEST_LINK if self._senders else MAX_PACKET

    @property
    def mark(self) -> int:
        """SO_MARK for the client's own sockets (tunnel UDP, DNS look-ups): what carries it is never captured.

        Both bits: the connection is not remembered, or an app that gets the port next would go past us, too.
        """
        return self._marks.both

    def open(self, plan: CapturePlan) -> None:
        """Serve the queues and replace whatever rules stand, in one step: no moment without rules in between.

        Waits up to a second for a former holder of the queues to let go. Flows bypassed by an earlier run are shown
        again.
        """
        with self._changing:
            self._start(plan)
            try:
                self._install_or_undo()
            except BaseException:
                self._stop_serving()
                raise
            self._forget_bypasses()
            self._follow()

    def attach(self, plan: CapturePlan) -> None:
        """Serve the queues of rules that already stand, as the supervisor does after the worker died.

        Rules and bypassed flows stay as they are; only where no rules stand are those of *plan* installed.
        """
        with self._changing:
            self._start(plan)
            try:
                self._installed = {family.version: family.standing() for family in self._families}
                if not all(standing.leads for standing in self._installed.values()):
                    self._install_or_undo()
            except BaseException:
                self._stop_serving()
                raise
            self._follow()

    def update(self, plan: CapturePlan) -> None:
        """Change the plan of an open backend in one step; bypassed flows are shown again."""
        with self._changing:
            self._plan = plan
            if self._opened:
                self._install()
                self._forget_bypasses()

    def close(self, *, keep_blocking: bool = False) -> None:
        """Stop serving and remove the rules; with *keep_blocking* the rules stay and drop what matches the plan."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        with self._changing:
            if not self._opened:
                return
            try:
                if not keep_blocking:
                    for family in self._families:
                        family.remove()
                    self._forget_bypasses()
                elif self._plan.fail_open:
                    self._plan = replace(self._plan, fail_open=False)
                    self._install()
            finally:
                self._stop_serving()

    @classmethod
    def reset(cls, marks: Marks | None = None) -> list[str]:
        """Remove what any run left behind, also a crashed one; one line for each thing removed."""
        removed: list[str] = []
        for version in iptables.families():
            removed += Iptables(version).remove()
        try:
            if count := conntrack.forget((marks or Marks()).bypass):
                removed.append(f"the bypass mark of {count} connection{'s' if count > 1 else ''}")
        except OSError as error:
            log.warning("connection marks could not be cleared: %s", error.strerror)
        return removed

    def exempt(
        self,
        port: int,  # noqa: ARG002 # the contract's
        protocol: int = socket.IPPROTO_UDP,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Nothing: the client's own sockets carry ``mark``."""
        return nullcontext()

    def receive(self, timeout: float) -> PacketBatch | None:
        """The next batch, waiting up to *timeout* seconds; None if there was nothing or the backend was closed."""
        with self._serving:
            if not self._opened:
                return None
            if self._watch is not None and self._watch.failure is not None:
                raise BackendError("the thread that watches the rules ended") from self._watch.failure
            ready = [descriptor for descriptor, _event in self._poll.poll(timeout * 1000)]
            if not ready or self._wake in ready:
                return None
            batch = self._batch
            batch.clear()
            position = 0
            if self._other.fileno() in ready:  # at most half of the room, so that a flood leaves TCP its share
                position = self._other.fill(batch, 0, BATCH_BYTES // 2, BATCH_PACKETS // 2)
            self._split = len(batch)
            if self._tcp.fileno() in ready:
                self._tcp.fill(batch, position, BATCH_BYTES, BATCH_PACKETS - self._split)
            count = len(batch)
            if not count:
                return None
            batch.verdict.extend([DROP] * count)
            if self._plan.forwarded:
                self._note_senders(batch)
            if self._loopback in batch.adapter:
                for i, adapter in enumerate(batch.adapter):
                    if adapter == self._loopback:
                        batch.flags[i] |= LOOPBACK
            self._counters["captured"] += count
            return batch

    def finish(self, batch: PacketBatch) -> None:
        """Carry out ``batch.verdict``. The packets can be read until the next ``receive``."""
        with self._serving:
            tokens, verdicts, split = batch.token, batch.verdict, self._split
            if not tokens:
                return
            self._other.decide(tokens[:split], verdicts[:split])
            self._tcp.decide(tokens[split:], verdicts[split:])
            self._split = 0
            dropped, bypassed = verdicts.count(DROP), verdicts.count(BYPASS)
            counters = self._counters
            counters["dropped"] += dropped
            counters["bypassed"] += bypassed
            counters["passed"] += len(verdicts) - dropped - bypassed
            tokens.clear()  # decided: no id may be named twice

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        """Hand packets addressed to this host to its stack; one whose address is gone is refused, never sent out."""
        if self._into_stack is None or self._past_capture is None:
            return 0
        taken = 0
        if self._senders:
            back = [packet for packet in packets if _destination(packet[0]) in self._senders]
            packets = [packet for packet in packets if _destination(packet[0]) not in self._senders]
            taken = self._past_capture.send(back)
        taken += self._into_stack.send(packets)
        self._counters["injected"] += taken
        return taken

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int = 0) -> int:
        """Send packets of this host by *adapter* (0: as routed), past the capture."""
        if self._past_capture is None:
            return 0
        taken = self._past_capture.send(packets, adapter)
        self._counters["sent"] += taken
        return taken

    def goes_on_outside(self, key: FiveTuple) -> bool:
        """Whether the kernel knows the connection: of a tunnelled one none leaves, and what comes is untracked."""
        try:
            return conntrack.known(key)
        except OSError:
            return True

    def statistics(self) -> dict[str, int]:
        """captured = passed + bypassed + dropped (+ the batch in hand); then injected, sent, and causes of loss.

        ``queue_full``: the kernel held too many packets for us; ``reader_slow``: the queue's socket was full, both
        since open. ``not_injected_…`` and ``not_sent_…`` name why the kernel refused a packet.
        """
        counters = dict(self._counters)
        for queue in (self._tcp, self._other):
            for name, value in queue.statistics().items():
                counters[name] = counters.get(name, 0) + value
        for prefix, injector in (("not_injected", self._into_stack), ("not_sent", self._past_capture)):
            if injector is not None:
                counters.update({f"{prefix}_{cause}": count for cause, count in injector.refusals.items()})
        return counters

    def _note_senders(self, batch: PacketBatch) -> None:
        for offset, flags in zip(batch.offset, batch.flags, strict=True):
            if flags & FORWARDED:
                ipv6 = batch.data[offset] >= 0x60
                source = bytes(batch.data[offset + 8 : offset + 24] if ipv6 else batch.data[offset + 12 : offset + 16])
                if source not in self._senders:
                    if len(self._senders) >= MAX_SENDERS:
                        self._senders.pop(next(iter(self._senders)))
                    self._senders[source] = None

    def _start(self, plan: CapturePlan) -> None:
        """Bind queues and sockets. Changes no rule."""
        if self._opened:
            raise BackendError("the netfilter backend is open already")
        self._families = [Iptables(version) for version in iptables.families()]
        self._plan = plan
        self._surroundings = surroundings()
        self._loopback = socket.if_nametoindex("lo")
        self._opened = True
        try:
            self._into_stack = Injector(self._marks.injected, compiled=self._compiled)
            self._past_capture = Injector(self._marks.both, compiled=self._compiled)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll = select.poll()
            self._poll.register(self._wake, select.POLLIN)
            for queue in (self._tcp, self._other):
                _bind(queue)
                self._poll.register(queue.fileno(), select.POLLIN)
        except BaseException:
            self._stop_serving()
            raise

    def _stop_serving(self) -> None:
        """Let go of queues and sockets: what the kernel still holds for us is dropped."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)
        with self._serving:
            self._opened = False
            self._tcp.close()
            self._other.close()
            if self._wake >= 0:
                os.close(self._wake)
                self._wake = -1
            for injector in (self._into_stack, self._past_capture):
                if injector is not None:
                    injector.close()
            self._into_stack = self._past_capture = None

    def _follow(self) -> None:
        self._watch = Watch(self._check)
        self._watch.start()

    def _check(self) -> None:
        """Compare routes and rules with what was installed, and install again if they differ."""
        with self._changing:
            try:
                found = surroundings()
                if found != self._surroundings:
                    if found.default != self._surroundings.default:
                        log.info("default routes now on: %s", ", ".join(sorted(found.default)) or "no adapter")
                    before, self._surroundings = self._surroundings, found
                    try:
                        self._install()
                    except BaseException:
                        self._surroundings = before  # as the rules have it: the next look sees the difference again
                        raise
                elif lost := self._lost():
                    log.warning("another program %s; installing them again", lost)
                    self._install()
                self._complaint = ""
            except (BackendError, OSError) as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.error("the capture rules could not be renewed (tried again soon): %s", error)

    def _lost(self) -> str:
        for family in self._families:
            now = family.standing()
            if not now.leads:
                return f"removed our IPv{family.version} rules or put its own before them"
            if now.rules != self._installed[family.version].rules:
                return f"changed our IPv{family.version} rules"
        return ""

    def _install(self) -> None:
        for family in self._families:
            family.install(tables(self._plan, self._surroundings, self._marks, self._numbers, family.version))
            self._installed[family.version] = family.standing()

    def _install_or_undo(self) -> None:
        """Install; if that fails and nothing of ours stood before, leave nothing."""
        fresh = not any(family.standing().chains for family in self._families)
        try:
            self._install()
        except BaseException:
            if fresh:
                for family in self._families:
                    family.remove()
            raise
        adapters = self._plan.adapters or sorted(self._surroundings.default)
        log.info("capturing on %s", ", ".join(adapters) or "no adapter yet: there is no default route")

    @property
    def _numbers(self) -> tuple[int, int]:
        return self._tcp.number, self._other.number

    def _forget_bypasses(self) -> None:
        try:
            conntrack.forget(self._marks.bypass)
        except OSError as error:
            log.warning("flows bypassed before stay bypassed: connection marks not cleared: %s", error.strerror)


def _destination(head: Buffer) -> bytes:
    return bytes(head[24:40] if head[0] >= 0x60 else head[16:20])


def _bind(queue: Queue) -> None:
    deadline = time.monotonic() + HANDOVER_PATIENCE
    while True:
        try:
            return queue.open()
        except BackendError as error:
            held = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EBUSY
            if not held or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _capable() -> bool:
    for line in Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & CAPABILITIES == CAPABILITIES
    return False
