"""One number a seed, against scipy; one a pair of seeds, against what is known of U-statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from analysis.errors import AnalysisError
from analysis.statistics import pair_mean, unit_mean, units_needed


def test_units_are_students_t():
    values = np.array([0.3, 0.9, 0.4, 0.75])
    found = unit_mean(values, reference=0.2)
    expected = ttest_1samp(values, 0.2)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.mean, found.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (found.units, found.reference, found.level) == (4, 0.2, 0.95)
    assert found.method == "Student's t over 4 seeds"


def test_equal_units_leave_nothing_open():
    assert (unit_mean([2.0, 2.0]).p_value, unit_mean([0.0, 0.0]).p_value) == (0.0, 1.0)
    assert unit_mean([2.0, 2.0]).low == 2.0


def test_one_unit_says_nothing_of_others():
    found = unit_mean([0.7])
    assert found.mean == 0.7
    assert all(math.isnan(number) for number in (found.sd, found.low, found.high, found.p_value))
    assert "one seed does not tell" in units_needed(found).reason


def additive(effects, noise=0.0):
    return np.add.outer(effects, effects) + noise


def test_pairs_that_are_sums_of_seeds_are_students_t():
    """x_ij = a_i + a_j: the pseudo-values are 2 a_i exactly."""
    effects = np.array([0.1, 0.5, -0.2, 0.35, 0.0])
    found, expected = pair_mean(additive(effects), reference=0.1), unit_mean(2 * effects, reference=0.1)
    for name in ("mean", "sd", "low", "high", "p_value", "units"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))
    assert found.method == "delete-one jackknife over 5 seeds, 10 pairs"


def test_pairs_are_the_jackknife_by_its_definition():
    generator = np.random.default_rng(0)
    n = 6
    table = generator.standard_normal((n, n))
    table = table + table.T
    upper = np.triu_indices(n, 1)
    mean = table[upper].mean()
    without = [np.delete(np.delete(table, i, 0), i, 1)[np.triu_indices(n - 1, 1)].mean() for i in range(n)]
    variance = (n - 1) / n * np.sum((np.array(without) - np.mean(without)) ** 2)
    found = pair_mean(table)
    assert found.mean == pytest.approx(mean)
    assert found.sd / math.sqrt(n) == pytest.approx(math.sqrt(variance))


def test_the_diagonal_does_not_count():
    table = additive(np.array([1.0, 2.0, 4.0]))
    other = table.copy()
    np.fill_diagonal(other, math.nan)
    assert pair_mean(table) == pair_mean(other)


def test_one_pair_says_nothing_of_others():
    found = pair_mean([[0, 3.0], [3.0, 0]])
    assert (found.mean, found.units) == (3.0, 2)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize(("seeds", "seed_sd", "pair_sd"), [(3, 1, 1), (5, 1, 0), (5, 0, 1), (8, 1, 2)])
def test_pairs_cover_their_mean(binomial_limits, seeds, seed_sd, pair_sd):
    generator = np.random.default_rng(1)

    def study():
        noise = pair_sd * np.triu(generator.standard_normal((seeds, seeds)), 1)
        return additive(seed_sd * generator.standard_normal(seeds), noise + noise.T)

    count = 600
    covered = np.mean([(found := pair_mean(study())).low <= 0 <= found.high for _ in range(count)])
    assert covered >= binomial_limits(0.95, count)[0]


def test_wrong_values():
    for values in ([], [math.nan], [[1.0, 2.0]]):
        with pytest.raises(AnalysisError, match="one finite number a unit"):
            unit_mean(values)
    for pairs in ([[1.0]], [1.0, 2.0], np.zeros((2, 3))):
        with pytest.raises(AnalysisError, match="at least two"):
            pair_mean(pairs)
    for pairs in ([[0, 1], [2, 0]], [[0, math.inf], [math.inf, 0]]):
        with pytest.raises(AnalysisError, match="symmetric"):
            pair_mean(pairs)
