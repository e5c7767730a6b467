"""The pleasant face: the packets of one or more adapters, one after the other."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi.adapters import Adapter, AdapterMode
from wiresock_py.filters.ndisapi.device import NO_EVENT, DeviceError
from wiresock_py.filters.ndisapi.packet import Packet
from wiresock_py.filters.ndisapi.packets import CAPACITY, STRIDE, PacketBlock, is_sound
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER

if TYPE_CHECKING:
    from wiresock_py.filters.ndisapi.api import NdisApi

# Seconds between looks at the adapters: nothing tells of a mode or event that is lost on resume or taken by another
# program. It also bounds how long Ctrl+C waits, because Windows' own wait cannot be interrupted.
HEARTBEAT = 0.5


class Capture:
    """A ``with`` block in which packets of *adapters* are captured; at its end the adapters are as without us.

    Packets come in the order the driver queued them, adapter by adapter. One that is not sent is dropped. When an
    adapter is reset or comes back under a new handle, it is captured again; when it is gone, reading raises
    BackendError. Reading belongs to one thread; ``stop`` may be called from any.
    """

    def __init__(
        self, api: "NdisApi", adapters: Sequence[Adapter], mode: AdapterMode, capacity: int = CAPACITY
    ) -> None:
        self._api = api
        self.adapters = list(adapters)
        """As they are now: handles change."""
        self._mode = mode
        self._block = PacketBlock(capacity)
        self._waiting: deque[Packet] = deque()
        self._counters = Counter(captured=0, malformed=0, recaptured=0)
        self._queued = self._changed = self._stopped = NO_EVENT
        self._stopping = False
        self._next_look = 0.0

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet]:
        """Every packet until ``stop``."""
        while (packet := self.receive()) is not None:
            yield packet

    def open(self) -> None:
        """Start to capture. Raises DeviceError, with every adapter restored, if one cannot be."""
        if not self.adapters:
            raise BackendError("there is no adapter to capture on", "name one or more; NdisApi.adapters() lists them")
        self._stopping = False
        self._next_look = time.monotonic() + HEARTBEAT
        try:
            self._stopped = self._api.create_event()
            self._changed = self._api.create_event()
            self._queued = self._api.create_event()
            self._api.set_list_change_event(self._changed)
            for adapter in self.adapters:
                self._api.flush(adapter)  # what an earlier run left
                self._engage(adapter)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Restore the adapters; packets not read are lost. May be repeated. Raises if an adapter stays captured."""
        if self._stopped == NO_EVENT:
            return
        failures: list[tuple[Adapter, DeviceError]] = []
        for adapter in self.adapters:
            try:
                self._api.release(adapter)
            except DeviceError as error:
                failures.append((adapter, error))
        try:
            self._api.set_list_change_event(NO_EVENT)
        finally:
            for event in (self._queued, self._changed, self._stopped):
                if event != NO_EVENT:
                    self._api.close_event(event)
            self._queued = self._changed = self._stopped = NO_EVENT
            self._waiting.clear()
        present = self._api.adapters() if failures else []
        for adapter, failure in failures:
            if adapter in present:  # one that is gone, or came back under a new handle, has no mode
                raise failure

    def stop(self) -> None:
        """End the reading: ``receive`` returns None and iteration ends, also one that waits."""
        self._stopping = True
        if self._stopped != NO_EVENT:
            self._api.set_event(self._stopped)

    def receive(self, timeout: float | None = None) -> Packet | None:
        """The next packet, waiting up to *timeout* seconds (None: for ever); None if there was none, or on ``stop``.

        Raises BackendError if an adapter is gone, or if the capture is not open.
        """
        if self._stopped == NO_EVENT and not self._stopping:
            raise BackendError("the capture is not open", "use it in a `with` block")
        end = None if timeout is None else time.monotonic() + timeout
        events = (self._stopped, self._changed, self._queued)
        while not (self._waiting or self._stopping):
            if time.monotonic() >= self._next_look:
                self._look_after_adapters()
            if self._read():
                break
            left = HEARTBEAT if end is None else min(HEARTBEAT, max(0.0, end - time.monotonic()))
            found = self._api.wait(events, left)
            if found > 0:
                self._api.reset_event(events[found])  # before reading: what comes now sets it again
            if found == 1:
                self._look_after_adapters()
            if found < 0 and end is not None and time.monotonic() >= end:
                break
        return self._waiting.popleft() if self._waiting and not self._stopping else None

    def statistics(self) -> dict[str, int]:
        """``captured``; ``malformed``: dropped for an impossible length; ``recaptured``: adapters that came back."""
        return dict(self._counters)

    def _engage(self, adapter: Adapter) -> None:
        self._api.set_packet_event(adapter, self._queued)
        self._api.set_mode(adapter, self._mode)

    def _read(self) -> bool:
        """Take one batch of each adapter; whether there was any packet."""
        for adapter in self.adapters:
            try:
                count = self._api.read_packets(adapter, self._block)
            except DeviceError:
                self._look_after_adapters()
                if adapter in self.adapters:
                    raise  # it is there as before, and cannot be read
                continue
            for i in range(count):
                if not is_sound(self._block.length(i)):
                    self._counters["malformed"] += 1
                    continue
                self._block.set_adapter(i, adapter.handle)  # only unsorted reads fill it
                self._waiting.append(
                    Packet(self._api, INTERMEDIATE_BUFFER.from_buffer_copy(self._block.data, i * STRIDE))
                )
                self._counters["captured"] += 1
        return bool(self._waiting)

    def _look_after_adapters(self) -> None:
        """Find the adapters by name again, and switch on what lost its mode."""
        self._next_look = time.monotonic() + HEARTBEAT
        present = {adapter.name: adapter for adapter in self._api.adapters()}
        for i, adapter in enumerate(self.adapters):
            found = present.get(adapter.name)
            if found is None:
                raise BackendError(
                    f"the adapter {adapter.name} was removed", "plug it in or enable it, then start again"
                )
            if found.handle != adapter.handle or self._api.mode(found) != self._mode:
                self._engage(found)
                self._counters["recaptured"] += 1
            self.adapters[i] = found
