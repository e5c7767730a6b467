"""The identity of a flow, who owns it and where it goes: shared by owner look-up, rules, data path and engine."""

import ipaddress
import ntpath
import posixpath
import socket
from enum import IntEnum
from typing import NamedTuple


class Route(IntEnum):
    """Where a flow goes."""

    DIRECT = 0
    TUNNEL = 1
    BLOCK = 2


class App(NamedTuple):
    """The process behind a flow. A pid is reused, so a process is known by its pid *and* its start time."""

    pid: int
    started: float
    """Start time in the system's own unit (Linux: clock ticks after boot); compared for equality only."""
    path: str
    """The executable's path as the kernel reports it, without " (deleted)"; never comm or argv. Empty for SYSTEM."""
    service: str = ""
    """The Windows service's name, where the process hosts one."""

    @property
    def name(self) -> str:
        """The file name of the executable."""
        path = ntpath if "\\" in self.path else posixpath
        return path.basename(self.path) or "SYSTEM"


SYSTEM = App(0, 0, "")
"""The owner of traffic that no process owns: the kernel's, a forwarded machine's, a socket already gone."""

PROTOCOL_NAMES = {
    socket.IPPROTO_ICMP: "ICMP",
    socket.IPPROTO_TCP: "TCP",
    socket.IPPROTO_UDP: "UDP",
    socket.IPPROTO_ICMPV6: "ICMPv6",
}


class FiveTuple(NamedTuple):
    """Protocol, local and remote end of a flow; *local* is this host's side whatever the direction of a packet.

    Addresses are packed, 4 or 16 bytes, both of one family. Ports are host-order integers; for ICMP echo the local
    port is the identifier and the remote port 0; for protocols without ports both are 0.
    """

    protocol: int
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int

    @property
    def is_ipv6(self) -> bool:
        return len(self.local) == 16

    def __str__(self) -> str:
        def end(address: bytes, port: int) -> str:
            text = str(ipaddress.ip_address(address))
            return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"

        name = PROTOCOL_NAMES.get(self.protocol, f"protocol {self.protocol}")
        return f"{name} {end(self.local, self.local_port)} -> {end(self.remote, self.remote_port)}"
