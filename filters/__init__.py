"""Interception backends: between the host's TCP/IP stack and its real network adapters."""

from wiresock_py.filters.base import (
    MAX_PACKET,
    Backend,
    Buffer,
    CapturePlan,
    Network,
    PacketBatch,
    PacketFlag,
    RemembersConnections,
    Verdict,
)
from wiresock_py.filters.host import HostAdapter, HostNetwork

__all__ = [
    "MAX_PACKET",
    "Backend",
    "Buffer",
    "CapturePlan",
    "HostAdapter",
    "HostNetwork",
    "Network",
    "PacketBatch",
    "PacketFlag",
    "RemembersConnections",
    "Verdict",
]
