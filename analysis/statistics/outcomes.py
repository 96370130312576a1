"""One cell's answers: which examples each seed's run gets right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int8

from analysis.errors import AnalysisError


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Right and wrong answers of the same examples at every seed.

    Attributes:
        correct: (seeds, examples); a vector is one seed.
        seeds: each row's seed, which pairs the rows of two cells; 0, 1, ... where none are given.

    Raises:
        AnalysisError: not a matrix of zeros and ones, empty, or seeds that repeat or do not fit its rows.
    """

    correct: Bool[np.ndarray, "seeds examples"]
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        given = np.asarray(self.correct)
        matrix = np.atleast_2d(given)
        if matrix.ndim != 2 or matrix.size == 0:
            raise AnalysisError(f"correct: has shape {given.shape}; give a matrix (seeds, examples)")
        if matrix.dtype != bool:
            if not np.isin(matrix, (0, 1)).all():
                raise AnalysisError("correct: has entries other than 0 and 1; give one answer an example")
            matrix = matrix.astype(bool)
        seeds = tuple(self.seeds) or tuple(range(len(matrix)))
        if len(seeds) != len(matrix) or len(set(seeds)) != len(seeds):
            raise AnalysisError(f"seeds: {seeds} for {len(matrix)} rows; give each row a seed of its own")
        object.__setattr__(self, "correct", matrix)
        object.__setattr__(self, "seeds", seeds)

    @property
    def examples(self) -> int:
        return int(self.correct.shape[1])


def outcomes(x: Outcomes | Any) -> Outcomes:
    """`x` itself, or the Outcomes of a matrix."""
    return x if isinstance(x, Outcomes) else Outcomes(x)


@dataclass(frozen=True, eq=False)
class Pairs:
    """First minus second, seed by seed and example by example.

    Attributes:
        difference: (pairs, examples), -1, 0 or 1.
        same_seed: how many pairs have one seed number; they come first.
    """

    difference: Int8[np.ndarray, "pairs examples"]
    same_seed: int


def paired(first: Outcomes, second: Outcomes) -> Pairs:
    """Pair the runs of two cells: by seed number where both have it, the rest in the order of its numbers.

    Runs of different seeds are independent, so any pairing of them that does not look at the answers is
    valid; what one cell has more of is left out.

    Raises:
        AnalysisError: the cells do not have the same number of examples.
    """
    if first.examples != second.examples:
        raise AnalysisError(
            f"the cells have {first.examples} and {second.examples} examples; "
            "compare answers to the same examples in the same order"
        )
    common = sorted(set(first.seeds) & set(second.seeds))
    rows = [common + sorted(set(cell.seeds) - set(common)) for cell in (first, second)]
    count = min(map(len, rows))
    left, right = (
        cell.correct[[cell.seeds.index(seed) for seed in order[:count]]].astype(np.int8)
        for cell, order in zip((first, second), rows, strict=True)
    )
    return Pairs(left - right, len(common))
