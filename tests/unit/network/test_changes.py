import errno
import select
import socket
import struct
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.network.conftest import Run
from wiresock_py.errors import NetworkError
from wiresock_py.netlink import message
from wiresock_py.network.changes import Change, NetworkChanges, kinds

linux = pytest.mark.skipif(sys.platform != "linux", reason="for other systems: rtnetlink is Linux's")


def route(flags: int) -> bytes:
    return message(24, 0, 0, struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 0, 0, 1, flags))


def test_messages_are_told_apart_by_their_type() -> None:
    link, gone, address = message(16, 0, 0, bytes(16)), message(17, 0, 0, bytes(16)), message(21, 0, 0, bytes(8))
    assert kinds(link) == kinds(gone) == Change.LINK
    assert kinds(link + address + route(0)) == Change.ALL
    assert kinds(message(28, 0, 0, b"a neighbour")) == Change.NONE


def test_a_route_the_kernel_only_caches_is_no_change() -> None:
    assert kinds(route(0x200)) == Change.NONE
    assert kinds(route(0x200) + route(0)) == Change.ROUTE


@given(st.binary(max_size=200))
def test_no_news_raises(datagram: bytes) -> None:
    kinds(datagram)


@linux
def test_where_nothing_changes_the_wait_ends_with_none() -> None:
    with NetworkChanges() as changes:
        assert changes.wait(0) in Change.ALL  # the host may change at any time; here only that it returns


@linux
@pytest.mark.root
def test_links_addresses_and_routes_are_told(empty_network: Run) -> None:
    with NetworkChanges() as changes:
        assert changes.wait(0) == Change.NONE
        empty_network("ip link add wan0 type veth peer name wan0p")
        assert changes.wait(5) == Change.LINK
        empty_network("ip addr add 10.1.0.2/24 dev wan0")
        assert Change.ADDRESS in changes.wait(5)
        empty_network("ip link set wan0p up")
        empty_network("ip link set wan0 up")
        assert Change.LINK in changes.wait(5)
        while changes.wait(0.2):  # addresses the kernel gives the link by itself
            pass
        empty_network("ip route add 10.9.0.0/16 via 10.1.0.1")
        assert changes.wait(5) == Change.ROUTE
        assert select.select([changes], [], [], 0) == ([], [], [])


@linux
@pytest.mark.root
def test_a_change_wakes_the_thread_that_waits(empty_network: Run) -> None:
    seen: list[Change] = []
    with NetworkChanges() as changes:
        thread = threading.Thread(target=lambda: seen.append(changes.wait(10)))
        thread.start()
        empty_network("ip link add wan0 type veth peer name wan0p")
        thread.join(10)
    assert seen == [Change.LINK]


@linux
def test_news_the_kernel_threw_away_count_as_a_change_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [OSError(errno.ENOBUFS, "lost"), BlockingIOError()]

    class Overflowing(socket.socket):
        def recv(self, *_: object) -> bytes:
            raise losses.pop(0)

    with NetworkChanges() as changes:
        changes._socket.close()
        near, far = socket.socketpair()
        with far, Overflowing(fileno=near.detach()) as overflowing:
            far.send(b"x")
            changes._socket = overflowing
            assert changes.wait(1) == Change.ALL


@pytest.mark.skipif(sys.platform == "linux", reason="for other systems: Linux follows its changes")
def test_elsewhere_the_error_says_so() -> None:
    with pytest.raises(NetworkError, match=sys.platform):
        NetworkChanges()
