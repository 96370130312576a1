"""The cells of Tables 5 and 6, task by task, and which of them are the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import CellResult, Cells, Evaluation, Place
from analysis.errors import AnalysisError
from analysis.result import Cell
from analysis.statistics import Best, CellMean, best_together
from analysis.tables.numbers import MISSING
from experiments.metrics import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class TaskResult:
    """A task's cells; `column` is its name in the paper's tables, None where they do not have it."""

    task: str
    column: str | None
    metric: Metric
    cells: Mapping[Place, CellResult]
    best: Best[Place]
    differing: Mapping[str, Sequence[Any]]

    def cell(self, place: Place) -> tuple[CellResult | None, bool]:
        """The cell, and whether it is marked."""
        return self.cells.get(place), self.best.decided and place in self.best.together

    def shown(self, place: Place) -> Cell:
        """Its mean with its mark, where some cell of the task is shown to be worse than the highest."""
        cell, marked = self.cell(place)
        if cell is None:
            return Cell(MISSING)
        is_top = place == self.best.top
        return Cell(self.mean(cell.mean), strong=marked and is_top, tied=marked and not is_top)

    def number(self, value: float) -> str:
        """A value of the metric as people read it: a share in per cent."""
        return f"{self.metric.scale * value:.{self.metric.decimals}f}"

    def mean(self, mean: CellMean) -> str:
        """ "84.2 ±1.2"."""
        spread = f" ±{self.number(mean.seed_sd)}" if mean.seeds > 1 else ""
        return f"{self.number(mean.mean)}{spread}"

    def interval(self, mean: CellMean) -> str:
        """ "82.9–85.6"."""
        return f"{self.number(mean.low)}–{self.number(mean.high)}"

    def measured(self, mean: CellMean) -> dict[str, Any]:
        """The columns of a mean in a table for programs, in the unit that people read."""
        scale = self.metric.scale
        return {
            "mean": scale * mean.mean,
            "seed_sd": scale * mean.seed_sd,
            "low": scale * mean.low,
            "high": scale * mean.high,
            "seeds": mean.seeds,
            "examples": mean.examples,
        }


def task_results(runs: DataFrame, places: Sequence[Place], evaluation: Evaluation) -> list[TaskResult]:
    """The tasks: the paper's in its order, then the others."""
    results = []
    for task in sorted(set(runs["task"]), key=paper_values.task_order):
        of_task = Cells(runs[runs["task"] == task], evaluation)
        wanted = [place for place in places if place in of_task]
        if not wanted:
            continue
        differing = of_task.differing(wanted)
        cells = {place: of_task[place] for place in wanted}
        best = best_together({place: cell.outcomes for place, cell in cells.items()})
        column = paper_values.TASKS.get(task)
        results.append(TaskResult(task, column, of_task.metric, cells, best, differing))
    if not results:
        rate = "" if evaluation.lr is None else f" at lr={evaluation.lr:g}"
        raise AnalysisError(f"the study has no run for this table{rate}")
    return results
