"""What adapting reaches: LoRA beside the model as it is, full fine-tuning and biases alone (paper, Table 4).

"Gap closed" is the share of the way from the base model to full fine-tuning.  The paper's LoRA rows of
Table 4 mix configurations (Table 15 has them apart), so LoRA's numbers beside ours are those of Table 6.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import Evaluation, Place, TaskResult, lora_runs, task_results
from analysis.errors import LackingError
from analysis.result import Cell, Row, Table
from analysis.tables.lines import MEAN, AccuracyTable, accuracy_table, as_frame, facts, numbers, runs_of
from analysis.tables.notes import notes

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.paper_values import PaperValue

BASE, FULL, BIAS = ("none", 0), ("full", 0), ("bias", 0)
"""Runs of another method stand where LoRA's have targets and rank."""
_METHODS = tuple(method for method, _ in (BASE, FULL, BIAS))

ROWS: dict[Place, str] = {
    BASE: "base model",
    FULL: "full fine-tuning",
    BIAS: "biases",
    ("q", 8): "LoRA q r=8",
    ("qv", 1): "LoRA qv r=1",
    ("qv", 8): "LoRA qv r=8",
}
_COLUMNS = (
    *("table", "task", "what", "targets", "rank", "trainable", "dev", *MEAN, "gap_closed", "seconds", "lr"),
    *("checkpoint", "split", "metric", "marked", "paper_task", "paper", "paper_noise"),
)


@accuracy_table(
    "baselines",
    "LoRA beside the model as it is, full fine-tuning and biases: what adapting reaches",
    "Baselines",
)
def baselines(frame: DataFrame, *, checkpoint: str = "last", split: str = "test") -> AccuracyTable:
    """LoRA on W_q and W_v beside what it is measured against; a learning rate is chosen as in `table5`.

    Args:
        frame: a study's runs, as `analysis.load` gives them.
        checkpoint: "last", or "best" on dev.
        split: what to report.

    Raises:
        AnalysisError: the study has no run of another method than lora, runs that cannot stand in one table,
            or damaged ones.
    """
    evaluation = Evaluation(checkpoint, split)
    runs = _placed(frame)
    # That methods differ in alpha or learning rate is what the rows say.
    results = [
        dataclasses.replace(result, differing={}) for result in task_results(runs, [*ROWS], evaluation)
    ]
    rows = {one.task: [_numbers(one, place, evaluation) for place in one.cells] for one in results}
    missing = [
        f"{name} ({result.task})"
        for result in results
        for place, name in ROWS.items()
        if place not in result.cells
    ]
    shown = Table(
        title="What adapting reaches",
        labels=("", ""),
        columns=("trainable", "dev", split, "95%", "gap closed", "seconds a run", "paper"),
        groups=tuple(
            tuple(_row(result, *of) for of in zip(result.cells, rows[result.task], strict=True))
            for result in results
        ),
        notes=(
            *notes(results, evaluation, missing),
            "Gap closed: the share of the way from the base model to full fine-tuning. Paper: Table 4 (full "
            "fine-tuning, biases) and Table 6 (LoRA).",
        ),
    )
    return AccuracyTable(
        shown, as_frame([row for of in rows.values() for row in of], _COLUMNS), runs_of(results)
    )


def _placed(frame: DataFrame) -> DataFrame:
    """LoRA's runs and those of other methods, each with a place."""
    import pandas

    if frame.empty:
        raise LackingError("the study has no finished run; train some with python run.py -m")
    others = frame[frame["method"].isin(_METHODS)].copy()
    if others.empty:
        raise LackingError(
            "the study lacks runs of the base model, full fine-tuning and biases", methods=_METHODS
        )
    others["targets"], others["rank"] = others["method"], 0
    others["lr"] = others["lr"].fillna(0.0) if "lr" in others else 0.0  # of the base model
    # Full fine-tuning's targets only tell of which projections dW is kept: its answers are the same.
    settings = [name for name in others.columns if name not in ("run", "path")]
    settings = settings[: settings.index("trainable")]
    others = others.drop_duplicates(subset=settings)
    return pandas.concat([others, lora_runs(frame)], ignore_index=True)


def _numbers(result: TaskResult, place: Place, evaluation: Evaluation) -> dict[str, Any]:
    means = {of: cell.mean.mean for of, cell in result.cells.items()}
    base, full = means.get(BASE), means.get(FULL)
    closed = None
    if base is not None and full is not None and place not in (BASE, FULL) and full > base:
        closed = 100 * (means[place] - base) / (full - base)
    return {
        **numbers(result, place, evaluation, _paper(result.task, place)),
        "table": "baselines",
        "what": ROWS[place],
        "gap_closed": closed,
    }


def _paper(task: str, place: Place) -> PaperValue | None:
    return paper_values.of_method(task, place[0]) or paper_values.at_place(["table6"], task, place)


def _row(result: TaskResult, place: Place, row: dict[str, Any]) -> Row:
    return Row(
        (result.task, row["what"]),
        (
            *facts(result, place),
            Cell("" if row["gap_closed"] is None else f"{row['gap_closed']:.0f}%"),
            Cell(f"{row['seconds']:.0f}"),
            Cell("" if row["paper"] is None else f"{row['paper']:.1f}"),
        ),
    )
