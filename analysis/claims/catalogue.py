"""The claims, and the verdict on each.

A claim is one function that gathers its evidence, registered where it stands:

    @claim("qv-beats-q", "7.1", "W_q and W_v together beat W_q alone at equal budget", Answers)
    def qv_beats_q(answers: Answers) -> Evidence: ...

Every module of this package is imported with it, so a new file, or an entry in one, is all
that a claim takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from analysis.claims.evidence import Evidence
from analysis.claims.judgement import Judgement, Verdict
from analysis.defaults import DEFAULT_MARGIN
from analysis.errors import AnalysisError
from analysis.reading import tensors
from analysis.reading.needs import MissingRunsError, Need
from analysis.registry import always
from analysis.selection import Selection
from analysis.statistics import holm

ALPHA = 0.05

Gather = TypeVar("Gather", bound=Callable[[Any], Evidence])


class Source(Protocol):
    """What claims are judged from, made once a task.

    Attributes:
        one_family: its claims are corrected for each other; else each keeps its own 5 %.
    """

    one_family: bool

    def __init__(self, selection: Selection, margin: float) -> None: ...


@dataclass(frozen=True)
class Claim:
    """A claim of Section 7, or one made since.

    Attributes:
        name: for tables and files.
        section: where the paper makes it; of a claim made since, where that is: an arXiv number or a title.
        statement: in one line.
        source: what it is judged from.
        evidence: gathers that.
        applies: whether a study asked for it; where it did not, the claim is left out without a word.
        since: whether it was made after the paper.
    """

    name: str
    section: str
    statement: str
    source: type[Source]
    evidence: Callable[[Any], Evidence]
    applies: Callable[[Selection], bool] = always
    since: bool = False


CLAIMS: list[Claim] = []
"""In the paper's order; then those made since."""


def claim(
    name: str,
    section: str,
    statement: str,
    source: type[Source],
    applies: Callable[[Selection], bool] = always,
    since: bool = False,
) -> Callable[[Gather], Gather]:
    """Register the function as the claim of this name; parameters as of `Claim`.

    Raises:
        ValueError: there is one of this name.
    """

    def register(function: Gather) -> Gather:
        if any(one.name == name for one in CLAIMS):
            raise ValueError(f"the claim {name} is registered twice")
        CLAIMS.append(Claim(name, section, statement, source, function, applies, since))
        CLAIMS.sort(key=lambda one: (one.since, "" if one.since else one.section))
        return function

    return register


def judge(selection: Selection, margin: float = DEFAULT_MARGIN) -> list[Judgement]:
    """Every claim on every task of the selection; one that lacks runs, or cannot be tested, says so.

    The claims about accuracy are one family and corrected by Holm, task by task; of those about geometry each
    keeps its own 5 %.

    Args:
        margin: what counts as equal: in points where the metric is a share, else in its own unit.

    Raises:
        AnalysisError: the margin is not above 0, the study has no run, or the selection names settings or a
            layer that it does not have.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise AnalysisError(f"margin={margin}: give points above 0, such as 1")
    tasks = selection.each_task()
    if not tasks:
        raise AnalysisError(
            f"study {selection.study.name} has no finished run; train some with python run.py -m"
        )
    return [judgement for one in tasks for judgement in _judge_task(one, margin)]


def decide(found: Mapping[str, Evidence], task: str = "") -> dict[str, Judgement]:
    """The judgement on each of these claims, by name, from its evidence alone.

    Supported or contradicted where the p-value of that side is below 5 %, corrected by Holm in the family of
    the claims of a source that are here, where they are one; else undecided.
    """
    claims = [one for one in CLAIMS if one.name in found]
    sizes: dict[str, int] = {}
    corrected = {name: evidence.p_value for name, evidence in found.items()}
    for source in {one.source for one in claims if one.source.one_family}:
        names = [one.name for one in claims if one.source is source]
        corrected |= zip(names, holm([found[name].p_value for name in names]), strict=True)
        sizes |= dict.fromkeys(names, len(names))
    return {
        one.name: _judged(one, task, found[one.name], corrected[one.name], ALPHA / sizes.get(one.name, 1))
        for one in claims
    }


def _judge_task(selection: Selection, margin: float) -> list[Judgement]:
    _check(selection)
    asked = [one for one in CLAIMS if one.applies(selection)]
    sources = {one.source: one.source(selection, margin) for one in asked}
    found: dict[str, Evidence] = {}
    errors: dict[str, AnalysisError] = {}
    for one in asked:
        try:
            found[one.name] = one.evidence(sources[one.source])
        except AnalysisError as error:
            errors[one.name] = error
    task = str(selection.task)
    decided = decide(found, task)
    return [decided.get(one.name) or _untested(one, task, errors[one.name]) for one in asked]


def _check(selection: Selection) -> None:
    """Errors of the selection itself, which are not those of a claim."""
    _ = selection.frame
    runs = selection.available()
    if runs:
        tensors.one_layer(selection, runs[0])


def _judged(one: Claim, task: str, evidence: Evidence, p_holm: float, alpha: float) -> Judgement:
    """The judgement; a single p-value below `alpha` is sure to count in its family."""
    verdict: Verdict = "undecided"
    if p_holm < ALPHA:
        verdict = "supported" if evidence.p_for < evidence.p_against else "contradicted"
    part = evidence.shown
    needed = evidence.needed(alpha) if verdict == "undecided" else None
    sentences = [f"Shown: {part.name}." if part.name else "", evidence.note]
    if needed:
        sentences.append(f"Undecided: {needed.reason}.")
    return Judgement(
        task=task,
        claim=one.name,
        section=one.section,
        statement=one.statement,
        verdict=verdict,
        statistic=evidence.statistic,
        value=part.value,
        low=part.low,
        high=part.high,
        level=part.level,
        null=part.null,
        wanted=part.wanted,
        margin=part.margin,
        p_value=evidence.p_value if evidence.enough else math.nan,
        p_holm=p_holm if evidence.enough else math.nan,
        seeds=evidence.seeds,
        examples=part.examples,
        needed=needed.more_seeds if needed else None,
        needed_fewest=needed.fewest if needed else None,
        needed_most=needed.most if needed else None,
        paper=part.paper,
        note=" ".join(filter(None, sentences)),
        since=one.since,
    )


def _untested(one: Claim, task: str, error: AnalysisError) -> Judgement:
    missing: tuple[Need, ...] = ()
    commands: tuple[str, ...] = ()
    note = f"{str(error).rstrip('.')}."
    if isinstance(error, MissingRunsError):
        missing, commands = error.missing, error.commands
        note = f"Lacks {len(missing)} run{'s' if len(missing) > 1 else ''}. {error.reason}".strip()
    return Judgement(
        task,
        one.name,
        one.section,
        one.statement,
        "not testable",
        missing=missing,
        commands=commands,
        note=note,
        since=one.since,
    )
