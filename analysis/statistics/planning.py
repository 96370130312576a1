"""How many more seeds, or examples, would decide an undecided comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from analysis.errors import AnalysisError
from analysis.statistics.comparison import ALPHA, Comparison
from analysis.statistics.units import UnitMean
from analysis.statistics.variance import Components

POWER = 0.8
FEASIBLE = 100
"""More seeds than so many that a plan asks for are called not feasible."""
MOST_EXAMPLES = 10**9
ONE_SEED = "one seed does not tell how much seeds differ; train at least three"
ALIKE = "in every seed the two score alike"
ONE_PAIR = "one pair of seeds does not tell how much pairs differ; train at least three seeds"


@dataclass(frozen=True)
class Needed:
    """What would decide, were the difference and the variances what they now seem.

    Attributes:
        more_seeds: pairs of runs besides those there are, on the same examples; None where no feasible number
            would do.
        examples: where no feasible number of seeds would do, how many examples, else None.
        seeds: with `examples`, how many pairs of runs in all, else None.
        reason: in one sentence, with the power that it assumes.
        fewest, most: as `more_seeds`, were the effect a standard error larger, or smaller.
    """

    more_seeds: int | None
    examples: int | None
    seeds: int | None
    reason: str
    fewest: int | None = None
    most: int | None = None


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
    if not comparison.difference and comparison.p_value >= alpha and not _variance(found, 1, 1):
        return Needed(None, None, None, f"{ALIKE} on {found.examples:,} examples; more examples would tell")
    # Beyond the margin either side may decide, within it both tests must at their own level.
    one_sided = alpha if margin is not None and abs(comparison.difference) < margin else alpha / 2

    def decides(seeds: int, examples: float, distance: float) -> bool:
        return _required(found, seeds, examples, one_sided, power) <= distance

    planned = _planned(
        found.seeds,
        found.seeds,
        distance,
        math.sqrt(_variance(found, found.seeds, found.examples)),
        lambda seeds, distance: decides(seeds, found.examples, distance),
        power,
    )
    if planned.more_seeds is not None:
        return planned
    # Seeds for half of the variance allowed, then examples for the rest.
    most = found.seeds + FEASIBLE
    seeds = _smallest(found.seeds, most, lambda n: decides(n, math.inf, math.sqrt(0.5) * distance))
    examples = seeds and _smallest(found.examples, MOST_EXAMPLES, lambda m: decides(seeds, m, distance))
    if not seeds or not examples:
        return planned
    reason = (
        f"no feasible number of seeds decides on {found.examples:,} examples; {examples:,} "
        f"examples with {seeds} seeds would ({_assumed(power)})"
    )
    return replace(planned, examples=examples, seeds=seeds, reason=reason)


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

    def decides(units: int, distance: float) -> bool:
        deviations = float(t.isf(alpha / 2, units - 1) + t.ppf(power, units - 1))
        return deviations * found.sd / math.sqrt(units) <= distance

    error = found.sd / math.sqrt(found.units)
    return _planned(found.units, max(found.units, least), distance, error, decides, power)


def one_more(planned: Needed, *, power: float = POWER) -> Needed:
    """The plan where these seeds should decide and do not, as it is at times surer than the bootstrap."""
    reason = f"1 more seed would decide ({_assumed(power)})"
    if planned.most is None or planned.most > 1:
        largest = f"over {FEASIBLE}" if planned.most is None else planned.most
        reason += f"; up to {largest}, were it a standard error smaller"
    return replace(planned, more_seeds=1, reason=reason, fewest=1)


def _planned(
    there: int,
    start: int,
    distance: float,
    error: float,
    decides: Callable[[int, float], bool],
    power: float,
) -> Needed:
    """The least number of seeds, from `start`, at this distance, and at one a standard error off."""

    def more(distance: float) -> int | None:
        if distance <= 0:
            return None
        seeds = _smallest(start, there + FEASIBLE, lambda n: decides(n, distance))
        return None if seeds is None else seeds - there

    fewest, needed, most = (more(distance + sign * error) for sign in (1, 0, -1))
    if needed == 0:
        return Needed(0, None, None, "these seeds decide", fewest, most)
    if needed is None:
        reason = f"not with any feasible number of seeds, which is {FEASIBLE} more ({_assumed(power)})"
        return Needed(None, None, None, reason, fewest, most)
    reason = f"{needed} more {'seed' if needed == 1 else 'seeds'} would decide ({_assumed(power)})"
    if not fewest == needed == most:
        largest = f"over {FEASIBLE}" if most is None else most
        reason += f"; {fewest} to {largest}, were it a standard error larger or smaller"
    return Needed(needed, None, None, reason, fewest, most)


def _assumed(power: float) -> str:
    return f"{power:.0%} power, the present effect taken as true"


def _check(alpha: float, power: float) -> None:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise AnalysisError(f"alpha={alpha}, power={power}: both lie between 0 and 1")


def _variance(found: Components, seeds: int, examples: float) -> float:
    """Of the difference of so many seeds and examples."""
    between = found.seed_variance / seeds + found.residual / (seeds * examples)
    return between + found.example_variance / examples


def _required(found: Components, seeds: int, examples: float, one_sided: float, power: float) -> float:
    """The difference that so many seeds and examples would find."""
    from scipy.stats import t

    variance = _variance(found, seeds, examples)
    between = variance - found.example_variance / examples
    if variance == 0:
        return 0.0
    # Only the mean square between seeds has few degrees of freedom.
    freedom = (seeds - 1) * (variance / between) ** 2 if between > 0 else math.inf
    return float(t.isf(one_sided, freedom) + t.ppf(power, freedom)) * math.sqrt(variance)


def _smallest(start: int, most: int, enough: Callable[[int], bool]) -> int | None:
    """The least number from `start` to `most` that is enough, where all larger ones are too."""
    if not enough(most):
        return None
    below, number = start - 1, start
    while not enough(number):
        below, number = number, min(2 * number, most)
    while number - below > 1:
        middle = (below + number) // 2
        below, number = (below, middle) if enough(middle) else (middle, number)
    return number
