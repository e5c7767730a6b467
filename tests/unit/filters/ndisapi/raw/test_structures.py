"""Structures."""

import ctypes

from wiresock_py.filters.ndisapi.raw.structures import FAST_IO_SECTION_HEADER, INTERMEDIATE_BUFFER, STRUCTURES


def test_a_structure_reads_its_fields_from_bytes_as_they_lie() -> None:
    content = bytearray(ctypes.sizeof(INTERMEDIATE_BUFFER))
    content[0:8] = (0xFFFF_A000_0000_0010).to_bytes(8, "little")
    content[20:24] = (60).to_bytes(4, "little")
    content[52:55] = b"abc"
    buffer = INTERMEDIATE_BUFFER.from_buffer(content)
    assert buffer.m_hAdapter == buffer.m_qLink.Flink == 0xFFFF_A000_0000_0010
    assert buffer.m_Length == 60
    assert bytes(buffer.m_IBuffer[:3]) == b"abc"


def test_the_joined_word_of_a_section_holds_both_of_its_halves() -> None:
    header = FAST_IO_SECTION_HEADER()
    header.fast_io_write_union.union_.join = 0x0001_0005
    assert header.fast_io_write_union.union_.split.number_of_packets == 5
    assert header.fast_io_write_union.union_.split.write_in_progress_flag == 1


def test_every_structure_is_listed_once() -> None:
    assert len({structure.__name__ for structure in STRUCTURES}) == len(STRUCTURES) == 42
