import errno
import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.netlink import (
    DONE,
    ERROR,
    HEADER,
    Netlink,
    NetlinkError,
    attributes,
    error_code,
    message,
    messages,
    open_socket,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="for other systems: netlink is Linux's")
RTM_GETLINK = 18
NETLINK_ROUTE = 0
LINK_REQUEST = struct.Struct("=BxHiII")


@given(st.lists(st.tuples(st.integers(16, 60_000), st.integers(0, 2**31), st.binary(max_size=40)), max_size=6))
def test_messages_read_back_what_was_put_together(parts: list[tuple[int, int, bytes]]) -> None:
    datagram = b"".join(message(kind, 1, sequence, body) for kind, sequence, body in parts)
    assert list(messages(datagram)) == parts


@given(st.binary(max_size=200))
def test_no_datagram_raises_or_runs_for_ever(datagram: bytes) -> None:
    assert len(list(messages(datagram))) <= len(datagram) // HEADER.size + 1
    attributes(datagram, 0)


def test_a_message_cut_short_ends_the_reading() -> None:
    datagram = message(20, 0, 1, b"whole") + message(20, 0, 2, b"cut short")[:-4]
    assert [sequence for _, sequence, _ in messages(datagram)] == [1]


def test_attributes_are_read_by_type_without_their_flags() -> None:
    nested = struct.pack("=HH3s", 7, 0x8000 | 5, b"abc") + b"\0" + struct.pack("=HHI", 8, 6, 1)
    assert attributes(b"head" + nested, 4) == {5: b"abc", 6: struct.pack("=I", 1)}


def test_an_error_message_carries_the_errno() -> None:
    assert error_code(struct.pack("=i", -errno.EPERM) + b"the request") == errno.EPERM


@linux
def test_a_dump_gives_every_object() -> None:
    with Netlink(NETLINK_ROUTE) as kernel:
        links = kernel.dump(RTM_GETLINK, LINK_REQUEST.pack(0, 0, 0, 0, 0))
    assert {LINK_REQUEST.unpack_from(body)[2] for _, body in links} == {index for index, _ in socket.if_nameindex()}


@linux
def test_requests_are_answered_in_order_and_none_where_there_is_nothing() -> None:
    loopback = socket.if_nametoindex("lo")
    request = LINK_REQUEST.pack(0, 0, loopback, 0, 0)
    with Netlink(NETLINK_ROUTE) as kernel:
        first, second = kernel.ask(RTM_GETLINK, [request, request])
    for answer in (first, second):
        assert answer is not None
        assert LINK_REQUEST.unpack_from(answer)[2] == loopback


@linux
def test_a_refusal_names_its_cause() -> None:
    with Netlink(NETLINK_ROUTE) as kernel, pytest.raises(NetlinkError, match="ENODEV") as caught:
        kernel.ask(RTM_GETLINK, [LINK_REQUEST.pack(0, 0, 0x7FFF_FFFF, 0, 0)])
    assert caught.value.errno == errno.ENODEV


@linux
def test_answers_to_earlier_requests_are_passed_over() -> None:
    loopback = LINK_REQUEST.pack(0, 0, socket.if_nametoindex("lo"), 0, 0)
    with Netlink(NETLINK_ROUTE) as kernel:
        kernel._socket.send(message(RTM_GETLINK, 1, 0x7FFF_0000, loopback))  # nobody waits for this answer
        assert kernel.ask(RTM_GETLINK, [loopback])[0] is not None
        kernel._socket.send(message(RTM_GETLINK, 1, 0x7FFF_0001, loopback))
        assert len(kernel.dump(RTM_GETLINK, LINK_REQUEST.pack(0, 0, 0, 0, 0))) == len(socket.if_nameindex())


@linux
def test_sequence_numbers_start_over_before_they_overflow() -> None:
    loopback = LINK_REQUEST.pack(0, 0, socket.if_nametoindex("lo"), 0, 0)
    with Netlink(NETLINK_ROUTE) as kernel:
        kernel._sequence = 0x7FFF_FFFF
        assert kernel.ask(RTM_GETLINK, [loopback])[0] is not None
        assert kernel._sequence == 1


@pytest.mark.skipif(sys.platform == "linux", reason="for other systems: Linux has netlink")
def test_elsewhere_the_error_names_the_system() -> None:
    with pytest.raises(NetlinkError, match=sys.platform):
        open_socket(NETLINK_ROUTE)


def test_result_messages_are_told_apart() -> None:
    assert {ERROR, DONE} == {2, 3}
