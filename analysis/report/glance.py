"""The verdicts at a glance: a row a claim, a cell a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from analysis.claims.judgement import SMALL_P, Judgement, Verdict
from analysis.registry import Made
from analysis.result import Result

MARKS: dict[Verdict, str] = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not testable": "–"}
"""A sign for each verdict, which stands beside its name."""


def judged(made: Made) -> Sequence[Judgement]:
    """The judgements of the claims; none where these could not be made."""
    results = (outcome for outcome in made.values() if isinstance(outcome, Result))
    return [found for result in results for found in result.judgements]


def by_claim(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """Claim by claim, a judgement a task."""
    names = dict.fromkeys(found.claim for found in judgements)
    return {name: [found for found in judgements if found.claim == name] for name in names}


def counted(judgements: Sequence[Judgement]) -> dict[str, str]:
    """By task, how many claims have each verdict, in words."""
    tasks = dict.fromkeys(found.task for found in judgements)
    counts = {task: Counter(found.verdict for found in judgements if found.task == task) for task in tasks}
    return {
        task: ", ".join(f"{found[verdict]} {verdict}" for verdict in MARKS if found[verdict])
        for task, found in counts.items()
    }


def effect(found: Judgement) -> str:
    """The value, with its interval; empty where there is none."""
    value, interval = found.cells["value"], found.cells["interval"]
    return f"{value} ({interval})" if interval else value


def pieces(found: Judgement) -> list[str]:
    """What else there is to say of the effect, in short pieces."""
    cells = found.cells
    told = [f"{word} {cells[word]}" for word in ("wanted", "paper") if cells[word]]
    if cells["p"]:
        told.append(f"p < {SMALL_P}" if found.p_holm < SMALL_P else f"p = {cells['p']}")
    if found.seeds is not None:
        told.append(f"{found.seeds} seed{'s' * (found.seeds != 1)}")
    if found.needed is not None:
        told.append(f"{cells['more seeds']} more would decide")
    return told
