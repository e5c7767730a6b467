"""Which names led to an address, learned from DNS answers, for as long as the answers may be used.

A table of bounded size: what a hostile server can do to it is to push out names of the domains that rules mention.
"""

import heapq
import threading
from collections.abc import Callable, Iterable

SHORTEST = 300.0
"""Seconds a name is kept at least: programs and resolvers use an answer for longer than it says."""
LONGEST = 86_400.0
MAX_NAMES = 16_384
MAX_NAMES_PER_ADDRESS = 32


class NameTable:
    """May be used from any thread. Only names that *wanted* says rules mention are kept."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._until: dict[bytes, dict[str, float]] = {}
        """By packed address: when each of its names lapses."""
        self._count = 0

    def learn(self, names: Iterable[str], addresses: Iterable[bytes], ttl: float, now: float) -> None:
        """*names*, the one asked for and its aliases, led to *addresses* (packed), for *ttl* seconds."""
        kept = [name for name in names if self._wanted(name)]
        until = now + min(max(ttl, SHORTEST), LONGEST)
        if not kept:
            return
        with self._lock:
            for address in addresses:
                known = self._until.setdefault(address, {})
                for name in kept:
                    if name in known:
                        known[name] = max(known[name], until)
                    elif len(known) < MAX_NAMES_PER_ADDRESS:
                        known[name] = until
                        self._count += 1
            if self._count > MAX_NAMES:
                self._make_room(now)

    def of(self, address: bytes, now: float) -> tuple[str, ...]:
        """The names that led to *address* (packed), the latest to lapse first."""
        with self._lock:
            known = self._until.get(address)
            if not known:
                return ()
            return tuple(sorted((name for name in known if known[name] > now), key=lambda name: -known[name]))

    def __len__(self) -> int:
        return self._count

    def _make_room(self, now: float) -> None:
        """Forget what has lapsed; if that is not an eighth of the table, what lapses next."""
        rows = [(until, address, name) for address, known in self._until.items() for name, until in known.items()]
        lapsed = sum(until <= now for until, _, _ in rows)
        for _, address, name in heapq.nsmallest(max(lapsed, MAX_NAMES // 8), rows):
            del self._until[address][name]
            self._count -= 1
            if not self._until[address]:
                del self._until[address]
