"""Owners by psutil's socket table: right on every system psutil knows, at the price of reading the whole table.

One table serves all misses of a call; it is read again only for a flow it does not have. A look-up that a refresh
could not answer is not asked again for a moment, so that flows without an owner do not turn into endless refreshes.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil

from wiresock_py.flow import App, FiveTuple

# Refreshes take at most about half of the resolver thread's time, however many flows have no owner.
PAUSE_AFTER_REFRESH = 1.0  # in units of the refresh's own duration

ANY_V4 = bytes(4)
ANY_V6 = bytes(16)
V4_MAPPED = bytes(10) + b"\xff\xff"

_PROTOCOLS = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}


def packed(address: str) -> bytes:
    """*address* in 4 or 16 bytes: without its zone, and an IPv4-mapped one as the IPv4 address it stands for."""
    raw = ipaddress.ip_address(address.partition("%")[0]).packed
    return raw[12:] if raw[:12] == V4_MAPPED else raw


def process_facts(pid: int) -> App | None:
    """Who *pid* is now; None if it is gone. A process whose executable may not be read has an empty path."""
    try:
        process = psutil.Process(pid)
        started = process.create_time()
        try:
            path = process.exe()
        except psutil.AccessDenied:
            path = ""
        # A pid reused between the two answers belongs to another process.
        return App(pid, started, path) if process.is_running() else None
    except psutil.Error:
        return None


class PortableOwners:
    """The face of every owner look-up. ``find`` belongs to one thread, the resolver's."""

    def __init__(
        self,
        *,
        sockets: Callable[[], Iterable[Any]] = lambda: psutil.net_connections("inet"),
        facts: Callable[[int], App | None] = process_facts,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sockets = sockets
        self._facts = facts
        self._clock = clock
        self._sleep = sleep
        self._pids: dict[FiveTuple, set[int]] = {}
        self._listening: set[tuple[int, bytes, int]] = set()
        self._resume = 0.0

    def close(self) -> None:
        """Nothing is held open here."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow, None where no process has it (now). Reads the table at most once. Never raises."""
        raise NotImplementedError

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for others on this local end: TCP listens, UDP is bound and not connected."""
        raise NotImplementedError

    def connections(self) -> list[tuple[FiveTuple, App]]:
        """Every connected TCP and UDP socket there is now, and its owner: what ``wiresock-py apps`` shows."""
        raise NotImplementedError
