"""The claims by name, and the verdict on each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.claims import accuracy, subspaces, weights
from analysis.claims.answers import Answers
from analysis.claims.evidence import Evidence
from analysis.claims.geometry import Geometry
from analysis.claims.judgement import Judgement, Verdict
from analysis.defaults import DEFAULT_MARGIN
from analysis.errors import AnalysisError
from analysis.reading import tensors
from analysis.reading.needs import MissingRunsError, Need
from analysis.selection import Selection
from analysis.statistics.holm import holm

ALPHA = 0.05


@dataclass(frozen=True)
class Claim:
    """A claim of Section 7.

    Attributes:
        name: for tables and files.
        section: where the paper makes it.
        statement: in one line.
        source: what it is judged from.
        evidence: gathers that.
    """

    name: str
    section: str
    statement: str
    source: type[Answers] | type[Geometry]
    evidence: Callable[[Any], Evidence]


CLAIMS = (
    Claim(
        "qv-beats-q",
        "7.1",
        "W_q and W_v together beat W_q alone at equal budget",
        Answers,
        accuracy.qv_beats_q,
    ),
    Claim(
        "types-beat-rank",
        "7.1",
        "all four types at a low rank beat any one type at a higher rank, at equal budget",
        Answers,
        accuracy.more_types_beat_one,
    ),
    Claim(
        "r1-suffices-qv",
        "7.2",
        "r = 1 is as good as r = 8 for W_q and W_v",
        Answers,
        accuracy.rank_1_suffices_for_qv,
    ),
    Claim(
        "r1-suffices-qkvo",
        "7.2",
        "r = 1 is as good as r = 8 for all four types",
        Answers,
        accuracy.rank_1_suffices_for_qkvo,
    ),
    Claim(
        "r1-short-q",
        "7.2",
        "r = 1 is not as good as r = 8 for W_q alone",
        Answers,
        accuracy.rank_1_falls_short_for_q,
    ),
    Claim(
        "top-shared",
        "7.2",
        "the top direction of r = 8 is that of r = 64",
        Geometry,
        subspaces.top_direction_is_shared,
    ),
    Claim(
        "rest-not-shared",
        "7.2",
        "the other directions of r = 8 are not among those of r = 64",
        Geometry,
        subspaces.other_directions_are_not_shared,
    ),
    Claim(
        "seeds-share-q",
        "7.2",
        "two seeds share more directions of W_q than of W_v",
        Geometry,
        subspaces.seeds_share_more_of_q_than_of_v,
    ),
    Claim(
        "dw-correlates",
        "7.3",
        "dW correlates with W more than a random matrix does",
        Geometry,
        weights.dw_correlates_with_w,
    ),
    Claim(
        "dw-not-top",
        "7.3",
        "dW amplifies directions that W does not emphasise",
        Geometry,
        weights.dw_amplifies_what_w_does_not_emphasise,
    ),
    Claim(
        "af-falls",
        "7.3",
        "the amplification factor falls from r = 4 to r = 64 by more than its null does",
        Geometry,
        weights.amplification_falls_beyond_its_null,
    ),
)


@dataclass(frozen=True)
class Decision:
    """A verdict.

    Attributes:
        p_holm: what it goes by.
        alpha: that a single p-value must be below to be sure to count in its family.
    """

    verdict: Verdict
    p_holm: float
    alpha: float


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


def decide(found: Mapping[str, Evidence]) -> dict[str, Decision]:
    """The verdict on each of these claims, by name, from its evidence alone.

    Supported or contradicted where the p-value of that side is below 5 %, corrected by Holm in the family of
    the claims about accuracy that are here; else undecided.
    """
    accuracies = [claim.name for claim in CLAIMS if claim.source is Answers and claim.name in found]
    corrected = dict(zip(accuracies, holm([found[name].p_value for name in accuracies]), strict=True))
    decisions = {}
    for name, evidence in found.items():
        p_holm = corrected.get(name, evidence.p_value)
        verdict: Verdict = "undecided"
        if p_holm < ALPHA:
            verdict = "supported" if evidence.p_for < evidence.p_against else "contradicted"
        decisions[name] = Decision(verdict, p_holm, ALPHA / len(accuracies) if name in corrected else ALPHA)
    return decisions


def _judge_task(selection: Selection, margin: float) -> list[Judgement]:
    _check(selection)
    sources = {Answers: Answers(selection, margin), Geometry: Geometry(selection)}
    found: dict[str, Evidence] = {}
    errors: dict[str, AnalysisError] = {}
    for claim in CLAIMS:
        try:
            found[claim.name] = claim.evidence(sources[claim.source])
        except AnalysisError as error:
            errors[claim.name] = error
    decisions = decide(found)
    return [
        _untested(claim, str(selection.task), errors[claim.name])
        if claim.name in errors
        else _tested(claim, str(selection.task), found[claim.name], decisions[claim.name])
        for claim in CLAIMS
    ]


def _check(selection: Selection) -> None:
    """Errors of the selection itself, which are not those of a claim."""
    _ = selection.frame
    runs = selection.available()
    if runs:
        tensors.one_layer(selection, runs[0])


def _tested(claim: Claim, task: str, evidence: Evidence, decision: Decision) -> Judgement:
    part = evidence.shown
    needed = evidence.needed(decision.alpha) if decision.verdict == "undecided" else None
    sentences = [f"Shown: {part.name}." if part.name else "", evidence.note]
    if needed:
        sentences.append(f"Undecided: {needed.reason}.")
    return Judgement(
        task=task,
        claim=claim.name,
        section=claim.section,
        statement=claim.statement,
        verdict=decision.verdict,
        statistic=evidence.statistic,
        value=part.value,
        low=part.low,
        high=part.high,
        level=part.level,
        null=part.null,
        wanted=part.wanted,
        margin=part.margin,
        p_value=evidence.p_value if evidence.enough else math.nan,
        p_holm=decision.p_holm if evidence.enough else math.nan,
        seeds=evidence.seeds,
        examples=part.examples,
        needed=needed.more_seeds if needed else None,
        paper=part.paper,
        missing=(),
        commands=(),
        note=" ".join(filter(None, sentences)),
    )


def _untested(claim: Claim, task: str, error: AnalysisError) -> Judgement:
    missing: tuple[Need, ...] = ()
    commands: tuple[str, ...] = ()
    note = str(error)
    if isinstance(error, MissingRunsError):
        missing, commands = error.missing, error.commands
        note = f"Lacks {len(missing)} run{'s' if len(missing) > 1 else ''}. {error.reason}".strip()
    return Judgement(
        task=task,
        claim=claim.name,
        section=claim.section,
        statement=claim.statement,
        verdict="not testable",
        statistic="",
        value=math.nan,
        low=math.nan,
        high=math.nan,
        level=math.nan,
        null=math.nan,
        wanted="",
        margin=None,
        p_value=math.nan,
        p_holm=math.nan,
        seeds=None,
        examples=None,
        needed=None,
        paper="",
        missing=missing,
        commands=commands,
        note=note,
    )
