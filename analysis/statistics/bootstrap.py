"""A hierarchical bootstrap over seeds and examples that holds with as few as two seeds.

The textbook's form (draw seeds with replacement, then examples) is too narrow for a handful of seeds: it sees
(n - 1)/n of the seeds' variance, and a percentile of n^n resamples of n numbers cannot show how little n
numbers say of that variance.  It also counts the noise c_se of a single answer (`variance.py`) up to three
times.  So each level is drawn in the way that is right for its size:

- Examples, of which there are many, are drawn with replacement; an example brings the mean over the seeds of
  its answers with it, hence its share B/m + C/(n m) of the variance.
- Seeds, of which there are few, move the mean by sqrt(V) Z, Z standard normal, where V = max(0, M - C)/(n m)
  is A/n for M = MS (n - 1)/W: the mean square between seeds, without bias (n - 1, not n), as uncertain as its
  n - 1 degrees of freedom leave it, W ~ chi^2(n - 1).  Where C is negligible this is Student's t.  It is the
  generalised pivot of a variance component (Weerahandi, Exact Statistical Methods for Data Analysis, 1995,
  ch. 6), and takes the seeds' effects for normal.
- The sample is joined by a few imaginary examples, half in favour of either side: four for a mean (Agresti
  and Coull, 1998), two for a paired difference (Bonett and Price, 2012). Without them, answers that are all
  right, or all alike, would give an interval of no width.

Simulations in the tests hold the 95% interval to its word with 1 to 5 seeds.  Where seeds hardly differ it is
wider than it need be (coverage 98 to 99%), the price of not knowing that they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer

from analysis.statistics.outcomes import Outcomes, outcomes
from analysis.statistics.variance import components

RESAMPLES = 10_000
GENERATOR_SEED = 0
SEEDS, EXAMPLES = "seeds", "examples"


@dataclass(frozen=True)
class CellMean:
    """A cell's accuracy, as a share.

    Attributes:
        mean: over seeds and examples.
        seed_sd: standard deviation of the seeds' accuracies (n - 1); NaN with one seed.
        low, high: the interval's ends.
        level: how often such an interval holds the true mean.
        seeds, examples: how many.
        sources: the variation that the interval holds, "seeds" and "examples", or "examples" alone: with one
            seed it says nothing of what another would give.
    """

    mean: float
    seed_sd: float
    low: float
    high: float
    level: float
    seeds: int
    examples: int
    sources: tuple[str, ...]


def mean_accuracy(
    correct: Outcomes | Any,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    generator_seed: int = GENERATOR_SEED,
) -> CellMean:
    """Mean, spread and bootstrap interval of one cell.

    Args:
        correct: Outcomes, or (seeds, examples) of zeros and ones.
        level: of the interval.
        generator_seed: the same gives the same interval, bit for bit.

    Raises:
        AnalysisError: `correct` is not such a matrix.
    """
    cell = outcomes(correct)
    means = cell.correct.mean(axis=1)
    n = len(means)
    imaginary = np.array([0, 0, n, n])
    sample = draws(cell.correct, imaginary, resamples, np.random.default_rng(generator_seed))
    mean = float(means.mean())
    low, high = interval(sample, level)
    return CellMean(
        mean=mean,
        seed_sd=float(means.std(ddof=1)) if n > 1 else math.nan,
        low=max(0.0, min(low, mean)),
        high=min(1.0, max(high, mean)),
        level=level,
        seeds=n,
        examples=cell.examples,
        sources=sources(n),
    )


def sources(seeds: int) -> tuple[str, ...]:
    """What varies in a bootstrap over so many seeds."""
    return (SEEDS, EXAMPLES) if seeds > 1 else (EXAMPLES,)


def draws(
    table: np.ndarray, imaginary: Integer[np.ndarray, " k"], resamples: int, generator: np.random.Generator
) -> Float64[np.ndarray, " resamples"]:
    """The bootstrap's means of a table of whole numbers (seeds, examples).

    Args:
        table: bool or integers.
        imaginary: sums over the seeds of the examples that join the sample.
    """
    n, m = table.shape
    # Examples with one sum over the seeds are alike, so their numbers in a resample are multinomial.
    values, counts = np.unique(np.concatenate([table.sum(axis=0, dtype=int), imaginary]), return_counts=True)
    size = int(counts.sum())
    means = generator.multinomial(size, counts / size, size=resamples) @ (values / (n * size))
    if n == 1:
        return means
    found = components(table)
    between = found.between_seeds * (n - 1) / generator.chisquare(n - 1, resamples)
    residual = 0.0 if math.isnan(found.residual) else found.residual
    spread = np.sqrt(np.maximum(0.0, between - residual) / (n * m))
    return means + spread * generator.standard_normal(resamples)


def interval(sample: Float64[np.ndarray, " resamples"], level: float) -> tuple[float, float]:
    """The ends that leave (1 - level)/2 of the draws on either side."""
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tail(sample: Float64[np.ndarray, " resamples"], at: float, *, below: bool) -> float:
    """The share of the draws at or beyond `at`, never 0: the draws count themselves one in."""
    beyond = np.count_nonzero(sample <= at if below else sample >= at)
    return (int(beyond) + 1) / (len(sample) + 1)
