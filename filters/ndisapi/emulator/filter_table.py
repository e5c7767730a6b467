"""The driver's table of static filters: order, counters, caches."""

import time
from collections.abc import Iterable

from wiresock_py.filters.ndisapi.emulator.matching import Frame, dissect, matches
from wiresock_py.filters.ndisapi.raw import constants as c
from wiresock_py.filters.ndisapi.raw.structures import STATIC_FILTER, STATIC_FILTER_TABLE

# 1 January 1980, from where m_LastReset counts, in seconds since 1970.
EPOCH = 315_532_800
# Datagrams whose first fragment's verdict is remembered.
FRAGMENTS = 1024
HEADER = STATIC_FILTER_TABLE.m_StaticFilters.offset


class FilterTable:
    """Filters in the order they are tested; the first that matches decides."""

    def __init__(self, *, lists_default: bool = False) -> None:
        """*lists_default*: whether the list, read back, ends with the default action as a filter of its own."""
        self._default = [STATIC_FILTER(m_dwDirectionFlags=3, m_FilterAction=c.FILTER_PACKET_PASS)] * lists_default
        self.filters: list[STATIC_FILTER] = []
        self.filter_cache = False
        """Only kept: a cache of verdicts changes nothing that can be seen from outside."""
        self.fragment_cache = False
        self._fragments: dict[tuple[bytes, bytes, int, int], STATIC_FILTER | None] = {}

    def replace(self, filters: Iterable[STATIC_FILTER]) -> None:
        self.filters = [_fresh(rule) for rule in filters]
        self._fragments.clear()

    def insert(self, position: int, rule: STATIC_FILTER) -> None:
        self.filters.insert(position, _fresh(rule))
        self._fragments.clear()

    def remove(self, position: int) -> None:
        del self.filters[position]
        self._fragments.clear()

    def reset_statistics(self) -> None:
        for rule in self.filters:
            _restart(rule)

    def __len__(self) -> int:
        """How many the driver says there are."""
        return len(self.filters) + len(self._default)

    def table(self) -> bytes:
        """STATIC_FILTER_TABLE with all of them."""
        listed = [bytes(rule) for rule in (*self.filters, *self._default)]
        return len(listed).to_bytes(4, "little") + bytes(HEADER - 4) + b"".join(listed)

    def decide(self, content: bytes, direction: int, adapter: int) -> tuple[int, int]:
        """(action, number of the filter from 1) for a frame, which is counted; (0, 0) if no filter matches."""
        if not self.filters:
            return 0, 0
        rule = self._find(dissect(content), direction, adapter)
        if rule is None:
            return 0, 0
        if direction == c.PACKET_FLAG_ON_SEND:
            rule.m_PacketsOut += 1
            rule.m_BytesOut += len(content)
        else:
            rule.m_PacketsIn += 1
            rule.m_BytesIn += len(content)
        number = next(i for i, other in enumerate(self.filters, 1) if other is rule)
        return rule.m_FilterAction, number

    def _find(self, frame: Frame, direction: int, adapter: int) -> STATIC_FILTER | None:
        cached = self.fragment_cache and frame.fragment is not None
        if cached and not frame.first_fragment and frame.fragment in self._fragments:
            return self._fragments[frame.fragment]
        found = next((rule for rule in self.filters if matches(rule, frame, direction, adapter)), None)
        if cached and frame.first_fragment and frame.fragment is not None:
            if len(self._fragments) >= FRAGMENTS:
                del self._fragments[next(iter(self._fragments))]
            self._fragments[frame.fragment] = found
        return found


def _fresh(rule: STATIC_FILTER) -> STATIC_FILTER:
    copy = STATIC_FILTER.from_buffer_copy(rule)
    _restart(copy)
    return copy


def _restart(rule: STATIC_FILTER) -> None:
    rule.m_PacketsIn = rule.m_BytesIn = rule.m_PacketsOut = rule.m_BytesOut = 0
    rule.m_LastReset = int(time.time()) - EPOCH & 0xFFFF_FFFF
