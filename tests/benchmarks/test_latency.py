"""benchmarks.latency: quantiles of what was answered, and how much was not."""

import pytest

from benchmarks.latency import figures, quantile
from wiresock_py.lab import LabError


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (51, 100, 100)
    assert quantile([7.0], 0.99) == 7


def test_what_was_not_answered_is_lost_and_no_round_trip() -> None:
    assert figures([10.0, None, 30.0, 20.0]) == {"p50": 20, "p99": 30, "lost": 25}


def test_no_answer_at_all_is_no_figure() -> None:
    with pytest.raises(LabError, match="no round trip"):
        figures([None, None])
