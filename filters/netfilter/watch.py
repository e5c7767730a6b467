"""A thread that notices when routes or rules change.

The kernel's notices wake it, and the clock for what gives none: legacy iptables.
"""

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

assert sys.platform == "linux"

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
# Multicast groups: links, IPv4 and IPv6 routes (bits, rtnetlink(7)); nf_tables (a number, nfnetlink.h).
ROUTE_GROUPS = 0x1 | 0x40 | 0x400
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNLGRP_NFTABLES = 7
# Seconds between two looks without any notice.
INTERVAL = 2.0
# A change comes as a burst of notices; one look follows them. Where rules change all the time (a cluster's node), no
# more than a few looks a second do.
BURST = 0.02
REST = 0.25


class Watch:
    """Calls *check* in a thread of its own after each change, until ``stop``; ``failure`` is what ended it early."""

    def __init__(self, check: Callable[[], None], interval: float = INTERVAL) -> None:
        self.failure: BaseException | None = None
        self._check = check
        self._interval = interval
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._sockets = [_listen_routes()]
        if rules := _listen_rules():
            self._sockets.append(rules)
        self._thread = threading.Thread(target=self._run, name="netfilter-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; a check under way is finished."""
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join()
        for opened in self._sockets:
            opened.close()
        os.close(self._wake)

    def _run(self) -> None:
        stop = select.poll()
        stop.register(self._wake, select.POLLIN)
        notices = select.poll()
        notices.register(self._wake, select.POLLIN)
        for opened in self._sockets:
            notices.register(opened, select.POLLIN)
        looked = -REST
        try:
            while True:
                if notices.poll(self._interval * 1000):
                    pause = max(BURST, looked + REST - time.monotonic())
                    if stop.poll(pause * 1000):
                        return
                self._drain()
                self._check()
                looked = time.monotonic()
        except BaseException as error:  # handed to the reader, which ends the worker
            self.failure = error

    def _drain(self) -> None:
        for opened in self._sockets:
            while True:
                try:
                    opened.recv(65_536)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # notices were lost; the look that follows sees what they would have said


def _listen_routes() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE)
    opened.bind((0, ROUTE_GROUPS))
    return opened


def _listen_rules() -> socket.socket | None:
    """None on a kernel without nf_tables, where only legacy iptables works."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
    try:
        opened.bind((0, 0))
        opened.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
    except OSError:
        opened.close()
        return None
    return opened
