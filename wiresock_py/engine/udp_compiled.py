"""The UDP socket's system calls by compiled code (``native/src/udp.rs``), on Linux.

Many of them take one handover of the interpreter's lock. A socket that one thread reads and another writes costs more
in handing that lock over, twice a call, than in the calls.
"""

import socket

from wiresock_py.filters import Buffer

Address = tuple[str, int] | tuple[str, int, int, int]
_IPV4_SIZE = 6
MAX_REMEMBERED = 4096


class Compiled:
    """Of one socket, which is non-blocking; *wake* is a descriptor that ends a wait by becoming readable."""

    def __init__(self, opened: socket.socket, wake: int) -> None:
        from wiresock_py import _native  # only here is it known to be there

        self._socket = opened
        self._wake = wake
        self._reader = _native.UdpReader()
        self._send_runs = _native.send_runs
        self._packed: dict[Address, bytes] = {}

    def receive(self, buffer: memoryview, timeout: float) -> tuple[int, int, bytes | None, int]:
        """(bytes, size of each datagram but the last, packed source or None without, number of an error or 0)."""
        return self._reader.receive(self._socket.fileno(), self._wake, buffer, int(timeout * 1000))

    def send(self, data: memoryview, runs: list[tuple[int, int, int]], address: Address) -> int:
        """Send runs until one fails; how many went."""
        if len(self._packed) >= MAX_REMEMBERED:
            self._packed.clear()
        packed = self._packed.get(address) or self._packed.setdefault(address, _pack(address))
        return self._send_runs(self._socket.fileno(), data, runs, packed)[0]


def _pack(address: Address) -> bytes:
    if len(address) == 2:
        return socket.inet_pton(socket.AF_INET, address[0]) + address[1].to_bytes(2, "big")
    text, port, _, scope = address
    return socket.inet_pton(socket.AF_INET6, text) + port.to_bytes(2, "big") + scope.to_bytes(4, "big")


def unpacked(packed: Buffer) -> Address:
    """The address as Python's sockets write it."""
    data = bytes(packed)
    if len(data) == _IPV4_SIZE:
        return socket.inet_ntop(socket.AF_INET, data[:4]), int.from_bytes(data[4:], "big")
    port, scope = int.from_bytes(data[16:18], "big"), int.from_bytes(data[18:], "big")
    return socket.inet_ntop(socket.AF_INET6, data[:16]), port, 0, scope
