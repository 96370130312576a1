"""Holm's correction, against a worked example and against the closed testing that it abbreviates."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics import compare, holm, with_holm


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
