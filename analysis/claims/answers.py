"""What claims about accuracy (or another metric) are judged from: the cells of Tables 5 and 6 of one task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from analysis import paper_values
from analysis.cells import CHOSEN_ON, CellResult, Cells, Choice, Place, lora_runs
from analysis.claims.missing import missing_runs, seeds_of
from analysis.errors import AnalysisError
from analysis.reading.needs import Need
from analysis.reading.run import Run
from analysis.selection import Selection
from analysis.tables.accuracy import BUDGET_RANK, BUDGET_TARGETS
from experiments.metrics import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


class Answers:
    """The answers of one task's LoRA runs.

    Args:
        selection: of one task; its checkpoint, split, seeds and choice are used, its targets are not.
        margin: what counts as equal: in points where the metric is a share, else in its own unit.
    """

    def __init__(self, selection: Selection, margin: float) -> None:
        self.selection = selection
        self._margin = margin

    @property
    def metric(self) -> Metric:
        """What the runs are scored by."""
        return self._cells.metric

    @property
    def margin(self) -> float:
        """In the metric's own unit: 0.01 is one point of a share."""
        return self._margin / self.metric.scale

    def at_budget(self, *targets: str) -> tuple[Place, ...]:
        """Each set of weights at the rank that costs what W_q alone does at r = 8, as in Table 5.

        Raises:
            AnalysisError: the study has no run to tell the weights' shapes from, or the model no such weight.
        """
        from experiments.budget import parameters_per_rank, rank_for_budget
        from experiments.errors import UserError

        letters = dict.fromkeys("".join((BUDGET_TARGETS, *targets)))
        shapes = {letter: self._shape(letter) for letter in letters}
        try:
            budget = BUDGET_RANK * parameters_per_rank(BUDGET_TARGETS, shapes, layers=1)
            return tuple((name, rank_for_budget(budget, name, shapes, layers=1).rank) for name in targets)
        except UserError as error:
            raise AnalysisError(str(error)) from None

    def cells(self, *places: Place) -> list[CellResult]:
        """The cells, whose runs differ in nothing that forbids comparing them.

        Raises:
            MissingRunsError: some are not in the study, or not at a seed that was chosen.
            AnalysisError: runs cannot be told apart, are damaged or of different models.
        """
        missing = [
            Need(*place, seed)
            for place in places
            for seed in seeds_of(self.selection)
            if place not in self._cells or (self.selection.seeds and seed not in self._seeds(place))
        ]
        if missing:
            raise missing_runs(self.selection, missing)
        self._cells.differing(places)
        found = [self._cells[place] for place in places]
        used = {run for cell in found for run in cell.runs}
        self.selection.check_model(run for run in self._runs if run.id in used)
        return found

    def described(self, *places: Place) -> str:
        """The cells' values, and what their runs differ in besides weights, rank and seed."""
        found = dict(zip(places, self.cells(*places), strict=True))
        told = "; ".join(f"{named(place)}: {_value(cell, self.metric)}" for place, cell in found.items())
        sentences = [f"In {'%' if self.metric.share else self.metric.title}: {told}."]
        rates = {named(place): cell.lr for place, cell in found.items()}
        if len(set(rates.values())) > 1:
            chosen = any(len(cell.lr_tried) > 1 for cell in found.values())
            listed = ", ".join(f"{rate:g} ({name})" for name, rate in rates.items())
            sentences.append(f"Learning rates{f' chosen on {CHOSEN_ON}' if chosen else ''}: {listed}.")
        differing = self._cells.differing(places)
        if differing:
            listed = "; ".join(f"{name} ({', '.join(map(str, v))})" for name, v in differing.items())
            sentences.append(f"The runs differ in {listed}.")
        return " ".join(sentences)

    def paper(self, table: str, first: Place, second: Place) -> str:
        """The difference of two of the paper's cells on this task, in points; empty where it has none."""
        task = self.selection.task
        if task not in paper_values.TASKS:
            return ""
        one, other = (
            paper_values.accuracy(table, task=task, targets=targets, rank=rank).value
            for targets, rank in (first, second)
        )
        return f"{one - other:+.1f}"

    def _seeds(self, place: Place) -> tuple[int, ...]:
        return self._cells[place].outcomes.seeds

    @cached_property
    def _cells(self) -> Cells:
        choice = Choice(self.selection.checkpoint, self.selection.split)
        return Cells(self._lora, choice)

    def _shape(self, letter: str) -> tuple[int, int]:
        """(d_out, d_in) of a weight: from the header of an adapter that has it, else from the base model."""
        runs = [run for run in self._runs if letter in run.settings["targets"]]
        if runs:
            adapter = runs[0].adapter()
            return adapter.shape(adapter.layers[0], letter)
        if not self._runs:
            raise AnalysisError(
                f"the study has no LoRA run of {self.selection.task}; train some with python run.py -m"
            )
        return self._runs[0].base(self.selection.base).shape(0, letter)

    @cached_property
    def _runs(self) -> Sequence[Run]:
        chosen = {*self._lora["run"]}
        return [run for run in self.selection.study.runs if run.id in chosen]

    @cached_property
    def _lora(self) -> DataFrame:
        return lora_runs(self.selection.frame)


def named(place: Place) -> str:
    """ "qv r=8"."""
    return f"{place[0]} r={place[1]}"


def _value(cell: CellResult, metric: Metric) -> str:
    values = cell.mean.mean, cell.mean.seed_sd
    mean, sd = (f"{metric.scale * value:.{metric.decimals}f}" for value in values)
    return f"{mean} ± {sd}" if cell.mean.seeds > 1 else mean
