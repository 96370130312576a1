"""Which runs of a study a figure or table is made from, and what of them is looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

from analysis.defaults import (
    DEFAULT_BASIS,
    DEFAULT_CHECKPOINT,
    DEFAULT_DEVICE,
    DEFAULT_SPLIT,
    DEFAULT_TARGETS,
)
from analysis.errors import AnalysisError
from analysis.paper_values import task_order
from analysis.reading.needs import Need, targets_name
from analysis.reading.run import Run
from analysis.reading.study import Study
from lora.targets import parse_targets

if TYPE_CHECKING:
    from pandas import DataFrame

FULL = "full."
"""What keys of `Selection.choice` begin with that choose runs of full fine-tuning, as in full.lr."""


@dataclass(frozen=True, eq=False)
class Selection:
    """A study, and what to look at in it.

    Attributes:
        task: None for all of them (`of_tasks`), or in a study without runs.
        targets: of the runs, as run.json names them.
        layer: from 0; None for the paper's relative place.
        seeds: in this order; None for all there are.
        choice: further settings of the runs, as `Study.run` takes them; those of full fine-tuning begin with
            "full.", and only settings of the task and the model count for both.
        base: where the base model is now; None for where it was.
        split: whose answers, where answers are compared.
    """

    study: Study
    task: str | None = None
    targets: str = DEFAULT_TARGETS
    basis: str = DEFAULT_BASIS
    checkpoint: str = DEFAULT_CHECKPOINT
    layer: int | None = None
    seeds: tuple[int, ...] | None = None
    device: str = DEFAULT_DEVICE
    choice: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    split: str = DEFAULT_SPLIT

    @classmethod
    def of(cls, study: Study, task: str | None = None, **rest: Any) -> Selection:
        """One task, checked; `task` may be left out where the study has one.

        Raises:
            AnalysisError: the study has several tasks and none is chosen, or there is no such device.
        """
        tasks = tasks_of(study)
        if task is None and len(tasks) > 1:
            raise AnalysisError(
                f"study {study.name} has the tasks {', '.join(tasks)}; choose one with --task"
            )
        return cls.of_tasks(study, task or (tasks[0] if tasks else None), **rest)

    @classmethod
    def of_tasks(cls, study: Study, task: str | None = None, **rest: Any) -> Selection:
        """One task, or with None all of them together, checked.

        Raises:
            AnalysisError: there is no such task, or no such device.
        """
        tasks = tasks_of(study)
        if task is not None and tasks and task not in tasks:
            raise AnalysisError(f"study {study.name} has no task {task!r}; it has {', '.join(tasks)}")
        selection = cls(study, task, **rest)
        _check_device(selection.device)
        return dataclasses.replace(selection, targets=targets_name(selection.targets))

    def each_task(self) -> list[Selection]:
        """The same selection of each of its tasks."""
        tasks = [self.task] if self.task else tasks_of(self.study)
        return [dataclasses.replace(self, task=task) for task in tasks]

    @property
    def frame(self) -> DataFrame:
        """The rows of `Study.frame` of these tasks and seeds, whatever their targets.

        Raises:
            AnalysisError: a setting that runs were chosen by is unknown, or a chosen seed has no run.
        """
        chosen = {run.id for run in self.study.matching(**self._choice())}
        if not chosen:
            self._check_choice()
        frame = self.study.frame
        frame = frame[frame["run"].isin(chosen)]
        if self.seeds is None:
            return frame
        there = sorted({*frame["seed"]})
        lacking = [seed for seed in self.seeds if seed not in there]
        if lacking:
            raise AnalysisError(
                f"--seeds {_numbers(self.seeds)}: study {self.study.name} has no run"
                f"{f' of {self.task}' if self.task else ''} with seed {_numbers(lacking)}; it has "
                f"{_numbers(there) or 'none'}"
            )
        return frame[frame["seed"].isin(self.seeds)]

    def _check_choice(self) -> None:
        """Raise AnalysisError where no run has a value that was chosen, or one is of no setting."""
        self.study.matching(**self._choice())  # says which keys there are
        runs = [run for run in self.study.runs if self.task in (None, run.settings["task"])]
        for key, value in self._choice().items():
            there = dict.fromkeys(run.settings[key] for run in runs if run.settings.get(key) is not None)
            if runs and value not in there:
                raise AnalysisError(
                    f"--choose {key}={value}: no run of study {self.study.name} has it; there are "
                    f"{', '.join(f'{key}={one}' for one in sorted(there, key=str))}"
                )

    @property
    def letters(self) -> tuple[str, ...]:
        return parse_targets(self.targets.replace("-", ","))

    def available(self) -> list[Run]:
        """The study's LoRA runs of this task and these targets."""
        wanted = {"method": "lora", "targets": self.targets, **self._choice()}
        found = [run for run in self._tuned.runs if all(run.setting(k) == v for k, v in wanted.items())]
        return [run for run in found if self.seeds is None or run.settings["seed"] in self.seeds]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Those of `available`, but for runs whose letters differ in rank."""
        return tuple(sorted({run.settings["rank"] for run in self.available() if _is_one(run)}))

    def seeds_of(self, rank: int) -> tuple[int, ...]:
        """The seeds of `available` at this rank."""
        return tuple(sorted({r.settings["seed"] for r in self.available() if r.settings["rank"] == rank}))

    def full_runs(self) -> list[Run]:
        """The run of full fine-tuning of each seed, on this task; whatever targets it keeps dW of.

        Raises:
            AnalysisError: as `Study.full`.
        """
        found = self._tuned.full(self.letters, **self._choice("full"))
        return [run for run in found if self.seeds is None or run.settings["seed"] in self.seeds]

    def every_run(self, ranks: Iterable[int], count: int = 1) -> dict[tuple[int, int], Run]:
        """Every (rank, seed) there is and its run, but for runs whose letters differ in rank.

        Seeds that were chosen are all needed, at every rank that one of them has.

        Args:
            ranks: what is needed where there is none.
            count: how many seeds are then needed.

        Raises:
            MissingRunsError, AnalysisError: as `runs`.
        """
        found = {(run.settings["rank"], run.settings["seed"]) for run in self.available()}
        pairs = sorted(pair for pair in found if isinstance(pair[0], int))
        if not pairs:
            return self.runs(ranks, self.seeds_with(ranks, count))
        if self.seeds is not None:
            return self.runs(dict.fromkeys(rank for rank, _ in pairs), self.seeds)
        needs = [Need(self.targets, rank, seed) for rank, seed in pairs]
        return dict(zip(pairs, self.require(needs), strict=True))

    def seeds_with(self, ranks: Iterable[int], count: int = 1) -> tuple[int, ...]:
        """The seeds for which the study has all of these ranks; at least `count`, even if it lacks some.

        Raises:
            AnalysisError: fewer than `count` seeds were chosen.
        """
        if self.seeds is not None:
            if len(self.seeds) < count:
                raise AnalysisError(
                    f"{count} seeds are compared, and --seeds gives {len(self.seeds)}; give more"
                )
            return self.seeds
        ranks = set(ranks)
        has: dict[int, set[Any]] = {}
        for run in self.available():
            has.setdefault(run.settings["seed"], set()).add(run.settings["rank"])
        complete = [seed for seed in sorted(has) if ranks <= has[seed]]
        candidates = dict.fromkeys((*complete, *sorted(has), *range(count)))
        return tuple(candidates)[: max(count, len(complete))]

    def runs(self, ranks: Iterable[int], seeds: Iterable[int]) -> dict[tuple[int, int], Run]:
        """The run of each (rank, seed).

        Raises:
            MissingRunsError: the study lacks some; names them and the commands that train them.
            AnalysisError: several runs match, or the runs are of different models.
        """
        seeds = tuple(seeds)
        keys = [(rank, seed) for rank in ranks for seed in seeds]
        needs = [Need(self.targets, rank, seed) for rank, seed in keys]
        return dict(zip(keys, self.require(needs), strict=True))

    def require(self, needs: Sequence[Need]) -> list[Run]:
        """The run of each need, of this task and choice; raises as `Study.require` and `check_model`."""
        self._check_choice()
        found = self._tuned.require(needs, **self._choice())
        self.check_model(found)
        return found

    @cached_property
    def _tuned(self) -> Study:
        """The study without what is not its cell's best learning rate on dev, by the rule of the tables.

        Rates stay where one of them was chosen, and where dev does not tell them apart.
        """
        away = set()
        for cell in self._cells().values():
            chosen = "full.lr" if cell[0].settings["method"] == "full" else "lr"
            if chosen not in self.choice and (best := _best_rate(cell, self.checkpoint)) is not None:
                away |= {run.id for run in cell if run.settings.get("lr") != best}
        kept = tuple(run for run in self.study.runs if run.id not in away)
        return dataclasses.replace(self.study, runs=kept) if away else self.study

    def rates_tried(self, runs: Iterable[Run]) -> tuple[float, ...]:
        """The learning rates that those of these runs were chosen from on dev; empty where none was."""
        ids = {run.id for run in runs}
        cells = [cell for cell in self._cells().values() if ids & {run.id for run in cell}]
        kept = {run.id for run in self._tuned.runs}
        chosen = any(run.id not in kept for cell in cells for run in cell)
        return tuple(sorted({run.settings["lr"] for cell in cells for run in cell})) if chosen else ()

    def _cells(self) -> dict[tuple[tuple[str, str], ...], list[Run]]:
        """The study's runs by all their settings but seed and learning rate."""
        cells: dict[tuple[tuple[str, str], ...], list[Run]] = {}
        for run in self.study.runs:
            moved = ("model",) if run.settings.get("model.identity") is not None else ()
            names = [name for name in run.settings if name not in ("seed", "lr", *moved)]
            cells.setdefault(tuple((name, str(run.settings[name])) for name in names), []).append(run)
        return cells

    def check_model(self, runs: Iterable[Run]) -> None:
        """See that the runs were trained from the same weights, so that the W0 of one is that of all.

        Weights are the same by their sha256, wherever their folder lies; those of the hub by name and commit.

        Raises:
            AnalysisError: they are of different models.
        """
        models = {}
        for run in runs:
            told = run.record["model"]
            name = f"{told['name']} ({str(told['sha256'] or told['revision'])[:12]})"
            models[told["sha256"] or (told["name"], told["revision"])] = name
        if len(models) > 1:
            raise AnalysisError(
                f"study {self.study.name}: the runs are of different models, "
                f"{', '.join(sorted(models.values()))}; train them on one"
            )

    def _choice(self, method: str = "lora") -> dict[str, Any]:
        """What runs of a method are chosen by."""
        chosen = {"task": self.task} if self.task else {}
        for key, value in self.choice.items():
            of_full = key.startswith(FULL)
            if of_full == (method == "full") or key.partition(".")[0] in ("task", "model"):
                chosen[key.removeprefix(FULL)] = value
        return chosen


def _best_rate(cell: Sequence[Run], checkpoint: str) -> float | None:
    """The rate of the highest mean on dev, of those with the most seeds; None where none stands out."""
    by_rate: dict[float, list[float]] = {}
    for run in cell:
        score = run.record["metrics"][checkpoint].get("dev", {}).get(run.record["metric"])
        if score is None or run.settings.get("lr") is None:
            return None
        by_rate.setdefault(run.settings["lr"], []).append(score)
    most = max(map(len, by_rate.values()))
    means = sorted((fmean(scores), rate) for rate, scores in by_rate.items() if len(scores) == most)
    alone = len(means) == 1 or means[-1][0] > means[-2][0]
    return means[-1][1] if alone else None


def _is_one(run: Run) -> bool:
    return isinstance(run.settings["rank"], int)


def _numbers(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def tasks_of(study: Study) -> list[str]:
    """The tasks of a study's runs, in their order everywhere."""
    return sorted({run.settings["task"] for run in study.runs}, key=task_order)


def _check_device(name: str) -> None:
    if name == DEFAULT_DEVICE:  # always there; tables of accuracies need no torch
        return
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise AnalysisError(f"--device {name}: not there ({reason}); cpu always is") from None
