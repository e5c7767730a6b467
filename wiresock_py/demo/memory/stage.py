"""The stage in memory: the engine, its rules and its data path as they are; the wires and the hosts made of Python.

applications ─ memory backend ─ engine ─ UDP on loopback ─ WireGuard server ─ internet
                    └────────────── isp ─────────────────────────────────────── internet
"""

import hashlib
import logging
import queue
import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_interface
from types import TracebackType
from typing import Self

import psutil

from wiresock_py.config import Config
from wiresock_py.crypto import Event
from wiresock_py.demo.examples import fitted
from wiresock_py.demo.memory.host import Echoed, MemoryHost
from wiresock_py.demo.memory.internet import DNS_PORT, ECHO_PORT, HTTP_PORT, Internet, Isp
from wiresock_py.demo.memory.server import MemoryServer
from wiresock_py.demo.story import Answer, Pinged, Seen, Step
from wiresock_py.engine import Engine, Link
from wiresock_py.engine.clock import now as clock
from wiresock_py.errors import NetworkError
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.lab import CLIENT, INNER_CLIENT, INTERNET, LAN_HOST, OTHER_SITE, ROUTER, TUNNEL_RESOLVER, Host
from wiresock_py.lab.programs.wire import answers, question
from wiresock_py.rules import Rules

ADAPTER_MTU = 1500
CONNECT_TIMEOUT = 5.0
BLOCK = 1 << 20
IPV6_SIZE = 10_000_000


class MemoryStage:
    """Needs no rights and touches nothing of this machine but a UDP port on loopback."""

    description = (
        "In memory: the client's engine between two wires of Python, with a WireGuard server on loopback. No packet "
        "of this machine is touched."
    )

    def __init__(self) -> None:
        self._parts = ExitStack()
        self._words = _Words()
        self._threads_before: set[threading.Thread] = set()
        self._sockets_before = 0

    def __enter__(self) -> Self:
        self._threads_before = set(threading.enumerate())
        self._sockets_before = _udp_sockets()
        with ExitStack() as parts:
            parts.enter_context(self._words)
            self._backend = MemoryBackend()
            self._host = MemoryHost(self._backend, CLIENT)
            sites = [INTERNET, OTHER_SITE]
            self._isp = Isp(self._backend, Internet([ROUTER, LAN_HOST, *sites], [ROUTER]))
            parts.callback(self._isp.stop)
            self._beyond = Internet(sites, [TUNNEL_RESOLVER])
            self._client = parts.enter_context(ExitStack())
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    def start(self, config: Config) -> Seen:
        (peer,) = config.peers
        server = MemoryServer(self._beyond, preshared=peer.preshared_key is not None)
        self._client.callback(server.stop)
        config = fitted(
            config,
            private_key=server.client_key,
            addresses=[ip_interface(INNER_CLIENT.v4), ip_interface(INNER_CLIENT.v6)],
            public_key=server.public_key,
            preshared_key=server.preshared_key,
            endpoint=server.endpoint,
        )
        rules = Rules([config])
        lock = threading.Lock()
        link = Link(config, ADAPTER_MTU, self._backend.mark, lock)
        self._client.callback(link.close)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        engine = Engine(
            rules, self._backend, self._host, lock, [link], on_event=lambda _link, _peer, event: events.put(event)
        )
        self._backend.open(rules.plan())
        self._client.callback(self._backend.close)
        self._client.callback(engine.stop)
        engine.start()
        try:
            while events.get(timeout=CONNECT_TIMEOUT) is not Event.CONNECTED:
                pass
        except queue.Empty:
            raise NetworkError(f"no answer from {server.endpoint} within {CONNECT_TIMEOUT:g} s") from None
        milliseconds = (link.stats(clock())[0][2].handshake_rtt or 0) * 1000
        return Seen(f"handshake with {server.endpoint} done in {milliseconds:.0f} ms", ok=True)

    def call(self, app: str, host: Host, family: int) -> Answer:
        first = len(self._host.opened)
        address = self._host.request(app, host, family, HTTP_PORT, b"GET / HTTP/1.0\r\n\r\n").decode()
        return Answer(address, self._outside(first))

    def ask(self, app: str) -> Answer:
        first = len(self._host.opened)
        asked = question("resolver.lab", "A", random.randrange(65536))
        reply = self._host.ask(app, ROUTER, 4, DNS_PORT, asked)
        return Answer(" ".join(answers(reply, asked)), self._outside(first))

    def transfer(self, app: str, size: int) -> Seen:
        return self._echo(app, 4, size)

    def ping(self, family: int) -> Pinged:
        first = len(self._host.opened)
        answered = self._host.ping("ping", INTERNET, family, 3)
        return Pinged(3, answered, self._outside(first))

    def loads(self) -> Sequence[Step]:
        return [(f"curl moves {IPV6_SIZE / 1e6:g} MB over IPv6", lambda: self._echo("curl", 6, IPV6_SIZE))]

    def interrupt(self) -> Seen:
        started = time.monotonic()
        self._client.close()
        seconds = time.monotonic() - started
        left = [thread.name for thread in threading.enumerate() if thread not in self._threads_before]
        left.remove("isp")
        left += [f"{number} packets with {name}" for name, number in self._host.drops.items() if number]
        text = f"{', '.join(left)} left behind" if left else "no thread of it left"
        return Seen(f"stopped in {seconds:.1f} s; {text}", not left)

    def said(self) -> list[str]:
        return self._words.take()

    def remains(self) -> Seen:
        left = [f"thread {thread.name}" for thread in threading.enumerate() if thread not in self._threads_before]
        if (sockets := _udp_sockets() - self._sockets_before) > 0:
            left.append(f"{sockets} UDP sockets")
        return Seen(", ".join(left) or "no thread, no socket", not left)

    def _outside(self, first: int) -> int:
        """Packets the isp saw of the host's flows from number *first* on."""
        return sum(map(self._isp.seen, self._host.opened[first:]))

    def _echo(self, app: str, family: int, size: int) -> Seen:
        block = random.Random(size).randbytes(min(BLOCK, size))
        blocks = [block] * (size // BLOCK) + [block[: size % BLOCK]]
        first = len(self._host.opened)
        echoed = self._host.echo(app, INTERNET, family, ECHO_PORT, blocks)
        return _compared(echoed, size, _sha256(blocks), self._outside(first))


def _compared(echoed: Echoed, size: int, sha256: str, outside: int) -> Seen:
    whole = (echoed.size, echoed.sha256) == (size, sha256)
    rate = size * 8 / echoed.seconds / 1e6
    text = (
        f"there and back in {echoed.seconds:.1f} s ({rate:.0f} Mbit/s each way) as {echoed.packets_out} and "
        f"{echoed.packets_in} super-packets, {'whole' if whole else 'changed'}, SHA-256 {echoed.sha256[:12]}"
    )
    return Seen(f"{text}; the isp saw {outside or 'nothing'} of it", whole and not outside)


def _sha256(blocks: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _udp_sockets() -> int:
    """UDP sockets of this process."""
    return len(psutil.Process().net_connections("udp"))


class _Words(logging.Handler):
    """The client's log, kept for the story instead of being written."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(levelname)-7s %(message)s"))
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._logger = logging.getLogger("wiresock_py")

    def __enter__(self) -> Self:
        self._before = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)
        self._logger.level, self._logger.propagate = self._before

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(self.format(record))

    def take(self) -> list[str]:
        """The lines since the last time."""
        return [self._lines.get() for _ in range(self._lines.qsize())]
