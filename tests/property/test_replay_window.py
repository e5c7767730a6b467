"""The replay window beside the plainest model of it: a set of all counters ever accepted."""

from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.crypto.replay import ReplayWindow

WINDOW = 8128
LIMIT = 2**64 - 2**13 - 1


class Model:
    def __init__(self) -> None:
        self.accepted: set[int] = set()

    def accept(self, counter: int) -> bool:
        greatest = max(self.accepted, default=-1)
        fresh = counter < LIMIT and counter not in self.accepted and counter >= greatest - WINDOW
        if fresh:
            self.accepted.add(counter)
        return fresh


# Jumps that land around what the ring does: within a word, a window, a ring, several rings
STEPS = st.one_of(
    st.integers(-3, 3),
    st.integers(-200, 200),
    st.integers(-9000, 9000),
    st.sampled_from(
        [sign * size + off for sign in (1, -1) for size in (64, 8064, 8128, 8192, 16384) for off in (-1, 0, 1)]
    ),
    st.integers(-50_000, 50_000),
)
STARTS = st.one_of(st.integers(0, 20_000), st.integers(LIMIT - 20_000, 2**64 - 1))


@given(STARTS, st.lists(STEPS, max_size=200))
def test_the_window_accepts_what_a_set_would(start: int, steps: list[int]) -> None:
    window, model = ReplayWindow(), Model()
    counter = start
    for step in [0, *steps]:
        counter = min(max(counter + step, 0), 2**64 - 1)
        expected = model.accept(counter)
        assert window.check(counter) == expected
        assert window.accept(counter) == expected
        assert window.greatest == max(model.accepted, default=-1)
        # go on from the greatest every now and then, so that steps are relative to the window's edge
        if step % 3 == 0 and model.accepted:
            counter = max(model.accepted)


@given(st.permutations(range(60)), st.integers(0, 3))
def test_any_order_of_a_short_run_is_accepted_once(order: list[int], repeats: int) -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in order)
    for _ in range(repeats):
        assert not any(window.accept(counter) for counter in order)
