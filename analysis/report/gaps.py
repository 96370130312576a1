"""What a report lacks: what could not be made, the runs that this needs, and the commands that train them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import Place, lora_runs
from analysis.claims.accuracy import Answers
from analysis.claims.evidence import missing_runs, seeds_of
from analysis.claims.judgement import Judgement
from analysis.errors import AnalysisError
from analysis.reading.needs import MissingRunsError, Need
from analysis.registry import Made
from analysis.report.blocks import judged, title_of
from analysis.tables.accuracy import TABLE5_TARGETS, TABLE6_RANKS, TABLE6_TARGETS

if TYPE_CHECKING:
    from analysis.selection import Selection


@dataclass(frozen=True)
class Gap:
    """One thing that is missing, or that would be fuller with more runs.

    Attributes:
        what: such as "Figure 8", or several such that lack the same.
        reason: in one line.
        needs: the runs, where runs are what is missing.
        commands: that train them.
    """

    what: str
    reason: str
    needs: tuple[Need, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskGaps:
    """Of one task.

    Attributes:
        task: None in a study without runs.
        gaps: in the order of the page.
        runs: how many runs would fill all those that runs can fill.
        commands: that train these.
        reason: why there are no commands where runs are missing.
    """

    task: str | None
    gaps: tuple[Gap, ...]
    runs: int
    commands: tuple[str, ...]
    reason: str


def gaps(selection: Selection, made: Made) -> list[TaskGaps]:
    """What each task lacks, and what the tables of all tasks lack of it.

    Args:
        made: what each command has made.
    """
    by_task = []
    for one in selection.each_task() or [selection]:
        unmade = dict(_unmade(one, made))
        of_task = [_with_error(gap, unmade.pop(command, None)) for command, gap in _tables(one)]
        of_task += unmade.values()
        of_task += _claims(found for found in judged(made) if found.task == one.task)
        needs = list(dict.fromkeys(need for gap in of_task for need in gap.needs))
        lacking = missing_runs(one, needs)
        if of_task:
            found = tuple(_joined(of_task))
            by_task.append(TaskGaps(one.task, found, len(needs), lacking.commands, lacking.reason))
    return by_task


def _joined(of_task: Iterable[Gap]) -> Iterable[Gap]:
    """Those that lack the same as one."""
    alike: dict[Any, list[Gap]] = {}
    for gap in of_task:
        alike.setdefault((gap.reason, gap.needs), []).append(gap)
    for same in alike.values():
        yield dataclasses.replace(same[0], what=", ".join(gap.what for gap in same))


def _with_error(gap: Gap, error: Gap | None) -> Gap:
    """The cells that a table lacks, after the reason why it could not be made at all."""
    if error is None or error.reason == gap.reason:
        return gap
    return dataclasses.replace(gap, reason=f"{error.reason}; {gap.reason}")


def _unmade(one: Selection, made: Made) -> Iterable[tuple[str, Gap]]:
    """By command, what has no result: of this task, or of all tasks together."""
    for (command, task), error in made.items():
        if task not in (one.task, None):
            continue
        if isinstance(error, MissingRunsError):
            yield command, Gap(title_of(command), _lacks(error.missing), error.missing, error.commands)
        elif isinstance(error, AnalysisError):
            yield command, Gap(title_of(command), str(error))


def _tables(one: Selection) -> Iterable[tuple[str, Gap]]:
    """By command, the cells of the paper's tables that the study lacks on this task, or some seed of them."""
    if one.task not in paper_values.TASKS:
        return
    try:
        lora = lora_runs(one.frame)
    except AnalysisError as error:
        yield from ((name, Gap(title_of(name), str(error))) for name in ("table5", "table6"))
        return
    wanted: dict[str, list[Place]] = {}
    try:
        wanted["table5"] = [*Answers(one, margin=1.0).at_budget(*TABLE5_TARGETS)]
    except AnalysisError as error:
        yield "table5", Gap(title_of("table5"), str(error))
    wanted["table6"] = [(targets, rank) for targets in TABLE6_TARGETS for rank in TABLE6_RANKS]
    of_task = lora[lora["task"] == one.task]
    there = set(zip(of_task["targets"], of_task["rank"], of_task["seed"], strict=True))
    for command, places in wanted.items():
        cells = [(targets, rank, seed) for targets, rank in places for seed in seeds_of(one)]
        needs = tuple(Need(*cell) for cell in cells if cell not in there)
        if needs:
            lacking = missing_runs(one, needs)
            reason = f"{_lacks(needs)} {lacking.reason}".strip()
            yield command, Gap(title_of(command), reason, needs, lacking.commands)


def _claims(judgements: Iterable[Judgement]) -> Iterable[Gap]:
    for found in judgements:
        if found.verdict == "not testable":
            reason = _lacks(found.missing) if found.missing else found.note
            yield Gap(f"claim {found.claim}", reason, found.missing, found.commands)


def _lacks(needs: Sequence[Need]) -> str:
    """ "lacks 4 runs: q r=8 (seeds 0, 1), ..."."""
    seeds: dict[Any, list[int]] = {}
    for need in needs:
        seeds.setdefault((need.targets, need.rank), []).append(need.seed)
    told = [
        f"{targets} r={rank} (seed{'s' * (len(found) > 1)} {', '.join(map(str, found))})"
        for (targets, rank), found in seeds.items()
    ]
    return f"lacks {len(needs)} run{'s' * (len(needs) > 1)}: {'; '.join(told)}"
