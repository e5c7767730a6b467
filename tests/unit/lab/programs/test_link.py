"""wiresock_py.lab.programs.link: the fate of frames, on a clock of the test's own."""

import random

import pytest

from wiresock_py.lab.programs.link import QUEUE_LIMIT, Direction, Impairment

FRAMES = [bytes([number % 256]) * 60 for number in range(1000)]


def direction(seed: int = 1, **what: float) -> Direction:
    return Direction(Impairment(**what), random.Random(seed))


def through(cable: Direction, frames: list[bytes] = FRAMES) -> list[bytes]:
    for number, frame in enumerate(frames):
        cable.put(frame, number * 0.001)
    return cable.take(1e9)


def test_an_unimpaired_cable_carries_everything_in_order_at_once() -> None:
    cable = direction()
    for frame in FRAMES:
        cable.put(frame, 5.0)
        assert cable.take(5.0) == [frame]
    assert cable.due() is None
    assert cable.counters["sent"] == len(FRAMES)


@pytest.mark.parametrize(("knob", "counter"), [("loss", "lost"), ("duplicate", "duplicated"), ("corrupt", "corrupted")])
def test_as_many_frames_suffer_as_the_probability_says(knob: str, counter: str) -> None:
    cable = Direction(Impairment(**{knob: 0.2}), random.Random(1))
    out = through(cable)
    suffered = cable.counters[counter]
    assert suffered == pytest.approx(200, abs=50)
    assert len(out) == len(FRAMES) + {"loss": -suffered, "duplicate": suffered}.get(knob, 0)
    assert sum(frame not in FRAMES for frame in out) == (suffered if knob == "corrupt" else 0)


def test_certain_means_every_one() -> None:
    assert through(direction(loss=1.0)) == []
    assert through(direction(duplicate=1.0)) == [frame for frame in FRAMES for _ in range(2)]


def test_one_bit_is_turned_over_behind_the_ethernet_header() -> None:
    frame = bytes(60)
    for seed in range(50):
        (bent,) = through(direction(seed, corrupt=1.0), [frame])
        assert bent[:14] == frame[:14]
        assert sum(byte.bit_count() for byte in bent) == 1


def test_delay_holds_every_frame_for_so_long() -> None:
    cable = direction(delay=0.5)
    cable.put(b"frame", 10.0)
    assert cable.due() == 10.5
    assert cable.take(10.49) == []
    assert cable.take(10.5) == [b"frame"]


def test_jitter_varies_the_delay_and_keeps_the_order() -> None:
    cable = direction(delay=0.1, jitter=0.05)
    dues = []
    for number in range(100):
        cable.put(bytes([number]), 0.0)
    while (due := cable.due()) is not None:
        dues.append(due)
        cable.take(due)
    assert 0.1 <= min(dues) < max(dues) <= 0.15
    assert through(direction(delay=0.1, jitter=0.05)) == FRAMES


def test_a_reordered_frame_is_overtaken_by_later_ones() -> None:
    cable = direction(reorder=0.3, reorder_by=0.0055)
    out = through(cable)
    assert sorted(out) == sorted(FRAMES)
    assert out != FRAMES
    assert cable.counters["reordered"] == pytest.approx(300, abs=60)


def test_the_same_seed_gives_the_same_fate_and_one_knob_leaves_the_others_alone() -> None:
    assert through(direction(7, loss=0.1, corrupt=0.1)) == through(direction(7, loss=0.1, corrupt=0.1))
    assert through(direction(7, loss=0.1)) != through(direction(8, loss=0.1))
    lost_alone = direction(7, loss=0.1)
    with_more = direction(7, loss=0.1, duplicate=0.5, corrupt=0.5, delay=1.0)
    assert len(through(lost_alone)) == len(FRAMES) - lost_alone.counters["lost"]
    through(with_more)
    assert with_more.counters["lost"] == lost_alone.counters["lost"]


def test_a_cable_holds_only_so_many_frames() -> None:
    cable = direction(delay=1.0)
    for _ in range(QUEUE_LIMIT + 5):
        cable.put(b"frame", 0.0)
    assert cable.counters["overflow"] == 5
    assert len(cable.take(1.0)) == QUEUE_LIMIT
