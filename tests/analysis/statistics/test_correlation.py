"""Spearman's correlation: its value is scipy's, its interval keeps its word, and repeats are no evidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.errors import AnalysisError
from analysis.statistics import rank_correlation


def test_the_value_is_scipy_s_and_the_interval_that_of_bonett_and_wright():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    found = rank_correlation(x, y)
    rho = spearmanr(x, y).statistic
    assert math.tanh(found.mean) == pytest.approx(rho)
    error = math.sqrt((1 + rho**2 / 2) / 197)
    assert found.high - found.mean == pytest.approx(1.97 * error, rel=2e-3)
    assert found.units == 200
    assert found.p_value < 1e-9


@pytest.mark.parametrize("n", [6, 9, 15, 40])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_interval_holds_its_word(n, strength):
    """Of normal pairs, whose Spearman correlation is 6 / pi asin(rho / 2)."""
    rng = np.random.default_rng(n)
    rho = strength / math.sqrt(1 + strength**2)
    truth = math.atanh(6 / math.pi * math.asin(rho / 2))
    held, rejected = 0, 0
    for _ in range(600):
        x = rng.normal(size=n)
        found = rank_correlation(x, strength * x + rng.normal(size=n))
        held += found.low <= truth <= found.high
        rejected += found.p_value < 0.05
    assert held / 600 > 0.93
    if not strength:
        assert rejected / 600 < 0.07


def test_orders_that_agree_wholly_have_an_interval():
    found = rank_correlation(range(9), [2 * x for x in range(9)])
    assert math.tanh(found.mean) == pytest.approx(1 - 6 / 720)
    assert 0.8 < math.tanh(found.low) < 1
    assert found.p_value < 0.01
    three = rank_correlation([1, 2, 3], [1, 2, 3])
    assert math.isnan(three.low)
    assert math.isnan(three.p_value)


def test_what_has_no_order_is_an_error():
    for x, y in (([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, math.nan], [1, 2, 3])):
        with pytest.raises(AnalysisError, match="two finite ones of three things"):
            rank_correlation(x, y)
    with pytest.raises(AnalysisError, match="have no order"):
        rank_correlation([1, 1, 1], [1, 2, 3])
