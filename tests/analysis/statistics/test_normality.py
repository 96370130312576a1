"""The test of normal seed effects, against scipy and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import combine_pvalues, shapiro

from analysis.statistics import normality
from analysis.statistics.normality import shapiro_wilk


@pytest.mark.parametrize("n", [3, 4, 5, 6, 11, 12, 30])
@pytest.mark.parametrize("kind", ["standard_normal", "exponential"])
def test_one_cell_is_scipys(n, kind):
    generator = np.random.default_rng(n)
    for _ in range(20):
        values = getattr(generator, kind)(size=n)
        assert shapiro_wilk(values) == pytest.approx(shapiro(values).pvalue, abs=2e-6)


def test_several_are_joined_by_fishers_method():
    cells = np.random.default_rng(1).standard_normal((7, 5))
    expected = combine_pvalues([shapiro(values).pvalue for values in cells]).pvalue
    assert normality(cells) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("count", "seeds"), [(1, 5), (18, 5), (18, 3)])
def test_normal_seeds_are_called_otherwise_no_oftener_than_the_level(binomial_limits, count, seeds):
    generator = np.random.default_rng(2)
    tables = generator.standard_normal((600, count, seeds)) * generator.uniform(0.1, 9, (600, count, 1))
    assert np.mean([normality(cells) < 0.05 for cells in tables]) <= binomial_limits(0.05, 600)[1]


def test_seeds_that_fall_into_groups_are_seen_in_a_table():
    generator = np.random.default_rng(3)
    groups = generator.choice([60.0, 77.0, 85.0], (100, 18, 5)) + generator.standard_normal((100, 18, 5))
    assert np.mean([normality(cells) < 0.05 for cells in groups]) > 0.9
    assert normality([[1.0, 1.0, 2.0], [3.0]]) != normality([[1.0, 2.0, 9.0]])
    assert np.isnan(normality([[1.0, 1.0, 2.0], [3.0]]))  # steps of a score, or too few
