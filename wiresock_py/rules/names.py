"""Which names led to an address, learned from DNS answers, for as long as the answers may be used.

A table of bounded size: what a hostile server can do to it is to push out names of the domains that rules mention.
"""

import heapq
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

SHORTEST = 300.0
"""Seconds a name is kept at least: programs and resolvers use an answer for longer than it says."""
LONGEST = 86_400.0
WORTH_TELLING = 60.0
"""Seconds that a known name has to be known for longer to count as news."""
MAX_NAMES = 16_384
MAX_NAMES_PER_ADDRESS = 32


class Known(NamedTuple):
    """A name that led to an address, as it travels between processes."""

    address: str
    """Packed, in hexadecimal digits."""
    name: str
    until: float
    """When it lapses, on the engine's clock, which all processes of this boot share."""


class NameTable:
    """May be used from any thread. Only names that *wanted* says rules mention are kept."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._until: dict[bytes, dict[str, float]] = {}
        """By packed address: when each of its names lapses."""
        self._count = 0

    def learn(self, names: Iterable[str], addresses: Iterable[bytes], ttl: float, now: float) -> list[Known]:
        """*names*, the one asked for and its aliases, led to *addresses* (packed), for *ttl* seconds.

        Returns what is new: with names known already, only if they are known for a good deal longer now.
        """
        kept = [name for name in names if self._wanted(name)]
        until = now + min(max(ttl, SHORTEST), LONGEST)
        learned = []
        with self._lock:
            for address in addresses:
                for name in kept:
                    if self._note(address, name, until) > WORTH_TELLING:
                        learned.append(Known(address.hex(), name, until))
            if self._count > MAX_NAMES:
                self._make_room(now)
        return learned

    def remember(self, known: Iterable[Known], now: float) -> None:
        """Know what another process learned."""
        with self._lock:
            for address, name, until in known:
                if until > now and self._wanted(name):
                    self._note(bytes.fromhex(address), name, min(until, now + LONGEST))
            if self._count > MAX_NAMES:
                self._make_room(now)

    def known(self, now: float) -> list[Known]:
        """All that is known, for another process to remember."""
        with self._lock:
            rows = [(address, *row) for address, names in self._until.items() for row in names.items()]
        return [Known(address.hex(), name, until) for address, name, until in rows if until > now]

    def of(self, address: bytes, now: float) -> tuple[str, ...]:
        """The names that led to *address* (packed), the latest to lapse first."""
        with self._lock:
            known = self._until.get(address)
            if not known:
                return ()
            return tuple(sorted((name for name in known if known[name] > now), key=lambda name: -known[name]))

    def __len__(self) -> int:
        return self._count

    def _note(self, address: bytes, name: str, until: float) -> float:
        """By how many seconds longer the name is known now."""
        known = self._until.setdefault(address, {})
        before = known.get(name, 0.0)
        if not before:
            if len(known) >= MAX_NAMES_PER_ADDRESS:
                return 0.0
            self._count += 1
        known[name] = max(before, until)
        return known[name] - before

    def _make_room(self, now: float) -> None:
        """Forget what has lapsed; if that is not an eighth of the table, what lapses next."""
        rows = [(until, address, name) for address, known in self._until.items() for name, until in known.items()]
        lapsed = sum(until <= now for until, _, _ in rows)
        for _, address, name in heapq.nsmallest(max(lapsed, MAX_NAMES // 8), rows):
            del self._until[address][name]
            self._count -= 1
            if not self._until[address]:
                del self._until[address]
