"""Holm's correction for a family of tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.statistics.comparison import Comparison


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: those below alpha err anywhere with chance alpha at most.

    Sorted p_(1) <= ... <= p_(k), the i-th becomes max over j <= i of min(1, (k - j + 1) p_(j)); nothing is
    assumed of how the tests depend on each other (Holm, Scandinavian Journal of Statistics 6:65, 1979).

    Raises:
        AnalysisError: a value is not between 0 and 1.
    """
    values = np.asarray(p_values, dtype=float)
    if not ((values >= 0) & (values <= 1)).all():
        raise AnalysisError(f"p-values {list(p_values)}: each lies between 0 and 1")
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, factors * values[order]))
    return [float(value) for value in adjusted]


def with_holm(family: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons with `p_holm` set, corrected for each other."""
    comparisons = list(family)
    adjusted = holm([comparison.p_value for comparison in comparisons])
    return [replace(c, p_holm=p) for c, p in zip(comparisons, adjusted, strict=True)]
