"""Sockets without ports: ping sockets and raw sockets, from /proc/net/{icmp,icmp6,raw,raw6}.

All four tables have one form; in a raw socket's line the "port" is the IP protocol number, in a ping socket's it is the
echo identifier. Addresses are 32-bit words in the host's byte order.
"""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wiresock_py.flow import FiveTuple

_TABLES = Path("/proc/thread-self/net")  # /proc/net would be the main thread's network namespace
_ECHO = frozenset({socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6})


class Row(NamedTuple):
    """One socket of a table."""

    local: bytes
    number: int
    remote: bytes
    inode: int


def ping_sockets(key: FiveTuple, tables: Path = _TABLES) -> list[int]:
    """Inodes of the ping sockets that may have sent the echo request of *key*: at most one per address and id."""
    if key.protocol not in _ECHO:
        return []
    rows = _rows(tables / ("icmp6" if key.is_ipv6 else "icmp"))
    return [row.inode for row in rows if row.number == key.local_port and _fits(row, key)]


def raw_sockets(key: FiveTuple, tables: Path = _TABLES) -> list[int]:
    """Inodes of the raw sockets that may have sent a packet of *key*.

    Those for its protocol, or, where there are none, those for IPPROTO_RAW, which send any protocol.
    """
    rows = [row for row in _rows(tables / ("raw6" if key.is_ipv6 else "raw")) if _fits(row, key)]
    own = [row.inode for row in rows if row.number == key.protocol]
    return own or [row.inode for row in rows if row.number == socket.IPPROTO_RAW]


def _fits(row: Row, key: FiveTuple) -> bool:
    return row.local in (key.local, bytes(len(key.local))) and row.remote in (key.remote, bytes(len(key.remote)))


def _rows(table: Path) -> Iterator[Row]:
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except OSError:
        return  # no IPv6 on this host
    for line in lines:
        fields = line.split()
        local, _, number = fields[1].partition(":")
        remote = fields[2].partition(":")[0]
        yield Row(_address(local), int(number, 16), _address(remote), int(fields[9]))


def _address(text: str) -> bytes:
    return b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
