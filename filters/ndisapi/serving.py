"""An open backend: the driver's handle, everything that works with it, and the threads that look after it."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from wiresock_py.errors import BackendError, NetworkError
from wiresock_py.filters.base import Buffer, PacketBatch
from wiresock_py.filters.host import HostNetwork
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.device import NO_EVENT, DeviceError
from wiresock_py.filters.ndisapi.engagement import Engagement
from wiresock_py.filters.ndisapi.inbox import Inbox
from wiresock_py.filters.ndisapi.next_hops import NextHops
from wiresock_py.filters.ndisapi.outbox import Outbox
from wiresock_py.filters.ndisapi.table import Table
from wiresock_py.filters.ndisapi.watch import Watch
from wiresock_py.flow import FiveTuple

log = logging.getLogger(__name__)

# Packets in one read or send: more of them leave the processor's cache before they are sealed.
BATCH_PACKETS = 128
# Seconds between looks at the adapters: nothing tells of a mode that is lost on resume, or taken by another program.
HEARTBEAT = 1.0
# Seconds between looks at the counters of bypassed flows, and at the routers' addresses.
AGEING = 10.0
# Seconds that a flow is not bypassed for packets still queued: those that stay in the kernel would overtake them.
OVERTAKING = 0.5


class Serving:
    """From ``start`` to ``stop`` the adapters are followed; ``close`` gives back what is ours, but not the handle."""

    def __init__(self, api: NdisApi, host: HostNetwork, *, compiled: bool = False) -> None:
        """*compiled*: whether the compiled data path is there, to look at many frames at once, and to make them."""
        self.api = api
        self.changing = threading.RLock()
        """Held by whoever works on ``engagement``."""
        self._serving = threading.Lock()  # the batch
        self._counters = Counter(injected=0, sent=0, not_bypassed=0)
        self._complaint = ""
        self._bypassing: list[FiveTuple] = []
        """Flows to be bypassed as soon as nothing is queued."""
        self._bypassing_since = 0.0
        self._edition = 0
        """Of the table, when the batch in hand was received."""
        self._stopped = api.create_event()
        self._changed = api.create_event()
        self._next_hops = NextHops(host)
        self._inbox = Inbox(api, self._next_hops, BATCH_PACKETS, self._stopped, compiled=compiled)
        self._into_stack = Outbox(api.send_unsorted_to_stack, BATCH_PACKETS, compiled=compiled)
        self._onto_network = Outbox(api.send_unsorted_to_adapters, BATCH_PACKETS)
        self.table = Table(api)
        self.engagement = Engagement(api, host, self.table, self._inbox, self._next_hops)
        self._host = host
        self._unfollow: Callable[[], None] = _nothing
        self._resolving = threading.Event()
        self._watches = (
            Watch("adapters", self._wait_for_change, self._look),
            Watch("next hops", self._wait_for_routers, self._resolve),
        )
        self._running = False

    def start(self) -> None:
        """Follow the adapters from now on."""
        self._unfollow = self._host.follow(self._wake)
        self.api.set_list_change_event(self._changed)
        self._resolving.set()
        self._running = True
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """End the threads, and wake whoever waits in ``receive``: there will be nothing any more."""
        if not self._running:
            return
        self._running = False
        self._unfollow()
        self.api.set_event(self._stopped)
        for watch in self._watches:
            watch.stop(self._wake)
        with suppress(DeviceError):
            self.api.set_list_change_event(NO_EVENT)
        with self._serving:
            pass  # whoever was in ``receive`` or ``finish`` is out, and nobody comes in any more

    def close(self) -> None:
        """Close the events, after the driver was told to forget them."""
        self.stop()
        self._inbox.close()
        for event in (self._stopped, self._changed):
            self.api.close_event(event)

    def receive(self, timeout: float) -> PacketBatch | None:
        """As the backend's."""
        with self._serving:
            if not self._running:
                return None
            for watch in self._watches:
                if watch.failure is not None:
                    raise BackendError(f"the thread that follows the {watch.name} ended") from watch.failure
            if self._bypassing:
                self._bypass()
            if self._edition != self.table.edition:
                self._edition = self.table.edition
                self._bypassing = []
            return self._inbox.receive(timeout)

    def finish(self, batch: PacketBatch) -> None:
        """As the backend's."""
        with self._serving:
            if self._running and (flows := self._inbox.finish(batch)):
                if not self._bypassing:
                    self._bypassing_since = monotonic()
                self._bypassing += flows
                self._bypass()

    def _bypass(self) -> None:
        now = monotonic()
        try:
            waiting = any(self.api.queue_size(adapter) for adapter in self.engagement.adapters)
            if waiting and now - self._bypassing_since < OVERTAKING:
                return
            self.table.bypass(self._bypassing, self._edition, now)
        except DeviceError:  # they are shown again, which costs time and nothing else
            self._counters["not_bypassed"] += len(self._bypassing)
        self._bypassing = []

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        """As the backend's."""
        hops = self._next_hops
        taken = self._into_stack.send(packets, hops.into_stack, hops.into) if self._running else 0
        self._counters["injected"] += taken
        return taken

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int) -> int:
        """As the backend's."""
        if not self._running:
            return 0
        taken = self._onto_network.send(packets, lambda packet: self._next_hops.onto_network(packet, adapter))
        self._counters["sent"] += taken
        return taken

    def statistics(self) -> dict[str, int]:
        """As the backend's."""
        counters = {**self._inbox.counters, **self._counters, **self.engagement.counters, "queue_full": self._lost()}
        counters["fragments_lost"] = self._inbox.fragments_lost
        for prefix, outbox in (("not_injected", self._into_stack), ("not_sent", self._onto_network)):
            counters.update({f"{prefix}_{cause}": count for cause, count in outbox.refusals.items()})
        return counters

    def _lost(self) -> int:
        """Packets that the driver had for us and has no more: it had no room for them."""
        try:
            matched = self.table.matched()
            queued = sum(self.api.queue_size(adapter) for adapter in self.engagement.adapters)
        except DeviceError:
            return 0  # an adapter has gone this moment
        return max(0, matched - queued - self._inbox.read + self._inbox.counters["foreign"])

    def _wake(self) -> None:
        """Something changed, or is about to end."""
        self._resolving.set()
        with suppress(DeviceError):  # closed already: *changed* may be called after the end
            self.api.set_event(self._changed)

    def _wait_for_change(self) -> None:
        if self.api.wait((self._changed,), HEARTBEAT) == 0:
            self.api.reset_event(self._changed)

    def _look(self) -> None:
        """Follow the adapters; a look that fails is said once, and tried again."""
        with self.changing:
            try:
                self.engagement.look()
                self.table.age(monotonic(), AGEING)
                self._complaint = ""
            except (BackendError, NetworkError) as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.error("the adapters could not be looked after (tried again soon): %s", error)

    def _wait_for_routers(self) -> None:
        self._resolving.wait(AGEING)
        self._resolving.clear()

    def _resolve(self) -> None:
        self._next_hops.resolve()


def _nothing() -> None:
    """To be called in place of what there is not yet."""
