"""One cell's answers: what each seed's run scores on each example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from analysis.errors import AnalysisError

OfTotals = Callable[[np.ndarray], np.ndarray]
"""Of a corpus metric: sums of statistics over examples, (..., statistics), to its values, (...)."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The scores of the same examples at every seed.

    Attributes:
        scores: (seeds, examples), bool where all are 0 or 1 (right and wrong answers), else float64; a vector
            is one seed.  Of a corpus metric (seeds, examples, statistics), float64.
        seeds: each row's seed, which pairs the rows of two cells; 0, 1, ... where none are given.
        of_totals: a corpus metric; None where a run's value is the mean of its scores.
        bounds: what a value can be; 0 and 1 for right and wrong answers.

    Raises:
        AnalysisError: scores of another shape, none, not finite or out of bounds, or seeds that repeat or do
            not fit the rows.
    """

    scores: Shaped[np.ndarray, "seeds examples *statistics"]
    seeds: tuple[int, ...] = ()
    of_totals: OfTotals | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        given = np.asarray(self.scores)
        if self.of_totals is None:
            scores, wanted = np.atleast_2d(given), "(seeds, examples)"
        else:
            scores, wanted = given, "(seeds, examples, statistics)"
        if scores.ndim != wanted.count(",") + 1 or scores.size == 0:
            raise AnalysisError(f"scores: has shape {given.shape}; give a matrix {wanted}")
        if scores.dtype != bool:
            scores = self._numbers(scores)
        if scores.dtype == bool:
            object.__setattr__(self, "bounds", (0.0, 1.0))
        seeds = tuple(self.seeds) or tuple(range(len(scores)))
        if len(seeds) != len(scores) or len(set(seeds)) != len(seeds):
            raise AnalysisError(f"seeds: {seeds} for {len(scores)} rows; give each row a seed of its own")
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "seeds", seeds)

    def _numbers(self, given: np.ndarray) -> np.ndarray:
        scores = given.astype(float)
        if not np.isfinite(scores).all():
            raise AnalysisError("scores: not all are finite; give each example a number")
        if self.of_totals is not None:
            return scores
        low, high = self.bounds
        if scores.min() < low or scores.max() > high:
            raise AnalysisError(
                f"scores: from {scores.min():g} to {scores.max():g}; this metric's lie between {low:g} and "
                f"{high:g}"
            )
        return scores.astype(bool) if np.isin(scores, (0, 1)).all() else scores

    @property
    def examples(self) -> int:
        return int(self.scores.shape[1])

    @property
    def binary(self) -> bool:
        """Whether each answer is right or wrong."""
        return self.scores.dtype == bool

    @cached_property
    def values(self) -> Float64[np.ndarray, " seeds"]:
        """Each seed's value."""
        if self.of_totals is None:
            return np.asarray(self.scores.mean(axis=1))
        return finite(self.of_totals(self.scores.sum(axis=1)))

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.scores.mean() if self.of_totals is None else self.values.mean())

    @cached_property
    def table(self) -> Shaped[np.ndarray, "seeds examples"]:
        """What each example brings to each seed's value, the row's mean: scores, or jackknife values.

        Of a corpus metric f of the totals T: m f(T) - (m - 1) f(T - x) for an example of statistics x, one of
        m (Tukey's pseudo-values; their mean is f(T) to the order of 1/m).
        """
        if self.of_totals is None:
            return self.scores
        m = self.examples
        if m == 1:
            return self.values[:, None]
        without = self.of_totals(self.scores.sum(axis=1, keepdims=True) - self.scores)
        return finite(m * self.values[:, None] - (m - 1) * without)

    def rows(self, seeds: list[int]) -> Outcomes:
        """The rows of these seeds, in this order."""
        order = [self.seeds.index(seed) for seed in seeds]
        return Outcomes(self.scores[order], tuple(seeds), self.of_totals, self.bounds)


def finite(values: np.ndarray) -> np.ndarray:
    """A corpus metric's values.

    Raises:
        AnalysisError: one is not a finite number.
    """
    if not np.isfinite(values).all():
        raise AnalysisError("the metric is not finite on some resampled examples; evaluate on more examples")
    return np.asarray(values, dtype=float)


def outcomes(x: Outcomes | Any) -> Outcomes:
    """`x` itself, or the Outcomes of a matrix."""
    return x if isinstance(x, Outcomes) else Outcomes(x)


@dataclass(frozen=True, eq=False)
class Pairs:
    """First minus second, seed by seed and example by example.

    Attributes:
        first, second: as many rows of each, the first with the first.
        same_seed: how many pairs have one seed number; they come first.
    """

    first: Outcomes
    second: Outcomes
    same_seed: int

    @cached_property
    def difference(self) -> Shaped[np.ndarray, "pairs examples"]:
        """Of the cells' tables: int8 (-1, 0 or 1) where all answers are right or wrong, else float64."""
        kind = np.int8 if self.binary else np.float64
        return self.first.table.astype(kind) - self.second.table.astype(kind)

    @property
    def binary(self) -> bool:
        return self.first.binary and self.second.binary

    @property
    def mean(self) -> float:
        if self.first.of_totals is None:
            return float(self.difference.mean())
        return self.first.mean - self.second.mean

    @property
    def width(self) -> float:
        """The largest difference that there can be."""
        (low, high), (other_low, other_high) = self.first.bounds, self.second.bounds
        return max(high - other_low, other_high - low)


def paired(first: Outcomes, second: Outcomes) -> Pairs:
    """Pair the runs of two cells: by seed number where both have it, the rest in the order of its numbers.

    Runs of different seeds are independent, so any pairing of them that does not look at the answers is
    valid; what one cell has more of is left out.

    Raises:
        AnalysisError: the cells do not have the same number of examples, or only one has a corpus metric.
    """
    if first.examples != second.examples:
        raise AnalysisError(
            f"the cells have {first.examples} and {second.examples} examples; "
            "compare answers to the same examples in the same order"
        )
    if (first.of_totals is None) != (second.of_totals is None):
        raise AnalysisError("one cell has a corpus metric, the other none; compare values of one metric")
    common = sorted(set(first.seeds) & set(second.seeds))
    rows = [common + sorted(set(cell.seeds) - set(common)) for cell in (first, second)]
    count = min(map(len, rows))
    return Pairs(first.rows(rows[0][:count]), second.rows(rows[1][:count]), len(common))
