"""The adapters with our mode and event, and the filter table over them, kept as they should be.

Handles go stale on resume, reset and unplugging, and mode and event with them; routes move from one adapter to another.
``look`` finds out and engages again. The order is always the same: the table before the modes, because an adapter with
a mode and no table would send us everything.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from wiresock_py.filters.base import CapturePlan
from wiresock_py.filters.host import HostNetwork
from wiresock_py.filters.ndisapi.adapters import Adapter, AdapterMode
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.attachments import LARGEST_PACKET, Attachment, attachments, captured, check_names
from wiresock_py.filters.ndisapi.device import NO_EVENT, DeviceError
from wiresock_py.filters.ndisapi.inbox import Inbox
from wiresock_py.filters.ndisapi.next_hops import NextHops
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl
from wiresock_py.filters.ndisapi.table import Table

log = logging.getLogger(__name__)

MODE = AdapterMode.SENT_TUNNEL


class Engagement:
    """What the driver does for us. Its owner sees to it that one method runs at a time."""

    def __init__(self, api: NdisApi, host: HostNetwork, table: Table, inbox: Inbox, next_hops: NextHops) -> None:
        self._api = api
        self._host = host
        self._table = table
        self._inbox = inbox
        self._next_hops = next_hops
        self._plan = CapturePlan(())
        self._attachments: tuple[Attachment, ...] = ()
        self._engaged: dict[int, Adapter] = {}
        """By handle: the adapters that have our mode."""
        self._known: set[str] = set()
        """Names of all adapters that ever had it."""
        self.largest_packet = LARGEST_PACKET
        """Of the captured adapters' MTUs the smallest."""
        self.counters = Counter(recaptured=0)
        """``recaptured``: adapters that had lost our mode, or came back."""

    @property
    def adapters(self) -> Sequence[Adapter]:
        """Those with our mode; may be asked for at any time."""
        return tuple(self._engaged.values())

    def begin(self, plan: CapturePlan, *, adopt: bool) -> None:
        """Take the driver over, from an earlier run or from nobody; with *adopt* flows bypassed before stay so.

        Raises BackendError, with everything as it was if nothing of an earlier run stood.
        """
        found = attachments(self._api, self._host)
        if not adopt:
            check_names(found, plan)
        left = [adapter for adapter in self._api.adapters() if self._api.mode(adapter)]
        fresh = not left and self._api.filter_count() <= 1  # the driver may count its default action
        try:
            if self._api.version >= Ioctl.SET_FRAGMENT_CACHE_STATE.since:
                self._api.set_fragment_cache(True)
            for adapter in left:
                self._api.flush(adapter)  # what was queued for a run that is over
            self._set(plan, found, adopt=adopt)
            for adapter in left:
                if adapter.handle not in self._engaged:
                    self._api.release(adapter)
        except BaseException:
            if fresh:
                self.release()
            raise
        names = [attachment.host.name for attachment in captured(found, plan)]
        log.info("capturing on %s", ", ".join(names) or "no adapter yet: there is no default route")

    def change(self, plan: CapturePlan) -> None:
        """Another plan, in one step; bypassed flows are shown again."""
        self._set(plan, attachments(self._api, self._host, self._attachments), adopt=False)

    def look(self) -> None:
        """Engage again what is not as it should be. Raises BackendError and NetworkError; to be tried again."""
        found = attachments(self._api, self._host, self._attachments)
        if found != self._attachments:
            before, after = (_names(captured(some, self._plan)) for some in (self._attachments, found))
            if before != after:
                log.info("now capturing on %s", after or "no adapter: there is no default route")
            self._place(found)
        if not self._table.is_standing():
            log.warning("another program changed the driver's filters; setting them again")
            self._table.write_again()
        for attachment in self._wanted():
            if self._api.mode(attachment.adapter) != MODE:
                self._engage(attachment.adapter)

    def block(self) -> None:
        """Leave the plan blocked in the kernel, with nobody listening."""
        self._table.block()
        for adapter in self.adapters:
            self._api.set_packet_event(adapter, NO_EVENT)
            self._api.flush(adapter)

    def release(self) -> None:
        """Every adapter as if we had never been there. Raises DeviceError, at the end, if one stays captured."""
        failures: list[tuple[Adapter, DeviceError]] = []
        for adapter in self.adapters:
            try:
                self._api.release(adapter)
            except DeviceError as error:
                failures.append((adapter, error))
        self._engaged = {}
        self._inbox.adapters = {}
        present = {(adapter.handle, adapter.name) for adapter in self._api.adapters()} if failures else set()
        # one that is gone, or came back under a new handle, has no mode
        failures = [failed for failed in failures if (failed[0].handle, failed[0].name) in present]
        if not failures:
            self._table.remove()
            return
        self._table.block()
        raise failures[0][1]

    def _set(self, plan: CapturePlan, found: tuple[Attachment, ...], *, adopt: bool) -> None:
        self._plan = plan
        elsewhere = self._elsewhere(found)
        if adopt:
            self._table.adopt(plan, elsewhere, time.monotonic())
        else:
            self._table.install(plan, elsewhere)
        self._place(found)

    def _place(self, found: tuple[Attachment, ...]) -> None:
        """The adapters are these now: give the wanted ones our mode, and the others back."""
        self._attachments = found
        first = captured(found, self._plan)
        self._next_hops.refresh(sorted(found, key=lambda attachment: attachment not in first))
        self.largest_packet = min((attachment.mtu for attachment in first), default=LARGEST_PACKET)
        wanted = {attachment.handle: attachment for attachment in self._wanted()}
        self._inbox.adapters = wanted
        self._table.move(self._elsewhere(found))
        for handle, adapter in list(self._engaged.items()):
            if handle not in wanted:
                del self._engaged[handle]
                if any(adapter == attachment.adapter for attachment in found):
                    self._api.release(adapter)
        for handle, attachment in wanted.items():
            if handle not in self._engaged:
                self._engage(attachment.adapter)

    def _engage(self, adapter: Adapter) -> None:
        self._api.set_packet_event(adapter, self._inbox.queued)
        self._api.set_mode(adapter, MODE)
        self._engaged[adapter.handle] = adapter
        self.counters["recaptured"] += adapter.name in self._known
        self._known.add(adapter.name)

    def _wanted(self) -> tuple[Attachment, ...]:
        """The adapters that need our mode: the captured ones, for DNS all."""
        everywhere = self._plan.dns and not self._plan.adapters
        return self._attachments if everywhere else captured(self._attachments, self._plan)

    def _elsewhere(self, found: tuple[Attachment, ...]) -> tuple[int, ...]:
        """The handles of those on which only DNS is captured."""
        if not self._plan.dns or self._plan.adapters:
            return ()
        first = {attachment.handle for attachment in captured(found, self._plan)}
        return tuple(attachment.handle for attachment in found if attachment.handle not in first)


def _names(found: Iterable[Attachment]) -> str:
    return ", ".join(attachment.host.name for attachment in found)
