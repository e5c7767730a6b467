"""The kernel's own look-up of a TCP or UDP socket by its two ends (sock_diag(7), linux/inet_diag.h).

It is the look-up an arriving packet takes, so it knows what a table in /proc leaves to guess: connected before bound,
bound before wildcard, and IPv6 sockets that serve IPv4. Where it does not find the *sender's* socket, two more looks
follow: sockets bound to an adapter (SO_BINDTODEVICE) are only found with that adapter, and a UDP socket may send to
other places than the one it is connected to.
"""

import errno
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from wiresock_py.flow import FiveTuple
from wiresock_py.netlink import Netlink, NetlinkError

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
# inet_diag_req_v2: family, protocol, extensions, pad, states | inet_diag_sockid: ports in network order, addresses,
# interface, cookie (all ones: any).
_REQUEST = struct.Struct("=BBBBI")
_PORTS = struct.Struct("!HH")
_INTERFACE = struct.Struct("=I")
_ANY_COOKIE = b"\xff" * 8
_ALL_STATES = 0xFFFF_FFFF
# inet_diag_msg: family, state, timer, retransmits | sockid (48) | expires, rqueue, wqueue, uid, inode
_ANSWER_LENGTH = 72
_INODE = struct.Struct("=I")
_INODE_AT = 68

ESTABLISHED, SYN_RECV, CLOSE, CLOSE_WAIT, LISTEN = 1, 3, 7, 8, 10  # linux/tcp_states.h
_NOT_ACCEPTED = frozenset({ESTABLISHED, SYN_RECV, CLOSE_WAIT})  # if no process has the socket; else it is orphaned

# Answers to one datagram of requests wait in the socket's buffer, which by default takes more than a hundred.
_REQUESTS_AT_ONCE = 32

DIAGNOSED = frozenset({socket.IPPROTO_TCP, socket.IPPROTO_UDP})


class Socket(NamedTuple):
    """A socket as the kernel describes it; addresses packed, an IPv4-mapped one as 16 bytes."""

    state: int
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    adapter: int
    """Interface index it is bound to, or 0."""
    inode: int
    """0 for one that belongs to nobody any more (TIME_WAIT, orphaned) or not yet (not accepted)."""


class SocketDiag:
    """Socket look-ups in the network namespace of the thread that made it. Not for two threads at once."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_SOCK_DIAG)

    def close(self) -> None:
        self._netlink.close()

    def supports(self, protocol: int) -> bool:
        """Whether the kernel can look up this protocol: inet_diag is a module, udp_diag another."""
        body = _request(FiveTuple(protocol, bytes(4), 0, bytes(4), 0), states=0)
        try:
            self._netlink.dump(SOCK_DIAG_BY_FAMILY, body)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def find(self, keys: Sequence[FiveTuple]) -> list[Socket | None]:
        """The sending socket of each TCP or UDP flow. Raises OSError when the kernel will not answer."""
        found = self._ask(keys)
        for index, key in enumerate(keys):
            result = found[index]
            if result is None:
                bound = self._on_an_adapter(key)
                found[index] = self._from_port(key) if bound is None and key.protocol == socket.IPPROTO_UDP else bound
            elif result.inode == 0 and result.state in _NOT_ACCEPTED and key.protocol == socket.IPPROTO_TCP:
                # A connection from outside belongs to the listener until it is accepted.
                found[index] = self._ask([_local_end(key)])[0]
        return found

    def listening(self, key: FiveTuple) -> Socket | None:
        """The socket that takes what arrives at the local end of *key* from a stranger."""
        stranger = _local_end(key)
        found = self._ask([stranger])[0]
        return self._on_an_adapter(stranger) if found is None else found

    def _ask(self, keys: Sequence[FiveTuple], adapter: int = 0) -> list[Socket | None]:
        found: list[Socket | None] = []
        for start in range(0, len(keys), _REQUESTS_AT_ONCE):
            bodies = [_request(key, adapter=adapter) for key in keys[start : start + _REQUESTS_AT_ONCE]]
            for body in self._netlink.ask(SOCK_DIAG_BY_FAMILY, bodies):
                found.append(None if body is None else parse_answer(body))
        return found

    def _on_an_adapter(self, key: FiveTuple) -> Socket | None:
        for index, _name in socket.if_nameindex():
            found = self._ask([key], adapter=index)[0]
            if found is not None:
                return found
        return None

    def _from_port(self, key: FiveTuple) -> Socket | None:
        """A UDP socket with the local port of *key* that may have sent it: connected elsewhere, or to nobody."""
        candidates: list[Socket] = []
        # An IPv4 packet may also come from an IPv6 socket, an IPv6 packet from those only.
        for family in (socket.AF_INET6,) if key.is_ipv6 else (socket.AF_INET, socket.AF_INET6):
            for _kind, body in self._netlink.dump(SOCK_DIAG_BY_FAMILY, _request(_port_only(key), family=family)):
                candidate = parse_answer(body)
                if candidate is not None and candidate.local_port == key.local_port:
                    candidates.append(candidate)
        ours = (key.local, bytes(10) + b"\xff\xff" + key.local)
        fitting = [c for c in candidates if c.local in ours or not any(c.local)]
        # The more exactly bound one first; the inode only makes the choice the same every time.
        return min(fitting, key=lambda c: (c.local not in ours, c.remote_port != 0, c.inode), default=None)


def _local_end(key: FiveTuple) -> FiveTuple:
    return key._replace(remote=bytes(len(key.remote)), remote_port=0)


def _port_only(key: FiveTuple) -> FiveTuple:
    return FiveTuple(key.protocol, bytes(16), key.local_port, bytes(16), 0)


def _request(key: FiveTuple, *, family: int | None = None, adapter: int = 0, states: int = _ALL_STATES) -> bytes:
    near, far = (key.local_port, key.local), (key.remote_port, key.remote)
    exact = family is None
    if family is None:
        family = socket.AF_INET6 if key.is_ipv6 else socket.AF_INET
    if exact and key.protocol == socket.IPPROTO_UDP:
        # udp_dump_one: "src and dst are swapped for historical reasons"; dumps and TCP are not.
        near, far = far, near
    return b"".join(
        (
            _REQUEST.pack(family, key.protocol, 0, 0, states),
            _PORTS.pack(near[0], far[0]),
            near[1].ljust(16, b"\0"),
            far[1].ljust(16, b"\0"),
            _INTERFACE.pack(adapter),
            _ANY_COOKIE,
        )
    )


def parse_answer(body: bytes) -> Socket | None:
    """The socket in an ``inet_diag_msg``; None if it is too short to be one."""
    if len(body) < _ANSWER_LENGTH:
        return None
    size = 16 if body[0] == socket.AF_INET6 else 4
    local_port, remote_port = _PORTS.unpack_from(body, 4)
    return Socket(
        state=body[1],
        local=body[8 : 8 + size],
        local_port=local_port,
        remote=body[24 : 24 + size],
        remote_port=remote_port,
        adapter=_INTERFACE.unpack_from(body, 40)[0],
        inode=_INODE.unpack_from(body, _INODE_AT)[0],
    )
