"""Holm against a worked example and the closed testing that it abbreviates; which cells are called best."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics import best_together, compare, holm, with_holm


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


def test_worked_example():
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")"""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_it_is_the_closure_of_bonferroni(p_values):
    """A hypothesis falls where every intersection that holds it falls by Bonferroni."""
    indices = range(len(p_values))
    closed = [
        max(
            min(1.0, len(subset) * min(p_values[j] for j in subset))
            for size in range(1, len(p_values) + 1)
            for subset in combinations(indices, size)
            if i in subset
        )
        for i in indices
    ]
    assert holm(p_values) == pytest.approx(closed)


def test_an_empty_family():
    assert holm([]) == []
    assert with_holm([]) == []


@pytest.mark.parametrize("wrong", [1.2, -0.1, float("nan")])
def test_no_p_values(wrong):
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        holm([0.5, wrong])


def test_comparisons_get_their_corrected_values():
    generator = np.random.default_rng(0)
    cells = [generator.random(200) < share for share in (0.5, 0.6, 0.9)]
    family = [compare(cells[1], cells[0]), compare(cells[2], cells[0]), compare(cells[2], cells[1])]
    corrected = with_holm(family)
    assert [c.p_holm for c in corrected] == holm([c.p_value for c in family])
    assert [c.p_value for c in corrected] == [c.p_value for c in family]
    assert family[0].p_holm is None
