"""The cells of Tables 5 and 6: what the runs of one weight type and rank, one a seed, score on each example.

cells = Cells(lora_runs(analysis.load("study")), Evaluation("last", "test"))    # of one task
cells["qv", 8].outcomes                                                     # (seeds, examples)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import paper_values
from analysis.errors import AnalysisError, LackingError
from analysis.reading.predictions import CHECKPOINTS, read_predictions
from analysis.reading.run import LATER
from analysis.result import Cell
from analysis.statistics import Best, CellMean, Outcomes, best_together, mean_score
from analysis.tables.numbers import MISSING
from experiments.errors import UserError
from experiments.metrics import CorpusMetric, Metric, metric

if TYPE_CHECKING:
    from pandas import DataFrame

CHOSEN_ON = "dev"
AGREEMENT = 1e-6
"""Relative, of what predictions and run.json say; absolute below 1."""
UNBOUNDED = (-math.inf, math.inf)

Place = tuple[str, int]
"""Targets, as run.json names them, and rank."""


@dataclass(frozen=True)
class Evaluation:
    """Which answers of the runs count.

    Attributes:
        checkpoint: "last", or "best" on dev.
        split: whose answers.
        lr: only runs of this learning rate; None: where a cell has several, the one that is best on dev.
        metric: by which they are scored; None: the one that counts for the runs' task.

    Raises:
        AnalysisError: there is no such checkpoint.
    """

    checkpoint: str = "last"
    split: str = "test"
    lr: float | None = None
    metric: str | None = None

    def __post_init__(self) -> None:
        if self.checkpoint not in CHECKPOINTS:
            raise AnalysisError(
                f"checkpoint {self.checkpoint!r} is unknown; valid are {', '.join(CHECKPOINTS)}"
            )


@dataclass(frozen=True, eq=False)
class CellResult:
    """One cell.

    Attributes:
        outcomes: the scores, a row a seed.
        mean: with its interval.
        parameters: of the adapter.
        trainable: parameters that are trained, a head's with them.
        seconds: a run, their mean.
        dev: the metric's mean on dev, in its own unit; None where there is no dev, or the scores are not of
            the metric that counts.
        lr: of the runs.
        lr_tried: the learning rates that it was chosen from.
        runs: their ids.
    """

    outcomes: Outcomes
    mean: CellMean
    parameters: int
    trainable: int
    seconds: float
    dev: float | None
    lr: float
    lr_tried: tuple[float, ...]
    runs: tuple[str, ...]


class Cells(Mapping[Place, CellResult]):
    """The cells of one task, each read when it is asked for and then kept.

    Args:
        runs: LoRA runs of one task, as `lora_runs` gives them.
        evaluation: which answers.
    """

    def __init__(self, runs: DataFrame, evaluation: Evaluation) -> None:
        if evaluation.lr is not None:
            runs = runs[np.isclose(runs["lr"].astype(float), evaluation.lr, rtol=1e-9, atol=0)]
        self._runs = runs
        self._evaluation = evaluation
        self._places = dict.fromkeys(
            (str(targets), int(rank)) for targets, rank in zip(runs["targets"], runs["rank"], strict=True)
        )
        self._chosen: dict[Place, DataFrame] = {}
        self._read: dict[Place, CellResult] = {}
        self._ids: tuple[str, ...] | None = None

    def __getitem__(self, place: Place) -> CellResult:
        """The cell.

        Raises:
            NotMeasuredError: a run lacks the scores that were asked for.
            AnalysisError: its runs cannot be told apart, are damaged, or answer other examples than those
                of the cells read before.
        """
        if place not in self._places:
            raise KeyError(place)
        if place not in self._read:
            self._read[place] = self._cell(place)
        return self._read[place]

    def __contains__(self, place: object) -> bool:
        return place in self._places

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def metric(self) -> Metric:
        """What the runs are scored by.

        Raises:
            AnalysisError: they are not all scored by the same, or it is not known here.
        """
        names = sorted(set(self._runs["metric"]))
        if len(names) != 1:
            raise AnalysisError(
                f"{self._runs['task'].iloc[0]}: the runs are scored by {' and '.join(names)} and cannot "
                f"stand in one table; leave one kind in, as in frame[frame['metric'] == {names[0]!r}]"
            )
        try:
            return metric(self._evaluation.metric or names[0])
        except UserError as error:
            raise AnalysisError(str(error)) from None

    def differing(self, places: Iterable[Place]) -> dict[str, list[Any]]:
        """The settings, but for targets, rank, seed and lr, in which the runs of these cells differ.

        Raises:
            AnalysisError: they differ in model or task, so that they cannot be compared.
        """
        import pandas

        used = pandas.concat([self._one_a_seed(place) for place in places])
        differing = differing_settings(used, but=("targets", "rank", "seed", "lr"))
        for name, values in differing.items():
            if name == "model" or name.startswith(("model.", "task.")):
                raise AnalysisError(
                    f"{used['task'].iloc[0]}: the runs differ in {name} ({', '.join(map(str, values))}) and "
                    f"cannot stand in one table; {_leave_one({name: values})}"
                )
        return differing

    def _cell(self, place: Place) -> CellResult:
        chosen = self._one_a_seed(place)
        scores = []
        for row in chosen.to_dict("records"):
            other = None if self._evaluation.metric == row["metric"] else self._evaluation.metric
            read = read_predictions(row["path"], self._evaluation.split, self._evaluation.checkpoint, other)
            if self._ids is not None and read.ids != self._ids:
                raise AnalysisError(
                    f"{row['run']} answers other examples than the runs before it; "
                    "the runs of one table must share their data (task.seed, task.test, ...)"
                )
            reported = None
            if other is None:  # a study's frame has the values of the metric that counts alone
                reported = row.get(f"{self._evaluation.split}_{self._evaluation.checkpoint}")
            measured = self._outcomes([read.scores], ()).mean
            if reported is not None and abs(measured - reported) > AGREEMENT * max(1.0, abs(reported)):
                raise AnalysisError(
                    f"{row['run']}: its predictions give {self.metric.title} {measured:.4f}, run.json says "
                    f"{reported:.4f}; train it again"
                )
            self._ids = read.ids
            scores.append(read.scores)
        outcomes = self._outcomes(scores, tuple(int(seed) for seed in chosen["seed"]))
        tried = self._at(place)["lr"]
        dev = f"{CHOSEN_ON}_{self._evaluation.checkpoint}"
        counts = self._evaluation.metric in (None, *chosen["metric"])
        has_dev = counts and dev in chosen and chosen[dev].notna().all()
        return CellResult(
            outcomes=outcomes,
            mean=mean_score(outcomes),
            parameters=int(chosen["adapter_parameters"].iloc[0]),
            trainable=int(chosen["trainable"].iloc[0]),
            seconds=float(chosen["seconds"].mean()),
            dev=float(chosen[dev].mean()) if has_dev else None,
            lr=float(chosen["lr"].iloc[0]),
            lr_tried=tuple(sorted(float(rate) for rate in set(tried))),
            runs=tuple(chosen["run"]),
        )

    def _outcomes(self, scores: Sequence[np.ndarray], seeds: tuple[int, ...]) -> Outcomes:
        corpus = self.metric.of_totals if isinstance(self.metric, CorpusMetric) else None
        return Outcomes(np.array(scores), seeds, corpus, (0.0, 1.0) if self.metric.share else UNBOUNDED)

    def _at(self, place: Place) -> DataFrame:
        runs = self._runs
        return runs[(runs["targets"] == place[0]) & (runs["rank"] == place[1])]

    def _one_a_seed(self, place: Place) -> DataFrame:
        """The cell's runs in order of their seeds."""
        if place not in self._chosen:
            found = self._best_lr(self._at(place))
            where = f"{found['task'].iloc[0]} {place[0]} r={place[1]}"
            self._chosen[place] = _one_a_seed(found, where)
        return self._chosen[place]

    def _best_lr(self, found: DataFrame) -> DataFrame:
        """The runs of the learning rate with the highest mean on dev, of those with the most seeds."""
        rates = sorted(set(found["lr"]))
        if len(rates) == 1:
            return found
        column = f"{CHOSEN_ON}_{self._evaluation.checkpoint}"
        if column not in found or found[column].isna().any():
            raise AnalysisError(
                f"lr: a cell has {', '.join(f'{rate:g}' for rate in rates)}, and its runs have no "
                f"{CHOSEN_ON} split to choose by; give lr (--choose lr={rates[0]:g})"
            )
        by_rate = found.groupby("lr")
        seeds = by_rate["seed"].nunique()
        means = by_rate[column].mean()[seeds == seeds.max()]
        return found[found["lr"] == means.idxmax()]


@dataclass(frozen=True)
class TaskResult:
    """A task's cells.

    Attributes:
        task: its name, with what tells it from the table's others.
        column: its name in the paper's tables, None where they do not have it.
        best: of those cells that are compared.
        differing: settings, besides weights, rank and learning rate, in which these differ.
    """

    task: str
    column: str | None
    metric: Metric
    cells: Mapping[Place, CellResult]
    best: Best[Place]
    differing: Mapping[str, Sequence[Any]]

    @property
    def compared(self) -> tuple[Place, ...]:
        """The cells that `best` is of."""
        return (self.best.top, *self.best.against)

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
        raise LackingError(f"the study has no run for this table{rate}")
    return results


def lora_runs(frame: DataFrame) -> DataFrame:
    """The LoRA runs whose letters have one rank, of a frame as `analysis.load` gives it; rank as int."""
    import pandas

    if frame.empty:
        return pandas.DataFrame(columns=["run", "task", "targets", "rank", "seed", "lr"])
    lora = frame[frame["method"] == "lora"].copy()
    ranks = lora["rank"] if "rank" in lora else pandas.Series(index=lora.index, dtype=float)
    lora["rank"] = pandas.to_numeric(ranks, errors="coerce")
    lora = lora[lora["rank"].notna()]
    lora["rank"] = lora["rank"].astype(int)
    return lora


def _one_a_seed(found: DataFrame, where: str) -> DataFrame:
    if found["seed"].is_unique:
        return found.sort_values("seed")
    differing = differing_settings(found[found["seed"].duplicated(keep=False)], but=("seed",))
    if not differing:
        raise AnalysisError(f"{where} has one run in several folders; remove the copies")
    told = "; ".join(f"{name} ({', '.join(map(str, values))})" for name, values in differing.items())
    raise AnalysisError(
        f"{where} has several runs of one seed, which differ in {told}; {_leave_one(differing)}"
    )


def differing_settings(found: DataFrame, but: Iterable[str]) -> dict[str, list[Any]]:
    """The settings, which stand before `trainable` in a study's frame, in which runs differ."""
    settings = list(found.columns)[: list(found.columns).index("trainable")]
    # The model's folder may have moved between runs: its identity, where a run has one, tells the weights.
    moved = ("model",) if "model.identity" in settings and found["model.identity"].notna().all() else ()
    names = [name for name in settings if name not in ("run", "path", *moved, *but)]
    told = found.fillna({name: LATER[name] for name in names if name in LATER})
    values = {name: list(dict.fromkeys(told[name].dropna().tolist())) for name in names}
    return {name: several for name, several in values.items() if len(several) > 1}


def _leave_one(differing: Mapping[str, Sequence[Any]]) -> str:
    name, values = next(iter(differing.items()))
    return f"leave one kind in, as in frame[frame[{name!r}] == {values[0]!r}], or --choose {name}={values[0]}"
