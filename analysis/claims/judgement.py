"""What a study says of one claim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from analysis.reading.needs import Need
from analysis.statistics.planning import FEASIBLE

Verdict = Literal["supported", "contradicted", "undecided", "not testable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SMALL_P = 0.001
"""A smaller p-value is said to be so."""


@dataclass(frozen=True)
class Judgement:
    """One claim on one task.

    Numbers are NaN, counts None and texts empty where a claim is not testable or has no such thing.

    Attributes:
        task: of the runs.
        claim: its name.
        section: of the paper, or the work that makes the claim.
        statement: the claim in one line.
        verdict: what the data say.
        statistic: what `value` is, with its unit; of several parts, the one that settles the claim.
        value: as measured.
        low, high: its interval.
        level: how often such an interval holds the true value.
        null: what chance, or no difference, would give.
        wanted: where the claim wants the value.
        margin: what counts as equal, in the statistic's unit, where the claim allows for one.
        p_value: of the side that the data are on, for the whole claim; NaN with too few seeds for a verdict.
        p_holm: the same, corrected for the family that the claim is tested in; the verdict goes by it.
        seeds: runs, or pairs of runs, that vary; of the part that has the fewest.
        examples: that accuracies are taken over.
        needed: how many more seeds would decide an undecided claim, at the present effect and spread, with a
            power of 80 %; None where no feasible number would.
        needed_fewest, needed_most: the same for an effect a standard error larger, and smaller.
        paper: the paper's value of the same statistic, as text.
        missing: runs without which the claim cannot be tested.
        commands: that train them.
        note: what else there is to know, in sentences.
        since: whether it was made after the paper; `section` is then where.
    """

    task: str
    claim: str
    section: str
    statement: str
    verdict: Verdict
    statistic: str = ""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = math.nan
    null: float = math.nan
    wanted: str = ""
    margin: float | None = None
    p_value: float = math.nan
    p_holm: float = math.nan
    seeds: int | None = None
    examples: int | None = None
    needed: int | None = None
    needed_fewest: int | None = None
    needed_most: int | None = None
    paper: str = ""
    missing: tuple[Need, ...] = ()
    commands: tuple[str, ...] = ()
    note: str = ""
    since: bool = False

    @property
    def cells(self) -> dict[str, str]:
        """Its numbers as text, by the headings of their columns; empty where it has no such thing.

        Differences of accuracies are in points, with a sign.
        """
        form = ".3g" if self.examples is None else "+.1f"

        def text(value: float, form: str = form) -> str:
            large = form == ".3g" and abs(value) >= 1000
            return "" if math.isnan(value) else f"{value:,.0f}" if large else f"{value:{form}}"

        return {
            "value": text(self.value),
            "interval": f"{text(self.low)} to {text(self.high)}" if text(self.low) else "",
            "wanted": self.wanted,
            "chance": text(self.null, ".3g"),
            "paper": self.paper,
            "p": f"<{SMALL_P}" if self.p_holm < SMALL_P else text(self.p_holm, ".3f"),
            "seeds": "" if self.seeds is None else str(self.seeds),
            "more seeds": self._more_seeds,
        }

    @property
    def _more_seeds(self) -> str:
        """ "21 (5 to >100)"."""
        if self.needed is None:
            planned = self.verdict == "undecided" and not math.isnan(self.p_holm)
            return "none feasible" if planned else ""
        most = f">{FEASIBLE}" if self.needed_most is None else str(self.needed_most)
        fewest = self.needed if self.needed_fewest is None else self.needed_fewest
        return f"{self.needed} ({fewest} to {most})"
