"""How far a sweep is: a live panel on a terminal, plain lines elsewhere; and an estimate of the time left."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from experiments.config import RunConfig
from experiments.job import Outcome
from experiments.methods import lookup

# Seconds of 400 steps and the evaluations on one thread, roughly; only their ratio matters.
_TASK_SECONDS, _OTHER_TASK, _STEPS = {"sql": 50.0, "wikisql": 50.0, "nli": 25.0, "mnli": 25.0}, 50.0, 400


@dataclass(frozen=True)
class Activity:
    """What a worker does: its run, since when, and how far it is; `steps` is None until it is known."""

    config: RunConfig
    since: float
    step: int
    steps: int | None

    @property
    def state(self) -> str:
        if self.steps is None:
            return "loading"
        return f"step {self.step} of {self.steps}" if self.step < self.steps else "evaluating"

    @property
    def gone(self) -> float:
        return time.monotonic() - self.since


class Progress:
    """What is known of a sweep, told in plain lines: one a run that ended.

    Args:
        total: runs in all.
        kept: of them, finished before.
        waiting: those that are to be trained.
    """

    def __init__(self, total: int, kept: int, waiting: Iterable[RunConfig] = ()) -> None:
        self.total = total
        self._running: list[Activity] = []
        self._waiting = [*waiting]
        self._workers = 1
        self.counts = Counter({"kept": kept})
        self.estimate = Estimate()
        self._began = time.monotonic()
        self._waited_for: set[str] = set()
        self.note(f"{total} runs, {kept} finished before")

    def at(
        self,
        activities: Mapping[int, Activity],
        waiting: Iterable[RunConfig],
        elsewhere: Iterable[str],
        workers: int,
    ) -> None:
        """What each worker does now, what waits for one, and the runs that other processes train."""
        self._running, self._waiting, self._workers = [*activities.values()], [*waiting], workers
        for name in elsewhere:
            if name not in self._waited_for:
                self._waited_for.add(name)
                self.note(f"busy      {name}: another process trains it; it is waited for")

    def ended(self, config: RunConfig, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        self._running = [one for one in self._running if one.config is not config]
        self._waiting = [one for one in self._waiting if one is not config]
        if outcome.record:
            self.estimate.add(config, outcome.record)
        self.told(outcome)

    def told(self, outcome: Outcome) -> None:
        self.note(f"{outcome.line(f'{sum(self.counts.values())}/{self.total}')}  ({self.times()})")

    def note(self, line: str) -> None:
        """Something to read that stays."""
        print(line, flush=True)

    def close(self) -> None:
        """Show no more; what is printed later comes below."""

    def times(self) -> str:
        gone = f"{clock(time.monotonic() - self._began)} gone"
        left = self.estimate.left(self._running, self._waiting, self._workers)
        busy = self._running or self._waiting
        return gone if left is None or not busy else f"{gone}, about {clock(left)} left (estimate)"

    def summary(self) -> str:
        """ "12 of 230 runs done: 9 finished, 2 kept, 1 failed"."""
        listed = [
            f"{self.counts[word]} {word}" for word in ("finished", "kept", "failed") if self.counts[word]
        ]
        return f"{sum(self.counts.values())} of {self.total} runs done: {', '.join(listed) or 'none yet'}"


class Panel(Progress):
    """A line a worker, the counts and the times, redrawn in place; notes go above it."""

    def __init__(self, total: int, kept: int, waiting: Iterable[RunConfig] = ()) -> None:
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        self._console = Console(highlight=False)
        super().__init__(total, kept, waiting)
        name = progress.TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        )
        self._bars = progress.Progress(
            name,
            progress.BarColumn(20),
            progress.TextColumn("{task.fields[state]}", markup=False),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._sweep = self._bars.add_task("", total=total, completed=kept, state="")
        self._tasks: dict[int, Any] = {}
        self._bars.start()

    def at(self, activities: Mapping[int, Activity], *others: Any) -> None:
        super().at(activities, *others)
        self._bars.update(
            self._sweep, description=self.summary(), completed=sum(self.counts.values()), state=self.times()
        )
        for number in self._tasks.keys() - activities.keys():
            self._bars.remove_task(self._tasks.pop(number))
        for number, one in activities.items():
            if number not in self._tasks:
                self._tasks[number] = self._bars.add_task("", state="")
            self._bars.update(
                self._tasks[number],
                description=one.config.readable_name(),
                total=one.steps,
                completed=one.step,
                state=f"{one.state}  {clock(one.gone)}",
            )

    def told(self, outcome: Outcome) -> None:
        if outcome.status == "failed":
            super().told(outcome)

    def note(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bars.stop()


def show(total: int, kept: int, waiting: Iterable[RunConfig] = (), panel: bool = True) -> Progress:
    """The panel where it is wanted and the output is a terminal that can move its cursor, else lines."""
    if panel and sys.stdout.isatty():
        from rich.console import Console

        if not Console().is_dumb_terminal:
            return Panel(total, kept, waiting)
    return Progress(total, kept, waiting)


def clock(seconds: float) -> str:
    """ "0:07", "12:31", "1:20:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def guess(config: RunConfig) -> float:
    """Seconds before anything is known: good for an order, not as a promise."""
    seconds = _TASK_SECONDS.get(config.task.name, _OTHER_TASK) * (config.steps or _STEPS) / _STEPS
    return seconds * lookup(config.method).cost(config)


def cost_order(config: RunConfig) -> tuple[float, str, float, int]:
    """Sorts the costly first, so that workers which take one after the other end at about the same time.

    One task after the other, so that a worker reads each task's data once.
    """
    task = config.task.name
    return -_TASK_SECONDS.get(task, _OTHER_TASK), task, -guess(config), config.seed


class Estimate:
    """Seconds of a run: the mean of the runs most like it that are done.

    Like it are those of the same task, method, targets and rank; failing that of the same task and method;
    failing that any, by the ratio of the guesses.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._ratios: list[float] = []

    def add(self, config: RunConfig, record: Mapping[str, Any]) -> None:
        """A run is finished, and its record says how long it took."""
        seconds = record.get("timing", {}).get("seconds")
        if seconds is not None:
            for kind in _kinds(config):
                self._seconds[kind].append(seconds)
            self._ratios.append(seconds / guess(config))

    def seconds(self, config: RunConfig) -> float:
        """NaN where no run is done."""
        for kind in _kinds(config):
            if kind in self._seconds:
                return mean(self._seconds[kind])
        return guess(config) * mean(self._ratios or [float("nan")])

    def left(self, running: Iterable[Activity], waiting: Iterable[RunConfig], workers: int) -> float | None:
        """Seconds until the last run ends, each worker taking the next; None where no run is done."""
        if not self._ratios:
            return None
        free = [max(0.0, self.seconds(one.config) - one.gone) for one in running]
        free = sorted(free + [0.0] * (workers - len(free)))
        for config in waiting:
            free = sorted([free[0] + self.seconds(config), *free[1:]])
        return free[-1]


def _kinds(config: RunConfig) -> tuple[tuple[str, ...], ...]:
    """From the most to the least alike."""
    like = (config.task.name, config.method)
    return (*like, config.targets_name, config.rank_name), like
