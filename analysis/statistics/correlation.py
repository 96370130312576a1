"""How far two orders of the same things agree: Spearman's rank correlation, with an interval.

Fisher's z = atanh(rho) is near normal, with standard error sqrt((1 + rho^2 / 2) / (n - 3)) (Bonett and
Wright, Psychometrika 65:23, 2000).  The things are to be independent: repeats of one are averaged before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.statistics.units import LEVEL, UnitMean

LEAST = 4
"""Fewer things have no interval."""


def rank_correlation(first: Any, second: Any, *, level: float = LEVEL) -> UnitMean:
    """Spearman's rho of two numbers of each thing, ties by their mean rank, against none, as Fisher's z.

    `math.tanh` of mean, low and high is the correlation.  Where the orders agree wholly z is infinite; it is
    taken half of the least step that rho can make below that.  The quantiles are Student's, n - 2 degrees of
    freedom, since for few things the normal's are too sure.

    Args:
        first, second: (n,), one number a thing.

    Raises:
        AnalysisError: they are not as many, fewer than three, not finite, or all of one are equal.
    """
    from scipy.stats import spearmanr, t

    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    n = len(x)
    if x.shape != y.shape or x.ndim != 1 or n < 3 or not np.isfinite([x, y]).all():
        raise AnalysisError(
            f"a rank correlation of {x.shape} and {y.shape} numbers: give two finite ones of three things or "
            "more"
        )
    if len({*x}) == 1 or len({*y}) == 1:
        raise AnalysisError("a rank correlation: all numbers of one kind are equal, so they have no order")
    largest = 1 - 6 / (n * (n * n - 1))
    rho = float(np.clip(spearmanr(x, y).statistic, -largest, largest))
    z = math.atanh(rho)
    error = math.sqrt((1 + rho * rho / 2) / (n - 3)) if n >= LEAST else math.nan
    half = float(t.isf((1 - level) / 2, n - 2)) * error
    p_value = math.nan if math.isnan(error) else float(2 * t.sf(abs(z) / error, n - 2))
    words = f"Spearman's rank correlation over {n}, Fisher's z with the error of Bonett and Wright"
    return UnitMean(z, error * math.sqrt(n), z - half, z + half, level, 0.0, p_value, n, words)
