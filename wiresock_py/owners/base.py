"""What the engine asks of an owner look-up; every system's own one offers it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from wiresock_py.flow import App, FiveTuple


class Process(NamedTuple):
    """A process, and where it came from."""

    app: App
    parent: int
    """The parent's pid; it may be reused once that has ended."""


class Owners(Protocol):
    """May be asked from any thread; never raises."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow.

        SYSTEM where the host itself sends: a kernel socket, a protocol without sockets, a process out of sight. None
        where there is no such socket (any more): whose it was, nobody can tell.
        """

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for strangers on this local end."""

    def ancestors(self, app: App) -> tuple[App, ...]:
        """The processes that *app*'s came from, its parent first, as far as they can be told."""
