import os
import socket
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("sock_diag is Linux's", allow_module_level=True)

from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.flow import FiveTuple
from wiresock_py.owners.sock_diag import CLOSE, LISTEN, SocketDiag, parse_answer

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
LOOPBACK4, LOOPBACK6 = socket.inet_pton(socket.AF_INET, "127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")
OTHER4 = socket.inet_pton(socket.AF_INET, "127.0.0.9")
ANYWHERE4 = socket.inet_pton(socket.AF_INET, "198.51.100.7")
V4_MAPPED = "::ffff:127.0.0.1"


@pytest.fixture
def diag() -> Iterator[SocketDiag]:
    kernel = SocketDiag()
    if not kernel.supports(TCP) or not kernel.supports(UDP):
        pytest.skip("this kernel has no tcp_diag or udp_diag")
    yield kernel
    kernel.close()


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def found(diag: SocketDiag, key: FiveTuple) -> int:
    (result,) = diag.find([key])
    return 0 if result is None else result.inode


def listener(host: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    sock.listen()
    return sock


def datagram(host: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    return sock


@pytest.mark.parametrize(
    ("family", "host", "address"), [(socket.AF_INET, "127.0.0.1", LOOPBACK4), (socket.AF_INET6, "::1", LOOPBACK6)]
)
def test_both_ends_of_a_connection_are_told_apart(
    diag: SocketDiag, family: socket.AddressFamily, host: str, address: bytes
) -> None:
    with (
        listener(host, family) as server,
        socket.create_connection((host, port(server))) as client,
        server.accept()[0] as accepted,
    ):
        ours = FiveTuple(TCP, address, port(client), address, port(server))
        theirs = FiveTuple(TCP, address, port(server), address, port(client))
        assert (found(diag, ours), found(diag, theirs)) == (inode(client), inode(accepted))


def test_an_ipv6_socket_that_serves_ipv4_is_found_by_its_ipv4_address(diag: SocketDiag) -> None:
    with listener("::", socket.AF_INET6) as server, socket.socket(socket.AF_INET6) as client:
        client.connect((V4_MAPPED, port(server)))
        assert found(diag, FiveTuple(TCP, LOOPBACK4, port(client), LOOPBACK4, port(server))) == inode(client)


def test_a_connection_from_outside_belongs_to_its_listener_until_it_is_accepted(diag: SocketDiag) -> None:
    with listener("127.0.0.1") as server, socket.create_connection(("127.0.0.1", port(server))) as client:
        key = FiveTuple(TCP, LOOPBACK4, port(server), LOOPBACK4, port(client))
        assert found(diag, key) == inode(server)
        with server.accept()[0] as accepted:
            assert found(diag, key) == inode(accepted)
        assert found(diag, key._replace(remote_port=9)) == inode(server)


def test_an_orphaned_connection_has_no_owner_though_its_port_has_a_listener(diag: SocketDiag) -> None:
    with listener("127.0.0.1") as server, socket.create_connection(("127.0.0.1", port(server))) as client:
        key = FiveTuple(TCP, LOOPBACK4, port(server), LOOPBACK4, port(client))
        server.accept()[0].close()
        assert found(diag, key) == 0


def test_a_closed_connection_in_time_wait_has_no_owner(diag: SocketDiag) -> None:
    with listener("127.0.0.1") as server:
        client = socket.create_connection(("127.0.0.1", port(server)))
        accepted, _ = server.accept()
        key = FiveTuple(TCP, LOOPBACK4, port(client), LOOPBACK4, port(server))
        client.close()
        accepted.close()
    assert found(diag, key) == 0


def test_a_connected_udp_socket_is_found(diag: SocketDiag) -> None:
    with datagram("127.0.0.1") as sock:
        sock.connect(("127.0.0.9", 5000))
        assert found(diag, FiveTuple(UDP, LOOPBACK4, port(sock), OTHER4, 5000)) == inode(sock)


def test_an_unconnected_udp_socket_bound_to_every_address_is_found_whatever_the_address(diag: SocketDiag) -> None:
    with datagram("0.0.0.0") as sock:
        for local in (LOOPBACK4, OTHER4):
            assert found(diag, FiveTuple(UDP, local, port(sock), ANYWHERE4, 53)) == inode(sock)


def test_an_ipv6_udp_socket_bound_to_every_address_is_found_for_ipv4_too(diag: SocketDiag) -> None:
    with datagram("::", socket.AF_INET6) as sock:
        assert found(diag, FiveTuple(UDP, LOOPBACK4, port(sock), ANYWHERE4, 53)) == inode(sock)
        assert found(diag, FiveTuple(UDP, LOOPBACK6, port(sock), LOOPBACK6, 53)) == inode(sock)


def test_of_two_udp_sockets_on_a_port_the_more_exactly_bound_one_is_found(diag: SocketDiag) -> None:
    with datagram("127.0.0.1") as exact, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.9", port(exact)))
        assert found(diag, FiveTuple(UDP, LOOPBACK4, port(exact), ANYWHERE4, 53)) == inode(exact)
        assert found(diag, FiveTuple(UDP, OTHER4, port(exact), ANYWHERE4, 53)) == inode(other)


def test_a_connected_udp_socket_that_sends_elsewhere_is_still_found(diag: SocketDiag) -> None:
    with datagram("127.0.0.1") as sock:
        sock.connect(("127.0.0.9", 5000))
        assert found(diag, FiveTuple(UDP, LOOPBACK4, port(sock), OTHER4, 5001)) == inode(sock)


def test_a_foreign_udp_port_on_the_same_address_is_not_found(diag: SocketDiag) -> None:
    with datagram("127.0.0.9") as sock:
        assert found(diag, FiveTuple(UDP, LOOPBACK4, port(sock), ANYWHERE4, 53)) == 0


@pytest.mark.root
def test_sockets_bound_to_an_adapter_are_found(diag: SocketDiag) -> None:
    with listener("127.0.0.1") as server, socket.socket() as client, datagram("127.0.0.1") as sender:
        for sock in (client, sender):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        client.connect(("127.0.0.1", port(server)))
        assert found(diag, FiveTuple(TCP, LOOPBACK4, port(client), LOOPBACK4, port(server))) == inode(client)
        assert found(diag, FiveTuple(UDP, LOOPBACK4, port(sender), ANYWHERE4, 53)) == inode(sender)


def test_more_flows_than_one_request_holds_are_answered_in_order(diag: SocketDiag) -> None:
    sockets = [datagram("127.0.0.1") for _ in range(100)]
    try:
        keys = [FiveTuple(UDP, LOOPBACK4, port(sock), ANYWHERE4, 53) for sock in sockets]
        # every third flow has no socket
        asked = [key if i % 3 else key._replace(local=OTHER4) for i, key in enumerate(keys)]
        expected = [inode(sock) if i % 3 else 0 for i, sock in enumerate(sockets)]
        assert [0 if answer is None else answer.inode for answer in diag.find(asked)] == expected
    finally:
        for sock in sockets:
            sock.close()


def test_a_listener_and_a_bound_udp_socket_are_seen_in_their_states(diag: SocketDiag) -> None:
    with listener("127.0.0.1") as server, datagram("127.0.0.1") as sock:
        tcp = diag.listening(FiveTuple(TCP, LOOPBACK4, port(server), LOOPBACK4, 0))
        udp = diag.listening(FiveTuple(UDP, LOOPBACK4, port(sock), LOOPBACK4, 0))
        assert tcp is not None
        assert udp is not None
        assert (tcp.state, udp.state) == (LISTEN, CLOSE)
        assert diag.listening(FiveTuple(TCP, OTHER4, port(server), LOOPBACK4, 0)) is None


def test_a_protocol_the_kernel_cannot_look_up_is_reported(diag: SocketDiag) -> None:
    assert diag.supports(TCP)
    assert not diag.supports(254)  # reserved for experiments, RFC 3692


@given(st.binary(max_size=120))
def test_no_answer_raises(body: bytes) -> None:
    parsed = parse_answer(body)
    assert (parsed is None) == (len(body) < 72)
