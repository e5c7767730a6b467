import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.windows import TCP, UDP, FakeTcpIp, Row
from wiresock_py.owners.socket_tables import AF_INET, AF_INET6, TABLES, load_tcp_ip, owner_module, parse, sockets


def test_every_row_is_as_long_as_windows_has_it() -> None:
    # sizeof MIB_TCPROW_OWNER_MODULE and the others, compiled from iprtrmib.h for x64
    assert {key: row.size for key, row in TABLES.items()} == {
        (TCP, AF_INET): 160,
        (TCP, AF_INET6): 192,
        (UDP, AF_INET): 160,
        (UDP, AF_INET6): 176,
    }


def test_both_families_of_a_protocol_are_read() -> None:
    rows = [
        Row(TCP, "10.0.0.2", 50000, 7, "192.0.2.9", 443, created=99),
        Row(TCP, "2001:db8::2", 50001, 8, "2001:db8::9", 80, state=2, created=98),
        Row(UDP, "10.0.0.2", 53, 9, created=97, flags=1),
        Row(UDP, "fe80::2", 546, 10, created=96),
    ]
    tcp_ip = FakeTcpIp(*rows)
    found = [*sockets(tcp_ip, TCP), *sockets(tcp_ip, UDP)]
    for row, one in zip(rows, found, strict=True):
        family = socket.AF_INET6 if ":" in row.local else socket.AF_INET
        assert one.local == socket.inet_pton(family, row.local)
        assert one.remote == (socket.inet_pton(family, row.remote) if row.remote else bytes(len(one.local)))
        assert (one.protocol, one.local_port, one.remote_port) == (row.protocol, row.local_port, row.remote_port)
        assert (one.pid, one.created, one.chosen_port) == (row.pid, row.created, row.flags == 1)
        assert one.state == (row.state if row.protocol == TCP else 0)


def test_an_ipv4_connection_of_an_ipv6_socket_is_an_ipv4_one() -> None:
    (found,) = sockets(FakeTcpIp(Row(TCP, "::ffff:10.0.0.2", 5000, 7, "::ffff:192.0.2.9", 443)), TCP)
    assert (found.local, found.remote) == (socket.inet_aton("10.0.0.2"), socket.inet_aton("192.0.2.9"))


def test_a_table_that_grows_between_two_calls_is_asked_for_again() -> None:
    tcp_ip = FakeTcpIp(Row(TCP, "10.0.0.2", 1, 7))
    tcp_ip.growth, tcp_ip.slowdown = 60, 2  # at first more than the head-room holds
    assert len(list(sockets(tcp_ip, TCP))) > 60


def test_a_table_that_never_fits_is_an_error_and_no_endless_loop() -> None:
    tcp_ip = FakeTcpIp()
    tcp_ip.growth = 1000
    with pytest.raises(OSError, match="error 122"):
        list(sockets(tcp_ip, TCP))


def test_windows_own_error_is_told() -> None:
    tcp_ip = FakeTcpIp()
    tcp_ip.error = 50
    with pytest.raises(OSError, match="does not tell its sockets: error 50"):
        list(sockets(tcp_ip, UDP))


@pytest.mark.parametrize("local", ["10.0.0.2", "fe80::2"])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_the_module_that_made_a_socket_has_a_name_or_none(protocol: int, local: str) -> None:
    tcp_ip = FakeTcpIp(Row(protocol, local, 53, 7, module="Dnscache"), Row(protocol, local, 54, 7))
    named, nameless = sockets(tcp_ip, protocol)
    assert owner_module(tcp_ip, named) == "Dnscache"
    assert owner_module(tcp_ip, nameless) == ""


@given(st.binary(max_size=700), st.sampled_from(sorted(TABLES)))
def test_a_table_that_announces_more_than_it_holds_is_read_as_far_as_it_goes(
    table: bytes, kind: tuple[int, int]
) -> None:
    assert len(list(parse(table, *kind))) <= len(table) // TABLES[kind].size


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_lists_a_socket_of_ours() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ports = {found.local_port for found in sockets(load_tcp_ip(), TCP)}
        assert listener.getsockname()[1] in ports
