"""Owners on Windows: five-tuple -> socket by Windows' own tables, read once for many flows; socket -> process by pid.

The table names a pid, which may have been reused by the time it is looked at: a process younger than the socket (where
Windows does not tell the socket's age: than the reading of the table) is not the one the table meant.

SYSTEM owns what the kernel sends (pid 4), what has no socket (ICMP: a ping is the kernel's work on Windows), and what
Windows lists without a process. A TCP connection in TIME_WAIT has lost its process, so nobody can tell whose it was.

Windows does not tell whom a UDP socket is connected to; where several processes share one local end, the first listed
is named. In a process of several services (svchost.exe) the one that made the socket is asked for by Windows' owner
module; where Windows does not know, the process counts as none of them.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from wiresock_py.flow import SYSTEM, App, FiveTuple
from wiresock_py.owners.ancestry import Ancestry, with_parent
from wiresock_py.owners.portable import PortableOwners
from wiresock_py.owners.processes import Processes, load_process_calls
from wiresock_py.owners.services import Services, load_service_calls
from wiresock_py.owners.socket_tables import (
    MIB_TCP_STATE_LISTEN,
    MIB_TCP_STATE_TIME_WAIT,
    TCP,
    UDP,
    Socket,
    TcpIp,
    load_tcp_ip,
    owner_module,
    sockets,
)
from wiresock_py.win32 import unix_time

log = logging.getLogger(__name__)

SYSTEM_PROCESSES = frozenset((0, 4))
"""The idle process, in whose name Windows lists what belongs to nobody, and the kernel."""
FIRST_DYNAMIC_PORT = 49_152
"""Windows hands out ports to clients from here on (netsh int ipv4 show dynamicport udp)."""
LISTENERS_AGE = 1.0
"""``listening`` may be asked about many old flows at once; listeners come and go slowly."""

End = tuple[int, bytes, int]
"""Protocol, packed address, port."""


class WindowsOwners:
    """The face of every owner look-up. ``find`` and ``connections`` belong to one thread, the resolver's."""

    def __init__(
        self,
        tcp_ip: TcpIp | None = None,
        processes: Processes | None = None,
        services: Services | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*clock* tells the time in seconds since 1970. Raises OSError on other systems."""
        self._tcp_ip = tcp_ip or load_tcp_ip()
        self._processes = processes or Processes(load_process_calls())
        self._services = services or Services(load_service_calls())
        self._clock = clock
        self._ancestry = Ancestry(with_parent(self._processes.facts))
        self._portable = PortableOwners(facts=self._processes.facts, clock=clock)
        self._complained = False
        self._listeners: frozenset[End] = frozenset()
        self._listeners_until = 0.0
        self._listening = threading.Lock()

    def close(self) -> None:
        """Nothing is held open here."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow, as ``Owners.find`` has it. Each table is read at most once. Never raises."""
        read_at = self._clock()
        try:
            tables = {
                protocol: _Table(sockets(self._tcp_ip, protocol))
                for protocol in {key.protocol for key in keys} & {TCP, UDP}
            }
        except OSError as error:
            self._complain(error)
            return [
                owner if key.protocol in (TCP, UDP) else SYSTEM
                for key, owner in zip(keys, self._portable.find(keys), strict=True)
            ]
        owners: list[App | None] = []
        for key in keys:
            table = tables.get(key.protocol)
            if table is None:
                owners.append(SYSTEM)
            else:
                found = table.find(key)
                owners.append(None if found is None else self._owner(found, read_at))
        return owners

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for strangers on this local end.

        TCP: it listens. UDP has no such state: a socket whose program chose this very port, outside the range that
        Windows hands out to clients. A UDP server inside that range is not recognised.
        """
        with self._listening:
            now = time.monotonic()
            if now >= self._listeners_until:
                self._listeners = self._read_listeners()
                self._listeners_until = now + LISTENERS_AGE
            return any(end in self._listeners for end in _ends(protocol, address, port))

    def ancestors(self, app: App) -> tuple[App, ...]:
        """The processes that *app*'s came from, its parent first, as far as they can be told."""
        return self._ancestry.of(app)

    def connections(self) -> list[tuple[FiveTuple, App]]:
        """Every connected TCP socket there is now, and its owner: what ``wiresock-py apps`` shows."""
        read_at = self._clock()
        try:
            connected = [found for found in sockets(self._tcp_ip, TCP) if found.remote_port]
        except OSError as error:
            self._complain(error)
            return self._portable.connections()
        return [
            (FiveTuple(*found[:5]), owner)
            for found in connected
            if (owner := self._owner(found, read_at)) is not None and owner is not SYSTEM
        ]

    def _owner(self, found: Socket, read_at: float) -> App | None:
        if found.pid == 0 and found.state == MIB_TCP_STATE_TIME_WAIT:
            return None
        if found.pid in SYSTEM_PROCESSES:
            return SYSTEM
        app = self._processes.facts(found.pid)
        if app is None or app.started > (unix_time(found.created) if found.created else read_at):
            return None
        services = self._services.of(app)
        if len(services) > 1:
            module = owner_module(self._tcp_ip, found).casefold()
            services = tuple(service for service in services if service.casefold() == module)
        return app._replace(service=services[0]) if services else app

    def _read_listeners(self) -> frozenset[End]:
        try:
            listeners = {
                (TCP, found.local, found.local_port)
                for found in sockets(self._tcp_ip, TCP)
                if found.state == MIB_TCP_STATE_LISTEN
            }
            listeners |= {
                (UDP, found.local, found.local_port)
                for found in sockets(self._tcp_ip, UDP)
                if found.chosen_port and found.local_port < FIRST_DYNAMIC_PORT
            }
        except OSError as error:
            self._complain(error)
            return self._listeners
        return frozenset(listeners)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning("%s; owners come from the slower table", error)


class _Table:
    """The sockets of one protocol, ready to be asked."""

    def __init__(self, rows: Iterable[Socket]) -> None:
        self._connected: dict[FiveTuple, Socket] = {}
        self._bound: dict[End, Socket] = {}
        """UDP sockets: Windows tells of none whom it is connected to."""
        for row in rows:
            if row.protocol == UDP:
                self._bound.setdefault(row[:3], row)
            elif row.remote_port:
                self._connected.setdefault(FiveTuple(*row[:5]), row)

    def find(self, key: FiveTuple) -> Socket | None:
        """A flow's socket: connected to its remote end, else (UDP) bound to its address, else to every address."""
        if key.protocol == TCP:
            return self._connected.get(key)
        ends = _ends(key.protocol, key.local, key.local_port)
        return next((self._bound[end] for end in ends if end in self._bound), None)


def _ends(protocol: int, address: bytes, port: int) -> tuple[End, ...]:
    """Where a socket that serves this local end can be bound: there, or to every address of either family."""
    return (protocol, address, port), (protocol, bytes(len(address)), port), (protocol, bytes(16), port)
