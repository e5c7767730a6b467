"""The buffers of the batch functions."""

from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.datapath import Classified, DatagramBuffer, Opened, PacketDrop
from wiresock_py.datapath.batch import MAX_RUN_BYTES, MAX_RUN_SEGMENTS

Entered = list[tuple[int, int]]


@given(st.lists(st.tuples(st.integers(1, 200), st.sampled_from([48, 96, 512, 1420, 1452, 60_000, 65_507]))))
def test_runs_obey_udp_segment(entered: Entered) -> None:
    out = DatagramBuffer(16)
    sizes = []
    for count, size in entered:
        out.enter(count, size)
        sizes += [size] * count
    seen = []
    position = 0
    for start, end, segment in out.runs:
        assert start == position
        position = end
        assert end - start <= MAX_RUN_BYTES
        whole, rest = divmod(end - start, segment)
        assert whole + bool(rest) <= MAX_RUN_SEGMENTS
        seen += [segment] * whole + [rest] * bool(rest)
    assert seen == sizes
    assert position == out.end == sum(sizes)
    assert out.packets == len(sizes)


def test_equal_datagrams_share_a_run_and_a_shorter_one_ends_it() -> None:
    out = DatagramBuffer(16)
    for size in (96, 96, 80, 96, 112):
        out.enter(1, size)
    assert out.runs == [(0, 272, 96), (272, 368, 96), (368, 480, 112)]


def test_the_buffer_grows_and_keeps_what_it_holds() -> None:
    out = DatagramBuffer(10)
    out.reserve(10)
    out.view[:10] = b"0123456789"
    out.enter(1, 10)
    out.reserve(1000)
    assert len(out.view) >= 1010
    assert bytes(out.view[:10]) == b"0123456789"
    out.clear()
    assert (out.end, out.packets, out.runs) == (0, 0, [])
    grown = out.data
    out.reserve(1000)
    assert out.data is grown


def test_clearing_keeps_the_counters() -> None:
    for columns in (Classified(), DatagramBuffer(1), Opened()):
        columns.drops[PacketDrop.TOO_SHORT] += 1
        columns.clear()
        assert columns.drops[PacketDrop.TOO_SHORT] == 1
