"""Whether what seeds do is normally distributed, which intervals and p-values over seeds take for granted.

A handful of seeds says little of that, a table of cells much: each cell is tested by itself, since it may
have a spread of its own, and the tests are joined.  No scipy, which a table of accuracies does not import.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

_NORMAL = NormalDist()
# Royston's polynomials, the constant first: of the last two weights, and of the statistic's mean and spread.
_LAST = (0.0, 0.221157, -0.147981, -2.07119, 4.434685, -2.706056)
_SECOND = (0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633)
_FEW = (0.544, -0.39978, 0.025054, -6.714e-4), (1.3822, -0.77857, 0.062767, -0.0020322)
_MANY = (-1.5861, -0.31082, -0.083751, 0.0038915), (-0.4803, -0.082676, 0.0030302, 0.0)


def normality(cells: Iterable[Any]) -> float:
    """The p-value of normal seed effects: Shapiro and Wilk's test of each cell, joined by Fisher's method.

    Args:
        cells: each cell's values, one a seed.  Those of fewer than three values, or three different ones, are
            left out: there is nothing to see, or the steps of a score (one example more) in place of seeds.

    Returns:
        NaN where no cell is left.
    """
    p_values = [shapiro_wilk(values) for values in cells if len(np.unique(values)) > 2]
    if not p_values:
        return math.nan
    # Of chi^2 with 2 k degrees of freedom, whose upper tail at 2 x is that of k or more Poisson events.
    x = -sum(math.log(max(p, 1e-99)) for p in p_values)
    return min(1.0, sum(math.exp(k * math.log(x) - x - math.lgamma(k + 1)) for k in range(len(p_values))))


def shapiro_wilk(values: Sequence[float] | np.ndarray) -> float:
    """The p-value of normally distributed values, by Royston (Applied Statistics 44:547, 1995).

    Args:
        values: three or more, not all equal.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if n == 3:
        weights = np.array([-1.0, 0.0, 1.0]) * math.sqrt(0.5)
    else:
        expected = np.array([_NORMAL.inv_cdf((i - 0.375) / (n + 0.25)) for i in range(1, n + 1)])
        total, root = float(np.square(expected).sum()), 1 / math.sqrt(n)
        ends = [expected[-1] / math.sqrt(total) + _polynomial(_LAST, root)]
        if n > 5:
            ends.append(expected[-2] / math.sqrt(total) + _polynomial(_SECOND, root))
        rest = total - 2 * float(np.square(expected[-len(ends) :]).sum())
        weights = expected / math.sqrt(rest / (1 - 2 * sum(end**2 for end in ends)))
        for place, end in enumerate(ends):
            weights[place], weights[-1 - place] = -end, end
    W = min(1.0, float(weights @ x) ** 2 / float(np.square(x - x.mean()).sum()))
    if n == 3:
        return max(0.0, 6 / math.pi * (math.asin(math.sqrt(W)) - math.asin(math.sqrt(0.75))))
    y = math.log(max(1 - W, 1e-19))
    if n <= 11:
        bound = 0.459 * n - 2.273
        if y >= bound:
            return 0.0
        y, at, (mean, spread) = -math.log(bound - y), float(n), _FEW
    else:
        at, (mean, spread) = math.log(n), _MANY
    return 1 - _NORMAL.cdf((y - _polynomial(mean, at)) / math.exp(_polynomial(spread, at)))


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))
