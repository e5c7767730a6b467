"""The plan's prefixes as rules of one chain or, where they are many, of a tree of chains.

The kernel tries the rules of a chain one after the other, for every packet of a connection that is not bypassed: with
ten thousand prefixes in one chain a packet costs 30 to 50 times what it costs with one. So more than FEW are divided by
their next bits, and a packet goes to the chain for its own. It goes (``-g``) and does not come back: the end of each
branch says what holds for the rest of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from wiresock_py.filters.base import Network

FEW = 16
"""As many prefixes as are tried one by one: 0.03 µs each."""
STEP = 4
"""Bits to divide by. Fewer bits make more chains, which take longer to install, and no packet faster."""


class _Row(NamedTuple):
    """A prefix, and whether it is captured."""

    network: Network
    captured: bool

    def leading(self, bits: int) -> int:
        """The first bits of its address."""
        return int(self.network.network_address) >> (self.network.max_prefixlen - bits)

    def holds(self, other: "_Row") -> bool:
        """Whether the longer prefix *other* is a part of it."""
        length = self.network.prefixlen
        return self.leading(length) == other.leading(length)


def branches(rows: Sequence[tuple[Network, bool]], chain: str, targets: Mapping[bool, str]) -> list[str]:
    """The rules of *chain* and of its branches (*chain*-1, …) for *rows*, the longest prefix first, each with whether
    it is captured; *targets* are what to do then (``-g …``, ``-j …``).
    """
    return list(_branch([_Row(*row) for row in rows], 0, False, chain, (chain, count(1)), targets))


def _branch(
    rows: list[_Row],
    length: int,
    otherwise: bool,
    chain: str,
    names: "tuple[str, count[int]]",
    targets: Mapping[bool, str],
) -> Iterator[str]:
    """The rules for *rows*, which share their first *length* bits; *otherwise* holds where none of them does."""
    length, short, groups = _divided(rows, length) if len(rows) > FEW else (length, rows, [])
    below: list[Iterator[str]] = []
    alone: list[_Row] = []
    for members in groups:
        if len(members) == 1:  # to have it in a chain of its own would only be a longer way
            alone += members
            continue
        name = f"{names[0]}-{next(names[1])}"
        group = members[0].network.supernet(new_prefix=length)
        yield f"-A {chain} -d {group} -g {name}"
        around = (row.captured for row in short if row.holds(members[0]))
        below.append(_branch(members, length, next(around, otherwise), name, names, targets))
    for network, captured in (*alone, *short):
        yield f"-A {chain} -d {network} {targets[captured]}"
    if otherwise:
        yield f"-A {chain} {targets[True]}"
    for rules in below:
        yield from rules


def _divided(rows: list[_Row], length: int) -> tuple[int, list[_Row], list[list[_Row]]]:
    """Divide *rows* where they first differ: at how many bits, those not longer than that, the others by these bits."""
    while True:
        length += STEP
        short: list[_Row] = []
        groups: dict[int, list[_Row]] = {}
        for row in rows:
            if row.network.prefixlen <= length:
                short.append(row)
            else:
                groups.setdefault(row.leading(length), []).append(row)
        if short or len(groups) > 1:
            return length, short, list(groups.values())
