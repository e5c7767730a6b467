"""Owners on Linux: five-tuple -> socket by the kernel's own look-up, socket -> process by the links in /proc.

A socket can have several holders: a process and what it forked, a server and the system manager that keeps its socket.
Where all run one executable it does not matter which is named. Where they differ, the *oldest* holder is the owner,
the one that opened the socket and from which the others inherited or were given it; init (pid 1) only if nobody else
holds it, because a system manager keeps copies of sockets that its services use.

A raw socket says nothing of who sent a given packet. With one candidate that is the owner; with several executables
among them an echo request belongs to the process whose pid is its identifier (what ping does with a raw socket);
otherwise to nobody.

A socket that nobody holds is the kernel's (NFS, another tunnel), or of a process this one may not see (another pid
namespace above ours, another user's without root, sockets that exist only inside an io_uring): SYSTEM, and so is what
needs no socket (GRE, ESP). Where there is no socket although the protocol has them, it is gone, or was never there (an
AF_PACKET sender, VXLAN), or not to be looked up (SCTP and its like): nobody can tell whose it was.
"""

import sys

if sys.platform != "linux":
    raise ImportError("this module speaks to the Linux kernel")

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from wiresock_py.flow import SYSTEM, App, FiveTuple
from wiresock_py.owners.ancestry import Ancestry
from wiresock_py.owners.base import Process
from wiresock_py.owners.holders import INIT, Holders
from wiresock_py.owners.portable import PortableOwners
from wiresock_py.owners.procfs import ProcFs
from wiresock_py.owners.raw_sockets import ping_sockets, raw_sockets
from wiresock_py.owners.sock_diag import CLOSE, DIAGNOSED, LISTEN, SocketDiag

log = logging.getLogger(__name__)

_DCCP, _L2TP, _SCTP, _UDP_LITE = 33, 115, 132, 136
WITH_SOCKETS = DIAGNOSED | {socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6, _DCCP, _L2TP, _SCTP, _UDP_LITE}
"""Protocols of which every packet that is asked about came from a socket; the last four's are not looked up."""


class LinuxOwners:
    """The owner look-up for the network namespace of the thread that made it.

    ``find`` and ``connections`` belong to one thread, the resolver's; the others may be called from any.
    """

    def __init__(self) -> None:
        self._proc = ProcFs()
        self._holders = Holders(self._proc)
        self._lineages = ProcFs()  # of its own: other threads may ask
        self._ancestry = Ancestry(self._lineages.process)
        self._portable = PortableOwners(facts=self._proc.facts, clock=_ticks)
        self._diag_lock = threading.Lock()
        self._diag = SocketDiag()
        self._diagnosed = frozenset(protocol for protocol in DIAGNOSED if self._diag.supports(protocol))
        if missing := DIAGNOSED - self._diagnosed:
            log.warning("this kernel lacks inet_diag for protocols %s; owners come from the slower table", set(missing))
        self._ephemeral = _ephemeral_ports()

    def close(self) -> None:
        """Close what is open; safe to repeat."""
        self._diag.close()
        self._proc.close()
        self._lineages.close()

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow, as ``Owners.find`` has it. One search for all of them. Never raises.

        A connection from outside that is not accepted yet is its listener's. ICMP is asked for echo requests, local
        port = identifier.
        """
        inodes: list[Sequence[int]] = [()] * len(keys)
        by_table: list[int] = []
        by_kernel: list[int] = []
        for index, key in enumerate(keys):
            if key.protocol in self._diagnosed:
                by_kernel.append(index)
            elif key.protocol in DIAGNOSED:
                by_table.append(index)
            else:
                inodes[index] = ping_sockets(key) or raw_sockets(key)
        for index, inode in zip(by_kernel, self._inodes([keys[index] for index in by_kernel]), strict=True):
            inodes[index] = (inode,) if inode else ()
        holders = self._holders.find({inode for candidates in inodes for inode in candidates})
        owners = [_owner(key, [holders.get(inode, []) for inode in inodes[index]]) for index, key in enumerate(keys)]
        for index, key in enumerate(keys):
            from_socket = any(_are_others(holders.get(inode, [])) for inode in inodes[index])
            if key.protocol not in WITH_SOCKETS and not from_socket:
                owners[index] = SYSTEM
        self._find_unheld(
            keys, [index for index in by_kernel if owners[index] is None and inodes[index]], inodes, owners
        )
        if by_table:
            for index, owner in zip(by_table, self._portable.find([keys[index] for index in by_table]), strict=True):
                owners[index] = owner
        return owners

    def _find_unheld(
        self,
        keys: Sequence[FiveTuple],
        unheld: Sequence[int],
        inodes: Sequence[Sequence[int]],
        owners: list[App | None],
    ) -> None:
        """Name the owner of sockets that nobody was seen to hold.

        The first search may have read their holder before it got them, and the one that had them after it gave them
        away (fork, then close). What a second search does not find either is the system's, if the socket outlived it.
        """
        if not unheld:
            return
        holders = self._holders.find({inode for index in unheld for inode in inodes[index]})
        again = self._inodes([keys[index] for index in unheld])
        for index, inode in zip(unheld, again, strict=True):
            owners[index] = _owner(keys[index], [holders.get(each, []) for each in inodes[index]])
            if owners[index] is None and inode and (inode,) == tuple(inodes[index]):
                owners[index] = SYSTEM

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for strangers on this local end.

        TCP: it listens. UDP has no such state: a socket bound there, connected to nobody, on a port outside the range
        the kernel hands out to clients (``ip_local_port_range``). A UDP server inside that range is not recognised.
        """
        if protocol not in self._diagnosed:
            return protocol in DIAGNOSED and self._portable.listening(protocol, address, port)
        key = FiveTuple(protocol, address, port, bytes(len(address)), 0)
        try:
            with self._diag_lock:
                found = self._diag.listening(key)
        except OSError as error:
            self._renew(error)
            return False
        if found is None:
            return False
        return found.state == LISTEN or (found.state == CLOSE and port not in self._ephemeral)

    def ancestors(self, app: App) -> tuple[App, ...]:
        """The processes that *app*'s came from, its parent first, as far as they can be told."""
        return self._ancestry.of(app)

    def connections(self) -> list[tuple[FiveTuple, App]]:
        """Every connected TCP and UDP socket there is now, and its owner: what ``wiresock-py apps`` shows."""
        return self._portable.connections()

    def _inodes(self, keys: Sequence[FiveTuple]) -> list[int]:
        try:
            with self._diag_lock:
                return [found.inode if found else 0 for found in self._diag.find(keys)]
        except OSError as error:
            self._renew(error)
            return [0] * len(keys)

    def _renew(self, error: OSError) -> None:
        """A socket that lost an answer (ENOBUFS, a time-out) might mix up the next ones."""
        log.warning("the kernel did not answer a socket look-up: %s", error)
        with self._diag_lock:
            self._diag.close()
            self._diag = SocketDiag()


def _are_others(holders: Sequence[Process]) -> bool:
    """Whether a raw socket that these hold may be an app's.

    This program's own, which fit every protocol, send what it was given, never flows of its own.
    """
    return bool(holders) and _opener(holders).app.pid != os.getpid()


def _owner(key: FiveTuple, holders: Sequence[Sequence[Process]]) -> App | None:
    """The owner among the holders (the oldest first) of each socket that may have sent *key*."""
    if key.protocol in DIAGNOSED:
        owners = [_opener(processes).app for processes in holders if processes]
    else:
        owners = [_opener(processes).app for processes in holders if _are_others(processes)]
        if len({app.path for app in owners}) > 1:
            owners = [app for app in owners if key.local_port and app.pid & 0xFFFF == key.local_port]
    return min(owners, key=lambda app: (app.started, app.pid), default=None)


def _opener(holders: Sequence[Process]) -> Process:
    return next((holder for holder in holders if holder.app.pid != INIT), holders[0])


def _ticks() -> float:
    """Now, in the unit of a process's start time: clock ticks after boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")


def _ephemeral_ports() -> range:
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    except (OSError, ValueError):
        return range(32768, 61000)  # the kernel's default
    return range(int(first), int(last) + 1)
