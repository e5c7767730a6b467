import ipaddress
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from wiresock_py.errors import NetworkError
from wiresock_py.network import names as module
from wiresock_py.network.dns import RecordType, encode_name
from wiresock_py.network.dns_servers import Resolver
from wiresock_py.network.names import lookup

A, AAAA, CNAME = RecordType.A, RecordType.AAAA, RecordType.CNAME
V4, V6 = ipaddress.ip_address("198.51.100.2"), ipaddress.ip_address("2001:db8::2")
Records = list[tuple[str, RecordType, bytes]]


@pytest.fixture(autouse=True)
def both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the routes of the machine it runs on, or on its hosts file."""
    monkeypatch.setattr(module, "has_route", lambda _family: True)
    monkeypatch.setattr(module, "hosts_entry", lambda _name: ())


class Server:
    """A DNS server on loopback, UDP and TCP on one port; *behaviour* makes the bytes to answer with."""

    def __init__(self, zone: dict[str, Records], *, rcode: int = 3, truncate: bool = False) -> None:
        self.zone, self.rcode, self.truncate = zone, rcode, truncate
        self.before: Callable[[bytes], list[bytes]] = lambda _answer: []
        self.asked: list[tuple[str, RecordType, str]] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def place(self) -> Resolver:
        return Resolver("127.0.0.1", self.port)

    def close(self) -> None:
        self._stop.close()
        self._thread.join(5)
        for sock in (self._tcp, self._udp, self._stopped):
            sock.close()

    def _serve(self) -> None:
        while True:
            ready = select.select([self._udp, self._tcp, self._stopped], [], [])[0]
            if self._stopped in ready:
                return
            if self._udp in ready:
                query, client = self._udp.recvfrom(512)
                answer = self._answer(query, "udp")
                for forged in self.before(answer):
                    self._udp.sendto(forged, client)
                self._udp.sendto(answer, client)
            if self._tcp in ready:
                with self._tcp.accept()[0] as connection:
                    query = connection.recv(2 + 512)
                    answer = self._answer(query[2:], "tcp")
                    for part in (struct.pack("!H", len(answer)), answer[:9], answer[9:]):
                        connection.sendall(part)
                        time.sleep(0.01)

    def _answer(self, query: bytes, transport: str) -> bytes:
        end = query.index(0, 12) + 1
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels), RecordType(struct.unpack_from("!H", query, end)[0])
        self.asked.append((name, kind, transport))
        records = [(o, k, d) for o, k, d in self.zone.get(name, []) if k in {kind, CNAME}]
        rcode = 0 if name in self.zone else self.rcode
        truncated = self.truncate and transport == "udp"
        head = query[:2] + struct.pack(
            "!HHHHH", 0x8180 | rcode | truncated << 9, 1, 0 if truncated else len(records), 0, 0
        )
        body = b"".join(
            encode_name(owner) + struct.pack("!HHIH", record, 1, 60, len(data)) + data
            for owner, record, data in records
        )
        return head + query[12 : end + 4] + (b"" if truncated else body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def started(zone: dict[str, Records], *, rcode: int = 3, truncate: bool = False) -> Server:
        servers.append(Server(zone, rcode=rcode, truncate=truncate))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


@pytest.fixture
def silent() -> Iterator[Resolver]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield Resolver("127.0.0.1", sock.getsockname()[1])


@pytest.fixture
def nobody() -> Resolver:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return Resolver("127.0.0.1", sock.getsockname()[1])


BOTH: Records = [("vpn.example", A, V4.packed), ("vpn.example", AAAA, V6.packed)]
Serve = Callable[..., Server]


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "[2001:db8::1]"])
def test_a_literal_address_is_its_own_answer_and_nobody_is_asked(text: str) -> None:
    assert lookup(text, servers=[]) == (ipaddress.ip_address(text.strip("[]")),)


def test_the_hosts_file_comes_before_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hosts_entry", lambda name: (V6, V4) if name == "vpn.example" else ())
    assert lookup("vpn.example", servers=[]) == (V4, V6)


def test_both_families_are_asked_and_ipv4_comes_first(serve: Serve) -> None:
    server = serve({"vpn.example": BOTH})
    assert lookup("vpn.example", servers=[server.place]) == (V4, V6)
    assert sorted(server.asked) == [("vpn.example", A, "udp"), ("vpn.example", AAAA, "udp")]


def test_a_family_without_a_route_comes_last(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_route", lambda family: family == socket.AF_INET6)
    assert lookup("vpn.example", servers=[serve({"vpn.example": BOTH}).place]) == (V6, V4)


def test_one_family_is_enough(serve: Serve) -> None:
    assert lookup("vpn.example", servers=[serve({"vpn.example": BOTH[1:]}).place]) == (V6,)


def test_an_alias_without_addresses_is_asked_for_in_turn(serve: Serve) -> None:
    server = serve(
        {
            "vpn.example": [("vpn.example", CNAME, encode_name("edge.example"))],
            "edge.example": [("edge.example", A, V4.packed)],
        }
    )
    assert lookup("vpn.example", servers=[server.place]) == (V4,)


def test_aliases_without_end_do_not_go_on_for_ever(serve: Serve) -> None:
    server = serve(
        {
            "one.example": [("one.example", CNAME, encode_name("two.example"))],
            "two.example": [("two.example", CNAME, encode_name("one.example"))],
        }
    )
    with pytest.raises(NetworkError):
        lookup("one.example", servers=[server.place], timeout=1.0)


def test_what_does_not_fit_is_asked_for_over_tcp(serve: Serve) -> None:
    server = serve({"vpn.example": BOTH}, truncate=True)
    assert lookup("vpn.example", servers=[server.place]) == (V4, V6)
    assert ("vpn.example", A, "tcp") in server.asked


def test_forged_and_damaged_answers_are_passed_over(serve: Serve) -> None:
    server = serve({"vpn.example": BOTH})

    def forged(answer: bytes) -> list[bytes]:
        evil = answer.replace(V4.packed, b"\6\6\6\6")
        return [b"", b"\0", evil[:-1], bytes([evil[0] ^ 1]) + evil[1:], evil[:13] + b"x" + evil[14:]]

    server.before = forged
    assert lookup("vpn.example", servers=[server.place]) == (V4, V6)


def test_only_the_server_asked_can_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forger who knows port, identifier and question still sends from another port: it never arrives."""
    server = serve({"vpn.example": BOTH})
    ports: list[int] = []
    connect = module._Question._connect

    def watched(*arguments: Any) -> socket.socket:
        sock = connect(*arguments)
        ports.append(sock.getsockname()[1])
        return sock

    monkeypatch.setattr(module._Question, "_connect", watched)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:

        def spray(answer: bytes) -> list[bytes]:
            for port in ports:
                forger.sendto(answer.replace(V4.packed, b"\6\6\6\6"), ("127.0.0.1", port))
            return []

        server.before = spray
        assert lookup("vpn.example", servers=[server.place]) == (V4, V6)


def test_the_next_server_is_asked_when_one_fails_or_is_silent(
    serve: Serve, silent: Resolver, nobody: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRY_TIMEOUT", 0.1)
    failing, good = serve({}, rcode=2), serve({"vpn.example": BOTH})
    servers = [nobody, silent, failing.place, good.place]
    assert lookup("vpn.example", servers=servers) == (V4, V6)


def test_a_name_nobody_knows_is_an_error_that_says_who_was_asked(serve: Serve) -> None:
    server = serve({})
    with pytest.raises(NetworkError) as caught:
        lookup("vpn.example", servers=[server.place])
    assert str(caught.value) == (
        f"the name vpn.example does not resolve: 127.0.0.1 port {server.port} knows no such name"
    )
    assert "Endpoint" in caught.value.remedy
    assert caught.value.exit_code == 5


def test_a_name_without_addresses_is_told_from_one_that_is_unknown(serve: Serve) -> None:
    with pytest.raises(NetworkError, match="knows the name, but no address for it"):
        lookup("vpn.example", servers=[serve({"vpn.example": []}).place])


def test_silence_ends_after_the_time_given(silent: Resolver) -> None:
    started = time.monotonic()
    with pytest.raises(NetworkError, match="does not answer"):
        lookup("vpn.example", servers=[silent], timeout=0.3)
    assert 0.28 <= time.monotonic() - started < 3.0  # Windows' clock ticks every 16 ms


def test_a_host_without_servers_is_an_error_too() -> None:
    with pytest.raises(NetworkError, match="no DNS server was asked"):
        lookup("vpn.example", servers=[])


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, "\udcff"])
def test_a_name_dns_cannot_have_is_an_error_that_says_so(name: str) -> None:
    with pytest.raises(NetworkError, match="not a name that DNS can have"):
        lookup(name, servers=[])


def test_a_name_without_a_dot_is_tried_below_the_search_domains(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve({"vpn.lan.example": [("vpn.lan.example", A, V4.packed)]})
    monkeypatch.setattr(module, "search_domains", lambda: ("first.example", "lan.example"))
    monkeypatch.setattr(module, "resolvers", lambda: (server.place,))
    monkeypatch.setattr(sys, "platform", "linux")
    assert lookup("vpn") == (V4,)
    assert {name for name, _, _ in server.asked} == {"vpn.first.example", "vpn.lan.example"}


def test_every_query_has_a_fresh_identifier_and_port(serve: Serve) -> None:
    server = serve({"vpn.example": BOTH})
    heads: set[bytes] = set()

    def note(answer: bytes) -> list[bytes]:
        heads.add(answer[:2])
        return []

    server.before = note
    for _ in range(8):
        lookup("vpn.example", servers=[server.place])
    assert len(heads) >= 14  # of 16 random ones; two pairs that collide are a chance of 1 in 10^8


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="for other systems: only Linux marks packets")
def test_every_socket_carries_the_mark(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[int] = []
    connect = socket.socket.connect

    class Watched(socket.socket):
        def connect(self, place: object) -> None:
            if sys.platform == "linux":
                marks.append(self.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
            connect(self, place)  # type: ignore[arg-type]  # the base class takes any address

    server = serve({"vpn.example": BOTH}, truncate=True)
    monkeypatch.setattr(socket, "socket", Watched)
    lookup("vpn.example", mark=0x2000_0000, servers=[server.place])
    assert marks == [0x2000_0000] * 4  # two over UDP, two over TCP


@pytest.mark.skipif(sys.platform != "linux", reason="for other systems: /proc is Linux's")
def test_no_socket_stays_open(serve: Serve, silent: Resolver) -> None:

    from wiresock_py.owners.procfs import ProcFs

    files = ProcFs()
    server = serve({"vpn.example": BOTH}, truncate=True)
    before = len(files.sockets(os.getpid()))
    lookup("vpn.example", servers=[server.place])
    with pytest.raises(NetworkError):
        lookup("vpn.example", servers=[silent], timeout=0.1)
    assert len(files.sockets(os.getpid())) == before
    files.close()


def test_every_port_is_exempt_from_capture_while_it_asks(serve: Serve) -> None:
    exempt: set[tuple[int, int]] = set()
    asking: list[int] = []
    protocols: set[int] = set()

    @contextmanager
    def backend(port: int, protocol: int) -> Iterator[None]:
        exempt.add((protocol, port))
        protocols.add(protocol)
        yield
        exempt.remove((protocol, port))

    server = serve({"vpn.example": BOTH}, truncate=True)

    def note(_answer: bytes) -> list[bytes]:
        asking.append(len(exempt))
        return []

    server.before = note
    assert lookup("vpn.example", servers=[server.place], exempt=backend) == (V4, V6)
    assert asking
    assert 0 not in asking
    assert not exempt
    assert protocols == {socket.IPPROTO_UDP, socket.IPPROTO_TCP}
