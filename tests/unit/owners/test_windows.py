import logging
import os
import socket
import sys

import psutil
import pytest

from tests.support.windows import TCP, UDP, FakeProcess, FakeProcesses, FakeServices, FakeTcpIp, Row, filetime, packed
from wiresock_py.flow import SYSTEM, App, FiveTuple
from wiresock_py.owners.processes import Processes
from wiresock_py.owners.services import Services
from wiresock_py.owners.windows import FIRST_DYNAMIC_PORT, WindowsOwners

NOW = 5000.0
CHROME = App(7, 1000.0, r"C:\chrome.exe")
GAME = App(8, 1100.0, r"C:\game.exe")
SVCHOST = App(9, 900.0, r"C:\Windows\System32\svchost.exe")
ICMP = int(socket.IPPROTO_ICMP)


def key(protocol: int, local: str, local_port: int, remote: str = "192.0.2.9", remote_port: int = 443) -> FiveTuple:
    return FiveTuple(protocol, packed(local), local_port, packed(remote), remote_port)


def connection(pid: int, port: int = 50000, state: int = 5, created: float = 4000, module: str = "") -> Row:
    return Row(TCP, "10.0.0.2", port, pid, "192.0.2.9", 443, state, filetime(created) if created else 0, 0, module)


class Host:
    """Three processes and the sockets a test gives them."""

    def __init__(self, *rows: Row, services: tuple[tuple[str, int], ...] = ()) -> None:
        self.tcp_ip = FakeTcpIp(*rows)
        apps = (CHROME, GAME, SVCHOST)
        self.processes = FakeProcesses(**{f"p{app.pid}": FakeProcess(app.started, app.path) for app in apps})
        self.owners = WindowsOwners(
            self.tcp_ip,
            Processes(self.processes, fallback=lambda _pid: None),
            Services(FakeServices(*services), clock=lambda: NOW),
            clock=lambda: NOW,
        )


def test_a_connection_belongs_to_the_process_windows_names() -> None:
    host = Host(connection(7, 50000), connection(8, 50001))
    keys = [key(TCP, "10.0.0.2", 50001), key(TCP, "10.0.0.2", 50000), key(TCP, "10.0.0.2", 50002)]
    assert host.owners.find(keys) == [GAME, CHROME, None]


def test_each_table_is_read_once_for_many_flows() -> None:
    host = Host(*(connection(7, port) for port in range(50000, 50020)))
    assert host.owners.find([key(TCP, "10.0.0.2", port) for port in range(50000, 50020)]) == [CHROME] * 20
    assert host.tcp_ip.reads == 2  # one a family
    assert host.processes.paths_asked == 1


@pytest.mark.parametrize("bound", ["10.0.0.2", "0.0.0.0", "::"])
def test_a_udp_socket_is_found_by_its_local_end(bound: str) -> None:
    host = Host(Row(UDP, bound, 6000, 7))
    assert host.owners.find([key(UDP, "10.0.0.2", 6000)]) == [CHROME]


def test_of_several_udp_sockets_the_most_exact_one_counts_and_then_the_first() -> None:
    wildcard, exact = Row(UDP, "0.0.0.0", 6000, 7), Row(UDP, "10.0.0.2", 6000, 8)
    assert Host(wildcard, exact).owners.find([key(UDP, "10.0.0.2", 6000)]) == [GAME]
    assert Host(wildcard, Row(UDP, "0.0.0.0", 6000, 8)).owners.find([key(UDP, "10.0.0.2", 6000)]) == [CHROME]


@pytest.mark.parametrize("pid", [0, 4])
def test_what_belongs_to_the_kernel_or_to_no_process_is_systems(pid: int) -> None:
    host = Host(connection(pid), Row(UDP, "10.0.0.2", 500, pid))
    assert host.owners.find([key(TCP, "10.0.0.2", 50000), key(UDP, "10.0.0.2", 500)]) == [SYSTEM, SYSTEM]


def test_what_has_no_sockets_is_systems() -> None:
    host = Host()
    assert host.owners.find([key(ICMP, "10.0.0.2", 1, remote_port=0), key(47, "10.0.0.2", 0)]) == [SYSTEM, SYSTEM]
    assert host.tcp_ip.reads == 0


def test_nobody_can_tell_whose_a_connection_in_time_wait_was() -> None:
    assert Host(connection(0, state=11)).owners.find([key(TCP, "10.0.0.2", 50000)]) == [None]


@pytest.mark.parametrize(("created", "owner"), [(999.0, None), (1000.0, CHROME), (0, CHROME)])
def test_a_process_younger_than_the_socket_is_not_its_owner(created: float, owner: App | None) -> None:
    assert Host(connection(7, created=created)).owners.find([key(TCP, "10.0.0.2", 50000)]) == [owner]


def test_without_the_sockets_age_a_process_younger_than_the_table_is_not_its_owner() -> None:
    host = Host(connection(7, created=0))
    host.processes.processes[7] = FakeProcess(NOW + 1, r"C:\other.exe")
    assert host.owners.find([key(TCP, "10.0.0.2", 50000)]) == [None]


def test_a_process_gone_since_is_nobody() -> None:
    assert Host(connection(77)).owners.find([key(TCP, "10.0.0.2", 50000)]) == [None]


def test_the_only_service_of_a_process_is_named() -> None:
    host = Host(connection(9), services=(("Dnscache", 9),))
    assert host.owners.find([key(TCP, "10.0.0.2", 50000)]) == [SVCHOST._replace(service="Dnscache")]


@pytest.mark.parametrize(
    ("module", "service"), [("mpssvc", "mpssvc"), ("MPSSVC", "mpssvc"), ("svchost.exe", ""), ("", "")]
)
def test_of_several_services_the_one_that_made_the_socket_is_named(module: str, service: str) -> None:
    host = Host(connection(9, module=module), services=(("BFE", 9), ("mpssvc", 9)))
    assert host.owners.find([key(TCP, "10.0.0.2", 50000)]) == [SVCHOST._replace(service=service)]


def test_where_windows_does_not_tell_the_portable_table_is_read_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    host.tcp_ip.error = 50
    monkeypatch.setattr(host.owners._portable, "find", lambda keys: [CHROME] * len(keys))
    monkeypatch.setattr(host.owners._portable, "connections", list)
    with caplog.at_level(logging.WARNING):
        assert host.owners.find([key(TCP, "10.0.0.2", 1), key(ICMP, "10.0.0.2", 1)]) == [CHROME, SYSTEM]
        assert host.owners.connections() == []
        assert not host.owners.listening(TCP, packed("10.0.0.2"), 1)
    assert [record.message for record in caplog.records] == [
        "[Errno 50] Windows does not tell its sockets: error 50; owners come from the slower table"
    ]


@pytest.mark.parametrize("bound", ["10.0.0.2", "0.0.0.0", "::"])
def test_a_listening_tcp_socket_waits_for_strangers(bound: str) -> None:
    host = Host(Row(TCP, bound, 445, 4, state=2), connection(7, 50000))
    assert host.owners.listening(TCP, packed("10.0.0.2"), 445)
    assert not host.owners.listening(UDP, packed("10.0.0.2"), 445)
    assert not host.owners.listening(TCP, packed("10.0.0.2"), 50000)


@pytest.mark.parametrize(
    ("port", "flags", "waits"),
    [(5000, 1, True), (5000, 0, False), (FIRST_DYNAMIC_PORT - 1, 1, True), (FIRST_DYNAMIC_PORT, 1, False)],
)
def test_a_udp_socket_waits_for_strangers_if_its_program_chose_a_servers_port(
    port: int, flags: int, waits: bool
) -> None:
    host = Host(Row(UDP, "0.0.0.0", port, 7, flags=flags))
    assert host.owners.listening(UDP, packed("10.0.0.2"), port) == waits


def test_listeners_are_not_read_for_each_question() -> None:
    host = Host(Row(TCP, "0.0.0.0", 445, 4, state=2))
    for _ in range(10):
        host.owners.listening(TCP, packed("10.0.0.2"), 445)
    assert host.tcp_ip.reads == 4  # two protocols, two families


def test_connections_are_those_that_a_process_has() -> None:
    host = Host(
        connection(7), connection(0, 50001, state=11), connection(4, 50002), Row(TCP, "0.0.0.0", 445, 4, state=2)
    )
    assert host.owners.connections() == [(key(TCP, "10.0.0.2", 50000), CHROME)]


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_names_this_process_as_the_owner_of_its_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        with client, listener.accept()[0]:
            client.send(b"x")  # Wine names the owner only after this
            local = client.getsockname()
            loopback = socket.inet_aton(local[0])
            (owner,) = WindowsOwners().find([FiveTuple(TCP, loopback, local[1], loopback, listener.getsockname()[1])])
            assert owner is not None
            assert owner.pid == os.getpid()
            assert owner.started == pytest.approx(psutil.Process().create_time(), abs=0.1)
            assert WindowsOwners().listening(TCP, loopback, listener.getsockname()[1])
