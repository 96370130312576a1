"""Two cells compared on the same examples: is one better, are they equal for what matters?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from analysis.errors import AnalysisError
from analysis.statistics.bootstrap import (
    GENERATOR_SEED,
    RESAMPLES,
    between_seeds,
    corpus_draws,
    draws,
    interval,
    sources,
    tail,
)
from analysis.statistics.outcomes import Outcomes, Pairs, outcomes, paired
from analysis.statistics.variance import Components, components

ALPHA = 0.05
MARGIN = 0.01
LEVEL = 0.95
EQUIVALENCE_LEVEL = 0.90


@dataclass(frozen=True)
class Comparison:
    """First minus second, in the metric's own unit: of accuracies as a share (0.01 is one point).

    Attributes:
        difference: as measured.
        low, high: its interval, at `level`.
        p_value: of a difference of `reference` (two-sided); with `margin`, of one of `margin` or more.
        p_holm: the same corrected for a family, None until `with_holm` sets it.
        seeds: pairs of runs.
        examples: answered by all of them.
        method: in words.
        level: of the interval: 95%, or 90% for equivalence.
        margin: what counts as equal, in an equivalence test; else None.
        sources: the variation that interval and p-value hold: seeds and examples, or examples alone.
        components: of the differences, for `seeds_needed`.
        reference: the difference that `compare` tests against.
        p_against: with `margin`, of a difference within it, whichever side the data are on; else None.
    """

    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float | None
    seeds: int
    examples: int
    method: str
    level: float
    margin: float | None
    sources: tuple[str, ...]
    components: Components
    reference: float = 0.0
    p_against: float | None = None


def compare(
    first: Outcomes | Any,
    second: Outcomes | Any,
    *,
    reference: float = 0.0,
    resamples: int = RESAMPLES,
    generator_seed: int = GENERATOR_SEED,
) -> Comparison:
    """Is the first cell better or worse than the second?

    The differences of paired runs go through the hierarchical bootstrap (`bootstrap.py`); the p-value is
    twice the share of draws on the wrong side of the reference, so that it is below 5% where the 95% interval
    leaves the reference out. With one pair of runs, right and wrong answers and reference 0 it is McNemar's
    (mid-p): then both speak of these two runs, not of other seeds.

    Args:
        first, second: Outcomes, or (seeds, examples) of numbers; same examples, in the same order.
        reference: the difference under the null; -0.01 asks whether first is worse by more than one point.

    Raises:
        AnalysisError: the cells' examples differ in number, or an argument is not such a matrix.
    """
    pairs = paired(outcomes(first), outcomes(second))
    sample = _draws(pairs, resamples, generator_seed)
    by_mcnemar = pairs.binary and len(pairs.difference) == 1 and reference == 0
    if by_mcnemar:
        p_value = mcnemar(
            int(np.count_nonzero(pairs.difference > 0)), int(np.count_nonzero(pairs.difference < 0))
        )
    else:
        smaller = min(tail(sample, reference, below=True), tail(sample, reference, below=False))
        p_value = min(1.0, 2 * smaller)
    words = f"McNemar mid-p; interval: {_words(pairs)}" if by_mcnemar else _words(pairs)
    if len(pairs.difference) == 1 and not pairs.binary:
        words += "; McNemar's test is of right and wrong answers alone"
    return _comparison(pairs, sample, LEVEL, p_value, words, None, reference)


def equivalence(
    first: Outcomes | Any,
    second: Outcomes | Any,
    *,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    generator_seed: int = GENERATOR_SEED,
) -> Comparison:
    """Do the cells differ by less than `margin`, either way?

    Two one-sided 5% tests (TOST; Schuirmann, 1987): both reject where the 90% interval lies within +-margin.
    `p_value` is the larger of the two.  A p-value of `compare` above 5% shows no such thing.  That they
    differ by more is tested on the side that the data choose, so `p_against` is twice the smaller tail.

    Args:
        margin: a share; 0.01 is one point.

    Raises:
        AnalysisError: as `compare`; margin not above 0.
    """
    if not margin > 0:
        raise AnalysisError(f"margin={margin} is not valid; give a share above 0, such as 0.01 for one point")
    pairs = paired(outcomes(first), outcomes(second))
    sample = _draws(pairs, resamples, generator_seed)
    p_value = max(tail(sample, -margin, below=True), tail(sample, margin, below=False))
    beyond = min(tail(sample, margin, below=True), tail(sample, -margin, below=False))
    words = f"two one-sided tests, {_words(pairs)}"
    found = _comparison(pairs, sample, EQUIVALENCE_LEVEL, p_value, words, margin)
    return replace(found, p_against=min(1.0, 2 * beyond))


def verdict(
    comparison: Comparison, alpha: float = ALPHA
) -> Literal["supported", "contradicted", "undecided"]:
    """Of "first is better than second" (from `compare`), or of "both are equal" (from `equivalence`).

    Better: supported or contradicted where the p-value is below alpha, by the side of the reference, 0 by
    default, that the difference lies on. Equal: supported where the p-value is below alpha, so the interval
    lies within +-margin; contradicted where `p_against` is, so a 95% interval lies wholly beyond the margin.
    The p-value is Holm's where there is one. Else undecided: the data do not tell, which is not the same as
    no difference.
    """
    p_value = comparison.p_value if comparison.p_holm is None else comparison.p_holm
    if comparison.margin is None:
        if p_value >= alpha or comparison.difference == comparison.reference:
            return "undecided"
        return "supported" if comparison.difference > comparison.reference else "contradicted"
    if p_value < alpha:
        return "supported"
    against = comparison.p_against
    return "contradicted" if against is not None and against < alpha else "undecided"


def mcnemar(only_first: int, only_second: int, *, mid_p: bool = True) -> float:
    """Two-sided p-value from the examples that only one of two runs gets right.

    Under the null each of them is as likely to be the first's as the second's: a binomial with share 1/2. The
    mid-p form counts half of the outcome seen; it keeps its level in practice, where the exact one is
    conservative (Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013).

    Args:
        only_first: examples that the first gets right and the second wrong.
        only_second: the reverse.
        mid_p: False for the exact test.

    Raises:
        AnalysisError: a count is negative.
    """
    if only_first < 0 or only_second < 0:
        raise AnalysisError(f"counts {only_first} and {only_second}: give numbers of examples, 0 or more")
    from scipy.stats import binom, binomtest

    fewer, total = min(only_first, only_second), only_first + only_second
    if total == 0:
        return 1.0
    exact = float(binomtest(fewer, total).pvalue)
    if not mid_p:
        return exact
    if only_first == only_second:  # the two tails share the outcome seen, so that together they are certain
        return 1.0
    return exact - float(binom.pmf(fewer, total, 0.5))


def _draws(pairs: Pairs, resamples: int, generator_seed: int) -> np.ndarray:
    generator = np.random.default_rng(generator_seed)
    if pairs.first.of_totals is None:
        n = len(pairs.difference)
        imaginary = np.array([-n, n] if pairs.binary else [], dtype=int)
        return draws(pairs.difference, imaginary, resamples, generator)
    first, second = corpus_draws((pairs.first, pairs.second), resamples, generator)
    return first - second + between_seeds(pairs.difference, resamples, generator)


def _comparison(
    pairs: Pairs,
    sample: np.ndarray,
    level: float,
    p_value: float,
    method: str,
    margin: float | None,
    reference: float = 0.0,
) -> Comparison:
    n, m = pairs.difference.shape
    difference, width = pairs.mean, pairs.width
    low, high = interval(sample, level)
    return Comparison(
        difference=difference,
        low=max(-width, min(low, difference)),
        high=min(width, max(high, difference)),
        p_value=p_value,
        p_holm=None,
        seeds=n,
        examples=m,
        method=method,
        level=level,
        margin=margin,
        sources=sources(n),
        components=components(pairs.difference),
        reference=reference,
    )


def _words(pairs: Pairs) -> str:
    n = len(pairs.difference)
    if n == 1:
        return "bootstrap over examples (one pair of runs)"
    pairing = "" if pairs.same_seed >= n else f", {pairs.same_seed} of {n} pairs by seed"
    return f"paired bootstrap over seeds and examples{pairing}"
