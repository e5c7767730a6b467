"""Probes: a steady stream of small exchanges of every kind, to see at which moment which of them go where.

One thread sends a probe every 1/rate seconds, going round the wanted kinds:

    tcp-new, udp-new       a socket of its own for each probe
    tcp-open, udp-open     one socket for all of them, opened at the first; TCP is never reopened
    dns-udp, dns-tcp       a question of its own each
    icmp                   echo requests from one ping socket

each over IPv4 and IPv6. All client-side ports (and echo identifiers) come from a range that the caller names, so that
every frame on a capture can be laid at the door of one run whatever has become of its addresses.
"""

import errno
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from itertools import count

from wire import echo_request, ping_socket, question  # type: ignore[import-not-found]

CONNECT_TIMEOUT = 1.0
PATIENCE = 3.0  # seconds a probe's socket is kept for an answer

PROTOCOLS = ("tcp-new", "tcp-open", "udp-new", "udp-open", "dns-udp", "dns-tcp", "icmp")


@dataclass(slots=True, eq=False)
class Probe:
    """One exchange; times on the monotonic clock, which all processes of a machine share."""

    kind: str
    sent: float
    answered: float = 0.0
    error: str = ""
    data: bytes = b""
    sock: socket.socket | None = None
    got: bytes = field(default=b"", repr=False)


class ProbeRun:
    """A running stream of probes; :meth:`finish` ends it and tells what became of each."""

    def __init__(
        self,
        *,
        targets: dict[str, str],
        resolvers: dict[str, str],
        port: int,
        ports: tuple[int, int],
        rate: float = 200.0,
        protocols: tuple[str, ...] = PROTOCOLS,
    ) -> None:
        self._targets = targets  # "4", "6" -> address of an echo host
        self._resolvers = resolvers
        self._port = port
        self._free_ports = iter(range(*ports))
        self._identifier = ports[0]
        self._interval = 1.0 / rate
        self._kinds = [f"{protocol}-{family}" for protocol in protocols for family in sorted(targets)]
        self._probes: list[Probe] = []
        self._kept: dict[str, socket.socket | None] = {}
        self._waiting: dict[str, dict[bytes, Probe]] = {}
        self._buffers: dict[str, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._numbers = count()
        self._next_sweep = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def finish(self) -> list[dict[str, object]]:
        """Stop sending, wait a moment for what is still out; one entry a probe."""
        self._stopping.set()
        self._thread.join()
        return [
            {"kind": probe.kind, "sent": probe.sent, "answered": probe.answered, "error": probe.error}
            for probe in self._probes
        ]

    def _loop(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= due:
                number = next(self._numbers)
                self._send(self._kinds[number % len(self._kinds)], number)
                # after a pause of the machine go on at the same rate, without a burst
                due = max(due + self._interval, now - 0.1)
            self._poll(max(0.0, due - time.monotonic()))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            self._poll(0.05)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _bound(self, family: int, kind: int, *, identifier: bool = False) -> socket.socket:
        """A non-blocking socket on a client-side port (echo identifier) of this run's range."""
        sock = ping_socket(family, raw=False) if identifier else socket.socket(family, kind)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", self._identifier if identifier else next(self._free_ports)))
        return sock

    def _send(self, kind: str, number: int) -> None:
        protocol, family_name = kind.rsplit("-", 1)
        family = socket.AF_INET6 if family_name == "6" else socket.AF_INET
        probe = Probe(kind, time.monotonic(), data=b"probe %08d" % number)
        self._probes.append(probe)
        try:
            if protocol in ("tcp-open", "udp-open", "icmp"):
                self._send_kept(kind, protocol, family, probe, number)
            else:
                self._send_new(protocol, family_name, family, probe, number)
        except OSError as error:
            probe.error = errno.errorcode.get(error.errno or 0, str(error))

    def _send_new(self, protocol: str, family_name: str, family: int, probe: Probe, number: int) -> None:
        address = (self._targets[family_name], self._port)
        if protocol.startswith("dns"):
            address = (self._resolvers[family_name], 53)
            probe.data = question(f"n{number}.probe.lab", "A", number & 0xFFFF)
            if protocol == "dns-tcp":
                probe.data = struct.pack(">H", len(probe.data)) + probe.data
        stream = protocol in ("tcp-new", "dns-tcp")
        probe.sock = self._bound(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        self._selector.register(probe.sock, selectors.EVENT_WRITE if stream else selectors.EVENT_READ, probe)
        error = probe.sock.connect_ex(address)
        if error not in (0, errno.EINPROGRESS):
            self._drop(probe, error)
        elif not stream:
            probe.sock.send(probe.data)

    def _send_kept(self, kind: str, protocol: str, family: int, probe: Probe, number: int) -> None:
        if kind not in self._kept:
            kind_of_socket = socket.SOCK_STREAM if protocol == "tcp-open" else socket.SOCK_DGRAM
            sock = self._bound(family, kind_of_socket, identifier=protocol == "icmp")
            self._kept[kind] = sock
            self._waiting[kind] = {}
            self._buffers[kind] = b""
            self._selector.register(sock, selectors.EVENT_READ, kind)
            if protocol != "icmp":
                sock.settimeout(CONNECT_TIMEOUT)
                try:
                    sock.connect((self._targets[kind[-1]], self._port))
                finally:
                    sock.setblocking(False)
        kept = self._kept[kind]
        if kept is None:
            probe.error = "closed"
            return
        self._waiting[kind][probe.data] = probe
        if protocol == "icmp":
            request = echo_request(family, self._identifier, number & 0xFFFF, probe.data)
            kept.sendto(request, (self._targets[kind[-1]], 0))
        else:
            kept.send(probe.data)

    def _poll(self, timeout: float) -> None:
        for key, events in self._selector.select(timeout):
            if isinstance(key.data, Probe):
                self._progress(key.data, events)
            else:
                self._read_kept(key.data)
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + 0.25
        stale = now - PATIENCE
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Probe) and key.data.sent < stale:
                self._drop(key.data, errno.ETIMEDOUT)

    def _progress(self, probe: Probe, events: int) -> None:
        sock = probe.sock
        assert sock is not None
        try:
            if events & selectors.EVENT_WRITE:
                if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._drop(probe, error)
                    return
                sock.send(probe.data)
                self._selector.modify(sock, selectors.EVENT_READ, probe)
            else:
                probe.got += sock.recv(65535)
                if len(probe.got) >= len(probe.data):
                    probe.answered = time.monotonic()
                    self._drop(probe, 0)
                elif not probe.got:
                    self._drop(probe, errno.ECONNRESET)
        except OSError as error:
            self._drop(probe, error.errno or errno.EIO)

    def _read_kept(self, kind: str) -> None:
        sock = self._kept[kind]
        assert sock is not None
        try:
            data = sock.recv(65535)
        except BlockingIOError:
            return
        except OSError as error:
            if kind.startswith("tcp"):
                self._close_kept(kind, errno.errorcode.get(error.errno or 0, str(error)))
            return  # for a datagram socket, an ICMP error of one probe
        if kind.startswith("tcp") and not data:
            self._close_kept(kind, "closed by the other side")
            return
        pieces = data[8:] if kind.startswith("icmp") else self._buffers[kind] + data
        size = len(b"probe %08d" % 0)
        while len(pieces) >= size:
            probe = self._waiting[kind].pop(pieces[:size], None)
            if probe is not None:
                probe.answered = time.monotonic()
            pieces = pieces[size:]
        self._buffers[kind] = pieces if kind.startswith("tcp") else b""

    def _close_kept(self, kind: str, why: str) -> None:
        sock = self._kept[kind]
        assert sock is not None
        self._selector.unregister(sock)
        sock.close()
        self._kept[kind] = None
        for probe in self._waiting[kind].values():
            probe.error = why

    def _drop(self, probe: Probe, error: int) -> None:
        assert probe.sock is not None
        self._selector.unregister(probe.sock)
        probe.sock.close()
        if error:
            probe.error = errno.errorcode.get(error, str(error))
