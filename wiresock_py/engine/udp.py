"""The UDP socket to the peers: one for both families, whole runs of datagrams in one call where the kernel can.

Linux takes up to 64 datagrams of one size in one send (UDP_SEGMENT) and hands over as many in one receive (UDP_GRO),
see udp(7). Path MTU discovery is off, as WireGuard wants it: a datagram larger than the path is fragmented, because the
sizes inside the tunnel are chosen by who configures it.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import sys
import threading
from collections import Counter
from typing import NamedTuple

from wiresock_py.engine.udp_compiled import Compiled, unpacked
from wiresock_py.errors import NetworkError
from wiresock_py.filters import Buffer

# linux/udp.h, asm-generic/socket.h, linux/in.h, linux/in6.h
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0

# What an ordinary process may not ask for is granted up to the system's limit (net.core.rmem_max).
SOCKET_BUFFER = 8 * 1024 * 1024
# Seconds to wait for room to send on systems other than Linux.
SEND_PATIENCE = 0.05
# Room for one control message with an int: header 16, value 4, padded.
CONTROL_SIZE = 24
MAX_DATAGRAM = 65_535
MAX_REMEMBERED = 4096
# Runs sent datagram by datagram after the kernel refused one.
SINGLE_RUNS = 256
V4_MAPPED = "::ffff:"

# What the way to the peer does to a datagram; all of it passes, none of it is an error of ours.
_CAUSES = {
    errno.EAGAIN: "no_buffer",
    errno.EWOULDBLOCK: "no_buffer",  # on Windows another number
    errno.ENOBUFS: "no_buffer",
    errno.EMSGSIZE: "too_big",
    errno.ECONNREFUSED: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
    errno.EPERM: "refused_by_firewall",
    errno.EACCES: "refused_by_firewall",
}


class Endpoint(NamedTuple):
    """A peer's UDP address; equal for the same peer however the system spells it (IPv4 never as ::ffff:a.b.c.d)."""

    address: str
    """A link-local IPv6 address carries its interface: ``fe80::1%3``."""
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Received(NamedTuple):
    """What one receive brought: ``buffer[:size]`` is datagrams of *segment_size* bytes, the last perhaps shorter."""

    size: int
    segment_size: int
    source: Endpoint


class UdpSocket:
    """Both families on one port. ``send_run`` and ``receive_into`` may run in different threads; ``close`` in any."""

    def __init__(self, port: int = 0, mark: int = 0, *, compiled: bool = False) -> None:
        """Bind *port* (0: a free one). *mark* is the backend's ``mark``. Raises NetworkError naming a port in use.

        *compiled*: whether the compiled data path is there, to make many system calls for one handover of the
        interpreter's lock.
        """
        self._counters: Counter[str] = Counter()
        self._addresses: dict[tuple[str, int], tuple[str, int] | tuple[str, int, int, int]] = {}
        self._sources: dict[object, Endpoint] = {}
        self._socket = _bind(port)
        self.port: int = self._socket.getsockname()[1]
        """The port it is bound to."""
        self._socket.setblocking(False)
        self._segments = False
        # Smallest segment size the kernel refused in a run, and how many runs go singly before it is asked again:
        # both the path's MTU and the adapter may change for the better.
        self._refused_size = MAX_DATAGRAM
        self._patience = 0
        self._ahead: tuple[bytes, Received] | None = None
        """A datagram read already that did not fit to the ones before it."""
        self._compiled: Compiled | None = None
        self._closed = False
        self._receiving = threading.Lock()
        self._configure(mark)
        if compiled and sys.platform == "linux":
            self._compiled = Compiled(self._socket, self._wake)

    def _configure(self, mark: int) -> None:
        if sys.platform == "linux":
            opened = self._socket
            if mark:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
            if opened.family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DONT)
            for force, option in ((SO_SNDBUFFORCE, socket.SO_SNDBUF), (SO_RCVBUFFORCE, socket.SO_RCVBUF)):
                try:
                    opened.setsockopt(socket.SOL_SOCKET, force, SOCKET_BUFFER)
                except PermissionError:
                    opened.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            self._segments = _try_option(opened, UDP_SEGMENT, 0)
            _try_option(opened, UDP_GRO, 1)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll = select.poll()
            self._poll.register(opened, select.POLLIN)
            self._poll.register(self._wake, select.POLLIN)
        else:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            self._awake, self._waker = socket.socketpair()  # Windows waits for sockets only

    def send_run(self, data: Buffer, segment_size: int, endpoint: Endpoint | tuple[str, int]) -> int:
        """Send *data* cut every *segment_size* bytes; returns how many datagrams the kernel took.

        At most 64 segments and 65,507 bytes. Never raises for what the network does: ``statistics`` counts the causes.
        """
        try:
            address = self._addresses.get(endpoint) or self._resolve(endpoint)
        except ValueError:
            self._counters["unreachable"] += 1
            return 0
        size = len(data)
        if size <= segment_size:
            return self._send_one(data, address)
        if sys.platform == "linux" and self._takes_run(segment_size):
            control = ((SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment_size)),)
            try:
                self._socket.sendmsg((data,), control, 0, address)
                return -(-size // segment_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EMSGSIZE, errno.EIO):
                    self._count(error)
                    return 0
                # Larger than the path's MTU, as far as the kernel knows; EIO: the adapter computes no checksums.
                self._refused_size = 0 if error.errno == errno.EIO else segment_size
                self._patience = SINGLE_RUNS
                self._counters["run_refused"] += 1
        view = memoryview(data)
        return sum(self._send_one(view[at : at + segment_size], address) for at in range(0, size, segment_size))

    def send_runs(self, data: memoryview, runs: list[tuple[int, int, int]], endpoint: Endpoint) -> None:
        """Send each run (start, end, segment size) of *data*, as ``send_run`` does."""
        sent = 0
        if self._compiled and len(runs) > 1 and self._segments and self._refused_size == MAX_DATAGRAM:
            with contextlib.suppress(ValueError, OSError):  # no address: send_run counts that
                sent = self._compiled.send(data, runs, self._addresses.get(endpoint) or self._resolve(endpoint))
        for start, end, segment_size in runs[sent:]:
            self.send_run(data[start:end], segment_size, endpoint)

    def _takes_run(self, segment_size: int) -> bool:
        if segment_size >= self._refused_size:
            self._patience -= 1
            if self._patience > 0:
                return False
            self._refused_size = MAX_DATAGRAM
        return self._segments

    def _send_one(self, data: Buffer, address: tuple[str, int] | tuple[str, int, int, int]) -> int:
        try:
            self._put(data, address)
        except OSError as error:
            self._count(error)
            return 0
        return 1

    def _put(self, data: Buffer, address: tuple[str, int] | tuple[str, int, int, int]) -> None:
        try:
            self._socket.sendto(data, address)
        except BlockingIOError:
            if sys.platform == "linux":
                raise
            # nothing need be full: two threads that send at a time are reason enough
            select.select((), (self._socket,), (), SEND_PATIENCE)
            self._socket.sendto(data, address)

    def receive_into(self, buffer: memoryview, timeout: float) -> Received | None:
        """The next datagrams; None after *timeout* seconds without, or once closed.

        *buffer* has room for 65,535 bytes; what is beyond that lets datagrams of one size and source that wait already
        come together, as if the kernel had merged them: senders without UDP_SEGMENT, and adapters without GRO, are as
        common as those with, and the more come at once the larger the packets that the stack gets.
        """
        with self._receiving:
            if self._closed:
                return None
            if self._compiled:
                return self._receive_compiled(self._compiled, buffer, timeout)
            found = self._take_ahead(buffer) or self._receive(buffer)
            if not found:
                if sys.platform == "linux":
                    self._poll.poll(timeout * 1000)
                else:
                    select.select((self._socket, self._awake), (), (), timeout)
                found = None if self._closed else self._receive(buffer)
            if not found or not found.size or found.size % found.segment_size:
                return found  # nothing can follow an empty datagram, or a shorter last one
            return self._gather(buffer, found)

    def _receive_compiled(self, compiled: "Compiled", buffer: memoryview, timeout: float) -> Received | None:
        size, segment, source, error = compiled.receive(buffer, timeout)
        if error:
            self._count(OSError(error, os.strerror(error)))
        if source is None:
            return None
        return Received(size, segment, self._sources.get(source) or self._name(unpacked(source), source))

    def _gather(self, buffer: memoryview, first: Received) -> Received:
        """Put datagrams like those of *first* behind them; what is unlike them and ends the run waits aside."""
        size, total = first.segment_size, first.size
        while len(buffer) - total >= MAX_DATAGRAM and (following := self._receive(buffer[total:])):
            single = following.segment_size == following.size
            alike = following.segment_size == size or (single and following.size < size)
            if following.source != first.source or not alike:
                self._ahead = (bytes(buffer[total : total + following.size]), following)
                break
            total += following.size
            if following.segment_size != size or following.size % size:
                break
        return Received(total, size, first.source)

    def _take_ahead(self, buffer: memoryview) -> Received | None:
        if self._ahead is None:
            return None
        data, received = self._ahead
        self._ahead = None
        buffer[: len(data)] = data
        return received

    def _receive(self, buffer: memoryview) -> Received | None:
        try:
            if sys.platform == "linux":
                size, control, _flags, source = self._socket.recvmsg_into((buffer,), CONTROL_SIZE)
                segment = int.from_bytes(control[0][2], sys.byteorder) if control else size
            else:
                size, source = self._socket.recvfrom_into(buffer)
                segment = size
        except BlockingIOError:
            return None
        except OSError as error:  # an ICMP error some earlier datagram caused (Windows: WSAECONNRESET)
            self._count(error)
            return None
        return Received(size, segment, self._sources.get(source) or self._name(source))

    def close(self) -> None:
        """Close; a ``receive_into`` that waits returns None. May be repeated."""
        if self._closed:
            return
        self._closed = True
        if sys.platform == "linux":
            os.eventfd_write(self._wake, 1)
        else:
            self._waker.send(b"closed")
        with self._receiving:
            self._socket.close()
            if sys.platform == "linux":
                os.close(self._wake)
            else:
                self._awake.close()
                self._waker.close()

    def statistics(self) -> dict[str, int]:
        """Datagrams (or runs) not sent, by cause; ``run_refused``: sent one by one because the kernel took no run."""
        return dict(self._counters)

    def _count(self, error: OSError) -> None:
        self._counters[_CAUSES.get(error.errno or 0, "not_sent")] += 1

    def _resolve(self, endpoint: tuple[str, int]) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address as this socket wants it; remembered, because reading text costs as much as sending."""
        text, port = endpoint
        address: tuple[str, int] | tuple[str, int, int, int]
        if self._socket.family == socket.AF_INET:
            if ":" in text:
                raise ValueError("no IPv6 on this host")
            address = (text, port)
        elif ":" in text:
            plain, _, scope = text.partition("%")
            address = (plain, port, 0, int(scope or 0))
        else:
            address = (V4_MAPPED + text, port, 0, 0)
        if len(self._addresses) >= MAX_REMEMBERED:
            self._addresses.clear()
        self._addresses[endpoint] = address
        return address

    def _name(self, source: tuple[str, int] | tuple[str, int, int, int], remembered: object = None) -> Endpoint:
        text = source[0].removeprefix(V4_MAPPED)
        if len(source) == 4 and source[3] and "%" not in text:
            text = f"{text}%{source[3]}"
        endpoint = Endpoint(text, source[1])
        if len(self._sources) >= MAX_REMEMBERED:
            self._sources.clear()
        self._sources[remembered or source] = endpoint
        return endpoint


def _bind(port: int) -> socket.socket:
    """A dual-stack socket, or an IPv4 one where the kernel has no IPv6."""
    try:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(("", port))
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise NetworkError(
                f"UDP port {port} is in use by another program",
                "choose another ListenPort, or leave it out for a free one",
            ) from error
        raise NetworkError(f"UDP port {port} cannot be used: {error.strerror}", "choose another ListenPort") from error
    return opened


def _try_option(opened: socket.socket, option: int, value: int) -> bool:
    """Whether this kernel knows the UDP option."""
    try:
        opened.setsockopt(SOL_UDP, option, value)
    except OSError:
        return False
    return True
