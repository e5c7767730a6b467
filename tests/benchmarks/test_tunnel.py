"""benchmarks.tunnel: every client has its turn in every round, and none is always the first."""

from collections import Counter

from benchmarks.tunnel import CASES, TITLES, turns


def test_each_round_has_every_client_once_and_begins_with_another() -> None:
    order = list(turns(["a", "b", "c"], 4))
    rounds = [order[start : start + 3] for start in range(0, 12, 3)]
    assert all(Counter(names) == Counter("abc") for names in rounds)
    assert [names[0] for names in rounds] == ["a", "b", "c", "a"]


def test_every_case_has_a_title() -> None:
    assert set(CASES) == set(TITLES)
