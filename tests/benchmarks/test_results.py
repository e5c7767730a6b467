"""benchmarks.results: what is compared are medians, of runs that are kept as they were."""

from pathlib import Path

import pytest

from benchmarks.results import Results, Run
from wiresock_py.lab import LabError


def results(**figures: list[float]) -> Results:
    """Runs of the subjects named, one for each value."""
    made = Results()
    made.runs = [Run("tunnel", name, "up", {"mbit": value}) for name, values in figures.items() for value in values]
    return made


def test_a_median_is_not_moved_by_one_bad_run() -> None:
    assert results(ours=[900.0, 10.0, 1000.0]).median("tunnel", "ours", "up", "mbit") == 900


def test_a_ratio_is_that_of_the_medians() -> None:
    found = results(ours=[100.0, 300.0, 200.0], theirs=[50.0, 400.0, 100.0])
    assert found.ratio("tunnel", "ours", "theirs", "up", "mbit") == 2


@pytest.mark.parametrize(("ours", "theirs"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_there_is_no_ratio_to_what_was_not_measured(ours: list[float], theirs: list[float]) -> None:
    assert results(ours=ours, theirs=theirs).ratio("tunnel", "ours", "theirs", "up", "mbit") is None


def test_a_figure_that_was_not_taken_has_no_median() -> None:
    assert results(ours=[1.0]).median("tunnel", "ours", "up", "lost") is None
    assert results(ours=[1.0]).median("tunnel", "ours", "down", "mbit") is None


def test_subjects_and_cases_keep_the_order_of_measurement() -> None:
    found = Results()
    found.runs = [Run("a", name, case, {}) for case in ("up", "down") for name in ("z", "b", "z")]
    assert found.subjects("a") == ["z", "b"]
    assert found.cases("a") == ["up", "down"]
    assert found.subjects("another") == []


def test_runs_are_noted_as_they_come() -> None:
    found = Results()
    coming = found.add(iter([Run("a", "b", "c", {"d": 1.0})]))
    assert found.runs == []
    assert next(coming) is found.runs[0]


def test_what_fails_is_named_with_its_remedy_and_the_rest_goes_on() -> None:
    found = Results()
    with found.excusing("tunnel boringtun"):
        raise LabError("no cargo", "install it")
    assert found.missing == {"tunnel boringtun": "no cargo; install it"}
    with pytest.raises(ZeroDivisionError), found.excusing("a mistake of ours"):
        raise ZeroDivisionError


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    found = Results({"cores": 2}, {"rounds": 3}, {"head": "v1"}, {"native": "none"}, results(ours=[1.5, 2.0]).runs)
    found.save(tmp_path / "below" / "results.json")
    assert Results.load(tmp_path / "below" / "results.json") == found
