"""The client's own look-up of its endpoints' names, past its own tunnel.

The system's resolver is no use here: its queries would be captured like any application's, and wait for the tunnel
whose endpoint they are to find. So the client asks the adapters' DNS servers itself, from marked sockets. Literal
addresses and the hosts file come first, as everywhere; multicast DNS and other sources of nsswitch.conf do not.

Off-path forgers must guess a random identifier and a random port; answers count only from the server asked.
"""

import ipaddress
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from ipaddress import IPv4Address, IPv6Address
from random import SystemRandom

from wiresock_py.errors import NetworkError
from wiresock_py.network.adapters import has_route, set_mark
from wiresock_py.network.dns import (
    NO_SUCH_NAME,
    OK,
    RCODES,
    Answer,
    RecordType,
    decode_answer,
    encode_name,
    encode_query,
)
from wiresock_py.network.dns_servers import Resolver, hosts_entry, resolvers, search_domains

Address = IPv4Address | IPv6Address
Exempt = Callable[[int, int], AbstractContextManager[None]]
"""``Backend.exempt``: nothing from that port by that protocol is captured within the block."""

# One server gets this long before the next one is asked, and all are asked this often (resolv.conf(5) has 5 and 2).
_TRY_TIMEOUT = 1.5
_ROUNDS = 3
_MAX_ALIASES = 8
_MAX_DATAGRAM = 4096
_REMEDY = "check the Endpoint line and this host's DNS servers, or write the server's address in place of its name"

_random = SystemRandom()


def lookup(
    host: str,
    *,
    mark: int = 0,
    exempt: Exempt | None = None,
    timeout: float = 5.0,
    servers: Sequence[Resolver] | None = None,
) -> tuple[Address, ...]:
    """The addresses of *host*, at least one: IPv4 before IPv6, families without a route last.

    So that the queries bypass the tunnel *mark* goes on every socket (SO_MARK), and each socket's port is given to
    *exempt* as long as it is used. *timeout* seconds bound the whole look-up. *servers* default to the host's.
    Raises NetworkError naming the servers asked and what each said.
    """
    try:
        return (ipaddress.ip_address(host.removeprefix("[").removesuffix("]")),)
    except ValueError:
        pass
    if found := hosts_entry(host):
        return _by_preference(found)
    asked = resolvers() if servers is None else servers
    question = _Question(host, asked, mark, exempt, time.monotonic() + timeout)
    # As the system does: a name without a dot is first tried below the search domains.
    domains = search_domains() if "." not in host and servers is None else ()
    for name in [*(f"{host}.{domain}" for domain in domains), host]:
        if found := question.ask(name):
            return _by_preference(found)
    raise question.failure()


class _Question:
    """One look-up: whom to ask until when, and what each server said."""

    def __init__(
        self, host: str, servers: Sequence[Resolver], mark: int, exempt: Exempt | None, deadline: float
    ) -> None:
        self._host = host
        self._servers = servers
        self._mark = mark
        self._exempt = exempt
        self._deadline = deadline
        self._said: dict[Resolver, str] = {}

    def ask(self, name: str) -> tuple[Address, ...]:
        """The addresses of *name* from the first server that knows; empty if none does."""
        try:
            wire = encode_name(name)
        except ValueError as error:
            raise NetworkError(f"{name!r} is not a name that DNS can have: {error}", _REMEDY) from None
        for _ in range(_ROUNDS):
            for server in self._servers:
                if time.monotonic() >= self._deadline:
                    return ()
                answers = self._ask_server(server, wire)
                if addresses := [address for answer in answers for address in answer.addresses]:
                    return tuple(ipaddress.ip_address(address) for address in addresses)
                self._said[server] = _verdict(answers)
                if any(answer.rcode in {OK, NO_SUCH_NAME} for answer in answers):
                    return ()  # an answer, though not a pleasant one: another server would say the same
        return ()

    def failure(self) -> NetworkError:
        asked = "; ".join(f"{server} {said}" for server, said in self._said.items()) or "no DNS server was asked"
        return NetworkError(f"the name {self._host} does not resolve: {asked}", _REMEDY)

    def _ask_server(self, server: Resolver, name: bytes) -> list[Answer]:
        """Both families' answers, each followed along aliases whose addresses the server left out."""
        answers: list[Answer] = []
        waiting = dict.fromkeys((RecordType.A, RecordType.AAAA), name)
        for _ in range(_MAX_ALIASES):
            given = self._exchange(server, waiting)
            waiting = {
                kind: answer.alias
                for kind, answer in given.items()
                if answer.rcode == OK and not answer.addresses and answer.alias != waiting[kind]
            }
            answers += [answer for kind, answer in given.items() if kind not in waiting]
            if not waiting:
                break
        return answers

    def _exchange(self, server: Resolver, names: dict[RecordType, bytes]) -> dict[RecordType, Answer]:
        """One question for each record type, all at once, over UDP; over TCP for what does not fit."""
        until = min(time.monotonic() + _TRY_TIMEOUT, self._deadline)
        given: dict[RecordType, Answer] = {}
        with ExitStack() as stack:
            asked: dict[socket.socket, tuple[RecordType, int]] = {}
            for kind, name in names.items():
                identifier = _random.getrandbits(16)
                try:
                    sock = self._connect(server, socket.SOCK_DGRAM, until, stack)
                    sock.send(encode_query(identifier, name, kind))
                except OSError:
                    continue  # no route in this family, or nobody there
                asked[sock] = kind, identifier
            while asked and (left := until - time.monotonic()) > 0:
                for sock in select.select(list(asked), [], [], left)[0]:
                    kind, identifier = asked[sock]
                    try:
                        answer = decode_answer(sock.recv(_MAX_DATAGRAM), identifier, names[kind], kind)
                    except OSError:
                        del asked[sock]  # refused: nothing listens there
                        continue
                    if answer is not None:  # forged or damaged ones are passed over, the true one may still come
                        del asked[sock]
                        given[kind] = answer
        for kind, answer in given.items():
            if answer.truncated:
                given[kind] = self._exchange_by_tcp(server, names[kind], kind) or answer
        return given

    def _exchange_by_tcp(self, server: Resolver, name: bytes, kind: RecordType) -> Answer | None:
        identifier = _random.getrandbits(16)
        query = encode_query(identifier, name, kind)
        until = min(time.monotonic() + _TRY_TIMEOUT, self._deadline)
        try:
            with ExitStack() as stack:
                sock = self._connect(server, socket.SOCK_STREAM, until, stack)
                sock.sendall(struct.pack("!H", len(query)) + query)
                length = struct.unpack("!H", _receive(sock, 2, until))[0]
                return decode_answer(_receive(sock, length, until), identifier, name, kind)
        except OSError:
            return None

    def _connect(self, server: Resolver, kind: socket.SocketKind, until: float, stack: ExitStack) -> socket.socket:
        """A socket that is closed with *stack*."""
        family, _, _, _, place = socket.getaddrinfo(
            server.address, server.port, type=kind, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0]
        sock = stack.enter_context(socket.socket(family, kind))
        if self._mark:
            set_mark(sock, self._mark)
        if self._exempt is not None:
            sock.bind(("", 0))
            protocol = socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP
            stack.enter_context(self._exempt(sock.getsockname()[1], protocol))
        sock.settimeout(max(0.001, until - time.monotonic()))
        sock.connect(place)
        return sock


def _receive(sock: socket.socket, length: int, until: float) -> bytes:
    """Exactly *length* bytes. Raises OSError if they do not come in time."""
    received = b""
    while len(received) < length:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        part = sock.recv(length - len(received))
        if not part:
            raise ConnectionError("the server closed the connection")
        received += part
    return received


def _verdict(answers: Sequence[Answer]) -> str:
    """What a server that gave no address said, for the error message."""
    if not answers:
        return "does not answer"
    worst = max(answer.rcode for answer in answers)
    return RCODES.get(worst, f"answers with code {worst}") if worst else "knows the name, but no address for it"


def _by_preference(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """IPv4 first: its paths carry larger packets more often. What the host has no route for comes last."""
    reachable = {4: has_route(socket.AF_INET), 6: has_route(socket.AF_INET6)}
    return tuple(sorted(addresses, key=lambda address: (not reachable[address.version], address.version)))
