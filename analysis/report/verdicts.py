"""The verdicts at a glance: a row a claim, a cell a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.output import Result
from analysis.tables.numbers import MISSING

if TYPE_CHECKING:
    from analysis.tables.layout import Row

MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not testable": "–"}
"""A sign for each verdict, which stands beside its name."""


@dataclass(frozen=True)
class Verdict:
    """One claim on one task, as the claims' table has it.

    Attributes:
        verdict: its name; kind: the same as one word.
        effect: the value, with the interval; empty where there is none.
        null: what chance, or no difference, would give.
        more: what else there is to say, in short pieces.
    """

    task: str
    verdict: str
    effect: str
    null: str
    more: tuple[str, ...]

    @property
    def mark(self) -> str:
        return MARKS[self.verdict]

    @property
    def kind(self) -> str:
        return self.verdict.replace(" ", "-")


@dataclass(frozen=True)
class Claim:
    """One claim, and the verdict of each task.

    Attributes:
        statistic: what the effect is.
    """

    name: str
    section: str
    statement: str
    statistic: str
    verdicts: tuple[Verdict, ...]


def glance(result: Result) -> list[Claim]:
    """From the result of `python -m analysis claims`: its table's texts, and its numbers' words."""
    (table,) = result.tables
    rows = [row for group in table.groups for row in group]
    heads = [*table.labels, *table.columns]
    claims: dict[str, list[tuple[dict[str, Any], Verdict]]] = {}
    for record, row in zip(result.numbers.to_dict("records"), rows, strict=True):
        told = {str(key): value for key, value in record.items()}
        shown = dict(zip(heads, _texts(row), strict=True))
        if (shown["claim"], shown["verdict"]) != (told["claim"], told["verdict"]):
            raise RuntimeError(f"{shown['claim']} in the table stands beside the numbers of {told['claim']}")
        claims.setdefault(told["claim"], []).append((told, _verdict(told["task"], shown)))
    return [
        Claim(
            name,
            found[0][0]["section"],
            found[0][0]["statement"],
            next((told["statistic"] for told, _ in found if told["statistic"]), ""),
            tuple(verdict for _, verdict in found),
        )
        for name, found in claims.items()
    ]


def counted(claims: Sequence[Claim]) -> dict[str, str]:
    """By task, how many claims have each verdict, in words."""
    by_task: dict[str, Counter[str]] = {}
    for claim in claims:
        for found in claim.verdicts:
            by_task.setdefault(found.task, Counter())[found.verdict] += 1
    return {
        task: ", ".join(f"{counts[verdict]} {verdict}" for verdict in MARKS if counts[verdict])
        for task, counts in by_task.items()
    }


def _verdict(task: str, shown: dict[str, str]) -> Verdict:
    value, interval = shown["value"], shown["interval"]
    effect = "" if value == MISSING else value + (f" ({interval})" if interval != MISSING else "")
    more = [f"{word} {shown[word]}" for word in ("wanted", "paper") if shown[word] != MISSING]
    p, seeds, needed = shown["p"], shown["seeds"], shown["more seeds"]
    if p != MISSING:
        more.append(f"p < {p[1:]}" if p.startswith("<") else f"p = {p}")
    if seeds != MISSING:
        more.append(f"{seeds} seed{'s' * (seeds != '1')}")
    if needed != MISSING:
        more.append(f"{needed} more would decide")
    return Verdict(
        task, shown["verdict"], effect, "" if shown["chance"] == MISSING else shown["chance"], tuple(more)
    )


def _texts(row: Row) -> list[str]:
    return [*row.labels, *(cell.text for cell in row.cells)]
