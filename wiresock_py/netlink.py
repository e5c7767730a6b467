"""Netlink framing for the look-ups that ask the kernel: sockets (sock_diag), routes and links (rtnetlink).

A message is ``nlmsghdr`` (length, type, flags, sequence, port), a fixed body, then attributes of ``rtattr`` (length,
type, value padded to 4). Everything is in the host's byte order unless a field says otherwise. See netlink(7).
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

HEADER = struct.Struct("=IHHII")
ERROR = 2
DONE = 3
REQUEST = 0x1
ACKNOWLEDGE = 0x4
DUMP = 0x300
# An answer to a dump comes in datagrams of up to 32 KiB (NLMSG_GOODSIZE and the kernel's larger dump buffers).
RECEIVE_SIZE = 65_536
# The kernel answers while it takes the request in; this only guards against a kernel that never does.
ANSWER_TIMEOUT = 2.0


class NetlinkError(OSError):
    """The kernel refused a request, or its answer is not netlink."""


class Netlink:
    """One netlink socket for requests with answers. Not for use by two threads at once."""

    def __init__(self, protocol: int) -> None:
        self._socket = open_socket(protocol)
        self._socket.settimeout(ANSWER_TIMEOUT)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, bodies: Sequence[bytes], flags: int = REQUEST) -> list[bytes | None]:
        """Send one request a body, in one datagram; the body of each answer, None where there is no such object.

        A request that changes something has no answer but its acknowledgement: *flags* REQUEST | ACKNOWLEDGE.
        """
        first = self._take(len(bodies))
        self._socket.send(b"".join(message(kind, flags, first + i, body) for i, body in enumerate(bodies)))
        answers: list[bytes | None] = [None] * len(bodies)
        waiting = set(range(len(bodies)))
        while waiting:
            for answer_kind, sequence, body in messages(self._socket.recv(RECEIVE_SIZE)):
                index = sequence - first
                if index not in waiting:
                    continue  # a late answer to an earlier request
                waiting.discard(index)
                if answer_kind != ERROR:
                    answers[index] = body
                elif (code := error_code(body)) not in (0, errno.ENOENT):
                    raise NetlinkError(code, f"the kernel refused netlink request {kind}: {errno.errorcode.get(code)}")
        return answers

    def dump(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        """Every object that matches *body*: (message type, body) each. Raises NetlinkError with the kernel's errno."""
        request = self._take(1)
        self._socket.send(message(kind, REQUEST | DUMP, request, body))
        found: list[tuple[int, bytes]] = []
        while True:
            for answer_kind, sequence, answer in messages(self._socket.recv(RECEIVE_SIZE)):
                if sequence != request:
                    continue
                if answer_kind not in {DONE, ERROR}:
                    found.append((answer_kind, answer))
                elif code := error_code(answer):  # a dump's last message carries its result
                    raise NetlinkError(code, f"the kernel refused netlink dump {kind}: {errno.errorcode.get(code)}")
                else:
                    return found

    def _take(self, count: int) -> int:
        """The first of *count* sequence numbers never used before (in any answer that could still arrive)."""
        first = self._sequence + 1 if self._sequence < 0x7FFF_FFFF else 1
        self._sequence = first + count - 1
        return first


def open_socket(protocol: int, groups: int = 0) -> socket.socket:
    """A netlink socket of this thread's network namespace, subscribed to multicast *groups* (a bit mask)."""
    if sys.platform != "linux":
        raise NetlinkError(errno.ENOSYS, f"netlink is Linux's, this is {sys.platform}")
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        kernel.bind((0, groups))
    except OSError:
        kernel.close()
        raise
    return kernel


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message, padded so that another can follow."""
    length = HEADER.size + len(body)
    return HEADER.pack(length, kind, flags, sequence, 0) + body + bytes(-length % 4)


def error_code(body: bytes) -> int:
    """The errno an ERROR message carries; 0 is an acknowledgement."""
    return -int.from_bytes(body[:4], sys.byteorder, signed=True)


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of each whole message in *datagram*; stops at the first that is cut short."""
    at = 0
    while at + HEADER.size <= len(datagram):
        length, kind, _flags, sequence, _port = HEADER.unpack_from(datagram, at)
        if length < HEADER.size or at + length > len(datagram):
            return
        yield kind, sequence, datagram[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded so that another can follow."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """The attributes from offset *at* on, by type without its flag bits; the last of a type counts."""
    found: dict[int, bytes] = {}
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4 or at + length > len(body):
            break
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return found
