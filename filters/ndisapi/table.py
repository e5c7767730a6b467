"""What stands in the driver's static filters: the plan, and before it what is left alone although the plan covers it.

The table is the driver's and outlives its writer, so it is written whole, in one step, whenever the plan changes; a
bypassed flow is put in front of it by a request of its own where the driver knows that one (3.6.1). Flows that have
been silent for a minute lose their filters, and so do the oldest ones when there are too many: they are shown again,
and decided again.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import CapturePlan
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.plan_filters import bypass_filters, bypassed_flow, exempt_filters, plan_filters
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl
from wiresock_py.filters.ndisapi.static_filters import Action, StaticFilter
from wiresock_py.flow import FiveTuple

# The driver may try one filter after the other for every packet, so there are not many; a UDP or TCP flow has one or
# two.
MAX_BYPASSED = 512
# Seconds without a packet after which a flow's filters go.
IDLE = 60.0


class Table:
    """The driver's filters in our hands. Every method may be called from any thread."""

    def __init__(self, api: NdisApi) -> None:
        self._api = api
        self._lock = threading.RLock()
        self._plan = CapturePlan(())
        self._elsewhere: tuple[int, ...] = ()
        self._ports: tuple[tuple[int, int], ...] = ()
        self._bypassed: dict[FiveTuple, float] = {}
        """Flows with the time they were last seen at work, oldest first."""
        self._rows: list[tuple[StaticFilter, FiveTuple | None]] = []
        """What stands, each with the flow that it leaves alone."""
        self.edition = 0
        """How often a plan was installed: what was decided under an earlier one counts no more."""
        self._next_age = 0.0
        self._matched = 0
        """Packets that the driver redirected to us, as far as its counters have been read and reset."""

    def install(self, plan: CapturePlan, elsewhere: Sequence[int]) -> None:
        """Capture by *plan*, on the adapters with the handles *elsewhere* only DNS. Bypassed flows are shown again."""
        with self._lock:
            self._plan, self._elsewhere = plan, tuple(elsewhere)
            self.edition += 1
            self._bypassed.clear()
            self._write()

    def adopt(self, plan: CapturePlan, elsewhere: Sequence[int], now: float) -> None:
        """As ``install``, but the flows that an earlier run bypassed stay so."""
        with self._lock:
            try:
                standing = [flow for rule in self._api.filters() if (flow := bypassed_flow(rule))]
            except BackendError:
                standing = []  # a filter of another program's, that none of ours can be made out beside
            self._plan, self._elsewhere = plan, tuple(elsewhere)
            self._bypassed = dict.fromkeys(reversed(standing), now)
            self._write()

    def move(self, elsewhere: Sequence[int]) -> None:
        """The adapters changed: the handles of those on which only DNS is captured."""
        with self._lock:
            if tuple(elsewhere) != self._elsewhere:
                self._elsewhere = tuple(elsewhere)
                self._write()

    def exempt(self, ports: Iterable[tuple[int, int]]) -> None:
        """Leave what is sent from these (protocol, port) alone, and from no others; at once if a plan is installed."""
        with self._lock:
            self._ports = tuple(ports)
            if self._rows:
                self._write()

    def bypass(self, flows: Iterable[FiveTuple], edition: int, now: float) -> None:
        """Leave these TCP or UDP flows in the kernel from now on, if they were decided under the plan that stands."""
        with self._lock:
            if edition != self.edition:
                return
            fresh = [flow for flow in dict.fromkeys(flows) if flow not in self._bypassed]
            self._bypassed.update(dict.fromkeys(fresh, now))
            if len(self._bypassed) > MAX_BYPASSED:
                for flow in list(self._bypassed)[: len(self._bypassed) - MAX_BYPASSED * 3 // 4]:
                    del self._bypassed[flow]
                self._write()
            elif self._api.version < Ioctl.ADD_PACKET_FILTER_FRONT.since:
                self._write()
            else:
                for flow in fresh:
                    for rule in reversed(bypass_filters(flow)):
                        self._api.add_filter_first(rule)
                        self._rows.insert(0, (rule, flow))

    def age(self, now: float, interval: float) -> None:
        """Every *interval* seconds read the counters, and show flows again that have been silent for long."""
        with self._lock:
            if now < self._next_age:
                return
            self._next_age = now + interval
            for (rule, flow), packets in zip(self._rows, self._count(), strict=False):
                if packets and flow in self._bypassed and rule.action == Action.PASS:
                    self._bypassed[flow] = now
            silent = [flow for flow, last in self._bypassed.items() if now - last > IDLE]
            if silent:
                for flow in silent:
                    del self._bypassed[flow]
                self._write()

    def is_standing(self) -> bool:
        """Whether the driver has as many filters as we gave it: another program may have replaced them."""
        with self._lock:
            # a driver that counts its default action among the filters has one more
            return self._api.filter_count() - len(self._rows) in (0, 1)

    def write_again(self) -> None:
        """Put what should stand in place of whatever stands."""
        with self._lock:
            self._write(counted=False)

    def block(self) -> None:
        """Drop in the kernel what is captured so far, and no port is exempt any more: their owner goes."""
        with self._lock:
            self._ports = ()
            self._write(blocking=True)

    def remove(self) -> None:
        with self._lock:
            self._api.reset_filters()
            self._rows.clear()
            self._bypassed.clear()

    def matched(self) -> int:
        """Packets that the driver had for us since ``install``; those that it lost are among them.

        A few may be missing that came while a table replaced another.
        """
        with self._lock:
            counts = [entry.packets_out for entry in self._api.filter_statistics()]
            return self._matched + _redirected(self._rows, counts)

    def _write(self, *, blocking: bool = False, counted: bool = True) -> None:
        if counted and self._rows:
            self._count()
        rows: list[tuple[StaticFilter, FiveTuple | None]] = [
            (rule, None) for protocol, port in self._ports for rule in exempt_filters(protocol, port)
        ]
        rows += [(rule, flow) for flow in reversed(self._bypassed) for rule in bypass_filters(flow)]
        rows += [(rule, None) for rule in plan_filters(self._plan, self._elsewhere)]
        if blocking:
            rows = [
                (replace(rule, action=Action.DROP) if rule.action == Action.REDIRECT else rule, flow)
                for rule, flow in rows
            ]
        self._api.set_filters([rule for rule, _flow in rows])
        self._rows = rows

    def _count(self) -> list[int]:
        """The packets each filter matched since the last time, which are taken note of."""
        counts = [entry.packets_out for entry in self._api.filter_statistics(reset=True)]
        self._matched += _redirected(self._rows, counts)
        return counts


def _redirected(rows: Sequence[tuple[StaticFilter, FiveTuple | None]], counts: Sequence[int]) -> int:
    pairs = zip(rows, counts, strict=False)
    return sum(packets for (rule, _flow), packets in pairs if rule.action == Action.REDIRECT)
