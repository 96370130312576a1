"""Simulated studies whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm


def answers(generator, seeds, examples, accuracy, *, seed_sd=0.0, example_sd=1.0, difficulty=None):
    """Right and wrong answers, (seeds, examples), of a cell whose true mean accuracy is `accuracy`.

    An answer is right where a normal number, shifted by its seed's effect and its example's difficulty, is
    above 0; the shift that gives `accuracy` is a probit.  `difficulty` shares examples between cells.
    """
    if difficulty is None:
        difficulty = generator.standard_normal(examples)
    base = norm.ppf(accuracy) * np.sqrt(1 + seed_sd**2 + example_sd**2)
    effect = seed_sd * generator.standard_normal((seeds, 1))
    noise = generator.standard_normal((seeds, examples))
    return base + effect + example_sd * difficulty + noise > 0


@pytest.fixture
def simulate():
    return answers


@pytest.fixture
def binomial_limits():
    """How far a share of `count` trials may be from `rate`: 3.5 standard errors (1 in 2,000)."""

    def limits(rate, count):
        error = 3.5 * np.sqrt(rate * (1 - rate) / count)
        return rate - error, rate + error

    return limits
