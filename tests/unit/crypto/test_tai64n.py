from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.crypto.tai64n import NO_TIMESTAMP, Stamps, stamp

SECOND = 1_000_000_000


class Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def test_every_stamp_is_greater_than_no_timestamp() -> None:
    assert stamp(0) > NO_TIMESTAMP
    assert stamp(-SECOND) > NO_TIMESTAMP


def test_stamps_go_on_when_the_wall_clock_is_set_back() -> None:
    clock = Clock(1_750_000_000 * SECOND)
    stamps = Stamps(clock)
    before = stamps.next()
    clock.now -= 86_400 * SECOND
    first, second = stamps.next(), stamps.next()
    assert before < first < second
    # by no more than they must: a clock that is right again is believed at once
    clock.now += 86_401 * SECOND
    assert stamps.next() == stamp(clock.now)


def test_stamps_within_one_step_of_the_clock_still_grow() -> None:
    stamps = Stamps(Clock(SECOND - 1))
    seen = [stamps.next() for _ in range(200)]
    assert seen == sorted(set(seen))


def test_stamps_stay_whitened_when_they_run_ahead() -> None:
    stamps = Stamps(Clock(0))
    for _ in range(200):
        nanoseconds = int.from_bytes(stamps.next()[8:], "big")
        assert nanoseconds < SECOND
        assert nanoseconds % 2**24 == 0


def test_stamps_continue_those_of_an_earlier_run() -> None:
    kept = stamp(1_800_000_000 * SECOND)
    assert Stamps(Clock(1_750_000_000 * SECOND), kept).next() > kept


@given(st.lists(st.integers(0, 2**62), min_size=1))
def test_stamps_strictly_grow_whatever_the_clock_says(times: list[int]) -> None:
    clock = Clock(0)
    stamps = Stamps(clock)
    last = NO_TIMESTAMP
    for clock.now in times:
        now = stamps.next()
        assert now > last
        last = now


def test_a_later_time_never_has_a_smaller_stamp() -> None:
    times = [0, 1, 2**24 - 1, 2**24, SECOND - 1, SECOND, SECOND + 1]
    stamps = [stamp(time) for time in times]
    assert stamps == sorted(stamps)
