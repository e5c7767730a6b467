import os
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.support.wine import in_wine
from wiresock_py.flow import App, FiveTuple
from wiresock_py.owners.portable import PortableOwners, process_facts

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
HERE, THERE = socket.inet_aton("10.0.0.2"), socket.inet_aton("192.0.2.9")
HERE6, THERE6 = socket.inet_pton(socket.AF_INET6, "fe80::2"), socket.inet_pton(socket.AF_INET6, "2001:db8::9")


class End(NamedTuple):
    ip: str
    port: int


class Row(NamedTuple):
    """What psutil.net_connections() gives, as far as it is used."""

    family: socket.AddressFamily
    type: socket.SocketKind
    laddr: End | tuple[()]
    raddr: End | tuple[()]
    status: str
    pid: int | None


def tcp(local: End, remote: End | tuple[()], pid: int | None, status: str = psutil.CONN_ESTABLISHED) -> Row:
    family = socket.AF_INET6 if ":" in local.ip else socket.AF_INET
    return Row(family, socket.SOCK_STREAM, local, remote, status, pid)


def udp(local: End, remote: End | tuple[()], pid: int | None) -> Row:
    family = socket.AF_INET6 if ":" in local.ip else socket.AF_INET
    return Row(family, socket.SOCK_DGRAM, local, remote, psutil.CONN_NONE, pid)


def app(pid: int, started: float = 100.0) -> App:
    return App(pid, started, f"/bin/app{pid}")


def owners(rows: Iterable[Row], facts: Callable[[int], App | None] = app, now: float = 1000.0) -> PortableOwners:
    return PortableOwners(sockets=lambda: rows, facts=facts, clock=lambda: now)


def test_a_connection_is_found_by_both_its_ends() -> None:
    table = owners(
        [
            tcp(End("10.0.0.2", 5000), End("192.0.2.9", 443), 7),
            tcp(End("10.0.0.2", 5001), End("192.0.2.9", 443), 8),
            tcp(End("fe80::2%eth0", 5000), End("2001:db8::9", 443), 9),
        ]
    )
    keys = [
        FiveTuple(TCP, HERE, 5001, THERE, 443),
        FiveTuple(TCP, HERE, 5000, THERE, 443),
        FiveTuple(TCP, HERE6, 5000, THERE6, 443),
        FiveTuple(TCP, HERE, 5000, THERE, 444),
        FiveTuple(UDP, HERE, 5000, THERE, 443),
    ]
    assert table.find(keys) == [app(8), app(7), app(9), None, None]


def test_an_ipv4_connection_of_an_ipv6_socket_is_found() -> None:
    table = owners([tcp(End("::ffff:10.0.0.2", 5000), End("::ffff:192.0.2.9", 443), 7)])
    assert table.find([FiveTuple(TCP, HERE, 5000, THERE, 443)]) == [app(7)]


@pytest.mark.parametrize("bound", ["10.0.0.2", "0.0.0.0", "::"])
def test_an_unconnected_udp_socket_is_found_by_its_local_end(bound: str) -> None:
    table = owners([udp(End(bound, 5353), (), 7)])
    assert table.find([FiveTuple(UDP, HERE, 5353, THERE, 53)]) == [app(7)]


def test_of_several_udp_sockets_the_most_exact_one_counts() -> None:
    connected = udp(End("10.0.0.2", 6000), End("192.0.2.9", 53), 1)
    exact, wildcard = udp(End("10.0.0.2", 6000), (), 2), udp(End("0.0.0.0", 6000), (), 3)
    key = FiveTuple(UDP, HERE, 6000, THERE, 53)
    assert owners([wildcard, exact, connected]).find([key]) == [app(1)]
    assert owners([wildcard, exact]).find([key]) == [app(2)]
    assert owners([wildcard]).find([key]) == [app(3)]


def test_a_listener_does_not_own_the_connections_to_it() -> None:
    table = owners([tcp(End("0.0.0.0", 443), (), 7, psutil.CONN_LISTEN)])
    assert table.find([FiveTuple(TCP, HERE, 443, THERE, 5000)]) == [None]


def test_the_table_is_read_once_for_all_flows_of_a_call() -> None:
    reads = 0

    def read() -> list[Row]:
        nonlocal reads
        reads += 1
        return [udp(End("0.0.0.0", port), (), port) for port in range(1, 50)]

    table = PortableOwners(sockets=read, facts=app, clock=lambda: 1000.0)
    assert table.find([FiveTuple(UDP, HERE, port, THERE, 53) for port in range(1, 50)]) == [
        app(p) for p in range(1, 50)
    ]
    assert reads == 1


def test_a_process_that_started_after_the_table_was_read_is_another_with_a_reused_pid() -> None:
    table = owners([udp(End("0.0.0.0", 6000), (), 7)], facts=lambda pid: app(pid, started=1000.5), now=1000.0)
    assert table.find([FiveTuple(UDP, HERE, 6000, THERE, 53)]) == [None]


def test_a_process_that_is_gone_is_no_owner() -> None:
    table = owners([udp(End("0.0.0.0", 6000), (), 7)], facts=lambda _: None)
    assert table.find([FiveTuple(UDP, HERE, 6000, THERE, 53)]) == [None]


def test_rows_without_a_pid_or_an_address_are_passed_over() -> None:
    rows = [
        udp(End("0.0.0.0", 6000), (), None),
        Row(socket.AF_INET, socket.SOCK_DGRAM, (), (), psutil.CONN_NONE, 7),
        tcp(End("10.0.0.2", 5000), End("192.0.2.9", 443), None),
    ]
    keys = [FiveTuple(UDP, HERE, 6000, THERE, 53), FiveTuple(TCP, HERE, 5000, THERE, 443)]
    assert owners(rows).find(keys) == [None, None]


def test_a_table_that_cannot_be_read_is_no_exception(caplog: pytest.LogCaptureFixture) -> None:
    def denied() -> list[Any]:
        raise psutil.AccessDenied(0)

    table = PortableOwners(sockets=denied, facts=app)
    assert table.find([FiveTuple(UDP, HERE, 6000, THERE, 53)]) == [None]
    assert not table.listening(TCP, HERE, 80)
    assert "cannot be read" in caplog.text


def test_listeners_are_known_on_their_address_and_on_every_address() -> None:
    table = owners(
        [
            tcp(End("10.0.0.2", 80), (), 1, psutil.CONN_LISTEN),
            tcp(End("::", 81), (), 1, psutil.CONN_LISTEN),
            tcp(End("10.0.0.2", 82), End("192.0.2.9", 5000), 1),
            udp(End("0.0.0.0", 83), (), 1),
        ]
    )
    answers = {port: table.listening(TCP, HERE, port) for port in (80, 81, 82, 83)}
    assert answers == {80: True, 81: True, 82: False, 83: False}
    assert table.listening(UDP, HERE, 83)
    assert not table.listening(TCP, THERE, 80)


def test_connections_are_listed_with_their_owners() -> None:
    rows = [tcp(End("10.0.0.2", 5000), End("192.0.2.9", 443), 7), udp(End("0.0.0.0", 1), (), 8)]
    assert owners(rows).connections() == [(FiveTuple(TCP, HERE, 5000, THERE, 443), app(7))]


@pytest.mark.skipif(in_wine(), reason="for other systems: in Wine psutil has no names for processes' files")
def test_the_real_table_knows_this_process() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"to itself", sock.getsockname())  # Wine names the owner only after this
        key = FiveTuple(UDP, socket.inet_aton("127.0.0.1"), sock.getsockname()[1], THERE, 53)
        (found,) = PortableOwners().find([key])
    assert found is not None
    assert found.pid == os.getpid()
    assert found == process_facts(os.getpid())
    assert sys.platform == "win32" or Path(found.path).is_absolute()  # Windows is asked in test_processes.py


def test_facts_of_a_pid_nobody_has_are_none() -> None:
    assert process_facts(2**22 + 1) is None
