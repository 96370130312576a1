"""How long runs take: a guess to order them by, and an estimate of the time left from those that are done."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence

from experiments.config import RunConfig
from experiments.plan import PlannedRun

# Of 400 steps and the evaluations on one thread, roughly; only their ratio matters.
_TASK_SECONDS = {"sql": 50.0, "wikisql": 50.0, "nli": 25.0, "mnli": 25.0}
_STEPS = 400
_LETTER_SHARE = 0.04
_RANK_SHARE = 0.0005
_FULL_SHARE = 0.4


def guess(config: RunConfig) -> float:
    """Seconds before anything is known: good for an order, not as a promise."""
    seconds = _TASK_SECONDS[config.task.name] * (config.steps or _STEPS) / _STEPS
    if config.method == "none":
        return seconds / 10
    if config.method == "lora":
        share = _LETTER_SHARE * len(config.rank) + _RANK_SHARE * sum(config.rank.values())
    else:
        share = _FULL_SHARE if config.method == "full" else 0.0
    return seconds * (1 + share)


def costly_first(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Longest first, so that workers which take one after the other end at about the same time.

    One task after the other, so that a worker reads each task's data once; the costlier task first.
    """
    runs = list(runs)
    costs: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        costs[run.config.task.name].append(guess(run.config))

    def key(run: PlannedRun) -> tuple[float, str, float, int]:
        task = run.config.task.name
        return -_mean(costs[task]), task, -guess(run.config), run.config.seed

    return sorted(runs, key=key)


class Estimate:
    """Seconds of a run: the mean of the runs most like it that are done.

    Like it are those of the same task, method, targets and rank; failing that of the same task and method;
    failing that any, by the ratio of the guesses.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._ratios: list[float] = []

    def add(self, config: RunConfig, seconds: float) -> None:
        """A run has taken so long."""
        for kind in _kinds(config):
            self._seconds[kind].append(seconds)
        self._ratios.append(seconds / guess(config))

    def seconds(self, config: RunConfig) -> float | None:
        """None where no run is done."""
        for kind in _kinds(config):
            if kind in self._seconds:
                return _mean(self._seconds[kind])
        return guess(config) * _mean(self._ratios) if self._ratios else None

    def left(
        self, running: Sequence[tuple[RunConfig, float]], waiting: Iterable[RunConfig], workers: int
    ) -> float | None:
        """Seconds until the last run ends, each worker taking the next; None where no run is done.

        Args:
            running: what is being trained, and for how many seconds so far.
            waiting: in the order in which they will be started.
        """
        if not self._ratios:
            return None
        free = [max(0.0, (self.seconds(config) or 0.0) - gone) for config, gone in running]
        free += [0.0] * (workers - len(free))
        heapq.heapify(free)
        for config in waiting:
            heapq.heapreplace(free, free[0] + (self.seconds(config) or 0.0))
        return max(free)


def _kinds(config: RunConfig) -> tuple[tuple[str, ...], ...]:
    """From the most to the least alike."""
    like = (config.task.name, config.method)
    return (*like, config.targets_name, config.rank_name), like


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
