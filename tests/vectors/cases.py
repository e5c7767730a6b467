"""What a vector case is."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

Json: TypeAlias = Any
"""Parsed JSON; its shape is the schema's."""


class Case(NamedTuple):
    """One case of a section. Running it raises AssertionError on a mismatch."""

    name: str
    run: Callable[[], None]


Section: TypeAlias = Callable[[Json], Iterator[Case]]
"""Yields the cases of one section; its argument is the whole file, for sections refer to each other."""


def unknown_parts(section: Iterable[str], *known: str) -> Iterator[Case]:
    """A case that fails for each part of a section that nobody knows, for nothing is skipped in silence."""
    for name in section:
        if name not in known:
            yield Case(name, partial(_fail, f"no runner for this part (known are {', '.join(known)})"))


def _fail(reason: str) -> None:
    raise AssertionError(reason)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        shown = [value.hex() if isinstance(value, bytes | bytearray) else repr(value) for value in (got, expected)]
        raise AssertionError(f"{what}: got {shown[0]}, expected {shown[1]}")
