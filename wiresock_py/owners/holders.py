"""Which processes hold a socket: inode -> process, by the links in /proc/PID/fd.

The kernel has no way from a socket to its process, so somebody has to look through the descriptors of all processes:
on a machine with 1,000 processes and 10,000 sockets that is about 0.1 s. The search therefore goes where the socket
probably is, and stops when it has found all it was sent for:

1. where it was seen last, if it was;
2. in the processes that owned the latest flows;
3. in processes never seen, the youngest first, and in those whose number of descriptors has changed;
4. in the processes that owned earlier flows (who talked once talks again, and a connection opened after another was
   closed leaves the number as it was);
5. in all the rest; such a search is followed by a rest as long as itself, so they never take more than half the time.

What was seen earlier only says where to look. Every answer is a link read now, below one open /proc/PID (see
``ProcFs.holder``), so neither an old map nor a reused pid can name the wrong process.
"""

import sys

if sys.platform != "linux":
    raise ImportError("this module speaks to the Linux kernel")

import time
from collections.abc import Callable, Collection, Iterator

from wiresock_py.owners.base import Process
from wiresock_py.owners.procfs import ProcFs

LATEST_OWNERS = 8
REMEMBERED_OWNERS = 256
# A socket that no visible process holds (another pid namespace's, an io_uring's) is searched for twice, because it may
# have changed hands during the first search, and then not again within this time.
FORGET_UNHELD_AFTER = 1.0
_UNHELD_LIMIT = 4096
INIT = 1


class Holders:
    """The map of the last search, and the search itself. The business of one thread."""

    def __init__(
        self,
        proc: ProcFs,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._proc = proc
        self._clock = clock
        self._sleep = sleep
        self._sockets: dict[int, dict[int, bytes]] = {}  # pid -> inode -> link
        self._counts: dict[int, int] = {}  # pid -> descriptors when last read
        self._pids: dict[int, set[int]] = {}  # inode -> pids
        self._owners: dict[int, None] = {}  # pids that owned flows, the latest last
        self._unheld: dict[int, float] = {}  # inode -> when to search again
        self._rested = 0.0
        self.searches = 0
        """How often all processes had to be searched."""

    def find(self, inodes: Collection[int]) -> dict[int, list[Process]]:
        """The processes that hold each socket, the oldest first; sockets nobody holds are missing.

        Forked processes share sockets: whoever holds one, its ancestors are asked too, as far up as they hold it.
        """
        now = self._clock()
        found: dict[int, list[Process]] = {}
        missing: set[int] = set()
        for inode in inodes:
            if holders := self._verified(inode):
                found[inode] = holders
            elif self._unheld.get(inode, now) <= now:
                missing.add(inode)
        if missing:
            for pid in self._likely():
                self._read(pid)
                for inode in missing & self._sockets.get(pid, {}).keys():
                    if holders := self._verified(inode):
                        found[inode] = holders
                        missing.discard(inode)
                if not missing:
                    break
            self._remember_unheld(missing, now)
        return found

    def _likely(self) -> Iterator[int]:
        """The pids to read, the most promising first. Each is read before the next one is asked for."""
        owners = list(reversed(self._owners))
        latest, earlier = owners[:LATEST_OWNERS], owners[LATEST_OWNERS:]
        yield from latest
        pids = self._proc.processes()
        for gone in self._sockets.keys() - set(pids):
            self._forget(gone)
        unchanged: list[int] = []
        silent: list[int] = []  # kernel threads, a main thread that has ended, every process before Linux 6.2
        for pid in reversed(pids):
            count = self._proc.descriptors(pid)
            if pid not in self._counts or count != self._counts[pid]:
                yield pid
            elif count:
                unchanged.append(pid)
            else:
                silent.append(pid)
        yield from (pid for pid in earlier if pid in self._sockets)
        self.searches += 1
        if (pause := self._rested - self._clock()) > 0:
            self._sleep(pause)
        started = self._clock()
        try:
            yield from (pid for pid in unchanged + silent if pid not in self._owners)
        finally:
            finished = self._clock()
            self._rested = finished + (finished - started)

    def _verified(self, inode: int) -> list[Process]:
        holders: dict[int, Process] = {}
        for pid in list(self._pids.get(inode, ())):
            process = self._holder(pid, inode)
            while process is not None and process.app.pid not in holders:
                holders[process.app.pid] = process
                parent = process.parent
                process = None
                if parent > INIT:
                    if self._proc.descriptors(parent) != self._counts.get(parent):
                        self._read(parent)
                    process = self._holder(parent, inode)
        for pid in holders:
            self._owners.pop(pid, None)
            self._owners[pid] = None
        while len(self._owners) > REMEMBERED_OWNERS:
            del self._owners[next(iter(self._owners))]
        return sorted(holders.values(), key=lambda process: (process.app.started, process.app.pid))

    def _holder(self, pid: int, inode: int) -> Process | None:
        link = self._sockets.get(pid, {}).get(inode)
        return None if link is None else self._proc.holder(pid, link, inode)

    def _read(self, pid: int) -> None:
        """Learn *pid*'s sockets anew."""
        self._forget(pid)
        self._counts[pid] = self._proc.descriptors(pid)
        self._sockets[pid] = sockets = self._proc.sockets(pid)
        for inode in sockets:
            self._pids.setdefault(inode, set()).add(pid)

    def _forget(self, pid: int) -> None:
        self._counts.pop(pid, None)
        for inode in self._sockets.pop(pid, ()):
            pids = self._pids[inode]
            pids.discard(pid)
            if not pids:
                del self._pids[inode]

    def _remember_unheld(self, inodes: Collection[int], now: float) -> None:
        if len(self._unheld) + len(inodes) > _UNHELD_LIMIT:
            self._unheld = {inode: until for inode, until in self._unheld.items() if until > now}
        for inode in inodes:
            if inode in self._unheld or len(self._unheld) < _UNHELD_LIMIT:
                self._unheld[inode] = now + FORGET_UNHELD_AFTER if inode in self._unheld else now
