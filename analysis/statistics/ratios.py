"""How many times as long one thing takes as another, of rounds that timed both.

A slow moment of the machine meets both in its round, so that ratios within rounds are taken, and their
median, which a few disturbed rounds do not move.  The interval is a bootstrap over rounds: of this process on
this machine, and no other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from analysis.errors import AnalysisError
from analysis.statistics.bootstrap import GENERATOR_SEED, RESAMPLES, interval, tail


@dataclass(frozen=True, eq=False)
class Ratio:
    """First over second.

    Attributes:
        value: the median over the rounds.
        rounds: how many.
        draws: logarithms of the bootstrap's medians, (resamples,).
    """

    value: float
    rounds: int
    draws: Float64[np.ndarray, " resamples"]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        low, high = interval(self.draws, level)
        return math.exp(low), math.exp(high)

    def p_not_above(self, bound: float) -> float:
        """p-value, one-sided, of a true ratio of `bound` or less."""
        return tail(self.draws, math.log(bound), below=True)

    def p_not_below(self, bound: float) -> float:
        """p-value, one-sided, of a true ratio of `bound` or more."""
        return tail(self.draws, math.log(bound), below=False)


def paired_ratio(first: Any, second: Any) -> Ratio:
    """The median of first/second over rounds.

    Args:
        first, second: (rounds,) seconds above 0, of the same rounds.

    Raises:
        AnalysisError: they are not.
    """
    one, other = (np.asarray(values, dtype=float) for values in (first, second))
    if one.shape != other.shape or one.ndim != 1 or not one.size or not ((one > 0) & (other > 0)).all():
        raise AnalysisError("ratios are of seconds above 0, as many of one as of the other; measure again")
    logs = np.log(one) - np.log(other)
    generator = np.random.default_rng(GENERATOR_SEED)
    chosen = generator.integers(0, len(logs), (RESAMPLES, len(logs)))
    return Ratio(math.exp(np.median(logs)), len(logs), np.median(logs[chosen], axis=1))
