"""What counts as a cell's answers, and how the runs of two cells are paired."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.statistics import Outcomes
from analysis.statistics.outcomes import paired


def test_numbers_become_answers_and_rows_get_seeds():
    cell = Outcomes(np.array([[0, 1.0, 1], [1, 0, 0]]))
    assert cell.correct.dtype == bool
    assert cell.seeds == (0, 1)
    assert Outcomes(np.array([True, False])).correct.shape == (1, 2)


@pytest.mark.parametrize(
    ("correct", "seeds", "message"),
    [
        ([[0, 2]], (), "other than 0 and 1"),
        ([[70.4, 71.0]], (), "other than 0 and 1"),
        ([[0, np.nan]], (), "other than 0 and 1"),
        (np.zeros((2, 0)), (), r"shape \(2, 0\)"),
        (np.zeros((2, 2, 2)), (), r"shape \(2, 2, 2\)"),
        (np.zeros((2, 3)), (0,), "2 rows"),
        (np.zeros((2, 3)), (1, 1), "a seed of its own"),
    ],
)
def test_what_is_refused(correct, seeds, message):
    with pytest.raises(AnalysisError, match=message):
        Outcomes(np.asarray(correct), seeds)


def rows(*seeds):
    """A cell in which seed s is right on example s alone."""
    return Outcomes(np.array([np.arange(10) == seed for seed in seeds]), seeds)


def test_equal_seeds_are_paired_wherever_they_stand():
    pairs = paired(rows(2, 0, 1), rows(1, 2, 0))
    assert pairs.same_seed == 3
    assert not pairs.difference.any()


def test_what_is_left_is_paired_in_order_and_the_excess_left_out():
    pairs = paired(rows(7, 3, 1), rows(1, 5))
    assert pairs.same_seed == 1
    assert not pairs.difference[0].any()
    assert np.flatnonzero(pairs.difference[1]).tolist() == [3, 5]  # seed 3 with seed 5; seed 7 is left out
    assert pairs.difference[1, [3, 5]].tolist() == [1, -1]


def test_other_examples():
    with pytest.raises(AnalysisError, match="10 and 4 examples"):
        paired(rows(0), Outcomes(np.ones((1, 4))))
