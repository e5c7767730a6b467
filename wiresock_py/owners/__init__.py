"""Which process owns a flow: the host's socket table, and facts about processes that cannot be faked by a name."""

import sys

from wiresock_py.owners.base import Owners

if sys.platform == "linux":
    from wiresock_py.owners.linux import LinuxOwners as SocketOwners
else:
    # Windows gets its own look-up (extended TCP and UDP tables, service tags) in owners/windows.py.
    from wiresock_py.owners.portable import PortableOwners as SocketOwners

__all__ = ["Owners", "SocketOwners"]
