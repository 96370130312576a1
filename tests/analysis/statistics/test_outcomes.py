"""What counts as a cell's answers, and how the runs of two cells are paired."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.statistics import Outcomes
from analysis.statistics.outcomes import paired


def test_numbers_become_answers_and_rows_get_seeds():
    cell = Outcomes(np.array([[0, 1.0, 1], [1, 0, 0]]))
    assert cell.scores.dtype == bool
    assert cell.seeds == (0, 1)
    assert Outcomes(np.array([True, False])).scores.shape == (1, 2)


@pytest.mark.parametrize(
    ("scores", "seeds", "message"),
    [
        ([[0, np.inf]], (), "not all are finite"),
        ([[0, np.nan]], (), "not all are finite"),
        (np.zeros((2, 0)), (), r"shape \(2, 0\)"),
        (np.zeros((2, 2, 2)), (), r"shape \(2, 2, 2\)"),
        (np.zeros((2, 3)), (0,), "2 rows"),
        (np.zeros((2, 3)), (1, 1), "a seed of its own"),
    ],
)
def test_what_is_refused(scores, seeds, message):
    with pytest.raises(AnalysisError, match=message):
        Outcomes(np.asarray(scores), seeds)


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


def test_scores_are_any_numbers_within_their_bounds():
    cell = Outcomes(np.array([[0.37, -2.0], [1.0, 70.4]]))
    assert (cell.scores.dtype, cell.binary) == (np.float64, False)
    assert cell.values.tolist() == pytest.approx([-0.815, 35.7])
    assert cell.mean == pytest.approx(17.4425)
    share = Outcomes(np.array([[0.37, 1.0]]), bounds=(0, 1))
    assert share.bounds == (0, 1)
    with pytest.raises(AnalysisError, match=r"scores: from 70\.4 to 71; this metric's lie between 0 and 1"):
        Outcomes(np.array([[70.4, 71.0]]), bounds=(0, 1))


def ratio(totals):
    return totals[..., 0] / totals[..., 1]


def test_a_corpus_metric_is_that_of_the_totals():
    """And its table is what the examples bring to it: by the delta method, (x - R y) / mean(y) about R."""
    generator = np.random.default_rng(0)
    statistics = generator.integers(5, 20, (3, 400, 2)).astype(float)
    cell = Outcomes(statistics, (0, 1, 2), ratio)
    x, y = statistics[..., 0], statistics[..., 1]
    R = x.sum(1) / y.sum(1)
    assert cell.values == pytest.approx(R)
    assert cell.mean == pytest.approx(R.mean())
    expected = R[:, None] + (x - R[:, None] * y) / y.mean(1, keepdims=True)
    assert cell.table == pytest.approx(expected, abs=0.01)
    assert cell.table.mean(1) == pytest.approx(R, abs=1e-3)
    one = Outcomes(statistics[:, :1], (0, 1, 2), ratio)
    assert one.table.tolist() == one.values[:, None].tolist()


def test_what_is_refused_of_a_corpus_metric():
    with pytest.raises(AnalysisError, match=r"shape \(2, 3\); give a matrix \(seeds, examples, statistics\)"):
        Outcomes(np.ones((2, 3)), (), ratio)
    with pytest.raises(AnalysisError, match="one cell has a corpus metric, the other none"):
        paired(Outcomes(np.ones((2, 3, 2)), (), ratio), Outcomes(np.ones((2, 3))))
    with pytest.raises(AnalysisError, match="not finite on some resampled"), np.errstate(all="ignore"):
        _ = Outcomes(np.array([[[1.0, 1.0], [1.0, 0.0]]]), (), ratio).table
