"""How far a sweep is: lines that stay, on a terminal with a live panel below them; and the time left."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from experiments.config import RunConfig
from experiments.job import Outcome
from experiments.methods import lookup

if TYPE_CHECKING:
    from rich.console import RenderableType

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
    """One line a run that ends; with a panel one a failure, and what each worker does redrawn below.

    Args:
        total: runs in all.
        kept: of them, finished before.
        waiting: those that are to be trained.
        panel: whether one is wanted, where the output is a terminal that can move its cursor.
    """

    def __init__(self, total: int, kept: int, waiting: Iterable[RunConfig] = (), panel: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._panel = panel and self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self.total, self.counts = total, Counter({"kept": kept})
        self._running: list[Activity] = []
        self._waiting, self._workers = [*waiting], 1
        self._began = time.monotonic()
        self._waited_for: set[str] = set()
        self._ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.note(f"{total} runs, {kept} finished before")
        if self._panel:
            self._live.start()

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
            self.waits(name)
        if self._panel:
            self._live.update(self.panel(), refresh=True)

    def waits(self, name: str) -> None:
        """Say once that another process trains this run."""
        if name not in self._waited_for:
            self._waited_for.add(name)
            self.note(f"busy      {name}: another process trains it; it is waited for")

    def panel(self) -> RenderableType:
        """A line for the sweep, and one for each worker: what it does, a bar, and its time."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        done = sum(self.counts.values())
        table.add_row(Text(self.summary()), ProgressBar(self.total, done, 20), self.times())
        for one in self._running:
            bar = ProgressBar(one.steps or 1, one.step, 20)
            table.add_row(Text(one.config.readable_name()), bar, f"{one.state}  {clock(one.gone)}")
        return table

    def ended(self, config: RunConfig, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        self._running = [one for one in self._running if one.config is not config]
        self._waiting = [one for one in self._waiting if one is not config]
        self.learn(config, outcome.record)
        if not self._panel or outcome.status == "failed":
            self.note(f"{outcome.line(f'{sum(self.counts.values())}/{self.total}')}  ({self.times()})")

    def note(self, line: str) -> None:
        """Something to read that stays."""
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Show no more; what is printed later comes below."""
        self._live.stop()

    def times(self) -> str:
        left = self.left(self._running, self._waiting, self._workers)
        gone = f"{clock(time.monotonic() - self._began)} gone"
        return f"{gone}, about {clock(left)} left (estimate)" if left else gone

    def summary(self) -> str:
        """ "12 of 230 runs done: 9 finished, 2 kept, 1 failed"."""
        words = ("finished", "kept", "failed")
        listed = ", ".join(f"{self.counts[word]} {word}" for word in words if self.counts[word])
        return f"{sum(self.counts.values())} of {self.total} runs done: {listed or 'none yet'}"

    def learn(self, config: RunConfig, record: Mapping[str, Any] | None) -> None:
        """Estimate others by this run, if its record says how long it took."""
        if record and "seconds" in record.get("timing", {}):
            ratio = record["timing"]["seconds"] / guess(config)
            self._ratios[config.task.name, config.method].append(ratio)

    def seconds(self, config: RunConfig) -> float:
        """By the finished runs of the same task and method, else by all; NaN where there are none."""
        every = [ratio for ratios in self._ratios.values() for ratio in ratios]
        like = self._ratios.get((config.task.name, config.method), every)
        return guess(config) * mean(like or [float("nan")])

    def left(self, running: Iterable[Activity], waiting: Iterable[RunConfig], workers: int) -> float | None:
        """Seconds until the last run ends, each worker taking the next; None where no run is done."""
        if not self._ratios:
            return None
        free = [max(0.0, self.seconds(one.config) - one.gone) for one in running]
        free = sorted(free + [0.0] * (workers - len(free)))
        for config in waiting:
            free = sorted([free[0] + self.seconds(config), *free[1:]])
        return free[-1]


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
