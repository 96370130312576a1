"""A hierarchical bootstrap over seeds and examples that holds with as few as two seeds.

The textbook's form (draw seeds with replacement, then examples) is too narrow for a handful of seeds: it sees
(n - 1)/n of the seeds' variance, and a percentile of n^n resamples of n numbers cannot show how little n
numbers say of that variance.  It also counts the noise c_se of a single answer (`variance.py`) up to three
times.  So each level is drawn in the way that is right for its size:

- Examples, of which there are many, are drawn with replacement; an example brings the mean over the seeds of
  its answers with it, hence its share B/m + C/(n m) of the variance.  A corpus metric is computed anew from
  the statistics of the examples drawn.
- Seeds, of which there are few, move the mean by sqrt(V) Z, Z standard normal, where V = max(0, M - C)/(n m)
  is A/n for M = MS (n - 1)/W: the mean square between seeds, without bias (n - 1, not n), as uncertain as its
  n - 1 degrees of freedom leave it, W ~ chi^2(n - 1).  Where C is negligible this is Student's t.  It is the
  generalised pivot of a variance component (Weerahandi, Exact Statistical Methods for Data Analysis, 1995,
  ch. 6), and takes the seeds' effects for normal.
- Right and wrong answers are joined by a few imaginary examples, half in favour of either side: four for a
  mean (Agresti and Coull, 1998), two for a paired difference (Bonett and Price, 2012). Without them, answers
  that are all right, or all alike, would give an interval of no width.  Other scores have no such prior, and
  none is needed where they vary.

Simulations in the tests hold the 95% interval to its word with 1 to 5 seeds.  Where seeds hardly differ it is
wider than it need be (coverage 98 to 99%), the price of not knowing that they do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer, Shaped

from analysis.statistics.outcomes import Outcomes, finite, outcomes
from analysis.statistics.variance import components

RESAMPLES = 10_000
GENERATOR_SEED = 0
SEEDS, EXAMPLES = "seeds", "examples"
IN_WORDS = (
    "bootstrap over examples, with a few imaginary ones, half in favour of either side, so that no interval "
    "of right and wrong answers is empty, and over seeds, by the variance components of the crossed table of "
    "seeds and examples"
)
"""What an interval is, for captions."""
MOST_COUNTS = 2**24
"""That are held at once of the resamples' counts of examples: 128 MiB."""


@dataclass(frozen=True)
class CellMean:
    """A cell's value, in the metric's own unit: an accuracy as a share.

    Attributes:
        mean: over seeds and examples.
        seed_sd: standard deviation of the seeds' values (n - 1); NaN with one seed.
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


def mean_score(
    scores: Outcomes | Any,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    generator_seed: int = GENERATOR_SEED,
) -> CellMean:
    """Mean, spread and bootstrap interval of one cell.

    Args:
        scores: Outcomes, or (seeds, examples) of numbers.
        level: of the interval.
        generator_seed: the same gives the same interval, bit for bit.

    Raises:
        AnalysisError: `scores` is not such a matrix.
    """
    cell = outcomes(scores)
    means = cell.values
    n = len(means)
    generator = np.random.default_rng(generator_seed)
    if cell.of_totals is None:
        imaginary = np.array([0, 0, n, n] if cell.binary else [], dtype=int)
        sample = draws(cell.scores, imaginary, resamples, generator)
    else:
        [sample] = corpus_draws((cell,), resamples, generator)
        sample = sample + between_seeds(cell.table, resamples, generator)
    mean = float(means.mean())
    low, high = interval(sample, level)
    return CellMean(
        mean=mean,
        seed_sd=float(means.std(ddof=1)) if n > 1 else math.nan,
        low=max(cell.bounds[0], min(low, mean)),
        high=min(cell.bounds[1], max(high, mean)),
        level=level,
        seeds=n,
        examples=cell.examples,
        sources=sources(n),
    )


def sources(seeds: int) -> tuple[str, ...]:
    """What varies in a bootstrap over so many seeds."""
    return (SEEDS, EXAMPLES) if seeds > 1 else (EXAMPLES,)


def draws(
    table: Shaped[np.ndarray, "seeds examples"],
    imaginary: Integer[np.ndarray, " k"],
    resamples: int,
    generator: np.random.Generator,
) -> Float64[np.ndarray, " resamples"]:
    """The bootstrap's means of a table of numbers.

    Args:
        table: bool, integers or float64.
        imaginary: sums over the seeds of the examples that join the sample.
    """
    n = len(table)
    sums = table.sum(axis=0, dtype=float if table.dtype.kind == "f" else int)
    # Examples with one sum over the seeds are alike, so their numbers in a resample are multinomial.
    values, counts = np.unique(np.concatenate([sums, imaginary]), return_counts=True)
    size = int(counts.sum())
    parts = [drawn @ (values / (n * size)) for drawn in _counts(size, counts / size, resamples, generator)]
    return np.concatenate(parts) + between_seeds(table, resamples, generator)


def corpus_draws(
    cells: tuple[Outcomes, ...], resamples: int, generator: np.random.Generator
) -> list[Float64[np.ndarray, " resamples"]]:
    """The corpus metric of each cell, a mean over its seeds, on the same resampled examples.

    Raises:
        AnalysisError: it is not finite on some of them.
    """
    m = cells[0].examples
    drawn: list[list[np.ndarray]] = [[] for _ in cells]
    for counts in _counts(m, np.full(m, 1 / m), resamples, generator):
        for cell, parts in zip(cells, drawn, strict=True):
            assert cell.of_totals is not None
            totals = np.stack([counts @ statistics for statistics in cell.scores])
            parts.append(finite(cell.of_totals(totals)).mean(axis=0))
    return [np.concatenate(parts) for parts in drawn]


def _counts(
    size: int, shares: np.ndarray, resamples: int, generator: np.random.Generator
) -> Iterator[Integer[np.ndarray, "some kinds"]]:
    """How often each kind of example is in each resample of `size`, some resamples at a time."""
    step = max(1, MOST_COUNTS // len(shares))
    for start in range(0, resamples, step):
        yield generator.multinomial(size, shares, size=min(step, resamples - start))


def between_seeds(
    table: Shaped[np.ndarray, "seeds examples"], resamples: int, generator: np.random.Generator
) -> Float64[np.ndarray, " resamples"] | float:
    """What other seeds would move the mean by; 0 with one seed, which does not tell."""
    n, m = table.shape
    if n == 1:
        return 0.0
    found = components(table)
    between = found.between_seeds * (n - 1) / generator.chisquare(n - 1, resamples)
    residual = 0.0 if math.isnan(found.residual) else found.residual
    spread = np.sqrt(np.maximum(0.0, between - residual) / (n * m))
    moved: np.ndarray = spread * generator.standard_normal(resamples)
    return moved


def interval(sample: Float64[np.ndarray, " resamples"], level: float) -> tuple[float, float]:
    """The ends that leave (1 - level)/2 of the draws on either side."""
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tail(sample: Float64[np.ndarray, " resamples"], at: float, *, below: bool) -> float:
    """The share of the draws at or beyond `at`, never 0: the draws count themselves one in."""
    beyond = np.count_nonzero(sample <= at if below else sample >= at)
    return (int(beyond) + 1) / (len(sample) + 1)
