"""The host beside servers it reaches directly: the memory backend is not open, and captures nothing."""

import hashlib
import socket
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

import pytest

from wiresock_py.datapath import Header, parse, tcp_reset
from wiresock_py.datapath.checksum import word_sum
from wiresock_py.datapath.rewrite import complete
from wiresock_py.demo.memory import host as host_module
from wiresock_py.demo.memory.host import FIRST_PORT, MemoryHost
from wiresock_py.demo.memory.internet import ECHO_PORT, HTTP_PORT, Internet, Isp
from wiresock_py.demo.memory.packets import echo
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import FiveTuple
from wiresock_py.lab import CLIENT, INTERNET, ROUTER
from wiresock_py.lab.programs.wire import answers, question

FAMILIES = pytest.mark.parametrize("family", [4, 6])


Fault = Callable[[list[bytes]], list[bytes]]


class FaultyInternet(Internet):
    """Changes its answers as the test wants. Also the host's network card: it completes TCP checksums."""

    def __init__(self) -> None:
        super().__init__([INTERNET], [ROUTER])
        self.fault: Fault = list

    def answer(self, packets: Iterable[bytes]) -> list[bytes]:
        return self.fault(super().answer(map(completed, packets)))


def completed(packet: bytes) -> bytes:
    header = parse(packet)
    if not isinstance(header, Header) or header.protocol != socket.IPPROTO_TCP:
        return packet
    whole = bytearray(packet)
    addresses = word_sum(header.source + header.destination)
    complete(whole, header.transport, header.length, header.protocol, addresses)
    return bytes(whole)


def silence(_answers: list[bytes]) -> list[bytes]:
    return []


@pytest.fixture
def internet() -> FaultyInternet:
    return FaultyInternet()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def host(backend: MemoryBackend, internet: FaultyInternet) -> Iterator[MemoryHost]:
    isp = Isp(backend, internet)
    yield MemoryHost(backend, CLIENT)
    isp.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "PATIENCE", 0.05)


@FAMILIES
def test_a_request_is_answered(host: MemoryHost, family: int) -> None:
    assert host.request("chrome", INTERNET, family, HTTP_PORT, b"GET") == CLIENT.of(family).encode()
    assert not host.drops


@FAMILIES
def test_a_question_is_answered(host: MemoryHost, family: int) -> None:
    asked = question("resolver.lab", "A" if family == 4 else "AAAA", 1)
    assert answers(host.ask("chrome", ROUTER, family, 53, asked), asked) == [ROUTER.of(family)]


@FAMILIES
def test_pings_are_counted(host: MemoryHost, family: int) -> None:
    assert host.ping("ping", INTERNET, family, 3) == 3


@pytest.mark.parametrize("blocks", [[], [b"x"], [b"abc" * 50_000, b"de"]], ids=["nothing", "a byte", "packets"])
def test_what_was_sent_comes_back(host: MemoryHost, blocks: list[bytes]) -> None:
    echoed = host.echo("chrome", INTERNET, 4, ECHO_PORT, blocks)
    whole = b"".join(blocks)
    assert (echoed.size, echoed.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert echoed.packets_out == sum(-(-len(block) // 64_000) for block in blocks)


def test_a_transfer_that_takes_too_long_is_given_up(host: MemoryHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "TRANSFER_TIMEOUT", -1.0)
    with pytest.raises(TimeoutError, match="0 bytes were back"):
        host.echo("chrome", INTERNET, 4, ECHO_PORT, [b"x"])


def test_each_flow_has_the_app_that_opened_it_as_its_owner(host: MemoryHost, backend: MemoryBackend) -> None:
    host.ask("chrome", ROUTER, 4, 53, question("resolver.lab", "A", 1))
    host.ask("firefox", ROUTER, 4, 53, question("resolver.lab", "A", 1))
    keys = [FiveTuple(17, CLIENT.v4.packed, FIRST_PORT + n, ROUTER.v4.packed, 53) for n in range(3)]
    assert [app and app.name for app in host.find(keys)] == ["chrome", "firefox", None]


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_does_not_come_is_a_timeout(host: MemoryHost, internet: FaultyInternet) -> None:
    internet.fault = silence
    with pytest.raises(TimeoutError, match="nothing came back"):
        host.request("chrome", INTERNET, 4, HTTP_PORT, b"GET")
    assert host.ping("ping", INTERNET, 4, 1) == 0


@pytest.mark.usefixtures("impatient")
def test_a_corrupted_answer_does_not_count(host: MemoryHost, internet: FaultyInternet) -> None:
    internet.fault = lambda answers: [answer[:-1] + bytes((answer[-1] ^ 1,)) for answer in answers]
    with pytest.raises(TimeoutError):
        host.ask("chrome", ROUTER, 4, 53, question("resolver.lab", "A", 1))
    assert host.drops == {"bad checksum": 1}


def test_data_out_of_order_is_an_error(host: MemoryHost, internet: FaultyInternet) -> None:
    internet.fault = lambda answers: answers[1:] if len(answers) > 1 else answers
    with pytest.raises(ConnectionError, match="sequence number"):
        host.echo("chrome", INTERNET, 4, ECHO_PORT, [bytes(10_000)])


def test_a_reset_ends_the_connection(host: MemoryHost, backend: MemoryBackend, internet: FaultyInternet) -> None:
    def resets(packets: Iterable[bytes]) -> list[bytes]:
        return [reset for packet in packets if (reset := tcp_reset(packet)) is not None]

    internet.answer = resets  # type: ignore[method-assign]
    with pytest.raises(ConnectionResetError):
        host.request("chrome", INTERNET, 4, HTTP_PORT, b"GET")


@pytest.mark.usefixtures("impatient")
def test_packets_for_no_socket_are_noted(host: MemoryHost, backend: MemoryBackend, internet: FaultyInternet) -> None:
    internet.fault = silence
    backend.network_sends(echo(ip_address(INTERNET.of(4)).packed, CLIENT.v4.packed, 1, 1, b"", reply=True))
    backend.network_sends(b"no packet")
    host.ping("ping", INTERNET, 4, 1)
    assert host.drops["no such socket"] == 1
    assert sum(host.drops.values()) == 2
    assert not host.listening(socket.IPPROTO_TCP, CLIENT.v4.packed, 80)
