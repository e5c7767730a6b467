"""The seam between the backend and WinDivert: a filter opened is a ``Handle``, and a ``Driver`` opens them.

``windows.WinDivertDriver`` is the real one, ``ebpf.EbpfDriver`` the one that pydivert has for Linux.
"""

import ctypes
import sys
from enum import Enum, IntFlag
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from wiresock_py.errors import BackendError
from wiresock_py.filters.windivert.address import Address

INSTALL = "pip install 'wiresock-py[windivert]'"
OLDEST = 4
"""pydivert's first major version with the whole of WinDivert 2.2, and with Linux."""

SENDING_PRIORITY, RECEIVING_PRIORITY = 1, 2

Addresses = ctypes.Array[Address]


class Flag(IntFlag):
    """WINDIVERT_FLAG_…"""

    NONE = 0
    DROP = 2
    """Packets of the filter are lost; nothing can be received."""
    SEND_ONLY = 8


def priority(flags: Flag) -> int:
    """A handle's place among all of this host, other programs' too (mostly 0): the highest sees a packet first.

    What a handle sends is shown to those below it alone. So ours that send stand below ours that receive, whatever the
    order they were opened in, and above other programs', which see what we let pass.
    """
    return SENDING_PRIORITY if flags & Flag.SEND_ONLY else RECEIVING_PRIORITY


class End(Enum):
    """Why a ``receive`` brought nothing."""

    TIMEOUT = "timeout"
    EMPTY = "empty"
    """The handle was stopped, and all that waited in it has been received."""


class Handle(Protocol):
    """An open filter. ``receive`` belongs to one thread, the other methods may be called from any."""

    def receive(
        self, packets: "ctypes.Array[ctypes.c_char]", addresses: Addresses, timeout: float
    ) -> tuple[int, int] | End:
        """Fill *packets* with packets side by side and *addresses* with what belongs to each.

        Returns how many bytes and how many packets came, or why none did after *timeout* seconds. Between two calls
        the memory of a call that ended with TIMEOUT still belongs to the driver, so each call brings the same.
        """

    def send(self, packets: int, length: int, addresses: int, count: int) -> None:
        """Inject *count* packets that lie side by side at the address *packets*. Raises OSError."""

    def stop(self) -> None:
        """Take no more packets from the network; those that wait can still be received. Wakes a ``receive``."""

    def close(self) -> None:
        """Packets that wait are lost. Not while a ``receive`` runs."""

    def statistics(self) -> dict[str, int]:
        """What the driver counts, if it does."""


class Driver(Protocol):
    """Opens handles, with the ``priority`` of their flags."""

    def open(self, text: str, flags: Flag = Flag.NONE) -> Handle:
        """Begin with the filter *text*. Raises BackendError."""


def load_driver() -> Driver:
    """This system's driver. Raises BackendError if pydivert is missing, too old, or does not fit the system."""
    if reason := missing():
        raise BackendError(reason, INSTALL)
    if sys.platform == "win32":
        from wiresock_py.filters.windivert.windows import WinDivertDriver, load_calls

        return WinDivertDriver(load_calls())
    if sys.platform == "linux":
        from wiresock_py.filters.windivert.ebpf import EbpfDriver, load_library

        return EbpfDriver(load_library())
    raise BackendError(f"WinDivert works on Windows, this is {sys.platform}")


def missing() -> str:
    """What is wrong with pydivert here; empty if nothing is. Loads no driver."""
    try:
        found = version("pydivert")
    except PackageNotFoundError:
        return "the package pydivert, which brings the WinDivert driver, is not installed"
    if int(found.partition(".")[0]) < OLDEST:
        return f"pydivert {found} is too old, version {OLDEST} is needed"
    return ""
