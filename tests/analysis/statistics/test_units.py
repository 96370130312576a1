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


def test_a_measured_reference_adds_its_error(binomial_limits):
    """5 units against 10 draws, all alike: without it the level would be exceeded twice."""
    known, measured = (unit_mean([0.3, 0.9, 0.4], reference_error=error) for error in (0.0, 0.4))
    assert measured.sd == pytest.approx(math.hypot(known.sd, 0.4 * math.sqrt(3)))
    assert (measured.mean, measured.low < known.low) == (known.mean, True)
    generator = np.random.default_rng(2)

    def differs(with_error):
        draws = generator.standard_normal(10)
        error = with_error * draws.std(ddof=1) / math.sqrt(10)
        units = generator.standard_normal(5)
        return unit_mean(units, reference=draws.mean(), reference_error=error).p_value < 0.05

    _, high = binomial_limits(0.05, 1000)
    assert np.mean([differs(True) for _ in range(1000)]) <= high
    assert np.mean([differs(False) for _ in range(1000)]) > high


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
    assert (found.mean, found.units, found.method) == (3.0, 2, "delete-one jackknife over 2 seeds, 1 pair")
    assert math.isnan(found.p_value)
    assert "one pair of seeds does not tell" in units_needed(found).reason


@pytest.mark.parametrize(("seeds", "seed_sd", "pair_sd"), [(3, 1, 1), (5, 1, 0), (5, 0, 1), (8, 1, 2)])
def test_pairs_cover_their_mean(binomial_limits, seeds, seed_sd, pair_sd):
    generator = np.random.default_rng(1)

    def study():
        noise = pair_sd * np.triu(generator.standard_normal((seeds, seeds)), 1)
        return additive(seed_sd * generator.standard_normal(seeds), noise + noise.T)

    count = 600
    covered = np.mean([(found := pair_mean(study())).low <= 0 <= found.high for _ in range(count)])
    assert covered >= binomial_limits(0.95, count)[0]


def test_equal_counts_are_known_to_a_step_at_best():
    """Three pairs of 1: the standard error is that of three numbers rounded to whole steps."""
    table = np.ones((3, 3))
    assert pair_mean(table).p_value == 0
    found = pair_mean(table, rounding=1 / 6)
    assert found.sd / math.sqrt(3) == pytest.approx(math.sqrt(1 / 18))
    spread = 1 + np.array([-1, 0, 1]) / math.sqrt(6)  # of that standard deviation
    assert found.p_value == pytest.approx(ttest_1samp(spread, 0).pvalue)
    assert 0.05 < found.p_value < 0.06
    wide = additive(np.array([0.0, 3.0, 9.0]))
    assert pair_mean(wide, rounding=1 / 6) == pair_mean(wide)


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
