"""Means of one number a seed, and of one number a pair of seeds.

Seeds are the units that repeat a study: their numbers are independent, and Student's t holds for their mean.
The n (n - 1)/2 pairs of n seeds are not independent, since each seed is in n - 1 of them.  Their mean is a
U-statistic, and the delete-one jackknife over seeds turns it into n pseudo-values, nearly independent, of the
same mean (Arvesen, Annals of Mathematical Statistics 40:2076, 1969).  For numbers that are the sum of two
seeds' effects this is exact; where only the pairing matters it is too wide, never too narrow (Efron and
Stein, Annals of Statistics 9:586, 1981).

Student's t takes the numbers for normal.  A few that all fall on one of two values look surer than they are:
with two of them the interval cannot be trusted (simulations in the tests).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.errors import AnalysisError

LEVEL = 0.95


@dataclass(frozen=True)
class UnitMean:
    """A mean over units.

    Attributes:
        mean: over the units, or over their pairs.
        sd: of the units' values, or pseudo-values (n - 1), so that the mean's standard error is
            sd / sqrt(units); with what rounding and the reference add to that.
        low, high: the interval's ends.
        level: how often such an interval holds the true mean.
        reference: what the mean is tested against.
        p_value: of a true mean equal to the reference, two-sided.
        units: how many.
        method: in words.

    With too few units to see their spread (one, or one pair) sd, low, high and p_value are NaN.
    """

    mean: float
    sd: float
    low: float
    high: float
    level: float
    reference: float
    p_value: float
    units: int
    method: str


def unit_mean(
    values: Any, *, reference: float = 0.0, reference_error: float = 0.0, level: float = LEVEL
) -> UnitMean:
    """The mean of independent numbers, by Student's t.

    Args:
        values: (units,), one number each.
        reference_error: standard error of a reference that is itself measured; part of the mean's from here
            on.

    Raises:
        AnalysisError: there are none, or one is not finite.
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise AnalysisError(f"values {found.tolist()}: give one finite number a unit, at least one")
    error = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    words = f"Student's t over {_seeds(len(found))}"
    return _student(
        float(found.mean()), math.hypot(error, reference_error), len(found), reference, level, words
    )


def pair_mean(pairs: Any, *, reference: float = 0.0, level: float = LEVEL, rounding: float = 0.0) -> UnitMean:
    """The mean over the pairs of units, by the delete-one jackknife over units.

    Args:
        pairs: (units, units), symmetric, one number a pair; the diagonal is not looked at.
        rounding: variance that a pair's number has because it is counted in whole steps: 1/12 for a count
            (Sheppard). The standard error is at least what this leaves in the mean, so that a few counts
            that happen to be equal are not taken for certainty.

    Raises:
        AnalysisError: there are fewer than two units, the matrix is not symmetric, or a pair is not finite.
    """
    table = np.array(pairs, dtype=float)
    n = len(table)
    if table.shape != (n, n) or n < 2:
        raise AnalysisError(f"pairs: has shape {table.shape}; give (units, units), at least two")
    np.fill_diagonal(table, 0.0)
    if not np.isfinite(table).all() or not np.allclose(table, table.T):
        raise AnalysisError("pairs: is not a symmetric table of finite numbers; give one number a pair")
    total = table.sum()
    mean = total / (n * (n - 1))
    pairs_of = n * (n - 1) // 2
    method = f"delete-one jackknife over {_seeds(n)}, {pairs_of} pair{'s' if pairs_of > 1 else ''}"
    if n == 2:
        return _student(float(mean), math.nan, n, reference, level, method)
    without = (total - 2 * table.sum(axis=1)) / ((n - 1) * (n - 2))
    pseudo = n * mean - (n - 1) * without
    error = max(pseudo.std(ddof=1) / math.sqrt(n), math.sqrt(rounding / pairs_of))
    return _student(float(mean), float(error), n, reference, level, method)


def _student(mean: float, error: float, units: int, reference: float, level: float, method: str) -> UnitMean:
    """From the standard error, with units - 1 degrees of freedom; NaN where it is not known."""
    from scipy.stats import t

    half = float(t.isf((1 - level) / 2, units - 1)) * error
    distance = abs(mean - reference)
    if math.isnan(error):
        p_value = math.nan
    elif error == 0:
        p_value = float(distance == 0)
    else:
        p_value = float(2 * t.sf(distance / error, units - 1))
    sd = error * math.sqrt(units)
    return UnitMean(mean, sd, mean - half, mean + half, level, reference, p_value, units, method)


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
