"""What the emulated driver does with a request's memory."""

import ctypes

import pytest

from wiresock_py.filters.ndisapi.emulator.memory import (
    Call,
    RefusedError,
    entry,
    pointed_to,
    read_buffer,
    write_buffer,
)
from wiresock_py.filters.ndisapi.raw.structures import (
    ADAPTER_MODE,
    INTERMEDIATE_BUFFER,
    UNSORTED_READ_SEND_REQUEST,
)


def test_a_request_that_is_too_short_is_refused() -> None:
    mode = ADAPTER_MODE(hAdapterHandle=1, dwFlags=3)
    assert Call(ctypes.addressof(mode), 12, 0, 0).structure(ADAPTER_MODE).dwFlags == 3
    with pytest.raises(RefusedError, match="87"):
        Call(ctypes.addressof(mode), 11, 0, 0).structure(ADAPTER_MODE)
    nothing = Call(0, 0, 0, 0)
    with pytest.raises(RefusedError, match="87"):
        nothing.u32()
    with pytest.raises(RefusedError, match="87"):
        nothing.u64()
    with pytest.raises(RefusedError, match="87"):
        nothing.tail(0, 1)


def test_an_answer_that_does_not_fit_is_refused_and_nothing_written() -> None:
    room = (ctypes.c_uint8 * 4)()
    with pytest.raises(RefusedError, match="122"):
        Call(0, 0, ctypes.addressof(room), 3).give(b"abcd")
    assert bytes(room) == bytes(4)
    assert Call(0, 0, ctypes.addressof(room), 4).give(b"abcd") == 4
    assert bytes(room) == b"abcd"


def test_a_queued_packet_comes_out_of_the_clients_buffer_as_it_went_in() -> None:
    buffer = INTERMEDIATE_BUFFER()
    address = ctypes.addressof(buffer)
    write_buffer(address, 0x1234, entry(b"x" * 60, 2, 0x8001, 5))
    assert (buffer.m_hAdapter, buffer.m_dwDeviceFlags, buffer.m_Length) == (0x1234, 2, 60)
    assert (buffer.m_8021q, buffer.m_FilterID, buffer.m_Flags) == (0x8001, 5, 0)
    assert read_buffer(address) == (0x1234, b"x" * 60)


@pytest.mark.parametrize("length", [0, 1515, 2**32 - 1])
def test_a_buffer_with_an_impossible_length_is_refused(length: int) -> None:
    buffer = INTERMEDIATE_BUFFER(m_Length=length)
    with pytest.raises(RefusedError, match="87"):
        read_buffer(ctypes.addressof(buffer))


def test_null_pointers_are_refused() -> None:
    with pytest.raises(RefusedError, match="87"):
        read_buffer(0)
    with pytest.raises(RefusedError, match="87"):
        pointed_to(UNSORTED_READ_SEND_REQUEST(packets_num=3))
