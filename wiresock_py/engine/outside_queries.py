"""DNS queries that stay outside the tunnel, asked by sockets of our own, so that their answers are seen.

A backend shows what leaves this host, not what arrives. Where rules are about names, the queries of all programs are
therefore asked here, one socket and so one random port each, of the very resolver they were sent to.
"""

import contextlib
import ipaddress
import logging
import queue
import selectors
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from wiresock_py.engine.clock import now as clock
from wiresock_py.errors import NetworkError
from wiresock_py.flow import FiveTuple
from wiresock_py.network.adapters import set_mark
from wiresock_py.network.dns_messages import Question, is_answer_to

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds a socket waits for its answer: longer than programs do."""
MAX_WAITING = 512
RECEIVE_TIMEOUT = 0.5
MAX_ANSWER = 65_535


class OutsideQuery(NamedTuple):
    """A query as a program sent it."""

    key: FiveTuple
    packet: bytes
    """Whole, from the IP header on."""
    payload: bytes
    question: Question
    adapter: int


class _Waiting(NamedTuple):
    query: OutsideQuery
    until: float
    resources: contextlib.ExitStack
    """Closes the socket, and ends its exemption before."""


class OutsideQueries:
    """``ask`` may be called from any thread; ``receive`` is one turn of a thread's loop."""

    def __init__(
        self,
        mark: int,
        exempt: Callable[[int], AbstractContextManager[None]],
        on_answer: Callable[[OutsideQuery, bytes], None],
        on_refusal: Callable[[OutsideQuery], None],
    ) -> None:
        """*mark* and *exempt* are the backend's: they keep our sockets out of the capture. *on_refusal* hears of a
        resolver that is not there."""
        self._mark = mark
        self._exempt = exempt
        self._on_answer = on_answer
        self._on_refusal = on_refusal
        self._asked: queue.SimpleQueue[OutsideQuery] = queue.SimpleQueue()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._resources = contextlib.ExitStack()
        self._wake: socket.socket | None = None
        """Writing to it ends the wait of ``receive``."""

    def open(self) -> None:
        """Make ready for ``receive``."""
        self._selector = self._resources.enter_context(selectors.DefaultSelector())
        self._wake, self._woken = ends = socket.socketpair()
        for end in ends:
            self._resources.enter_context(end).setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def ask(self, query: OutsideQuery) -> None:
        """Send *query* on, once ``receive`` gets to it."""
        self._asked.put(query)
        if self._wake is not None:
            with contextlib.suppress(BlockingIOError):  # full: it is awake
                self._wake.send(b"\0")

    def receive(self) -> None:
        """Wait for answers and for new queries, and carry them through."""
        for found, _ in self._selector.select(RECEIVE_TIMEOUT):
            if found.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            else:
                assert isinstance(found.fileobj, socket.socket)
                self._take(found.fileobj)
        now = clock()
        with contextlib.suppress(queue.Empty):
            while True:
                self._send(self._asked.get_nowait(), now)
        while self._waiting and self._waiting[oldest := next(iter(self._waiting))].until <= now:
            self._drop(oldest)

    def close(self) -> None:
        """Close every socket, after the thread has ended."""
        for waiting in list(self._waiting):
            self._drop(waiting)
        self._resources.close()

    def _send(self, query: OutsideQuery, now: float) -> None:
        family = socket.AF_INET6 if query.key.is_ipv6 else socket.AF_INET
        remote = ipaddress.ip_address(query.key.remote)
        scope = (0, query.adapter if remote.is_link_local else 0) if query.key.is_ipv6 else ()
        if len(self._waiting) >= MAX_WAITING:
            self._drop(next(iter(self._waiting)))
        resources = contextlib.ExitStack()
        try:
            sock = resources.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.setblocking(False)
            if self._mark:
                set_mark(sock, self._mark)
            local = ipaddress.ip_address(query.key.local)
            sock.bind((str(local), 0, *((0, query.adapter if local.is_link_local else 0) if scope else ())))
            resources.enter_context(self._exempt(sock.getsockname()[1]))
            sock.connect((str(remote), query.key.remote_port, *scope))
            sock.send(query.payload)
        except (OSError, NetworkError) as error:
            resources.close()
            log.debug("a query could not be sent to %s: %s", remote, error)
            self._on_refusal(query)
            return
        self._waiting[sock] = _Waiting(query, now + PATIENCE, resources)
        self._selector.register(sock, selectors.EVENT_READ)

    def _take(self, sock: socket.socket) -> None:
        query = self._waiting[sock].query
        try:
            answer = sock.recv(MAX_ANSWER)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error came back
            self._drop(sock)
            self._on_refusal(query)
            return
        if is_answer_to(answer, query.question):
            self._drop(sock)
            self._on_answer(query, answer)

    def _drop(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self._waiting.pop(sock).resources.close()
