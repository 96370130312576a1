"""Where the spread of a cell's answers comes from: seeds, examples, or their meeting.

Every seed answers the same examples, so a matrix x (n seeds, m examples) is a crossed table with two random
factors and one answer in each field:

    x_se = mean + a_s + b_e + c_se,    Var(mean over the table) = A/n + B/m + C/(n m)

A, B and C are the variances of seeds, of examples and of what is left (an example that one seed gets right
and another does not). They come from the mean squares of the analysis of variance without bias, whatever the
distributions (Searle, Casella and McCulloch, Variance Components, 1992, ch. 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped


@dataclass(frozen=True)
class Components:
    """Mean squares of one table; NaN where one seed leaves them unknown.

    Attributes:
        seeds: n.
        examples: m.
        between_seeds: mean square with n - 1 degrees of freedom, of expectation m A + C.
        between_examples: mean square with m - 1 degrees of freedom, of expectation n B + C.
        residual: mean square with (n - 1)(m - 1) degrees of freedom, of expectation C.
    """

    seeds: int
    examples: int
    between_seeds: float
    between_examples: float
    residual: float

    @property
    def seed_variance(self) -> float:
        """A, at least 0."""
        return _at_least_zero((self.between_seeds - self.residual) / self.examples)

    @property
    def example_variance(self) -> float:
        """B, at least 0."""
        return _at_least_zero((self.between_examples - self.residual) / self.seeds)


def components(table: Shaped[np.ndarray, "seeds examples"]) -> Components:
    """The mean squares of a table of numbers."""
    n, m = table.shape
    seeds = table.mean(axis=1, dtype=float)
    examples = table.mean(axis=0, dtype=float)
    mean = float(seeds.mean())
    about_seeds = float(np.sum((seeds - mean) ** 2))
    about_examples = float(np.sum((examples - mean) ** 2))
    total = float(np.sum(np.square(table, dtype=float))) - n * m * mean**2
    residual = max(0.0, total - m * about_seeds - n * about_examples)
    return Components(
        seeds=n,
        examples=m,
        between_seeds=m * about_seeds / (n - 1) if n > 1 else math.nan,
        between_examples=n * about_examples / (m - 1) if m > 1 else math.nan,
        residual=residual / ((n - 1) * (m - 1)) if n > 1 and m > 1 else math.nan,
    )


def _at_least_zero(x: float) -> float:
    return x if math.isnan(x) else max(0.0, x)
