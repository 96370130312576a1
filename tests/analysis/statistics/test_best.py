"""Cells are called best together where the data do not part them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.statistics import best_together, holm


def test_clear_winners_and_losers(simulate):
    generator = np.random.default_rng(0)
    difficulty = generator.standard_normal(1000)
    shares = {"a": 0.3, "b": 0.8, "c": 0.802, "d": 0.5}
    cells = {
        name: simulate(generator, 5, 1000, share, seed_sd=0.02, difficulty=difficulty)
        for name, share in shares.items()
    }
    found = best_together(cells)
    assert found.top in ("b", "c")
    assert found.together == ("b", "c")
    assert found.decided
    assert set(found.against) == set(shares) - {found.top}
    adjusted = holm([comparison.p_value for comparison in found.against.values()])
    assert [comparison.p_holm for comparison in found.against.values()] == adjusted
    assert all(comparison.difference >= 0 for comparison in found.against.values())


def test_equal_cells_stay_together(simulate, binomial_limits):
    """A truly best cell is left out in 5% of the studies at most, although the highest is chosen by eye."""
    generator = np.random.default_rng(0)
    left_out = []
    for _ in range(150):
        difficulty = generator.standard_normal(150)
        cells = {i: simulate(generator, 3, 150, 0.7, seed_sd=0.1, difficulty=difficulty) for i in range(5)}
        left_out.append(0 not in best_together(cells, resamples=1000).together)
    assert np.mean(left_out) <= binomial_limits(0.05, 150)[1]


def test_undecided_where_nothing_is_worse():
    same = np.arange(100) < 60
    found = best_together({"a": same, "b": same})
    assert found.together == ("a", "b")
    assert not found.decided


def test_one_cell_and_none():
    found = best_together({"a": [0, 1]})
    assert (found.top, found.together, found.decided) == ("a", ("a",), False)
    with pytest.raises(AnalysisError, match="no cells"):
        best_together({})
