"""Claims about accuracy: which weights to adapt (Section 7.1) and at which rank (7.2)."""

from __future__ import annotations

from analysis.cells import Place
from analysis.claims.answers import Answers, named
from analysis.claims.evidence import Evidence, Part, of_comparison
from analysis.statistics import compare, equivalence

SINGLE = ("q", "k", "v", "o")
ALL_TYPES = "qkvo"
LOW, HIGH = 1, 8
PAPER_RANKS = {1: 8, 2: 4, 4: 2}
"""Table 5: the rank of so many types of weights."""


def qv_beats_q(answers: Answers) -> Evidence:
    """Section 7.1: "putting all the parameters in dW_q ... results in significantly lower performance, while
    adapting both W_q and W_v yields the best result", at an equal number of parameters.

    Accuracy of {W_q, W_v} minus that of W_q at r = 8, the first at the rank that costs the same.
    """
    places = answers.at_budget("qv", "q")
    part = _better(answers, *places, paper=_paper_table5(answers, "qv", "q"))
    first, second = map(named, places)
    return Evidence(_difference(answers, first, second), (part,), answers.described(*places))


def more_types_beat_one(answers: Answers) -> Evidence:
    """Section 7.1: "it is preferable to adapt more weight matrices than adapting a single type of weights
    with a larger rank".

    Accuracy of all four types minus that of each single type at its larger rank, all at an equal number of
    parameters. The claim wants all four differences above 0: all types beat the best single one, whichever
    that is.
    """
    together, *single = places = answers.at_budget(ALL_TYPES, *SINGLE)
    answers.cells(*places)
    parts = tuple(
        _better(
            answers,
            together,
            place,
            name=f"against {named(place)}",
            paper=_paper_table5(answers, ALL_TYPES, place[0]),
        )
        for place in single
    )
    return Evidence(
        _difference(answers, named(together), "that of one type"), parts, answers.described(*places)
    )


def rank_1_suffices_for_qv(answers: Answers) -> Evidence:
    """Section 7.2: "LoRA already performs competitively with a very small r (more so for {W_q, W_v} than just
    W_q)", so "a rank as small as one suffices for adapting both W_q and W_v".

    Accuracy at r = 1 minus that at r = 8. The claim is one of equivalence: that the difference is within the
    margin is what must be shown, not that none was found.
    """
    return _as_good(answers, "qv")


def rank_1_suffices_for_qkvo(answers: Answers) -> Evidence:
    """Section 7.2, Table 6: as for {W_q, W_v}, a very small r performs competitively for all four types.

    As `rank_1_suffices_for_qv`.
    """
    return _as_good(answers, ALL_TYPES)


def rank_1_falls_short_for_q(answers: Answers) -> Evidence:
    """Section 7.2: a rank of one suffices for both W_q and W_v, "while training W_q alone needs a larger r".

    Accuracy at r = 1 minus that at r = 8. The claim wants it below minus the margin, so that it is the
    negation of what is claimed for {W_q, W_v}; it is contradicted where r = 1 is shown to fall short by less
    than the margin, or not at all.
    """
    places = low, high = ("q", LOW), ("q", HIGH)
    one, other = answers.cells(*places)
    found = compare(one.outcomes, other.outcomes, reference=-answers.margin)
    distance = -answers.margin - found.difference
    part = of_comparison(
        found,
        wanted=f"< -{answers.metric.scale * answers.margin:g}",
        p_for=found.p_value if distance > 0 else 1.0,
        p_against=found.p_value if distance < 0 else 1.0,
        distance=distance,
        scale=answers.metric.scale,
        paper=answers.paper("table6", low, high),
    )
    return Evidence(_difference(answers, *map(named, places)), (part,), answers.described(*places))


def _as_good(answers: Answers, targets: str) -> Evidence:
    places = low, high = (targets, LOW), (targets, HIGH)
    one, other = answers.cells(*places)
    found = equivalence(one.outcomes, other.outcomes, margin=answers.margin)
    distance = answers.margin - abs(found.difference)
    nearer = answers.margin if found.difference > 0 else -answers.margin
    beyond = compare(one.outcomes, other.outcomes, reference=nearer)
    part = of_comparison(
        found,
        wanted=f"within ±{answers.metric.scale * answers.margin:g}",
        p_for=found.p_value,
        p_against=beyond.p_value / 2 if distance < 0 else 1.0,  # one-sided, as the tests for the claim are
        distance=distance,
        scale=answers.metric.scale,
        paper=answers.paper("table6", low, high),
    )
    better = "" if found.difference < answers.margin else " r = 1 is better by more than the margin."
    return Evidence(_difference(answers, *map(named, places)), (part,), answers.described(*places) + better)


def _better(answers: Answers, first: Place, second: Place, *, name: str = "", paper: str) -> Part:
    one, other = answers.cells(first, second)
    found = compare(one.outcomes, other.outcomes)
    return of_comparison(
        found,
        wanted="> 0",
        p_for=found.p_value if found.difference > 0 else 1.0,
        p_against=found.p_value if found.difference < 0 else 1.0,
        distance=found.difference,
        scale=answers.metric.scale,
        name=name,
        paper=paper,
    )


def _paper_table5(answers: Answers, first: str, second: str) -> str:
    """At the paper's ranks, which a model with smaller W_k and W_v does not have."""
    return answers.paper("table5", (first, PAPER_RANKS[len(first)]), (second, PAPER_RANKS[len(second)]))


def _difference(answers: Answers, first: str, second: str) -> str:
    score = answers.metric
    noun = "accuracy" if score.binary else score.title
    return f"{noun} of {first} minus {second}{', points' if score.share else ''}"
