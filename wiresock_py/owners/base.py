"""What the engine asks of an owner look-up; every system's own one offers it."""

from collections.abc import Sequence
from typing import Protocol

from wiresock_py.flow import App, FiveTuple


class Owners(Protocol):
    """May be asked from any thread; never raises."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow.

        SYSTEM where the host itself sends: a kernel socket, a protocol without sockets, a process out of sight. None
        where there is no such socket (any more): whose it was, nobody can tell.
        """

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for strangers on this local end."""
