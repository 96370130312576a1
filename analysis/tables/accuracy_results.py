"""The cells of Tables 5 and 6, task by task, and which of them are the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import CellResult, Cells, Choice, Place
from analysis.errors import AnalysisError
from analysis.statistics import Best, best_together

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class TaskResult:
    """A task's cells; `column` is its name in the paper's tables."""

    task: str
    column: str
    metric: str
    cells: Mapping[Place, CellResult]
    best: Best[Place]
    differing: Mapping[str, Sequence[Any]]

    def cell(self, place: Place) -> tuple[CellResult | None, bool]:
        """The cell, and whether it is marked."""
        return self.cells.get(place), self.best.decided and place in self.best.together


def task_results(lora: DataFrame, places: Sequence[Place], choice: Choice) -> list[TaskResult]:
    """The tasks in the paper's order."""
    results = []
    for task in [task for task in paper_values.TASKS if task in set(lora["task"])]:
        runs = lora[lora["task"] == task]
        of_task = Cells(runs, choice)
        there = [place for place in places if place in of_task]
        if not there:
            continue
        differing = of_task.differing(there)
        cells = {place: of_task[place] for place in there}
        metric = str(runs["metric"].iloc[0]).replace("_", " ")
        best = best_together({place: cell.outcomes for place, cell in cells.items()})
        results.append(TaskResult(task, paper_values.TASKS[task], metric, cells, best, differing))
    if not results:
        rate = "" if choice.lr is None else f" at lr={choice.lr:g}"
        raise AnalysisError(f"the study has no run for this table{rate}")
    return results
