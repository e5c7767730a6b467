"""The socket to the peers, against real sockets on loopback."""

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.datapaths import NOT_BUILT
from wiresock_py.datapath import NATIVE
from wiresock_py.engine.udp import SINGLE_RUNS, Endpoint, Received, UdpSocket
from wiresock_py.errors import NetworkError

linux = pytest.mark.skipif(sys.platform != "linux", reason="for other systems: UDP_SEGMENT and UDP_GRO are Linux's")


@pytest.fixture(params=["python", "native"])
def compiled(request: pytest.FixtureRequest) -> bool:
    """Every test runs with the system calls of each data path."""
    if request.param == "native" and sys.platform != "linux":
        pytest.skip("for other systems: the compiled system calls are Linux's")
    if request.param == "native" and NATIVE is None:
        pytest.skip(NOT_BUILT)
    return bool(request.param == "native")


@pytest.fixture
def sender(compiled: bool) -> Iterator[UdpSocket]:
    opened = UdpSocket(compiled=compiled)
    yield opened
    opened.close()


@pytest.fixture
def receiver(compiled: bool) -> Iterator[UdpSocket]:
    opened = UdpSocket(compiled=compiled)
    yield opened
    opened.close()


def take(opened: UdpSocket, total: int) -> list[tuple[bytes, int, Endpoint]]:
    """What arrives until *total* bytes are there."""
    buffer = memoryview(bytearray(65_536))
    found: list[tuple[bytes, int, Endpoint]] = []
    while total > 0:
        received = opened.receive_into(buffer, 2.0)
        assert received is not None, f"{total} bytes are missing"
        found.append((bytes(buffer[: received.size]), received.segment_size, received.source))
        total -= received.size
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_datagram_arrives_with_the_senders_endpoint(sender: UdpSocket, receiver: UdpSocket, address: str) -> None:
    assert sender.send_run(b"hello", 1500, Endpoint(address, receiver.port)) == 1
    assert take(receiver, 5) == [(b"hello", 5, Endpoint(address, sender.port))]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_run_arrives_cut_at_the_segment_size(sender: UdpSocket, receiver: UdpSocket, address: str) -> None:
    data = bytes(range(250)) * 20  # three segments of 1452 and one of 644
    assert sender.send_run(data, 1452, (address, receiver.port)) == 4
    pieces: list[bytes] = []
    for content, segment_size, _source in take(receiver, len(data)):
        pieces += [content[at : at + segment_size] for at in range(0, len(content), segment_size)]
    assert [len(piece) for piece in pieces] == [1452, 1452, 1452, 644]
    assert b"".join(pieces) == data


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_runs_arrive_one_after_the_other(sender: UdpSocket, receiver: UdpSocket, address: str) -> None:
    data = bytes(range(256)) * 20
    sender.send_runs(
        memoryview(data), [(0, 2500, 1000), (2500, 2600, 100), (2600, 5120, 1200)], Endpoint(address, receiver.port)
    )
    found = take(receiver, len(data))
    assert b"".join(piece for piece, *_ in found) == data
    assert {source for *_, source in found} == {Endpoint(address, sender.port)}


@linux
def test_a_run_is_one_send_and_one_receive_where_the_kernel_can(sender: UdpSocket, receiver: UdpSocket) -> None:
    data = bytes(64_000)
    assert sender.send_run(data, 1000, ("127.0.0.1", receiver.port)) == 64
    assert [(len(content), size) for content, size, _source in take(receiver, len(data))] == [(64_000, 1000)]


@linux
def test_a_plain_socket_sees_the_single_datagrams_of_a_run(sender: UdpSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        plain.settimeout(2)
        assert sender.send_run(bytes(2500), 1000, plain.getsockname()) == 3
        assert [len(plain.recv(4096)) for _ in range(3)] == [1000, 1000, 500]


def test_ipv4_endpoints_are_never_written_as_mapped_addresses(sender: UdpSocket, receiver: UdpSocket) -> None:
    sender.send_run(b"x", 10, ("127.0.0.1", receiver.port))
    ((_content, _size, source),) = take(receiver, 1)
    assert source == ("127.0.0.1", sender.port)
    assert hash(source) == hash(("127.0.0.1", sender.port))
    assert receiver.send_run(b"answer", 10, source) == 1
    assert take(sender, 6)[0][2] == ("127.0.0.1", receiver.port)


def test_a_port_in_use_is_named_with_a_remedy() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        with pytest.raises(NetworkError, match=f"UDP port {port} is in use") as caught:
            UdpSocket(port)
    assert "ListenPort" in caught.value.remedy


def test_a_chosen_port_is_the_one_bound() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    opened = UdpSocket(port)
    try:
        assert opened.port == port
    finally:
        opened.close()


def gathered(plain: list[tuple[bytes, socket.socket]], receiver: UdpSocket) -> list[tuple[bytes, int]]:
    """What a roomy receiver makes of datagrams that wait already: (bytes, segment size) of each receive."""
    for data, sending in plain:
        sending.sendto(data, ("127.0.0.1", receiver.port))
    buffer = memoryview(bytearray(3 * 65_535))
    found = []
    while received := receiver.receive_into(buffer, 0.05):
        found.append((bytes(buffer[: received.size]), received.segment_size))
    return found


def test_waiting_datagrams_of_one_size_come_together_with_a_shorter_last(receiver: UdpSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        data = [bytes([number]) * 1000 for number in range(5)] + [b"x" * 10, b"y" * 10]
        assert gathered([(each, one) for each in data], receiver) == [
            (b"".join(data[:6]), 1000),
            (data[6], 10),
        ]


def test_waiting_datagrams_of_two_sources_stay_apart(receiver: UdpSocket) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        assert gathered([(b"a" * 100, one), (b"b" * 100, other), (b"c" * 100, one)], receiver) == [
            (b"a" * 100, 100),
            (b"b" * 100, 100),
            (b"c" * 100, 100),
        ]


def test_a_larger_datagram_begins_anew(receiver: UdpSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        assert gathered([(b"a" * 100, one), (b"b" * 200, one), (b"c" * 200, one)], receiver) == [
            (b"a" * 100, 100),
            (b"b" * 200 + b"c" * 200, 200),
        ]


def test_empty_datagrams_come_one_by_one(receiver: UdpSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for data in (b"", b"", b"x", b"", b""):
            plain.sendto(data, ("127.0.0.1", receiver.port))
    buffer = memoryview(bytearray(3 * 65_535))
    sizes = []
    while (received := receiver.receive_into(buffer, 0.1)) is not None:
        sizes.append(received.size)
    assert sizes == [0, 0, 1, 0]  # the empty one behind "x" is its shorter last


def test_nothing_within_the_timeout_is_none(receiver: UdpSocket) -> None:
    assert receiver.receive_into(memoryview(bytearray(100)), 0.0) is None


def test_closing_wakes_a_waiting_receive(receiver: UdpSocket) -> None:
    results: list[Received | None] = []
    waiting = threading.Thread(target=lambda: results.append(receiver.receive_into(memoryview(bytearray(99)), 30)))
    waiting.start()
    receiver.close()
    waiting.join(5)
    assert results == [None]
    assert receiver.receive_into(memoryview(bytearray(99)), 30) is None


def test_close_may_be_repeated(receiver: UdpSocket) -> None:
    receiver.close()
    receiver.close()


class FailingSocket:
    """Stands for the kernel's refusals, which loopback does not give."""

    family = socket.AF_INET6

    def __init__(
        self, run_error: int | None = None, error: int | None = None, real: socket.socket | None = None
    ) -> None:
        """*real* is what a wait for room looks at."""
        self.run_error, self.error, self.real = run_error, error, real
        self.sent: list[int] = []
        self.runs = 0

    def sendmsg(self, data: tuple[bytes], *_rest: Any) -> int:
        self.runs += 1
        if self.run_error:
            raise OSError(self.run_error, "refused")
        return len(data[0])

    def sendto(self, data: memoryview, _address: object) -> int:
        if self.error:
            raise OSError(self.error, "refused")
        self.sent.append(len(data))
        return len(data)

    def fileno(self) -> int:
        return self.real.fileno() if self.real else -1

    def close(self) -> None:
        pass


@pytest.fixture
def replaced(sender: UdpSocket) -> Iterator[UdpSocket]:
    real = sender._socket
    yield sender
    sender._socket = real


@linux
def test_runs_that_the_kernel_refuses_go_datagram_by_datagram(sender: UdpSocket, receiver: UdpSocket) -> None:
    sender._refused_size, sender._patience = 0, SINGLE_RUNS
    sender.send_runs(memoryview(bytes(range(40))), [(0, 20, 10), (20, 40, 10)], Endpoint("127.0.0.1", receiver.port))
    assert sum(len(piece) for piece, *_ in take(receiver, 40)) == 40


@linux
@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_a_refused_run_goes_datagram_by_datagram(replaced: UdpSocket, code: int) -> None:
    kernel = FailingSocket(run_error=code)
    replaced._socket = kernel  # type: ignore[assignment] # the same methods
    for _ in range(2):
        assert replaced.send_run(bytes(2500), 1000, ("192.0.2.1", 9)) == 3
    assert kernel.sent == [1000, 1000, 500] * 2
    assert kernel.runs == 1, "the second run is not tried"
    assert replaced.statistics() == {"run_refused": 1}


@linux
def test_a_refused_size_leaves_smaller_runs_alone(replaced: UdpSocket) -> None:
    kernel = FailingSocket(run_error=errno.EMSGSIZE)
    replaced._socket = kernel  # type: ignore[assignment] # the same methods
    replaced.send_run(bytes(3000), 1500, ("192.0.2.1", 9))
    kernel.run_error = None
    assert replaced.send_run(bytes(3000), 1400, ("192.0.2.1", 9)) == 3
    assert kernel.runs == 2


@linux
def test_runs_are_tried_again_after_a_while(replaced: UdpSocket) -> None:
    kernel = FailingSocket(run_error=errno.EIO)
    replaced._socket = kernel  # type: ignore[assignment] # the same methods
    replaced.send_run(bytes(20), 10, ("192.0.2.1", 9))
    kernel.run_error = None
    for _ in range(SINGLE_RUNS):
        replaced.send_run(bytes(20), 10, ("192.0.2.1", 9))
    assert kernel.runs == 2


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOBUFS, "no_buffer"),
        (errno.EAGAIN, "no_buffer"),
        (errno.EWOULDBLOCK, "no_buffer"),
        (errno.EMSGSIZE, "too_big"),
        (errno.ECONNREFUSED, "unreachable"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EPERM, "refused_by_firewall"),
        (errno.EBADMSG, "not_sent"),
    ],
)
def test_what_the_network_does_is_counted_and_never_raised(replaced: UdpSocket, code: int, cause: str) -> None:
    kernel = FailingSocket(run_error=code, error=code, real=replaced._socket)
    replaced._socket = kernel  # type: ignore[assignment] # the same methods
    assert replaced.send_run(b"one", 100, ("192.0.2.1", 9)) == 0
    assert replaced.statistics() == {cause: 1}


def test_a_datagram_too_large_for_udp_is_counted(sender: UdpSocket) -> None:
    assert sender.send_run(bytes(65_508), 65_508, ("127.0.0.1", 9)) == 0
    assert sender.statistics() == {"too_big": 1}


@linux
def test_datagrams_larger_than_the_link_are_fragmented_not_refused(sender: UdpSocket, receiver: UdpSocket) -> None:
    assert sender.send_run(bytes(65_507), 65_507, ("127.0.0.1", receiver.port)) == 1
    assert len(take(receiver, 65_507)[0][0]) == 65_507


if sys.platform == "linux":
    from tests.backends.namespaces import Namespace, host_and_wire

    @pytest.fixture
    def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
        """A host, and a wire that has 203.0.113.1 and 2001:db8::1."""
        if os.geteuid() != 0:
            pytest.skip("namespaces need root")
        with host_and_wire() as found:
            yield found

    @pytest.mark.root
    @pytest.mark.parametrize("address", ["203.0.113.1", "2001:db8::1"])
    def test_a_run_of_datagrams_above_the_links_mtu_is_fragmented(
        namespaces: tuple[Namespace, Namespace], address: str
    ) -> None:
        host, wire = namespaces
        host.ip("link", "set", "eth0", "mtu", "1300")
        with wire.inside():
            receiver = UdpSocket()
        with host.inside():
            sender = UdpSocket()
        try:
            for _ in range(2):
                assert sender.send_run(bytes(3500), 1400, (address, receiver.port)) == 3
            assert sender.statistics() == {"run_refused": 1}
            assert sum(len(content) for content, _size, _source in take(receiver, 7000)) == 7000
        finally:
            sender.close()
            receiver.close()

    @pytest.mark.root
    def test_a_host_with_ipv6_switched_off_speaks_ipv4(namespaces: tuple[Namespace, Namespace]) -> None:
        host, wire = namespaces
        host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        with wire.inside():
            receiver = UdpSocket()
        with host.inside():
            sender = UdpSocket()
        try:
            assert sender.send_run(b"hello", 100, ("203.0.113.1", receiver.port)) == 1
            assert take(receiver, 5)[0][2] == ("10.77.0.2", sender.port)
            assert sender.send_run(b"hello", 100, ("2001:db8::1", receiver.port)) == 0
            assert sender.statistics() == {"unreachable": 1}
        finally:
            sender.close()
            receiver.close()

    @pytest.mark.root
    def test_its_datagrams_carry_the_mark(namespaces: tuple[Namespace, Namespace]) -> None:
        with namespaces[0].inside():
            opened = UdpSocket(mark=0x2000_0000)
        assert opened._socket.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 0x2000_0000
        opened.close()
