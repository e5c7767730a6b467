"""Which process owns a flow: the host's socket table, and facts about processes that cannot be faked by a name."""

import sys

from wiresock_py.flow import App, FiveTuple
from wiresock_py.owners.base import Owners

if sys.platform == "linux":
    from wiresock_py.owners.linux import LinuxOwners as SocketOwners
elif sys.platform == "win32":
    from wiresock_py.owners.windows import WindowsOwners as SocketOwners
else:
    from wiresock_py.owners.portable import PortableOwners as SocketOwners

__all__ = ["Owners", "SocketOwners", "open_connections"]


def open_connections() -> list[tuple[FiveTuple, App]]:
    """Every connected socket and its owner; by a look-up of its own, as the engine's belongs to another thread."""
    owners = SocketOwners()
    try:
        return owners.connections()
    finally:
        owners.close()
