"""The Windows Packet Filter backend: adapters, static filters, queues and frames put together.

What leaves by the default-route adapters passes the driver's static filters, which redirect the plan to us and let
everything else go on in the kernel. Only the outgoing direction is captured: the tunnel's answers arrive at our own UDP
socket. A thread follows the adapters: after a resume, a reset or a change of routes they are captured again.
"""

import atexit
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import Buffer, CapturePlan, PacketBatch
from wiresock_py.filters.host import HostNetwork
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.attachments import LARGEST_PACKET
from wiresock_py.filters.ndisapi.device import Device, open_device
from wiresock_py.filters.ndisapi.serving import Serving
from wiresock_py.filters.plan import UDP

# The contract's counters, before anything was opened.
NOTHING = dict.fromkeys(("captured", "passed", "bypassed", "dropped", "injected", "sent", "queue_full", "truncated"), 0)


class NdisApiBackend:
    """Captures with the NDISRD driver; one instance a system, because the driver's state is the system's.

    If a thread that follows the adapters fails, ``receive`` raises.
    """

    name: ClassVar[str] = "ndisapi"
    sees_loopback: ClassVar[bool] = False
    mark: ClassVar[int] = 0
    """Windows has none: see ``exempt``."""

    def __init__(
        self, host: HostNetwork | None, device: Callable[[], Device] = open_device, *, compiled: bool = False
    ) -> None:
        """*host* tells of the system's network, *device* opens the driver, *compiled* says whether the compiled data
        path is there. Raises BackendError without a host."""
        if host is None:
            raise BackendError("the ndisapi backend has nobody to ask about this host's network")
        self._host = host
        self._device = device
        self._compiled = compiled
        self._exempt: Counter[tuple[int, int]] = Counter()
        """Protocol and port of our own sockets, each with its open blocks."""
        self._serving: Serving | None = None
        self._kept: NdisApi | None = None
        """What a plan left blocked is held with: the driver may forget it with its last handle."""
        self._counters = NOTHING
        self._changing = threading.RLock()  # opening, closing, the plan and the exempt ports

    @classmethod
    def unavailable_reason(cls, device: Callable[[], Device] = open_device) -> str | None:
        """Why the driver cannot be used here, and the remedy, in one line; None if it can. Changes nothing."""
        try:
            NdisApi(device()).close()
        except BackendError as error:
            return f"{error}; {error.remedy}" if error.remedy else str(error)
        return None

    @classmethod
    def reset(cls, device: Callable[[], Device] = open_device) -> list[str]:
        """Undo what any run left behind in the driver, also a crashed one; one line for each thing."""
        with NdisApi(device()) as api:
            return api.restore()

    @classmethod
    def guard(cls, device: Callable[[], Device] = open_device) -> AbstractContextManager[object]:
        """A handle to the driver, which may forget modes and filters when its last one closes."""
        return NdisApi(device())

    @property
    def largest_to_stack(self) -> int:
        """The smallest MTU of the captured adapters: what is handed to the stack is a frame."""
        serving = self._serving
        return LARGEST_PACKET if serving is None else serving.engagement.largest_packet

    def open(self, plan: CapturePlan) -> None:
        """Capture by *plan*, in place of whatever an earlier run left in the driver; its flows are shown again."""
        self._begin(plan, adopt=False)

    def attach(self, plan: CapturePlan) -> None:
        """As ``open``, but the flows bypassed by the run that died stay in the kernel."""
        self._begin(plan, adopt=True)

    def update(self, plan: CapturePlan) -> None:
        """Change the plan of an open backend in one step; bypassed flows are shown again."""
        with self._changing:
            if self._serving is not None:
                with self._serving.changing:
                    self._serving.engagement.change(plan)

    def close(self, *, keep_blocking: bool = False) -> None:
        """Stop and give the adapters back; with *keep_blocking* the driver drops what matches the plan.

        Raises DeviceError, when all else is done, if an adapter stays captured; what it captured is then dropped.
        """
        with self._changing:
            serving, self._serving = self._serving, None
            if serving is None:
                return
            atexit.unregister(self.close)
            try:
                serving.stop()
                self._counters = serving.statistics()  # before the driver's own counters are gone
                if keep_blocking:
                    serving.engagement.block()
                    self._kept = serving.api
                else:
                    serving.engagement.release()
            finally:
                serving.close()
                if self._kept is None:
                    serving.api.close()

    @contextmanager
    def exempt(self, port: int, protocol: int = UDP) -> Iterator[None]:
        """Within the block nothing that this host sends from local *port* by UDP (or TCP) is captured."""
        self._count_exempt((protocol, port), 1)
        try:
            yield
        finally:
            self._count_exempt((protocol, port), -1)

    def receive(self, timeout: float) -> PacketBatch | None:
        """The next batch, waiting up to *timeout* seconds; None if there was nothing or the backend was closed."""
        serving = self._serving
        return None if serving is None else serving.receive(timeout)

    def finish(self, batch: PacketBatch) -> None:
        """Carry out ``batch.verdict``. The packets can be read until the next ``receive``."""
        serving = self._serving
        if serving is not None:
            serving.finish(batch)

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        """Hand packets addressed to this host to its stack, as frames from the router."""
        serving = self._serving
        return 0 if serving is None else serving.send_to_stack(packets)

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int = 0) -> int:
        """Send packets of this host by *adapter*, past the capture: what the driver is given it does not show again."""
        serving = self._serving
        return 0 if serving is None else serving.send_to_network(packets, adapter)

    def statistics(self) -> dict[str, int]:
        """captured = passed + bypassed + dropped (+ the batch in hand); then injected, sent, and causes of loss.

        ``queue_full``: the driver had no room for packets of the plan, as far as its filters counted them.
        ``fragments_lost``: of datagrams that did not become whole. ``not_ip``: frames that went on unchanged;
        ``foreign``: packets captured in another program's name.
        ``not_injected_…`` and ``not_sent_…`` name why a packet was refused; ``not_passed`` are packets that the driver
        did not take back. ``recaptured``: adapters that had lost their mode.
        """
        serving = self._serving
        return dict(self._counters) if serving is None else serving.statistics()

    def _begin(self, plan: CapturePlan, *, adopt: bool) -> None:
        with self._changing:
            if self._serving is not None:
                raise BackendError("the ndisapi backend is open already")
            api = self._kept or NdisApi(self._device())
            serving = None
            try:
                serving = Serving(api, self._host, compiled=self._compiled)
                serving.table.exempt(self._exempt)
                serving.engagement.begin(plan, adopt=adopt)
                serving.start()
            except BaseException:
                if serving is not None:
                    serving.close()
                if api is not self._kept:
                    api.close()
                raise
            self._kept = None
            self._serving = serving
            # an exit that forgets to close would leave the network of the whole plan to a driver without a reader
            atexit.register(self.close)

    def _count_exempt(self, port: tuple[int, int], blocks: int) -> None:
        with self._changing:
            before = self._exempt[port]
            self._exempt[port] += blocks
            if not self._exempt[port]:
                del self._exempt[port]
            if self._serving is not None and bool(before) != (port in self._exempt):
                self._serving.table.exempt(self._exempt)
