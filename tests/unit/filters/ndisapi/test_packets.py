"""Blocks of packets and their requests."""

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.packets import (
    CAPACITY,
    STRIDE,
    PacketBlock,
    checked_length,
    is_sound,
)
from wiresock_py.filters.ndisapi.raw.structures import (
    ETH_M_REQUEST,
    INTERMEDIATE_BUFFER,
    UNSORTED_READ_SEND_REQUEST,
)

HANDLE = 0xFFFF_A000_0000_0010
frames = st.binary(min_size=14, max_size=1514)


def pointers(address: int, count: int) -> list[int]:
    return list(struct.unpack(f"<{count}Q", ctypes.string_at(address, 8 * count)))


@given(st.lists(frames, max_size=4), st.sampled_from([Direction.SEND, Direction.RECEIVE]), st.integers(0, 2**32 - 1))
def test_a_block_holds_the_drivers_structures(contents: list[bytes], direction: Direction, vlan: int) -> None:
    block = PacketBlock(4)
    for content in contents:
        block.append(content, direction, HANDLE, vlan)
    assert len(block) == len(contents)
    for i, content in enumerate(contents):
        raw = INTERMEDIATE_BUFFER.from_buffer(block.data, i * STRIDE)
        assert (raw.m_hAdapter, raw.m_dwDeviceFlags, raw.m_Length) == (HANDLE, direction, len(content))
        assert (raw.m_8021q, raw.m_Flags, raw.m_FilterID, bytes(raw.m_Reserved)) == (vlan, 0, 0, bytes(16))
        assert bytes(raw.m_IBuffer[: raw.m_Length]) == content == bytes(block.frame(i))
        assert (block.adapter(i), block.direction(i), block.length(i)) == (HANDLE, direction, len(content))


def test_a_new_packet_leaves_nothing_of_the_earlier_header() -> None:
    block = PacketBlock(1)
    block.data[:52] = b"\xff" * 52
    block.put(0, bytes(14))
    assert bytes(block.data[:52]) == struct.pack("<QQII28x", 0, 0, Direction.SEND, 14)


def test_a_frame_is_changed_in_place() -> None:
    block = PacketBlock(2)
    block.append(bytes(60))
    block.frame(0)[:6] = b"abcdef"
    block.set_length(0, 20)
    block.set_adapter(0, HANDLE)
    assert bytes(block.frame(0)) == b"abcdef" + bytes(14)
    assert block.adapter(0) == HANDLE


@pytest.mark.parametrize("length", [0, 13, 1515, 9014])
def test_a_frame_the_driver_does_not_take_is_refused_with_the_remedy(length: int) -> None:
    block = PacketBlock(1)
    with pytest.raises(BackendError, match=f"a frame of {length} bytes: the driver takes 14 to 1514") as caught:
        block.append(bytes(length))
    assert "fragment" in caught.value.remedy
    assert len(block) == 0
    assert not is_sound(length)


@pytest.mark.parametrize("length", [14, 1514])
def test_the_smallest_and_the_largest_frame_are_taken(length: int) -> None:
    assert checked_length(length) == length
    assert is_sound(length)


def test_a_full_block_takes_no_more_until_it_is_cleared() -> None:
    block = PacketBlock(1)
    block.append(bytes(14))
    with pytest.raises(BackendError, match="it holds 1 packets"):
        block.append(bytes(14))
    block.clear()
    block.append(bytes(15))
    assert block.length(0) == 15


def test_a_length_that_cannot_be_does_not_reach_beyond_the_buffer() -> None:
    block = PacketBlock(1)
    struct.pack_into("<I", block.data, 20, 2**32 - 1)
    assert block.length(0) == 2**32 - 1
    assert len(block.frame(0)) == 1514


def test_a_read_request_offers_every_buffer_and_is_one_page_long() -> None:
    block = PacketBlock()
    address, size = block.read_request(HANDLE)
    assert size == 4096
    request = ETH_M_REQUEST.from_address(address)
    assert (request.hAdapterHandle, request.dwPacketsNumber, request.dwPacketsSuccess) == (HANDLE, CAPACITY, 0)
    base = ctypes.addressof(ctypes.c_uint8.from_buffer(block.data))
    assert pointers(address + 16, CAPACITY) == [base + i * STRIDE for i in range(CAPACITY)]


def test_a_read_request_begins_anew_each_time() -> None:
    block = PacketBlock(3)
    request = ETH_M_REQUEST.from_address(block.read_request(HANDLE).address)
    request.dwPacketsSuccess = 2
    assert block.was_read() == len(block) == 2
    block.read_request(HANDLE)
    assert request.dwPacketsSuccess == 0


def test_more_packets_than_there_is_room_for_are_not_believed() -> None:
    block = PacketBlock(3)
    ETH_M_REQUEST.from_address(block.read_request(HANDLE).address).dwPacketsSuccess = 1000
    assert block.was_read() == 3


@given(st.integers(1, 6), st.data())
def test_a_send_request_points_at_the_chosen_packets_in_order(count: int, data: st.DataObject) -> None:
    block = PacketBlock(6)
    for _ in range(count):
        block.append(bytes(14))
    indices = data.draw(st.none() | st.lists(st.integers(0, count - 1), max_size=6))
    address, size = block.send_request(HANDLE, indices)
    chosen = list(range(count)) if indices is None else indices
    assert size == 16 + 8 * len(chosen)
    assert ETH_M_REQUEST.from_buffer_copy(ctypes.string_at(address, 24)).dwPacketsNumber == len(chosen)
    base = ctypes.addressof(ctypes.c_uint8.from_buffer(block.data))
    assert pointers(address + 16, len(chosen)) == [base + i * STRIDE for i in chosen]


def test_more_indices_than_the_block_has_room_for_are_refused() -> None:
    block = PacketBlock(2)
    block.append(bytes(14))
    with pytest.raises(ValueError, match="block of 2 packets cannot send 3"):
        block.send_request(HANDLE, [0, 0, 0])


def test_unsorted_requests_point_at_an_array_of_pointers() -> None:
    block = PacketBlock(4)
    block.append(bytes(14))
    block.append(bytes(14))
    base = ctypes.addressof(ctypes.c_uint8.from_buffer(block.data))
    address, size = block.unsorted_send_request([1])
    assert size == ctypes.sizeof(UNSORTED_READ_SEND_REQUEST)
    request = UNSORTED_READ_SEND_REQUEST.from_address(address)
    assert request.packets_num == 1
    assert pointers(request.packets, 1) == [base + STRIDE]
    block.unsorted_read_request()
    assert request.packets_num == block.unsorted_done() == 4
    assert pointers(request.packets, 4) == [base + i * STRIDE for i in range(4)]
