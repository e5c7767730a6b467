"""Windows' manual-reset events: handles, setting, waiting for one of several."""

import itertools
import threading
from collections.abc import Sequence

from wiresock_py.filters.ndisapi.device import ERROR_INVALID_HANDLE, DeviceError, EventHandle


class Events:
    """All events of one emulated system. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._set: dict[int, bool] = {}
        self._handles = itertools.count(0x100, 4)  # Windows' handles are multiples of 4

    def __len__(self) -> int:
        """How many are open."""
        return len(self._set)

    def __contains__(self, event: int) -> bool:
        return event in self._set

    def create(self) -> EventHandle:
        with self._changed:
            handle = next(self._handles)
            self._set[handle] = False
            return EventHandle(handle)

    def set(self, event: int) -> None:
        with self._changed:
            self._known("SetEvent", event)
            self._set[event] = True
            self._changed.notify_all()

    def signal(self, event: int) -> None:
        """As a driver does it, which holds the event itself: one that the client has closed harms nobody."""
        with self._changed:
            if event in self._set:
                self._set[event] = True
                self._changed.notify_all()

    def reset(self, event: int) -> None:
        with self._changed:
            self._known("ResetEvent", event)
            self._set[event] = False

    def is_set(self, event: int) -> bool:
        with self._changed:
            return self._set[event]

    def close(self, event: int) -> None:
        with self._changed:
            self._known("CloseHandle", event)
            del self._set[event]

    def wait(self, events: Sequence[int], timeout: float | None) -> int:
        """WaitForMultipleObjects: the index of the first that is set, or -1."""
        with self._changed:
            for event in events:
                self._known("WaitForMultipleObjects", event)
            self._changed.wait_for(lambda: any(self._set.get(event) for event in events), timeout)
            return next((i for i, event in enumerate(events) if self._set.get(event)), -1)

    def _known(self, call: str, event: int) -> None:
        if event not in self._set:
            raise DeviceError(call, ERROR_INVALID_HANDLE)
