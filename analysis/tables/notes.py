"""What stands under tables of accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis import paper_values
from analysis.cells import CHOSEN_ON, CellResult, Evaluation, TaskResult
from analysis.result import BEST, TIED
from analysis.statistics import normality
from analysis.statistics.bootstrap import IN_WORDS
from analysis.statistics.comparison import ALPHA
from analysis.tables.numbers import setting_value

PAPER_TASKS = {"wikisql": "WikiSQL", "multinli": "MultiNLI"}
CHECKPOINT_WORDS = {"last": "the last step", "best": f"the best evaluation on {CHOSEN_ON}"}


def notes(
    results: Sequence[TaskResult], evaluation: Evaluation, missing: Sequence[str] = (), paper: bool = True
) -> tuple[str, ...]:
    """What a reader must know of the numbers: seeds, split, intervals, marks, rates, and what is missing.

    Args:
        missing: what the study lacks, in words.
        paper: whether the paper's numbers stand beside ours.
    """
    cells = [cell for result in results for cell in result.cells.values()]
    counts = sorted({cell.mean.seeds for cell in cells})
    if counts[-1] == 1:
        scores = "one seed"
    else:
        between = counts[0] if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        scores = f"mean ± standard deviation over {between} seeds"
    metrics = ", ".join(f"{result.metric.title} on {result.task}" for result in results)
    sizes = ", ".join(
        f"{next(iter(result.cells.values())).mean.examples:,} ({result.task})" for result in results
    )
    values = {r.task: [r.cells[place].outcomes.values for place in r.compared] for r in results}
    whose = "Ours" if paper else "Numbers"
    lines = [
        f"{whose}: {metrics}{_unit(results)}, {scores}; {evaluation.split} split, {sizes} examples; "
        f"checkpoint: {CHECKPOINT_WORDS[evaluation.checkpoint]}.",
        _interval_note(counts, normality_note(values)),
        *_mark_notes(results),
        _rate_note(cells, evaluation),
    ]
    varied = {name: values for result in results for name, values in result.differing.items()}
    if varied:
        told = "; ".join(
            f"{name} ({', '.join(map(setting_value, values))})" for name, values in varied.items()
        )
        lines.append(f"The cells differ in more than weights and rank: {told}.")
    columns = dict.fromkeys(result.column for result in results if result.column and paper)
    noises = ", ".join(
        f"±{paper_values.table('table5').quantities[column]['noise']} on {PAPER_TASKS[column]}"
        for column in columns
    )
    if noises:
        lines.append(
            "Paper: GPT-3 175B on the validation set, by which it also chose the checkpoint; "
            f"its noise is {noises}."
        )
    if missing:
        lines.append(f"Not in the study: {', '.join(missing)}.")
    return tuple(filter(None, lines))


def normality_note(seed_values: Mapping[str, Sequence[Any]]) -> str:
    """Where what seeds do is not normal, as every interval over seeds takes it to be; else empty.

    Args:
        seed_values: by task, the values of each cell, one a seed.
    """
    told = []
    for task, cells in seed_values.items():
        p_value = normality(cells)
        if p_value < ALPHA:
            p = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
            told.append(
                f" On {task} they are not ({p}, Shapiro and Wilk's test of the cells together): runs fall "
                "into groups, or some stray, so that a mean ± deviation describes few of them; take its "
                "intervals, p-values and plans with care."
            )
    return "".join(told)


def _unit(results: Sequence[TaskResult]) -> str:
    shares = [result.task for result in results if result.metric.share]
    if len(shares) == len(results):
        return ", in %"
    return f", in % on {', '.join(shares)}" if shares else ""


def _interval_note(counts: Sequence[int], doubts: str) -> str:
    alone = "over examples alone, which says nothing of other seeds"
    if counts[-1] == 1:
        return f"95%: interval of the mean, from a bootstrap {alone}."
    one = f"; with one seed {alone}" if counts[0] == 1 else ""
    return f"95%: interval of the mean: {IN_WORDS}{one}. Seed effects are taken for normal.{doubts}"


def _mark_notes(results: Sequence[TaskResult]) -> Iterable[str]:
    rule = "significantly worse than the task's highest (5%, paired, Holm over the comparisons with it)"
    compared = [result for result in results if result.best.against]
    decided = [result.task for result in compared if result.best.decided]
    others = [result.task for result in compared if not result.best.decided]
    if decided:
        yield f"Bold ({BEST}) on {', '.join(decided)}: the task's highest. {TIED}: not {rule}."
    for result in compared:
        marked, cells = len(result.best.together), len(result.compared)
        if result.best.decided and marked > cells / 2:
            yield (
                f"On {result.task} {marked} of {cells} cells are marked: a mark means not shown to be worse, "
                "and these data part few of them."
            )
    if others:
        yield f"No cell is marked on {', '.join(others)}: none is {rule}."


def _rate_note(cells: Sequence[CellResult], evaluation: Evaluation) -> str:
    rates = sorted({cell.lr for cell in cells if cell.lr})
    told = ", ".join(f"{rate:g}" for rate in rates)
    tuned = [cell for cell in cells if len(cell.lr_tried) > 1]
    if tuned:
        tried = ", ".join(f"{rate:g}" for rate in sorted({rate for cell in tuned for rate in cell.lr_tried}))
        whose = "each cell's" if len(tuned) == len(cells) else f"{len(tuned)} of {len(cells)} cells'"
        others = "" if len(tuned) == len(cells) else "; the others have one rate"
        return (
            f"Learning rate: of {tried}, {whose} best on {CHOSEN_ON} ({told} in this table){others}; "
            "that choice is not in the intervals."
        )
    if not rates:
        return ""
    return f"Learning rate: {told}{', fixed' if len(rates) == 1 else ', by cell as the study has it'}."
