"""Against real sockets on loopback, with a port of the test's own in place of 53."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.dns_messages import A, answer, query
from tests.support.wine import in_wine
from wiresock_py.engine import outside_queries
from wiresock_py.engine.outside_queries import OutsideQueries, OutsideQuery
from wiresock_py.flow import FiveTuple
from wiresock_py.network.dns_messages import read_question

LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Asking:
    """What became of the queries asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[OutsideQuery, bytes]] = []
        self.refused: list[OutsideQuery] = []
        self.exempt: list[int] = []
        self.open: set[int] = set()
        self.queries = OutsideQueries(
            0, self._exempt, lambda each, told: self.answers.append((each, told)), self.refused.append
        )

    @contextlib.contextmanager
    def _exempt(self, port: int) -> Iterator[None]:
        self.exempt.append(port)
        self.open.add(port)
        yield
        self.open.discard(port)

    def ask(self, port: int, version: int = 4, name: str = "a.test", *, carry: bool = True) -> OutsideQuery:
        payload = query(name)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        address = socket.inet_pton(family, LOOPBACK[version])
        question = read_question(payload)
        assert question is not None
        asked = OutsideQuery(FiveTuple(17, address, 5000, address, port), b"packet", payload, question, 0)
        self.queries.ask(asked)
        if carry:
            self.queries.receive()
        return asked


@pytest.fixture
def asking() -> Iterator[Asking]:
    made = Asking()
    made.queries.open()
    yield made
    made.queries.close()
    assert made.open == set()


@pytest.fixture
def resolver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK[4], 0))
        sock.settimeout(5)
        yield sock


def test_a_query_is_sent_on_as_it_is_and_its_answer_comes_back(asking: Asking, resolver: socket.socket) -> None:
    asked = asking.ask(resolver.getsockname()[1])
    received, source = resolver.recvfrom(512)
    assert received == asked.payload
    assert asking.exempt == [source[1]]
    told = answer(received, [("a.test", A, 60, "192.0.2.1")])
    resolver.sendto(told, source)
    asking.queries.receive()
    assert asking.answers == [(asked, told)]
    assert asking.open == set()


def test_an_answer_to_another_question_is_passed_over(asking: Asking, resolver: socket.socket) -> None:
    asking.ask(resolver.getsockname()[1])
    received, source = resolver.recvfrom(512)
    for told in (answer(query("b.test")), answer(query("a.test", identifier=8)), b"", received):
        resolver.sendto(told, source)
        asking.queries.receive()
    assert asking.answers == []
    resolver.sendto(answer(received), source)
    asking.queries.receive()
    assert len(asking.answers) == 1


def test_every_query_has_a_port_of_its_own(asking: Asking, resolver: socket.socket) -> None:
    ports = set()
    for number in range(20):
        asking.ask(resolver.getsockname()[1], name=f"n{number}.test")
        ports.add(resolver.recvfrom(512)[1][1])
    assert len(ports) == 20


@pytest.mark.skipif(in_wine(), reason="for other systems: Wine tells a socket that waits of no ICMP error")
@pytest.mark.parametrize("version", [4, 6])
def test_a_resolver_that_is_not_there_is_told(asking: Asking, version: int) -> None:
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as closed:
        closed.bind((LOOPBACK[version], 0))
        port = closed.getsockname()[1]
    asked = asking.ask(port, version)
    asking.queries.receive()
    assert asking.refused == [asked]
    assert asking.open == set()


def test_what_is_not_answered_is_forgotten_in_time_and_number(
    asking: Asking, resolver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(outside_queries, "clock", lambda: now[0])
    monkeypatch.setattr(outside_queries, "MAX_WAITING", 3)
    for _ in range(5):
        asking.ask(resolver.getsockname()[1])
    assert len(asking.open) == 3
    now[0] = outside_queries.PATIENCE + 1
    asking.ask(resolver.getsockname()[1])
    assert len(asking.open) == 1


def test_a_burst_of_queries_opens_no_more_sockets_than_may_wait(
    asking: Asking, resolver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside_queries, "MAX_WAITING", 3)
    waiting: list[int] = []
    connect = socket.socket.connect

    class Counted(socket.socket):
        def connect(self, address: object) -> None:
            waiting.append(len(asking.open))
            connect(self, address)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(outside_queries.socket, "socket", Counted)  # type: ignore[attr-defined]  # it is the socket module
    for _ in range(8):
        asking.ask(resolver.getsockname()[1], carry=False)
    asking.queries.receive()
    assert max(waiting) == 3


def test_where_no_socket_can_be_opened_the_query_is_refused(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(outside_queries.socket, "socket", refuse)  # type: ignore[attr-defined]  # it is the socket module
    asked = asking.ask(53)
    assert asking.refused == [asked]
