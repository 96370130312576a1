"""How far a study is: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from experiments.job import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType

PANELS_A_SECOND = 4
SPLITS = ("dev", "test")


def clock(seconds: float) -> str:
    """ "0:07", "12:31", "1:20:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def told(outcome: Outcome) -> str:
    """How a run ended, in one line: its scores and seconds, or its error."""
    if outcome.record is None:
        return f"{outcome.name}: {outcome.error}"
    metric, last = outcome.record["metric"], outcome.record["metrics"]["last"]
    scores = [f"{split} {last[split][metric]:.4f}" for split in SPLITS if split in last]
    return "  ".join([outcome.name, *scores, f"{outcome.seconds:.1f} s"])


@dataclass
class Activity:
    """What a worker does: its run, and how far it is."""

    name: str
    since: float
    step: int = 0
    steps: int | None = None

    @property
    def state(self) -> str:
        if self.steps is None:
            return "loading"
        return f"step {self.step} of {self.steps}" if self.step < self.steps else "evaluating"


@dataclass
class Progress:
    """What is known, and nothing shown of it; the base of what shows it.

    Attributes:
        study: its name.
        total: runs in all.
        kept: of them, finished before.
        workers: what each does, by number.
        counts: how runs ended here, by status.
        left: seconds, an estimate; None where there is none yet.
        analysis: results made, of how many, and which is the latest; None before the analysis.
        clock: tells the time in seconds.
    """

    study: str
    total: int
    kept: int
    workers: dict[int, Activity] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left: float | None = None
    analysis: tuple[int, int, str] | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.began = self.clock()

    def started(self, worker: int, name: str) -> None:
        self.workers[worker] = Activity(name, self.clock())
        self.update()

    def stepped(self, worker: int, step: int, steps: int) -> None:
        self.workers[worker].step, self.workers[worker].steps = step, steps
        self.update()

    def idle(self, worker: int) -> None:
        """The worker has no run."""
        self.workers.pop(worker, None)

    def ended(self, worker: int | None, outcome: Outcome) -> None:
        """A run is done with; of a worker where one had it."""
        if worker is not None:
            self.idle(worker)
        self.counts[outcome.status] = self.counts.get(outcome.status, 0) + 1
        self.update()

    def analysed(self, done: int, of: int, latest: str) -> None:
        """The analysis is done with so many results."""
        self.workers.clear()
        self.left, self.analysis = None, (done, of, latest)
        self.update()

    def note(self, line: str) -> None:
        """Something to read that stays."""

    def update(self) -> None:
        """Show what has changed."""

    def close(self) -> None:
        """Show no more; what is printed later comes below."""

    @property
    def done(self) -> int:
        return self.kept + sum(self.counts.values())

    def gone(self) -> str:
        return f"{clock(self.clock() - self.began)} gone"

    def to_go(self) -> str:
        """The time left, said to be an estimate."""
        return "" if self.left is None else f"about {clock(self.left)} left to train (estimate)"

    def summary(self) -> str:
        """ "12 of 230 done: 9 finished, 2 kept, 1 failed"."""
        kept = self.kept + self.counts.get("skipped", 0)
        parts = {"finished": self.counts.get("finished", 0), "kept": kept}
        parts["failed"] = self.counts.get("failed", 0)
        listed = ", ".join(f"{count} {word}" for word, count in parts.items() if count or word != "kept")
        return f"{self.done} of {self.total} runs done: {listed}"


@dataclass
class Lines(Progress):
    """One plain line a run that ended, and one a result of the analysis."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)

    def ended(self, worker: int | None, outcome: Outcome) -> None:
        super().ended(worker, outcome)
        word = {"skipped": "kept", "failed": "FAILED"}.get(outcome.status, outcome.status)
        self.note(f"{word:8}  {self.done}/{self.total}  {told(outcome)}  ({self._times()})")

    def analysed(self, done: int, of: int, latest: str) -> None:
        super().analysed(done, of, latest)
        self.note(f"analysis  {done}/{of}  {latest}  ({self._times()})")

    def note(self, line: str) -> None:
        print(line, file=self.stream, flush=True)

    def _times(self) -> str:
        return ", ".join(filter(None, (self.gone(), self.to_go())))


@dataclass
class Panel(Progress):
    """A line a worker, the counts and the times, redrawn in place; notes go above it."""

    def __post_init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__post_init__()
        self._console = Console(highlight=False)
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=PANELS_A_SECOND,
            transient=True,
        )
        self._live.start()

    def ended(self, worker: int | None, outcome: Outcome) -> None:
        super().ended(worker, outcome)
        if outcome.status == "failed":
            self.note(f"FAILED  {told(outcome)}")

    def note(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows = Table.grid(padding=(0, 2), expand=True)
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, justify="right")
        for cells in self._rows():
            rows.add_row(*map(Text, cells))
        done, of = (self.done, self.total) if self.analysis is None else self.analysis[:2]
        bar = Table.grid(expand=True)  # as a row, because a bar alone does not end its line
        bar.add_row(ProgressBar(total=max(of, 1), completed=done))
        times = "  ".join(filter(None, (self.gone(), self._remaining())))
        return Group(rows, bar, Text(f"study {self.study}: {self.summary()}"), Text(times))

    def _rows(self) -> list[tuple[str, str, str, str]]:
        if self.analysis is not None:
            done, of, latest = self.analysis
            return [("analysis", latest, f"{done} of {of} results", "")]
        now = self.clock()
        return [
            (f"worker {number + 1}", activity.name, activity.state, clock(now - activity.since))
            for number, activity in sorted(self.workers.items())
        ]

    def _remaining(self) -> str:
        if self.analysis is not None:
            return ""
        return self.to_go() or "time left: known when runs have finished"


def show(study: str, total: int, kept: int) -> Progress:
    """The panel where the output is a terminal that can move its cursor, else lines."""
    if sys.stdout.isatty():
        from rich.console import Console

        if not Console().is_dumb_terminal:
            return Panel(study, total, kept)
    return Lines(study, total, kept)
