"""Longest-prefix look-up, for addresses and for whole prefixes."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from wiresock_py.rules.ranges import Network

_V = TypeVar("_V")


class PrefixMap(Generic[_V]):
    """Values by prefix, both IP versions side by side. Of two equal prefixes the first counts."""

    def __init__(self, items: Iterable[tuple[Network, _V]] = ()) -> None:
        by_length: dict[int, dict[int, dict[int, _V]]] = {4: {}, 6: {}}
        for network, value in items:
            bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            by_length[network.version].setdefault(network.prefixlen, {}).setdefault(bits, value)
        self._tables = {
            version: [(length, tables[length]) for length in sorted(tables, reverse=True)]
            for version, tables in by_length.items()
        }

    def longest(self, version: int, address: int, length: int) -> _V | None:
        """The value of the longest prefix that holds all of *address*/*length*; an address has its full length."""
        width = 32 if version == 4 else 128
        for prefix_length, table in self._tables[version]:
            if prefix_length <= length:
                value = table.get(address >> (width - prefix_length))
                if value is not None:
                    return value
        return None
