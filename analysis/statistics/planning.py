"""How many more seeds, or examples, would decide an undecided comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from analysis.errors import AnalysisError
from analysis.statistics.comparison import Comparison
from analysis.statistics.units import UnitMean
from analysis.statistics.variance import Components
from analysis.statistics.verdicts import ALPHA

POWER = 0.8
MOST = 10**9
ONE_SEED = "one seed does not tell how much seeds differ; train at least three"
ONE_PAIR = "one pair of seeds does not tell how much pairs differ; train at least three seeds"


@dataclass(frozen=True)
class Needed:
    """What would decide, were the difference and the variances what they now seem.

    Attributes:
        more_seeds: pairs of runs besides those there are, on the same examples; None where none would do.
        examples: where no number of seeds would do, how many examples, else None.
        seeds: with `examples`, how many pairs of runs in all, else None.
        reason: in one sentence.
    """

    more_seeds: int | None
    examples: int | None
    seeds: int | None
    reason: str


def seeds_needed(comparison: Comparison, *, alpha: float = ALPHA, power: float = POWER) -> Needed:
    """How many more seeds would decide `comparison`, with a chance of `power`, at the present effect.

    With N seeds and m examples the difference has variance A/N + B/m + C/(N m) (`variance.py`). It decides
    where its distance, from the reference or from the nearer margin, is (t_crit + t_power) standard errors;
    the degrees of freedom are Satterthwaite's. Seeds leave B/m as it is, so they may not be enough.

    A plan, not a stopping rule: the estimates are those of a few seeds, and a study that adds seeds until its
    verdict changes has no 5% left.

    Args:
        alpha: what the p-value must be below; divide it by the family's size to plan for Holm.
        power: the chance of a decision, above 0 and below 1.

    Raises:
        AnalysisError: alpha or power is not between 0 and 1.
    """
    _check(alpha, power)
    found, margin = comparison.components, comparison.margin
    if found.seeds < 2 or found.examples < 2:
        return Needed(None, None, None, ONE_SEED)
    if margin is None:
        distance, at = abs(comparison.difference - comparison.reference), f"{comparison.reference:g}"
    else:
        distance, at = abs(margin - abs(comparison.difference)), "the margin"
    if distance == 0:
        return Needed(None, None, None, f"the difference is exactly {at}; no number of seeds decides it")
    one_sided = alpha / 2 if margin is None else alpha

    def decides(seeds: int, examples: float, share: float = 1.0) -> bool:
        return _required(found, seeds, examples, one_sided, power) <= share * distance

    seeds = _smallest(found.seeds, lambda n: decides(n, found.examples))
    if seeds is not None:
        return _more(seeds - found.seeds)
    # Seeds for half of the variance allowed, then examples for the rest.
    seeds = _smallest(found.seeds, lambda n: decides(n, math.inf, math.sqrt(0.5)))
    examples = seeds and _smallest(found.examples, lambda m: decides(seeds, m))
    if not seeds or not examples:
        return Needed(None, None, None, "the difference is too small to be decided")
    reason = (
        f"no number of seeds decides on {found.examples:,} examples; {examples:,} with {seeds} seeds would"
    )
    return Needed(None, examples, seeds, reason)


def units_needed(found: UnitMean, *, alpha: float = ALPHA, power: float = POWER, least: int = 1) -> Needed:
    """How many more units, such as seeds, would part `found` from its reference; as `seeds_needed`.

    Args:
        least: units, in all, below which nothing is decided.
    """
    from scipy.stats import t

    _check(alpha, power)
    if math.isnan(found.sd):
        return Needed(None, None, None, ONE_SEED if found.units == 1 else ONE_PAIR)
    distance = abs(found.mean - found.reference)
    if distance == 0:
        reason = f"the mean is exactly {found.reference:g}; no number of seeds decides it"
        return Needed(None, None, None, reason)

    def decides(units: int) -> bool:
        deviations = float(t.isf(alpha / 2, units - 1) + t.ppf(power, units - 1))
        return deviations * found.sd / math.sqrt(units) <= distance

    units = _smallest(max(found.units, least), decides)
    if units is None:
        return Needed(None, None, None, "the difference is too small to be decided")
    return _more(units - found.units)


def _more(seeds: int) -> Needed:
    if not seeds:
        return Needed(0, None, None, "these seeds decide")
    return Needed(seeds, None, None, f"{seeds:,} more {'seed' if seeds == 1 else 'seeds'} would decide")


def _check(alpha: float, power: float) -> None:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise AnalysisError(f"alpha={alpha}, power={power}: both lie between 0 and 1")


def _required(found: Components, seeds: int, examples: float, one_sided: float, power: float) -> float:
    """The difference that so many seeds and examples would find."""
    from scipy.stats import t

    between = found.seed_variance / seeds + found.residual / (seeds * examples)
    variance = between + found.example_variance / examples
    if variance == 0:
        return 0.0
    # Only the mean square between seeds has few degrees of freedom.
    freedom = (seeds - 1) * (variance / between) ** 2 if between > 0 else math.inf
    return float(t.isf(one_sided, freedom) + t.ppf(power, freedom)) * math.sqrt(variance)


def _smallest(start: int, enough: Callable[[int], bool]) -> int | None:
    """The least number from `start` to `MOST` that is enough, where all larger ones are too."""
    if not enough(MOST):
        return None
    below, number = start - 1, start
    while not enough(number):
        below, number = number, min(2 * number, MOST)
    while number - below > 1:
        middle = (below + number) // 2
        below, number = (below, middle) if enough(middle) else (middle, number)
    return number
