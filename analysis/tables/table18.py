"""The rank against loss and metrics of generated text, as the paper's Table 18 has it for GPT-2 on E2E.

    runs = lora_runs(analysis.load("study"))        # of one task
    rows_of(runs, Evaluation("last", "test"), ["loss", "bleu_lc"])[0].cells["bleu_lc"].mean

The loss is of the references on dev and without label smoothing (the paper's validation loss); the metrics
are of the text that was generated for the chosen split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import CHOSEN_ON, CellResult, Cells, Evaluation, Place, lora_runs
from analysis.errors import LackingError, NotMeasuredError
from analysis.provenance import provenance_of, stem_of
from analysis.registry import ANSWERS, command
from analysis.result import Cell, Result, Row, Table
from analysis.selection import tasks_of
from analysis.statistics.bootstrap import IN_WORDS
from analysis.tables.notes import CHECKPOINT_WORDS
from experiments.metrics import Metric, metric

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.reading.run import Run
    from analysis.selection import Selection

LOSS = "loss"
NOT_MEASURED = "not measured"
PAPER_TASK = "e2e"
PAPER = {
    LOSS: "validation_loss",
    "bleu_lc": "bleu",
    "nist": "nist",
    "meteor": "meteor",
    "rouge_l": "rouge_l",
    "cider": "cider",
}
"""A metric -> the paper's column; METEOR and ROUGE-L stand there as ratios, BLEU in per cent."""
RATIO = "ratio"


@dataclass(frozen=True, eq=False)
class RankRow:
    """One choice of weights and rank on one task.

    Attributes:
        cells: by metric, in the order of the columns; None where a run was not scored by it.
    """

    task: str
    place: Place
    cells: Mapping[str, CellResult | None]


def generates(selection: Selection) -> bool:
    """Whether the study has runs that recorded the loss of their references."""
    return any(_columns(run) for run in selection.study.runs)


@command(
    "table18",
    "the rank against validation loss and the metrics of generated text",
    selects=ANSWERS,
    every_task=True,
    title="Table 18",
    applies=generates,
)
def make(selection: Selection, paper: bool = False) -> Result:
    """All tasks of generation in one table each.

    Args:
        paper: whether the paper's numbers stand beside ours, where the task is its own.

    Raises:
        AnalysisError: the study has no LoRA run of such a task, or damaged ones.
    """
    import pandas

    frame, evaluation = selection.frame, Evaluation(selection.checkpoint, selection.split)
    by_task = {}
    for task in [selection.task] if selection.task else tasks_of(selection.study):
        columns = _columns_of(selection, task)
        runs = lora_runs(frame[frame["task"] == task])
        if columns and len(runs):
            by_task[task] = rows_of(runs, evaluation, columns)
    if not by_task:
        raise LackingError(
            f"study {selection.study.name} has no LoRA run that generates text and records its loss; train "
            "some with task=e2e, webnlg, dart or samsum"
        )
    ids = {
        run
        for rows in by_task.values()
        for row in rows
        for cell in row.cells.values()
        if cell
        for run in cell.runs
    }
    used = [run for run in selection.study.runs if run.id in ids]
    for task in by_task:
        selection.check_model(run for run in used if run.settings["task"] == task)
    stem = stem_of(selection, "table18", targets=False, basis=False, layer=False, split=True)
    return Result(
        stem + "-paper" * paper,
        pandas.DataFrame([row for rows in by_task.values() for row in _numbers(rows, evaluation)]),
        provenance_of(selection, used, targets=False, basis=False, split=True),
        tables=[_table(task, rows, evaluation, paper) for task, rows in by_task.items()],
    )


def rows_of(runs: DataFrame, evaluation: Evaluation, columns: Sequence[str]) -> list[RankRow]:
    """One row for each choice of weights and rank, by weights, then rank.

    Args:
        runs: LoRA runs of one task, as `lora_runs` gives them.
        columns: the metrics; the loss is that of dev, the others are of the evaluation's split.

    Raises:
        AnalysisError: the runs cannot stand in one table, or are damaged.
    """
    by_metric = {
        name: Cells(
            runs,
            dataclasses.replace(
                evaluation, metric=name, split=CHOSEN_ON if name == LOSS else evaluation.split
            ),
        )
        for name in columns
    }
    places = sorted(by_metric[columns[0]])
    by_metric[columns[0]].differing(places)
    task = str(runs["task"].iloc[0])
    return [
        RankRow(task, place, {name: _measured(cells, place) for name, cells in by_metric.items()})
        for place in places
    ]


def _measured(cells: Cells, place: Place) -> CellResult | None:
    try:
        return cells[place]
    except NotMeasuredError:
        return None


def _columns(run: Run) -> list[str]:
    """The metrics of a run that recorded a loss, that first, and what it could not measure last."""
    record = run.record
    scores = next((s for s in record["metrics"]["last"].values() if isinstance(s, Mapping)), {})
    return [*dict.fromkeys([LOSS, *scores, *record.get("not_measured", ())])] if LOSS in scores else []


def _columns_of(selection: Selection, task: str) -> list[str]:
    """Those of all of the task's runs, in the order that most of them are in."""
    found = [_columns(run) for run in selection.study.runs if run.settings["task"] == task]
    return [*dict.fromkeys(name for columns in sorted(found, key=len, reverse=True) for name in columns)]


def _numbers(rows: Sequence[RankRow], evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row a cell that was measured, in the unit that people read."""
    for row in rows:
        for name, cell in row.cells.items():
            if cell is None:
                continue
            one = metric(name)
            yield {
                "task": row.task,
                "targets": row.place[0],
                "rank": row.place[1],
                "parameters": cell.parameters,
                "metric": name,
                "mean": one.scale * cell.mean.mean,
                "seed_sd": one.scale * cell.mean.seed_sd,
                "low": one.scale * cell.mean.low,
                "high": one.scale * cell.mean.high,
                "seeds": cell.mean.seeds,
                "examples": cell.mean.examples,
                "varies": " and ".join(cell.mean.sources),
                "lr": cell.lr,
                "checkpoint": evaluation.checkpoint,
                "split": CHOSEN_ON if name == LOSS else evaluation.split,
                "computed_by": one.computed_by,
                "paper": _paper(row, name, one),
                "runs": " ".join(cell.runs),
            }


# ----------------------------------------------------------------------------------------------- the table


def _table(task: str, rows: Sequence[RankRow], evaluation: Evaluation, paper: bool) -> Table:
    metrics = {name: metric(name) for name in rows[0].cells}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.place[0], []).extend(_lines(row, metrics, paper))
    return Table(
        title=f"The rank against loss and metrics of generated text, {task}",
        labels=("weights", "r", ""),
        columns=tuple(_heading(name, one) for name, one in metrics.items()),
        groups=tuple(map(tuple, groups.values())),
        notes=tuple(_notes(task, rows, metrics, evaluation, paper)),
    )


def _heading(name: str, one: Metric) -> str:
    if name == LOSS:
        return f"loss ({CHOSEN_ON})"
    return f"{one.title}{' (%)' * one.share}"


def _lines(row: RankRow, metrics: Mapping[str, Metric], paper: bool) -> Iterator[Row]:
    cells = [(metrics[name], cell) for name, cell in row.cells.items()]
    means = [Cell(_mean(one, cell) if cell else NOT_MEASURED) for one, cell in cells]
    intervals = [
        Cell(f"{_number(one, cell.mean.low)}–{_number(one, cell.mean.high)}" if cell else "")
        for one, cell in cells
    ]
    yield Row((row.place[0], str(row.place[1]), "ours"), tuple(means))
    yield Row(("", "", "95%"), tuple(intervals), "interval")
    values = {name: _paper(row, name, one) for name, one in metrics.items()}
    if paper and any(value is not None for value in values.values()):
        told = [
            "" if value is None else f"{value:.{_paper_decimals(name)}f}" for name, value in values.items()
        ]
        yield Row(("", "", "paper"), tuple(map(Cell, told)), "paper")


def _mean(one: Metric, cell: CellResult) -> str:
    spread = f" ±{_number(one, cell.mean.seed_sd)}" if cell.mean.seeds > 1 else ""
    return f"{_number(one, cell.mean.mean)}{spread}"


def _number(one: Metric, value: float) -> str:
    return f"{one.scale * value:.{one.decimals}f}"


def _paper(row: RankRow, name: str, one: Metric) -> float | None:
    """The paper's value in the unit that people read; None where it has none."""
    table = paper_values.table("table18")
    ranks = [found["rank"] for found in table.rows]
    if (row.task, row.place[0]) != (PAPER_TASK, "qv") or name not in PAPER or row.place[1] not in ranks:
        return None
    found = table.value(PAPER[name], rank=row.place[1])
    return found.value * (one.scale if found.unit == RATIO else 1.0)


def _paper_decimals(name: str) -> int:
    return {"nist": 4, "cider": 4}.get(name, 2)


def _notes(
    task: str,
    rows: Sequence[RankRow],
    metrics: Mapping[str, Metric],
    evaluation: Evaluation,
    paper: bool,
) -> Iterator[str]:
    measured = {name: cell for row in rows for name, cell in row.cells.items() if cell}
    counts = sorted({cell.mean.seeds for row in rows for cell in row.cells.values() if cell})
    between = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    spread = f", mean ± standard deviation over {between} seeds" if counts[-1] > 1 else ", one seed"
    examples = next(cell.mean.examples for name, cell in measured.items() if name != LOSS)
    yield (
        f"Ours: {evaluation.split} split, {examples:,} inputs, each judged against all its "
        f"references{spread}; checkpoint: {CHECKPOINT_WORDS[evaluation.checkpoint]}."
    )
    alone = "over examples alone, which says nothing of other seeds"
    if counts[-1] == 1:
        yield f"95%: interval, from a bootstrap {alone}."
    else:
        yield f"95%: interval, {IN_WORDS}{f'; with one seed {alone}' * (counts[0] == 1)}."
    yield (
        "Computed by "
        + "; ".join(
            f"{_heading(name, one).removesuffix(' (%)')}: {one.computed_by}"
            for name, one in metrics.items()
            if name in measured
        )
        + "."
    )
    lacking = [one.title for name, one in metrics.items() if any(row.cells[name] is None for row in rows)]
    if lacking:
        yield f"Not measured where runs were trained (their run.json says why): {', '.join(lacking)}."
    if {"nist", "cider"} & measured.keys():
        yield "The weights of n-grams in NIST and CIDEr stay those of the whole split in the intervals."
    if paper and task == PAPER_TASK:
        yield (
            "Paper: GPT-2 medium, W_q and W_v; how many runs a row is of is not stated. Its released code "
            "has the e2e-metrics scripts, and a validation loss that is a mean over batches, without label "
            "smoothing."
        )
    yield "Which rank is enough, by the metric that counts: python -m analysis grid."
