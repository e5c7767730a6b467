"""News from the kernel when links, addresses or routes change (rtnetlink multicast groups)."""

import errno
import select
import struct
from enum import Flag
from types import TracebackType
from typing import Self

from wiresock_py.errors import NetworkError
from wiresock_py.netlink import messages, open_socket
from wiresock_py.network.routes import NETLINK_ROUTE


class Change(Flag):
    """What changed."""

    NONE = 0
    LINK = 1
    ADDRESS = 2
    ROUTE = 4
    ALL = LINK | ADDRESS | ROUTE


# RTM_NEWLINK/DELLINK, RTM_NEWADDR/DELADDR, RTM_NEWROUTE/DELROUTE (linux/rtnetlink.h)
_LINKS, _ADDRESSES, _ROUTES = {16, 17}, {20, 21}, {24, 25}
# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_RTM_F_CLONED = 0x200
_ROUTE_FLAGS = struct.Struct("=I")
_ROUTE_FLAGS_AT = 8
_DATAGRAM = 65_536


class NetworkChanges:
    """Subscribed from the moment it is made. Linux's own; elsewhere a NetworkError. One thread waits."""

    def __init__(self) -> None:
        try:
            self._socket = open_socket(NETLINK_ROUTE, _GROUPS)
        except OSError as error:
            raise NetworkError(
                f"changes of the network cannot be followed: {error}", "restart after a change"
            ) from error
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the subscription; safe to repeat."""
        self._socket.close()

    def wait(self, timeout: float) -> Change:
        """Every kind of change since the last call, waiting up to *timeout* seconds for the first; NONE if none.

        News that the kernel had to throw away counts as a change of everything.
        """
        select.select([self._socket], [], [], timeout)
        changes = Change.NONE
        while True:
            try:
                changes |= kinds(self._socket.recv(_DATAGRAM))
            except BlockingIOError:
                return changes
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changes = Change.ALL


def kinds(datagram: bytes) -> Change:
    """What the messages in *datagram* are about. Routes the kernel only caches (RTM_F_CLONED) are no change."""
    changes = Change.NONE
    for kind, _sequence, body in messages(datagram):
        if kind in _LINKS:
            changes |= Change.LINK
        elif kind in _ADDRESSES:
            changes |= Change.ADDRESS
        elif kind in _ROUTES and not _is_cloned(body):
            changes |= Change.ROUTE
    return changes


def _is_cloned(route: bytes) -> bool:
    if len(route) < _ROUTE_FLAGS_AT + _ROUTE_FLAGS.size:
        return False
    return bool(_ROUTE_FLAGS.unpack_from(route, _ROUTE_FLAGS_AT)[0] & _RTM_F_CLONED)
