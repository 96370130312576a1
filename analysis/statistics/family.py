"""Comparisons that are corrected for each other (Holm), and which cells of a table may be called best."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from analysis.errors import AnalysisError
from analysis.statistics.bootstrap import RESAMPLES
from analysis.statistics.comparison import ALPHA, Comparison, compare, verdict
from analysis.statistics.outcomes import Outcomes, outcomes

Key = TypeVar("Key", bound=Hashable)


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


@dataclass(frozen=True)
class Best(Generic[Key]):
    """The cells that are not significantly worse than the one with the highest mean.

    Attributes:
        top: the cell with the highest mean; the first of equal ones.
        together: `top` and those not significantly worse, in the order given.
        against: top minus each other cell, `p_holm` corrected for each other.
        decided: some cell is significantly worse, so that being in `together` says something.
    """

    top: Key
    together: tuple[Key, ...]
    against: Mapping[Key, Comparison]
    decided: bool


def best_together(
    cells: Mapping[Key, Outcomes | Any], *, alpha: float = ALPHA, resamples: int = RESAMPLES
) -> Best[Key]:
    """Compare every cell with the highest, on the same examples, corrected by Holm.

    Which cell is the highest is itself read from the data and owes something to luck, so with many equal
    cells some one of them is left out more often than alpha (of 15, in up to a fifth of the studies).  What
    holds is what the mark says: a cell that is truly best is marked with a chance of at least 1 - alpha.

    Raises:
        AnalysisError: no cells, or cells with different numbers of examples.
    """
    if not cells:
        raise AnalysisError("no cells to compare; give at least one")
    made = {key: outcomes(cell) for key, cell in cells.items()}
    top = max(made, key=lambda key: made[key].mean)
    others = [key for key in made if key != top]
    compared = with_holm(compare(made[top], made[key], resamples=resamples) for key in others)
    against = dict(zip(others, compared, strict=True))
    worse = {key for key, comparison in against.items() if verdict(comparison, alpha) == "supported"}
    return Best(top, tuple(key for key in made if key not in worse), against, bool(worse))
