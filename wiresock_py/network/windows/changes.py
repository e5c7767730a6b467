"""News from Windows when adapters, addresses or routes change.

Windows calls back on a thread of its own (NotifyIpInterfaceChange, NotifyUnicastIpAddressChange, NotifyRouteChange2).
Where it takes no subscription, or takes it and then never calls (Wine), what can change is read again every few
seconds and compared.
"""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Self

from wiresock_py.errors import NetworkError
from wiresock_py.network.changes import Change
from wiresock_py.network.windows.adapters import adapters
from wiresock_py.network.windows.iphlpapi import (
    AF_UNSPEC,
    MIB_IPFORWARD_ROW2,
    IpHelper,
    callback_type,
    load_ip_helper,
    rows,
)

log = logging.getLogger(__name__)

POLL_INTERVAL = 2.0
"""Seconds between two readings where Windows does not call back."""

_SUBSCRIPTIONS = (
    ("NotifyIpInterfaceChange", Change.LINK),
    ("NotifyUnicastIpAddressChange", Change.ADDRESS),
    ("NotifyRouteChange2", Change.ROUTE),
)
State = dict[Change, Hashable]


class WindowsChanges:
    """Subscribed from the moment it is made. One thread waits. Raises OSError on other systems."""

    def __init__(
        self,
        helper: IpHelper | None = None,
        *,
        read: Callable[[IpHelper], State] | None = None,
        interval: float = POLL_INTERVAL,
    ) -> None:
        """*read* gives what is compared where Windows does not call back, every *interval* seconds."""
        self._helper = helper or load_ip_helper()
        self._read = read or state
        self._interval = interval
        self._news = threading.Condition()
        self._changes = Change.NONE
        self._closed = False
        self._handles: list[int] = []
        # kept as long as Windows may call them
        self._callbacks = [self._subscribe(call, change) for call, change in _SUBSCRIPTIONS]
        self._polls = len(self._handles) < len(_SUBSCRIPTIONS)
        self._state = self._read(self._helper) if self._polls else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription and a ``wait``; may be repeated. Never call it from a callback: Windows would wait."""
        while self._handles:
            self._helper.CancelMibChangeNotify2(self._handles.pop())
        with self._news:
            self._closed = True
            self._news.notify_all()

    def wait(self, timeout: float) -> Change:
        """Every kind of change since the last call, waiting up to *timeout* seconds for the first; NONE if none."""
        until = time.monotonic() + timeout
        while True:
            if self._polls and not self._closed:
                self._compare()
            with self._news:
                left = until - time.monotonic()
                pause = min(left, self._interval) if self._polls else left
                self._news.wait_for(lambda: self._changes or self._closed, max(0.0, pause))
                if self._changes or self._closed or left <= pause:
                    changes, self._changes = self._changes, Change.NONE
                    return changes

    def _subscribe(self, call: str, change: Change) -> Any:
        def called(_context: int | None, _row: int | None, _kind: int) -> None:
            with self._news:
                self._changes |= change
                self._news.notify_all()

        callback = callback_type()(called)
        handle = ctypes.c_void_p()
        error = getattr(self._helper, call)(AF_UNSPEC, callback, None, False, ctypes.byref(handle))
        if not error and handle.value:
            self._handles.append(handle.value)
        else:
            log.debug("%s is not served here (error %d): the network is looked at now and then", call, error)
        return callback

    def _compare(self) -> None:
        try:
            found = self._read(self._helper)
        except NetworkError as error:
            log.debug("%s", error)
            return
        for change, value in found.items():
            if value != self._state.get(change):
                with self._news:
                    self._changes |= change
        self._state = found


def state(helper: IpHelper) -> State:
    """What there is now, to be compared with what there was. Raises NetworkError if Windows does not tell."""
    known = adapters(helper)
    try:
        found = rows(helper, "GetIpForwardTable2", AF_UNSPEC, MIB_IPFORWARD_ROW2)
    except OSError:
        found = []
    return {
        Change.LINK: frozenset((each.luid, each.name, each.mtu, each.up, each.mac) for each in known),
        Change.ADDRESS: frozenset((each.luid, each.addresses) for each in known),
        Change.ROUTE: frozenset(
            (row.InterfaceIndex, row.DestinationPrefix.packed, row.PrefixLength, row.NextHop.packed, row.Metric)
            for row in found
        ),
    }
