"""Train planned runs with a pool of workers: what is finished is kept, what fails does not stop the rest."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.config import RunConfig
from experiments.estimate import Estimate, costly_first
from experiments.job import Outcome, address
from experiments.plan import PlannedRun
from experiments.progress import Progress
from experiments.store import BusyError, RunFolder
from experiments.workers import Died, Ended, Event, Pool, Stepped, repeat

WORKERS = ".workers"
TRIES = 2
WAKE_SECONDS = 0.25
BUSY_SECONDS = 5.0


@dataclass(frozen=True)
class Stored:
    """A planned run, its folder, and its record where it is finished."""

    run: PlannedRun
    folder: RunFolder
    record: dict[str, object] | None


def look_up(runs: Iterable[PlannedRun]) -> list[Stored]:
    """Where the runs lie, and which need no training; `force=true` trains all.

    Raises:
        UserError: a model, a task's data or a device is not there.
    """
    found = []
    for run in runs:
        folder = address(run.config).folder
        found.append(Stored(run, folder, None if run.config.force else folder.read()))
    return found


class Reproduction:
    """The training of the runs that are not finished.

    Args:
        stored: all runs, as `look_up` gives them.
        pool: whose workers are to train.
        progress: what shows it.
    """

    def __init__(self, stored: Sequence[Stored], pool: Pool, progress: Progress) -> None:
        self._pool = pool
        self._progress = progress
        self._folders = {one.run.overrides: one.folder for one in stored}
        self._estimate = Estimate()
        for one in stored:
            if one.record:
                self._learn(one.run.config, one.record)
        self._queue = deque(costly_first(one.run for one in stored if not one.record))
        self._elsewhere: deque[tuple[float, PlannedRun]] = deque()
        self._running: dict[int, tuple[PlannedRun, float]] = {}
        self._tries: Counter[tuple[str, ...]] = Counter()
        self._waited_for: set[tuple[str, ...]] = set()
        self.failed: list[Outcome] = []

    def train(self) -> list[Outcome]:
        """Train until none is left; those that failed.

        A run that another process trains is asked for again until that one has finished it, or has not.

        Raises:
            UserError: workers cannot start.
            KeyboardInterrupt: Ctrl-C; leaving the pool stops the workers.
        """
        while self._queue or self._elsewhere or self._running:
            self._hand_out()
            for event in self._pool.events(WAKE_SECONDS):
                self._take(event)
            self._tell_left()
        return self.failed

    def _hand_out(self) -> None:
        for worker in self._pool.idle():
            run = self._next()
            if run is None:
                return
            self._running[worker] = (run, time.monotonic())
            self._pool.give(worker, run)
            self._progress.started(worker, run.name)

    def _next(self) -> PlannedRun | None:
        if self._queue:
            return self._queue.popleft()
        if self._elsewhere and self._elsewhere[0][0] <= time.monotonic():
            return self._elsewhere.popleft()[1]
        return None

    def _take(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self._progress.stepped(event.worker, event.step, event.steps)
            return
        del self._running[event.worker]
        if isinstance(event, Died):
            self._take_death(event)
        elif event.outcome.status == "busy":
            self._take_busy(event)
        else:
            self._take_outcome(event)

    def _take_outcome(self, event: Ended) -> None:
        outcome = event.outcome
        if outcome.record:
            self._learn(event.run.config, outcome.record)
        if outcome.status == "failed":
            self.failed.append(outcome)
        self._tell_left()
        self._progress.ended(event.worker, outcome)

    def _take_busy(self, event: Ended) -> None:
        run = event.run
        self._progress.idle(event.worker)
        self._elsewhere.append((time.monotonic() + BUSY_SECONDS, run))
        if run.overrides not in self._waited_for:
            self._waited_for.add(run.overrides)
            self._progress.note(f"busy      {run.name}: another process trains it; it is waited for")

    def _take_death(self, event: Died) -> None:
        """Try the run again, once: out of memory may have been the other worker's doing."""
        run = event.run
        self._tries[run.overrides] += 1
        if self._tries[run.overrides] < TRIES:
            self._progress.idle(event.worker)
            self._progress.note(f"died      {run.name}: {event.reason}; it is trained again")
            self._queue.append(run)
            return
        error = f"{event.reason}, {TRIES} times"
        folder = self._folders[run.overrides]
        with contextlib.suppress(BusyError, OSError), folder.lock():
            folder.fail(error, "", repeat(run))
        outcome = Outcome("failed", folder.id, str(folder.path), None, error, repeat(run), 0.0)
        self.failed.append(outcome)
        self._progress.ended(event.worker, outcome)

    def _learn(self, config: RunConfig, record: dict[str, object]) -> None:
        timing = record.get("timing")
        if isinstance(timing, dict) and "seconds" in timing:
            self._estimate.add(config, timing["seconds"])

    def _tell_left(self) -> None:
        now = time.monotonic()
        running = [(run.config, now - since) for run, since in self._running.values()]
        waiting = [run.config for run in (*self._queue, *(run for _, run in self._elsewhere))]
        self._progress.left = self._estimate.left(running, waiting, self._pool.count)


def log_folder(root: Path, study: str) -> Path:
    """The folder for what workers print; hidden, so that it is no run of the study."""
    return root / study / WORKERS
