"""Worker processes that train one run after the other, and what they tell.

    with Pool(2, train_run, logs) as pool:
        pool.give(pool.idle()[0], run)
        for event in pool.events(timeout=0.5): ...

Each worker is a process of its own (start method spawn) with one thread, and keeps the base model and the
tasks' token ids between its runs.  It is connected to the parent by a pipe of its own: a queue that all share
could be left locked by a worker that is killed.  A worker ends when its parent does, however that ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from experiments.errors import UserError
from experiments.job import Outcome
from experiments.plan import PlannedRun

THREADS = 1
LOG = "worker-{}.log"
REPORT_SECONDS = 0.2
STOP_SECONDS = 5.0
END_SECONDS = 60.0
STILLBORN = 3
"""So many workers in a row that die before they are ready are no accident."""

Report = Callable[[int, int], None]
"""Told the steps done and the steps in all."""
Work = Callable[[PlannedRun, Report], Outcome]
"""Trains a run; a function of a module, so that another process can import it."""


@dataclass(frozen=True)
class Stepped:
    """A worker is at this step of its run."""

    worker: int
    step: int
    steps: int


@dataclass(frozen=True)
class Ended:
    """A worker has ended a run."""

    worker: int
    run: PlannedRun
    outcome: Outcome


@dataclass(frozen=True)
class Died:
    """A worker died over a run and has been replaced; `reason` is one line."""

    worker: int
    run: PlannedRun
    reason: str


Event = Stepped | Ended | Died
_READY = "ready"


# --------------------------------------------------------------------------------- in the worker's process


def train_run(run: PlannedRun, report: Report) -> Outcome:
    """The work of a worker: train the run, or skip it where it is finished."""
    from experiments.job import run_job

    @contextlib.contextmanager
    def bar(steps: int) -> Iterator[Callable[[int, float], None]]:
        report(0, steps)
        yield lambda step, loss: report(step, steps)

    return run_job(run.config, command=repeat(run), bar=bar)


def repeat(run: PlannedRun) -> str:
    """The command that makes the same run as a worker does, to the byte."""
    return f"OMP_NUM_THREADS={THREADS} {run.command}"


def _serve(connection: Connection, work: Work, log: Path) -> None:
    """The life of a worker: run after run, until it is given none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the parent stops us
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_to(log)
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    try:
        connection.send(_READY)
        while (run := connection.recv()) is not None:
            connection.send(work(run, _reporter(connection)))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass


def _interrupt(signal_number: int, frame: Any) -> None:
    """As Ctrl-C does: what is open is closed, W&B's run among it."""
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _write_to(log: Path) -> None:
    """All that libraries and their own processes print, so that it does not disturb the display."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _reporter(connection: Connection) -> Report:
    last = 0.0

    def report(step: int, steps: int) -> None:
        nonlocal last
        now = time.monotonic()
        if step in (0, steps) or now - last >= REPORT_SECONDS:
            last = now
            connection.send((step, steps))

    return report


# --------------------------------------------------------------------------------- in the parent's process


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    ready: bool = False
    run: PlannedRun | None = None


class Pool:
    """Workers by number, from 0.  A context manager; leaving it stops them, at once if by an exception.

    Args:
        count: how many; an attribute, too.
        work: what each does with a run.
        logs: the folder where worker-0.log, ... get what they print; an empty one is removed at the end.
    """

    def __init__(self, count: int, work: Work, logs: Path) -> None:
        self._work = work
        self._logs = logs
        self._context = multiprocessing.get_context("spawn")
        self._stillborn = 0
        self._workers: list[_Worker] = []
        self.count = count

    def __enter__(self) -> Pool:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._logs} cannot be made ({error.strerror}); give another root") from None
        try:
            for number in range(self.count):
                self._workers.append(self._start(number))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._end()
        else:
            self._stop()
        for number in range(self.count):
            log = self._log(number)
            if log.is_file() and not log.stat().st_size:
                log.unlink(missing_ok=True)

    def idle(self) -> list[int]:
        """The workers that have no run."""
        return [number for number, worker in enumerate(self._workers) if worker.run is None]

    def give(self, number: int, run: PlannedRun) -> None:
        """Have an idle worker train this run; one that is still starting does so when it is ready."""
        worker = self._workers[number]
        assert worker.run is None
        worker.run = run
        with contextlib.suppress(BrokenPipeError):  # it has died: told by `events`
            worker.connection.send(run)

    def events(self, timeout: float) -> Iterator[Event]:
        """What has happened since the last call; waits for it for at most so many seconds.

        Raises:
            UserError: workers die before they can begin.
        """
        ready = wait([worker.connection for worker in self._workers], timeout)
        for number, worker in enumerate(self._workers):
            if worker.connection in ready:
                event = self._receive(number, worker)
                if event is not None:
                    yield event

    def _receive(self, number: int, worker: _Worker) -> Event | None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(number, worker)
        if message == _READY:
            worker.ready, self._stillborn = True, 0
            return None
        if isinstance(message, tuple):
            return Stepped(number, *message)
        run, worker.run = worker.run, None
        assert run is not None
        return Ended(number, run, message)

    def _bury(self, number: int, worker: _Worker) -> Event | None:
        """Replace a worker that has died."""
        worker.connection.close()
        worker.process.join(STOP_SECONDS)
        reason = ending("the worker", worker.process.exitcode)
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise UserError(
                    f"workers cannot start: {reason}; what they printed is in {self._log(number)}"
                )
        self._workers[number] = self._start(number)
        if worker.run is None:
            return None
        if not worker.ready:  # its run is not to blame
            self.give(number, worker.run)
            return None
        return Died(number, worker.run, reason)

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._work, self._log(number)), name=f"worker-{number}"
        )
        with _no_interrupt():
            process.start()
        theirs.close()  # so that ours ends when the worker does
        return _Worker(process, ours)

    def _log(self, number: int) -> Path:
        return self._logs / LOG.format(number)

    def _end(self) -> None:
        """Let idle workers end in their own time."""
        for worker in self._workers:
            with contextlib.suppress(BrokenPipeError):
                worker.connection.send(None)
        self._join(END_SECONDS)

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        self._join(STOP_SECONDS)

    def _join(self, seconds: float) -> None:
        """Wait for all; kill those that take longer, or all at a second Ctrl-C."""
        deadline = time.monotonic() + seconds
        try:
            for worker in self._workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.connection.close()


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """A process that starts in here ignores Ctrl-C from its first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ending(what: str, exitcode: int | None) -> str:
    """How a process ended, in words; None where it goes on."""
    if exitcode is None:
        return f"{what} does not answer"
    if exitcode >= 0:
        return f"{what} ended with status {exitcode}"
    hint = ", often for lack of memory" if -exitcode == signal.SIGKILL else ""
    return f"{what} was killed by {signal.Signals(-exitcode).name}{hint}"
