"""What a claim rests on: comparisons, what each says for and against it, and the rule that joins them.

A claim holds where all its parts hold.  So it is supported where every part is (the intersection-union test:
the largest p-value counts, without correction; Berger, Technometrics 24:295, 1982), and contradicted where at
least one part is, with Bonferroni's correction for having looked at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from analysis.statistics import Comparison, Needed, UnitMean, seeds_needed, units_needed

LEAST_RUNS, LEAST_UNITS = 2, 3
"""Seeds that a verdict takes.

One seed does not tell how much seeds differ. Of accuracies the examples tell a part of that, so that two hold
what they promise; for one number a seed, Student's t over two rests on their being normal and nothing else
(where a layer's directions change places in every other seed, it errs three to nine times too often)."""


@dataclass(frozen=True)
class Part:
    """One comparison.

    Attributes:
        name: which of the claim's, empty where it has one.
        value: as measured, in the statistic's unit.
        low, high: its interval, at `level`; NaN with one seed.
        level: of the interval.
        null: what chance, or no difference, would give.
        wanted: where the claim wants the value, in words: "> 0.5", "within ±1".
        p_for: p-value of the claim's negation; below alpha the claim is supported.
        p_against: p-value of the claim; below alpha it is contradicted.
        distance: how far the value lies on the claim's side of what it is tested against, in the unit of the
            test; negative on the other side.
        seeds: runs, or pairs of runs, that vary.
        examples: that accuracies are taken over, else None.
        plan: how many more seeds would decide at this alpha.
        least: seeds without which nothing is decided.
        margin: of an equivalence, in the statistic's unit, else None.
        paper: the paper's value, as text; empty where it has none.
    """

    name: str
    value: float
    low: float
    high: float
    level: float
    null: float
    wanted: str
    p_for: float
    p_against: float
    distance: float
    seeds: int
    examples: int | None
    plan: Callable[[float], Needed]
    least: int
    margin: float | None = None
    paper: str = ""


@dataclass(frozen=True)
class Evidence:
    """The parts of a claim, and what is measured in words.

    Attributes:
        statistic: what `Part.value` is, with its unit.
        parts: at least one.
        note: what else the reader should know.
    """

    statistic: str
    parts: tuple[Part, ...]
    note: str = ""

    @property
    def seeds(self) -> int:
        """Of the part that has the fewest."""
        return min(part.seeds for part in self.parts)

    @property
    def enough(self) -> bool:
        """Whether every part has the seeds that a verdict takes."""
        return all(part.seeds >= part.least for part in self.parts)

    @property
    def p_for(self) -> float:
        return max(part.p_for for part in self.parts)

    @property
    def p_against(self) -> float:
        return min(1.0, len(self.parts) * min(part.p_against for part in self.parts))

    @property
    def p_value(self) -> float:
        """Of the side that the data are on; 1 with too few seeds to tell what others would give."""
        return min(self.p_for, self.p_against) if self.enough else 1.0

    @property
    def shown(self) -> Part:
        """The part that settles the claim: the strongest against it, else the weakest for it."""
        if self.p_against < self.p_for:
            return min(self.parts, key=lambda part: (part.p_against, part.distance))
        return min(self.parts, key=lambda part: (-part.p_for, part.distance))

    def needed(self, alpha: float) -> Needed:
        """How many more seeds would decide what is undecided, if effects and spreads are as they seem."""
        against = [part.plan(alpha / len(self.parts)) for part in self.parts if part.distance <= 0]
        if against:  # the first part to be contradicted decides
            found = min(against, key=_more)
        else:
            found = max((part.plan(alpha) for part in self.parts), key=_more)
        if found.more_seeds == 0:  # the plan is now and then a little surer than the bootstrap
            return Needed(1, None, None, "1 more seed would decide")
        return found


def _more(needed: Needed) -> float:
    return math.inf if needed.more_seeds is None else needed.more_seeds


def of_units(
    found: UnitMean,
    *,
    above: bool,
    null: float,
    name: str = "",
    shown: Callable[[float], float] = float,
    paper: str = "",
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Part:
    """A part that wants a mean over seeds above (or below) its reference.

    Args:
        null: in the unit shown.
        shown: from the unit of the test to the one shown, increasing: math.exp for logarithms.
        bounds: of what the mean can be, in the unit of the test; the interval ends there.
    """
    distance = found.mean - found.reference if above else found.reference - found.mean
    p_value = 1.0 if math.isnan(found.p_value) else found.p_value
    return Part(
        name=name,
        value=shown(found.mean),
        low=shown(_within(found.low, bounds)),
        high=shown(_within(found.high, bounds)),
        level=found.level,
        null=null,
        wanted=f"{'>' if above else '<'} {shown(found.reference):.3g}",
        p_for=p_value if distance > 0 else 1.0,
        p_against=p_value if distance < 0 else 1.0,
        distance=distance,
        seeds=found.units,
        examples=None,
        plan=lambda alpha: units_needed(found, alpha=alpha, least=LEAST_UNITS),
        least=LEAST_UNITS,
        paper=paper,
    )


def _within(value: float, bounds: tuple[float, float]) -> float:
    return value if math.isnan(value) else min(max(value, bounds[0]), bounds[1])


def of_comparison(
    found: Comparison,
    *,
    wanted: str,
    p_for: float,
    p_against: float,
    distance: float,
    scale: float = 100.0,
    name: str = "",
    paper: str = "",
) -> Part:
    """A part that is a difference of two cells' values.

    Args:
        scale: what it is multiplied by where people read it: 100 makes points of shares.
    """
    return Part(
        name=name,
        value=scale * found.difference,
        low=scale * found.low,
        high=scale * found.high,
        level=found.level,
        null=0.0,
        wanted=wanted,
        p_for=p_for,
        p_against=p_against,
        distance=distance,
        seeds=found.seeds,
        examples=found.examples,
        plan=lambda alpha: seeds_needed(found, alpha=alpha),
        least=LEAST_RUNS,
        margin=None if found.margin is None else scale * found.margin,
        paper=paper,
    )
