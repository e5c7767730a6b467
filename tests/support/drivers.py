"""Systems with the NDISRD driver for tests: what the emulator and a driver double both are, and how to get one.

Tests that keep to these protocols hold for each driver in ``DRIVERS``: the emulator everywhere, and on Windows the
double that tests/windows loads, which adds itself there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi.device import ERROR_GEN_FAILURE, Device
from wiresock_py.filters.ndisapi.emulator import Emulator

POOL_SIZE = 700


class Plugged(Protocol):
    """An adapter, from both of its ends."""

    @property
    def handle(self) -> int:
        """As the driver knows it now."""

    @property
    def name(self) -> str:
        """The internal name, ``\\DEVICE\\{GUID}``."""

    @property
    def friendly_name(self) -> str: ...

    @property
    def mac(self) -> bytes: ...

    @property
    def mtu(self) -> int: ...

    @property
    def medium(self) -> int: ...

    def stack_sends(self, frame: Buffer, vlan: int = 0) -> None:
        """The host's stack sends a frame."""

    def network_sends(self, frame: Buffer, vlan: int = 0) -> None:
        """A frame arrives from the network."""

    def network_received(self) -> list[bytes]:
        """Take the frames that left the host."""

    def stack_received(self) -> list[bytes]:
        """Take the frames that reached the host's stack."""


class Driver(Protocol):
    """A system with the driver, no adapter yet, nothing left of earlier tests, and a pool of POOL_SIZE packets."""

    @property
    def issued(self) -> Mapping[int, int]:
        """How often each control code was used so far; 0 for one that was not."""

    def open(self) -> Device:
        """A new handle."""

    def add_adapter(
        self, friendly_name: str = "Ethernet", *, mac: bytes = b"", mtu: int = 1500, medium: int = 0
    ) -> Plugged:
        """Plug an adapter in, under a name and a MAC of its own if none is given."""

    # Any: an adapter goes back only to the driver it came from
    def remove_adapter(self, adapter: Any) -> None:
        """Unplug it: its handle is stale."""

    def reattach_adapter(self, adapter: Any) -> None:
        """Reset, resume: the same adapter under a new handle, without mode and event."""

    def fail(self, code: int, error: int, times: int = 1) -> None:
        """The next *times* requests of this code fail with this Win32 error."""


@contextmanager
def emulated(empty_read: int | None) -> Iterator[Driver]:
    """*empty_read*: the error of a read that finds nothing, or None if it succeeds: the real driver's is not known."""
    yield Emulator(pool_size=POOL_SIZE, empty_read=empty_read)


DRIVERS: dict[str, Callable[[], AbstractContextManager[Driver]]] = {
    "empty read fails": lambda: emulated(ERROR_GEN_FAILURE),
    "empty read succeeds": lambda: emulated(None),
}
