"""Pearson's and Spearman's correlation against scipy's, ties and resamples too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.metrics import metric
from experiments.metrics.correlation import number


def value(name, predictions, golds):
    scored = metric(name)
    return scored.value([scored.score(repr(float(p)), g) for p, g in zip(predictions, golds, strict=True)])


@pytest.mark.parametrize(("name", "theirs"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
def test_against_scipy(name, theirs):
    generator = np.random.default_rng(0)
    for noise, decimals in ((0.1, 9), (1.0, 9), (5.0, 0)):  # the last with ties in both
        golds = np.round(generator.uniform(0, 5, 200), 0 if decimals == 0 else 3)
        predictions = np.round(golds + noise * generator.normal(size=200), decimals)
        expected = theirs(predictions, golds).statistic
        assert value(name, predictions, golds) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_closed_forms(name):
    assert value(name, [1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert value(name, [3, 2, 1], [2, 4, 6]) == pytest.approx(-1)
    assert value(name, [1, 2, 3], [0, 1, 0]) == pytest.approx(0)
    for same in (0.0, 2.7, 1e-3, 12345.678):  # no correlation is defined; rounding must not make one
        assert value(name, [same] * 50, list(range(50))) == 0
    assert value("spearman", [1, 10, 100], [1, 2, 3]) == pytest.approx(1)
    assert value("pearson", [1, 10, 100], [1, 2, 3]) < 0.95


def test_pearson_of_many_resamples_is_that_of_each():
    generator = np.random.default_rng(1)
    golds = generator.uniform(0, 5, 40)
    predictions = golds + generator.normal(size=40)
    scored = metric("pearson")
    scores = np.array([scored.score(repr(p), g) for p, g in zip(predictions.tolist(), golds, strict=True)])
    draws = generator.integers(0, 40, (30, 40))
    alone = [stats.pearsonr(predictions[draw], golds[draw]).statistic for draw in draws]
    assert scored.of_totals(scores[draws].sum(1)) == pytest.approx(alone)


@pytest.mark.parametrize("text", ["", "four", "nan", "inf", "-inf", "1e300", "3.8 or so"])
def test_a_text_that_is_no_number_counts_as_minus_one(text):
    assert number(text) == -1.0
    assert metric("pearson").score(text, 5.0) == (1.0, -1.0, 5.0, 1.0, 25.0, -5.0)


def test_numbers_are_read_as_they_are_written():
    assert [number(text) for text in ("3.8", " 2 ", "-1.5e-1", "1e6")] == [3.8, 2.0, -0.15, 1e6]
