"""What a claim rests on: comparisons, what each says for and against it, and the rule that joins them.

Also what it lacks: the seeds to ask for, and the error that says how to train them.

A claim holds where all its parts hold.  So it is supported where every part is (the intersection-union test:
the largest p-value counts, without correction; Berger, Technometrics 24:295, 1982), and contradicted where at
least one part is, with Bonferroni's correction for having looked at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analysis.errors import AnalysisError
from analysis.reading.needs import MissingRunsError, Need
from analysis.selection import Selection
from analysis.statistics import Comparison, Needed, UnitMean, one_more, seeds_needed, units_needed

SEEDS = (0, 1, 2, 3, 4)
"""Of a study that has no runs yet to go by."""

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
        wanted: where the claim wants the value, in words: "> 0.5".
        p_for: p-value of the claim's negation; below alpha the claim is supported.
        p_against: p-value of the claim; below alpha it is contradicted.
        distance: how far the value lies on the claim's side of what it is tested against, in the unit of the
            test; negative on the other side.
        seeds: runs, or pairs of runs, that vary.
        examples: that accuracies are taken over, else None.
        plan: how many more seeds would decide at this alpha.
        least: seeds without which nothing is decided.
        margin: what counts as equal, in the statistic's unit, where the claim allows for one, else None.
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
        return one_more(found) if found.more_seeds == 0 else found


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
    p_for, p_against, distance = _sides(found.mean, found.reference, found.p_value, above)
    low, high = (
        end if math.isnan(end) else min(max(end, bounds[0]), bounds[1]) for end in (found.low, found.high)
    )
    return Part(
        name=name,
        value=shown(found.mean),
        low=shown(low),
        high=shown(high),
        level=found.level,
        null=null,
        wanted=f"{'>' if above else '<'} {shown(found.reference):.3g}",
        p_for=p_for,
        p_against=p_against,
        distance=distance,
        seeds=found.units,
        examples=None,
        plan=lambda alpha: units_needed(found, alpha=alpha, least=LEAST_UNITS),
        least=LEAST_UNITS,
        paper=paper,
    )


def of_comparison(
    found: Comparison,
    *,
    above: bool = True,
    scale: float = 100.0,
    name: str = "",
    paper: str = "",
) -> Part:
    """A part that wants a difference of two cells' values above (or below) its reference.

    A reference other than 0 is the margin of what counts as equal, on the side that the claim does not want.

    Args:
        scale: what it is multiplied by where people read it: 100 makes points of shares.
    """
    p_for, p_against, distance = _sides(found.difference, found.reference, found.p_value, above)
    return Part(
        name=name,
        value=scale * found.difference,
        low=scale * found.low,
        high=scale * found.high,
        level=found.level,
        null=0.0,
        wanted=f"{'>' if above else '<'} {scale * found.reference:g}",
        p_for=p_for,
        p_against=p_against,
        distance=distance,
        seeds=found.seeds,
        examples=found.examples,
        plan=lambda alpha: seeds_needed(found, alpha=alpha),
        least=LEAST_RUNS,
        margin=scale * abs(found.reference) or None,
        paper=paper,
    )


def _sides(value: float, reference: float, p_value: float, above: bool) -> tuple[float, float, float]:
    """p-values for and against, of a two-sided one, and the distance on the claim's side."""
    distance = value - reference if above else reference - value
    p_value = 1.0 if math.isnan(p_value) else p_value
    return p_value if distance > 0 else 1.0, p_value if distance < 0 else 1.0, distance


def seeds_of(selection: Selection, least: int = 1) -> tuple[int, ...]:
    """The seeds to ask for: those chosen, else those that the study's LoRA runs of the task have.

    Args:
        least: how many; counted up from 0 where the study has fewer.
    """
    if selection.seeds is not None:
        return selection.seeds
    runs = [run for run in selection.study.runs if run.settings["method"] == "lora"]
    there = sorted({run.settings["seed"] for run in runs if run.settings["task"] == selection.task})
    seeds = there or SEEDS
    return tuple(dict.fromkeys((*seeds, *range(least))))[: max(least, len(seeds))]


def missing_runs(selection: Selection, missing: Iterable[Need]) -> MissingRunsError:
    """The error of these runs, to be raised or told; with the command lines that train them as the study's
    others were, or the reason why there are none.
    """
    needs = tuple(dict.fromkeys(missing))
    commands: tuple[str, ...] = ()
    reason = ""
    try:
        selection.require(needs)
    except MissingRunsError as error:
        commands = error.commands
    except AnalysisError as error:
        reason = str(error)
    return MissingRunsError(selection.study.name, needs, commands, reason=reason)
