"""The median ratio of paired rounds: what disturbs both cancels, and the interval keeps its word."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.statistics import paired_ratio


def rounds(generator, count, ratio, noise):
    """Seconds of two candidates: slow moments that meet both, and a skewed noise of each."""
    moments = np.exp(generator.standard_normal(count))
    one, other = (np.exp(noise * generator.standard_gamma(1.0, count)) for _ in range(2))
    return ratio * moments * one, moments * other


def test_slow_rounds_cancel():
    one, other = rounds(np.random.default_rng(0), 30, 1.25, 0.0)
    found = paired_ratio(one, other)
    assert found.value == pytest.approx(1.25)
    assert found.interval() == pytest.approx((1.25, 1.25))
    assert found.rounds == 30
    assert found.p_not_above(1.0) < 1e-3 < found.p_not_below(1.0)


def test_a_few_disturbed_rounds_do_not_move_it():
    one, other = rounds(np.random.default_rng(0), 31, 1.1, 0.0)
    one[:5] *= 10
    assert paired_ratio(one, other).value == pytest.approx(1.1)


@pytest.mark.parametrize("count", [10, 40])
def test_the_interval_and_the_p_value_keep_their_word(count):
    """95% intervals hold the true ratio at least 92 times in 100; a true null is rarely rejected."""
    generator = np.random.default_rng(1)
    trials = 300
    held = rejected = 0
    for _ in range(trials):
        found = paired_ratio(*rounds(generator, count, 1.02, 0.1))
        low, high = found.interval()
        held += low <= 1.02 <= high
        rejected += found.p_not_above(1.02) < 0.05
    assert held / trials > 0.92
    assert rejected / trials < 0.085


@pytest.mark.parametrize(("one", "other"), [([1.0], [1.0, 2.0]), ([], []), ([0.0], [1.0]), ([1.0], [np.nan])])
def test_what_are_no_rounds_is_an_error(one, other):
    with pytest.raises(AnalysisError, match="seconds above 0"):
        paired_ratio(one, other)
