"""Our end: the core's ``Device`` on a real UDP socket, with hands on everything that arrives and leaves.

All ends are served by one thread, so that dozens of them can wait for real timers at no cost. Each notes what it sends
and receives with the time, and can go deaf or dumb, hold datagrams back, move to another address, or look at a clock
that is ahead.
"""

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from wiresock_py.crypto import Datagram, Device, Event, PresharedKey, PrivateKey, PublicKey, Tunnel
from wiresock_py.lab.core_server import EVERYTHING, echo_udp
from wiresock_py.lab.namespaces import Namespace

POLL = 0.02
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
KEEPALIVE_SIZE = 32

Place = tuple[str, int]


class Entry(NamedTuple):
    """A datagram on its way."""

    time: float
    """Monotonic seconds, never skipped."""
    data: bytes

    @property
    def kind(self) -> int:
        return self.data[0]

    @property
    def is_keepalive(self) -> bool:
        return self.kind == TRANSPORT and len(self.data) == KEEPALIVE_SIZE


class Host:
    """Serves the ends of one namespace until closed."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.changed = threading.Condition()
        """Held while an end is touched; notified when something happened."""
        self.ends: list[End] = []
        self.selector = selectors.DefaultSelector()
        self.failure: BaseException | None = None
        self.stalled = 0.0
        """The longest that this machine kept our thread from its turn, in seconds: so late our timers may be."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ends")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for end in self.ends:
            end.socket.close()
        self.selector.close()

    def _serve(self) -> None:
        try:
            turned = time.monotonic()
            while not self._stopping.is_set():
                self.selector.select(POLL)
                turned, before = time.monotonic(), turned
                self.stalled = max(self.stalled, turned - before - POLL)
                with self.changed:
                    for end in self.ends:
                        end.turn()
                    self.changed.notify_all()
        except BaseException as error:
            self.failure = error

    def until(self, happened: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for *happened*; AssertionError with *what* was expected after *seconds*."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not happened():
                if self.failure is not None:
                    raise AssertionError("our end failed") from self.failure
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds:g} s: {what}"
                self.changed.wait(left)


@dataclass(frozen=True)
class Setup:
    """How an end is made; the peer's endpoint is None where the peer calls."""

    peer: PublicKey
    endpoint: Place | None
    preshared_key: PresharedKey | None = None
    keepalive: int = 0
    mtu: int = 1420
    address: str = "127.0.0.1"
    key: PrivateKey = field(default_factory=PrivateKey.generate)
    random: Callable[[int], bytes] = os.urandom


class End:
    """One device with one peer."""

    def __init__(self, host: Host, setup: Setup) -> None:
        self.host = host
        self.key = setup.key
        self.device = Device(setup.key, wall_clock=time.time_ns, random=setup.random)
        self.tunnel: Tunnel = self.device.add_peer(
            setup.peer,
            EVERYTHING,
            preshared_key=setup.preshared_key,
            persistent_keepalive=setup.keepalive,
            endpoint=setup.endpoint,
            mtu=setup.mtu,
        )
        self.sent: list[Entry] = []
        self.received: list[Entry] = []
        """All that arrived, whatever became of it."""
        self.packets: list[bytes] = []
        """Inner packets delivered."""
        self.connections: list[float] = []
        """When handshakes were completed."""
        self.deaf = self.dumb = self.holding = False
        """What arrives is not read; what would be sent is not; what arrives is kept in ``held`` instead."""
        self.held: list[tuple[bytes, Place]] = []
        self.answering = True
        """Whether inner UDP packets are sent back."""
        self._ahead = 0.0
        self._deadline = 0.0
        self.socket = self._open(setup.address)
        with host.changed:
            host.ends.append(self)

    @property
    def place(self) -> Place:
        """Where our socket is."""
        address: Place = self.socket.getsockname()
        return address

    def now(self) -> float:
        return time.monotonic() + self._ahead

    def skip(self, seconds: float) -> None:
        """Our clock jumps ahead."""
        with self.host.changed:
            self._ahead += seconds

    def handshake(self) -> None:
        with self.host.changed:
            self._send(self.tunnel.force_handshake(self.now()))

    def up(self) -> None:
        with self.host.changed:
            self._send(self.device.up(self.now()))

    def send(self, *packets: bytes) -> None:
        """Send inner packets."""
        with self.host.changed:
            self._send(self.tunnel.write(packets, self.now()))

    def seal(self, packets: Iterable[bytes]) -> list[Datagram]:
        """The datagrams that would carry *packets*, unsent."""
        with self.host.changed:
            return self.tunnel.write(packets, self.now())

    def put(self, datagrams: Iterable[Datagram]) -> None:
        """Send datagrams as they are, whenever they were made."""
        with self.host.changed:
            self._send(datagrams)

    def read(self, datagrams: Iterable[tuple[bytes, Place]]) -> None:
        """Take datagrams as if they arrived now."""
        with self.host.changed:
            for data, source in datagrams:
                self._read(data, source)

    def move(self, address: str) -> None:
        """Go on from another address and port."""
        with self.host.changed:
            old, self.socket = self.socket, self._open(address)
            self.host.selector.unregister(old)
            old.close()

    def until(self, happened: Callable[[], object], seconds: float, what: str) -> None:
        self.host.until(happened, seconds, what)

    def sent_of(self, kind: int, since: float = 0.0) -> list[Entry]:
        return [entry for entry in self.sent if entry.kind == kind and entry.time >= since]

    def received_of(self, kind: int, since: float = 0.0) -> list[Entry]:
        return [entry for entry in self.received if entry.kind == kind and entry.time >= since]

    def turn(self) -> None:
        """Read what has arrived, run the timers that are due; the host's thread calls it."""
        while True:
            try:
                data, source = self.socket.recvfrom(65535)
            except BlockingIOError:
                break
            except ConnectionRefusedError:  # an ICMP error: the peer is not there yet, or not any more
                continue
            self.received.append(Entry(time.monotonic(), data))
            if self.holding:
                self.held.append((data, source))
            elif not self.deaf:
                self._read(data, source)
        ticked = self.device.tick(self.now())
        self.connections += [time.monotonic() for _, event in ticked.events if event is Event.CONNECTED]
        self._send(ticked.datagrams)

    def _read(self, data: bytes, source: Place) -> None:
        received = self.device.read(data, source, self.now())
        self._send(received.datagrams)
        if received.packet is not None:
            packet = bytes(received.packet)
            self.packets.append(packet)
            if self.answering:
                self._send(self.tunnel.write(echo_udp(packet), self.now()))

    def _send(self, datagrams: Iterable[Datagram]) -> None:
        for data, endpoint in datagrams:
            if self.dumb:
                continue
            assert isinstance(endpoint, tuple)
            self.sent.append(Entry(time.monotonic(), bytes(data)))
            self.socket.sendto(data, endpoint)

    def _open(self, address: str) -> socket.socket:
        made = self.host.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        made.setblocking(False)
        self.host.selector.register(made, selectors.EVENT_READ)
        return made
