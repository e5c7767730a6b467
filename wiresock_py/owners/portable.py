"""Owners by psutil's socket table: right on every system psutil knows, at the price of reading the whole table.

The table is read once a call, for all flows of the call. It names pids, and a pid may have been reused by the time it
is looked at: a process that started after the table was read is not the one the table meant.
"""

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil

from wiresock_py.flow import App, FiveTuple
from wiresock_py.owners.ancestry import Ancestry, with_parent

log = logging.getLogger(__name__)

# ``listening`` may be asked about many old flows at once; listeners come and go slowly.
_LISTENERS_AGE = 1.0
V4_MAPPED = bytes(10) + b"\xff\xff"
_PROTOCOLS = {socket.SOCK_STREAM: int(socket.IPPROTO_TCP), socket.SOCK_DGRAM: int(socket.IPPROTO_UDP)}

End = tuple[int, bytes, int]
"""Protocol, packed address, port."""


def process_facts(pid: int) -> App | None:
    """Who *pid* is now; None if it is gone. A process whose executable may not be read has an empty path."""
    try:
        process = psutil.Process(pid)
        started = process.create_time()
        try:
            path = process.exe()
        except (psutil.AccessDenied, OSError):  # OSError: Wine does not tell
            path = ""
        return App(pid, started, path) if process.is_running() else None
    except psutil.Error:
        return None


class _Table:
    """One reading of the socket table."""

    def __init__(self, rows: Iterable[Any], read_at: float) -> None:
        self.read_at = read_at
        self.connected: dict[FiveTuple, int] = {}
        self.bound: dict[End, int] = {}
        """UDP sockets connected to nobody."""
        self.listening: set[End] = set()
        for row in rows:
            protocol = _PROTOCOLS.get(row.type)
            if protocol is None or not row.laddr or row.family not in {socket.AF_INET, socket.AF_INET6}:
                continue
            end = protocol, _packed(row.laddr.ip), int(row.laddr.port)
            if row.raddr:
                if row.pid:
                    self.connected.setdefault(FiveTuple(*end, _packed(row.raddr.ip), int(row.raddr.port)), row.pid)
            elif protocol == socket.IPPROTO_UDP:
                self.listening.add(end)
                if row.pid:
                    self.bound.setdefault(end, row.pid)
            elif row.status == psutil.CONN_LISTEN:
                self.listening.add(end)

    def pid(self, key: FiveTuple) -> int | None:
        """The process of a flow: connected to the remote, else bound to the address, else to every address."""
        found = self.connected.get(key)
        if found is None and key.protocol == socket.IPPROTO_UDP:
            ends = _ends(key.protocol, key.local, key.local_port)
            found = next((self.bound[end] for end in ends if end in self.bound), None)
        return found


class PortableOwners:
    """The face of every owner look-up. ``find`` and ``connections`` belong to one thread, the resolver's."""

    def __init__(
        self,
        *,
        sockets: Callable[[], Iterable[Any]] = lambda: psutil.net_connections("inet"),
        facts: Callable[[int], App | None] = process_facts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*clock* tells the time in the unit of ``App.started`` as *facts* gives it."""
        self._sockets = sockets
        self._facts = facts
        self._clock = clock
        self._listeners: set[End] = set()
        self._listeners_until = 0.0
        self._ancestry = Ancestry(with_parent(facts))

    def close(self) -> None:
        """Nothing is held open here."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow, None where no process has it (now). Reads the table once. Never raises."""
        table = self._read()
        owners: dict[int, App | None] = {}
        found: list[App | None] = []
        for key in keys:
            pid = table.pid(key)
            if pid is not None and pid not in owners:
                owners[pid] = self._owner(pid, table)
            found.append(None if pid is None else owners[pid])
        return found

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for strangers on this local end: TCP listens, UDP is bound and not connected."""
        now = time.monotonic()
        if now >= self._listeners_until:
            self._listeners = self._read().listening
            self._listeners_until = now + _LISTENERS_AGE
        return any(end in self._listeners for end in _ends(protocol, address, port))

    def ancestors(self, app: App) -> tuple[App, ...]:
        """The processes that *app*'s came from, its parent first, as far as they can be told."""
        return self._ancestry.of(app)

    def connections(self) -> list[tuple[FiveTuple, App]]:
        """Every connected TCP and UDP socket there is now, and its owner: what ``wiresock-py apps`` shows."""
        table = self._read()
        pids = set(table.connected.values())
        owners = {pid: self._owner(pid, table) for pid in pids}
        return [(key, owner) for key, pid in table.connected.items() if (owner := owners[pid]) is not None]

    def _owner(self, pid: int, table: _Table) -> App | None:
        app = self._facts(pid)
        return None if app is None or app.started > table.read_at else app

    def _read(self) -> _Table:
        read_at = self._clock()
        try:
            return _Table(self._sockets(), read_at)
        except (psutil.Error, OSError) as error:
            log.warning("the table of sockets cannot be read: %s", error)
            return _Table((), read_at)


def _ends(protocol: int, address: bytes, port: int) -> tuple[End, ...]:
    """Where a socket that serves this local end can be bound: there, or to every address of either family."""
    return (protocol, address, port), (protocol, bytes(len(address)), port), (protocol, bytes(16), port)


def _packed(address: str) -> bytes:
    """*address* in 4 or 16 bytes: without its zone, and an IPv4-mapped one as the IPv4 address it stands for."""
    raw = ipaddress.ip_address(address.partition("%")[0]).packed
    return raw[12:] if raw[:12] == V4_MAPPED else raw
