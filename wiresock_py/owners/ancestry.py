"""The processes that a process came from, remembered from the first time it was asked about.

A pid names a parent only as long as the parent lives: afterwards the kernel gives the child to init (Linux), or the pid
to another program (Windows). A parent is older than its child, so a younger process with the parent's pid is another.
What was found once stays true for that process, also when its parent ends: a launcher that leaves after the start.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

import psutil

from wiresock_py.flow import App
from wiresock_py.owners.base import Process

MAX_KEPT = 4096
MAX_DEPTH = 64


class Ancestry:
    """May be asked from any thread."""

    def __init__(self, process: Callable[[int], Process | None]) -> None:
        """*process* says who a pid is now; None: nobody. It is asked by one thread at a time."""
        self._process = process
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, float], tuple[App, ...]] = OrderedDict()

    def of(self, app: App) -> tuple[App, ...]:
        """The parent of *app*'s process, its parent and so on, as far as they can be told. Never raises."""
        with self._lock:
            return self._find(app)

    def _find(self, app: App) -> tuple[App, ...]:
        key = app.pid, app.started
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found: list[App] = []
        current = self._process(app.pid)
        if current is None or current.app.started != app.started:
            return ()  # gone, and perhaps another took its pid
        while current.parent > 0 and len(found) < MAX_DEPTH:
            parent = self._process(current.parent)
            if parent is None or parent.app.started > current.app.started:
                break
            found.append(parent.app)
            # whose ancestors are known already, also those that ended since
            if (known := self._kept.get((parent.app.pid, parent.app.started))) is not None:
                found += known
                break
            current = parent
        self._keep(key, tuple(found[:MAX_DEPTH]))
        return self._kept[key]

    def _keep(self, key: tuple[int, float], ancestors: tuple[App, ...]) -> None:
        self._kept[key] = ancestors
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def with_parent(facts: Callable[[int], App | None]) -> Callable[[int], Process | None]:
    """From *facts*, which says who a pid is now, to who it is and which its parent's pid is, by psutil."""

    def process(pid: int) -> Process | None:
        app = facts(pid)
        try:
            parent = psutil.Process(pid).ppid()
        except psutil.Error:
            return None
        return Process(app, parent) if app is not None and app == facts(pid) else None

    return process
