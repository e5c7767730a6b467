"""Owners on Linux: the kernel's own socket look-up (sock_diag) and the links in /proc/PID/fd."""

import sys
from collections.abc import Sequence

from wiresock_py.flow import App, FiveTuple

assert sys.platform == "linux"  # noqa: S101 - tells mypy that no other system reads on


class LinuxOwners:
    """The owner look-up for the network namespace it was made in. ``find`` belongs to one thread, the resolver's."""

    def close(self) -> None:
        """Close the netlink socket."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        """The owner of each flow, None where no process has it (now). One refresh for all. Never raises."""
        raise NotImplementedError

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        """Whether a socket waits for others on this local end: TCP listens, UDP is bound and not connected."""
        raise NotImplementedError

    def connections(self) -> list[tuple[FiveTuple, App]]:
        """Every connected TCP and UDP socket there is now, and its owner: what ``wiresock-py apps`` shows."""
        raise NotImplementedError
