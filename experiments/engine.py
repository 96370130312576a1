"""Every sweep's engine: workers walk a plan, and the store is the queue.

    outcomes = train(runs)          one process an idle core with one thread, or one a GPU
    outcomes = train(runs, 1)       in this process itself, where a debugger works

A worker takes the plan's runs in order, passes over what is finished, locks what it trains, and comes back to
what others are at until nothing is left.  So there is no protocol that a killed process could break: the
parent reads from the store what is being trained and how it ended, starts workers anew that have died, and
gives up a run over which they died twice.  A worker ends when its parent does, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from experiments.device import available_memory, idle_cores, one_thread
from experiments.errors import UserError
from experiments.job import TRIES, Outcome, address, check_rank, outcome_in, run_job
from experiments.models import projection_shapes
from experiments.plan import PlannedRun, make_studies
from experiments.progress import Activity, Progress, cost_order
from experiments.store import RunFolder

LOGS = ".workers"
STILLBORN = 3
"""So many workers in a row that die before they train anything are no accident."""
LOOK_SECONDS = 0.25
BUSY_SECONDS = 0.5
STOP_SECONDS = 5.0
HEADROOM = 1.25
"""A worker may come to need this much more memory than the first was seen to take."""


@dataclass(frozen=True)
class StoredRun:
    """A planned run and its folder."""

    run: PlannedRun
    folder: RunFolder


def look_up(runs: Sequence[PlannedRun]) -> list[StoredRun]:
    """Where the runs lie.

    Raises:
        UserError: a model, a task's data or a device is not there, a rank is too large, or the store cannot
            be written.
    """
    for run in runs:
        check_rank(run.config)
    stored = [StoredRun(run, address(run.config).folder) for run in runs]
    make_studies(runs)
    return stored


def train(
    runs: Sequence[PlannedRun], workers: int | None = None, sweep: float | None = None
) -> list[Outcome]:
    """Train the runs that are not finished; how each ended, in their order.

    Args:
        workers: processes; None: one an idle core, or a GPU.  Never more than there are runs to train, nor
            than memory holds.
        sweep: the time at which it was started, which names it; now, where not given.

    Raises:
        UserError: as `look_up`, and where workers cannot start.
        KeyboardInterrupt: Ctrl-C; the workers have stopped.
    """
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers are not valid; give 1 or more, or null for one an idle core")
    sweep = time.time() if sweep is None else sweep
    stored = look_up(runs)
    missing = [one for one in stored if outcome_in(one.run, one.folder, sweep).status == "not run"]
    missing.sort(key=lambda one: cost_order(one.run.config))
    in_process = workers == 1 or len(missing) == 1
    waiting = [one.run.config for one in missing]
    progress = Progress(len(stored), len(stored) - len(missing), waiting, panel=not in_process)
    for one in stored:
        progress.learn(one.run.config, one.folder.read())
    try:
        if in_process:
            walk([one.run for one in missing], sweep, progress.ended, progress.waits)
        elif missing:
            _Workers(missing, sweep, workers, progress).train()
    finally:
        progress.close()
    return [outcome_in(one.run, one.folder, sweep) for one in stored]


def walk(
    runs: Sequence[PlannedRun],
    sweep: float,
    ended: Callable[[RunConfig, Outcome], None],
    waits: Callable[[str], None] = lambda name: None,
) -> None:
    """Train the runs one after the other, with one thread unless OMP_NUM_THREADS says otherwise.

    What other processes train is waited for, to see how it ends; `waits` is told its name.
    """
    waiting = [*runs]
    with one_thread() if waiting else contextlib.nullcontext():
        while waiting:
            busy = []
            for run in waiting:
                outcome = run_job(run, sweep)
                if outcome.status == "busy":
                    busy.append(run)
                else:
                    ended(run.config, outcome)
            if busy == waiting:  # others are at all that is left
                for run in busy:
                    waits(address(run.config).folder.id)
                time.sleep(BUSY_SECONDS)
            waiting = busy


# --------------------------------------------------------------------------------- in the worker's process


def _work(runs: Sequence[PlannedRun], sweep: float, log: Path, gpu: str | None, failures: Connection) -> None:
    """The life of a worker; `gpu` is what it is to see of them, `failures` gets what no store may hold."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the parent stops us
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        log.parent.mkdir(exist_ok=True)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        handle = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # libraries write to the descriptors, past Python's streams
        stream.flush()
        os.dup2(handle, stream.fileno())

    def tell(config: RunConfig, outcome: Outcome) -> None:
        if outcome.status == "failed":
            failures.send((config, outcome.error))

    with contextlib.suppress(KeyboardInterrupt):
        walk(runs, sweep, tell)


def _interrupt(signal_number: int, frame: Any) -> None:
    """As Ctrl-C does: what is open is closed, W&B's run among it."""
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# --------------------------------------------------------------------------------- in the parent's process


class _Workers:
    """The processes that train `missing`, by number."""

    def __init__(
        self, missing: Sequence[StoredRun], sweep: float, count: int | None, progress: Progress
    ) -> None:
        self._unsettled = {one.folder.path: one for one in missing}
        self._runs = [one.run for one in missing]
        self._sweep = sweep
        self._progress = progress
        self._gpus = _gpus(missing[0].run.config)
        self._most = min(count or at_once(missing[0].run.config), len(missing))
        self._measured = bool(self._gpus) or self._most * _at_most(missing) < available_memory()
        self._processes: dict[int, BaseProcess] = {}
        self._failures: dict[int, Connection] = {}
        self._began: dict[Path, float] = {}
        self._stillborn = 0
        self._logs = missing[0].folder.path.parent / LOGS

    def train(self) -> None:
        """Until every run is settled and every worker has ended; on an exception workers are stopped."""
        place = "GPU" if self._gpus else "core"
        started = f"1 worker, on one {place}" if self._most == 1 else f"{self._most} workers, one a {place}"
        self._progress.note(started + ("" if self._gpus else ", with one thread"))
        try:
            while self._unsettled or self._processes:
                self._hire()
                time.sleep(LOOK_SECONDS)
                ended = [number for number, one in self._processes.items() if one.exitcode is not None]
                self._hear()  # after that, so that nothing is missed of what they did
                self._look()
                for number in ended:
                    self._bury(number)
        finally:
            self._stop()

    def _hire(self) -> None:
        """Start those that are missing; where memory may be short, the first alone until it is measured."""
        wanted = min(self._most if self._measured else 1, len(self._unsettled))
        for number in range(self._most):
            if len(self._processes) >= wanted:
                return
            if number not in self._processes:
                self._processes[number] = self._start(number)

    def _start(self, number: int) -> BaseProcess:
        gpu = self._gpus[number % len(self._gpus)] if self._gpus else None
        context = multiprocessing.get_context("spawn")
        self._failures[number], told = context.Pipe(duplex=False)
        process = context.Process(
            target=_work,
            args=(self._runs, self._sweep, self._log(number), gpu, told),
            name=f"worker-{number}",
        )
        with _no_interrupt():
            process.start()
        told.close()
        return process

    def _hear(self) -> None:
        """Take failures that the workers could not write down: a full disk, a lost model, a bad lock."""
        for connection in self._failures.values():
            with contextlib.suppress(EOFError, OSError):
                while connection.poll():
                    config, error = connection.recv()
                    for one in [one for one in self._unsettled.values() if one.run.config == config]:
                        self._fail(one, error)

    def _fail(self, one: StoredRun, error: str) -> None:
        """Settle a run as failed, unless the store says how it ended; also where the store takes no word."""
        outcome = outcome_in(one.run, one.folder, self._sweep)
        if outcome.status == "not run":
            with contextlib.suppress(OSError):
                one.folder.fail(error, "", one.run.command, self._sweep)
            outcome = dataclasses.replace(outcome, status="failed", error=error)
        self._settle(one, outcome)

    def _look(self) -> None:
        """Read from the store what has ended and what is at work."""
        owners = {process.pid: number for number, process in self._processes.items()}
        activities: dict[int, Activity] = {}
        elsewhere = []
        for path, one in [*self._unsettled.items()]:
            outcome = outcome_in(one.run, one.folder, self._sweep)
            if outcome.status != "not run":
                self._settle(one, outcome)
                continue
            owner = one.folder.owner()
            number = owners.get(owner.get("pid")) if owner.get("host") == socket.gethostname() else None
            if number is not None:
                self._stillborn = 0
                steps, latest = owner.get("steps"), one.folder.latest()
                began = self._began.setdefault(path, time.monotonic())
                activities[number] = Activity(one.run.config, began, int(latest.get("step", 0)), steps)
                if (latest or steps == 0) and not self._measured:
                    self._measure(number)
            elif owner and _alive(owner):
                elsewhere.append(one.folder.id)
        waiting = [one.run.config for path, one in self._unsettled.items() if path not in self._began]
        self._progress.at(activities, waiting, elsewhere, self._most)

    def _settle(self, one: StoredRun, outcome: Outcome) -> None:
        del self._unsettled[one.folder.path]
        self._began.pop(one.folder.path, None)
        self._progress.ended(one.run.config, outcome)

    def _measure(self, number: int) -> None:
        """How many workers memory holds, now that the first has loaded everything and takes steps."""
        import psutil

        self._measured = True
        with contextlib.suppress(psutil.Error):
            taken = max(1.0, psutil.Process(self._processes[number].pid).memory_info().rss * HEADROOM)
            held = 1 + math.floor(max(0, available_memory()) / taken)
            if held < self._most:
                gib = f"{taken / 2**30:.1f} GiB each, {available_memory() / 2**30:.1f} GiB free"
                self._progress.note(f"memory holds {held} of {self._most} workers ({gib})")
                self._most = held

    def _bury(self, number: int) -> None:
        """Its run is free again for any worker: out of memory may have been another one's doing."""
        process = self._processes.pop(number)
        process.join()
        reason = ending("the worker", process.exitcode)
        attempts = {path: one.folder.attempts(self._sweep) for path, one in self._unsettled.items()}
        owned = [path for path, pids in attempts.items() if process.pid in pids]
        if self._unsettled and not owned:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                hint = "a script that trains begins with: if __name__ == '__main__':"
                told = f"what they printed is in {self._log(number)}" if self._log(number).exists() else hint
                raise UserError(f"workers cannot start: {reason}; {told}")
        at_work = {one.pid for one in self._processes.values()}
        for path in owned:
            self._began.pop(path, None)
            if len(attempts[path]) >= TRIES and at_work.isdisjoint(attempts[path]):
                self._fail(self._unsettled[path], f"{reason}, {TRIES} times")
            else:
                self._progress.note(f"died      {path.name}: {reason}; it is trained again")

    def _log(self, number: int) -> Path:
        return self._logs / f"{os.getpid()}-worker-{number}.log"

    def _stop(self) -> None:
        """At once; a second Ctrl-C kills."""
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for process in self._processes.values():
                process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for process in self._processes.values():
                process.kill()
                process.join()
            with contextlib.suppress(OSError):
                for log in self._logs.glob(f"{os.getpid()}-*.log"):
                    if not log.stat().st_size:
                        log.unlink()
                self._logs.rmdir()


def _at_most(stored: Sequence[StoredRun]) -> float:
    """Bytes that a worker does not exceed: libraries, data and ten copies of W; infinite where unknown."""
    try:
        sizes = [projection_shapes(one.run.config.model) for one in stored]
    except UserError:
        return math.inf
    return 2 * 2**30 + 40 * max(layers * sum(map(math.prod, shapes.values())) for shapes, layers in sizes)


def at_once(config: RunConfig) -> int:
    """How many runs like this one this machine trains side by side, as far as memory allows."""
    return len(_gpus(config)) or idle_cores()


def _gpus(config: RunConfig) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is to be for each worker; none where the runs use no GPU."""
    kind, _, index = address(config).device.partition(":")
    if kind != "cuda":
        return []
    import torch

    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = known.split(",") if known else [str(index) for index in range(torch.cuda.device_count())]
    return [",".join(visible)] if index else visible  # a run that names one sees them all


def _alive(owner: dict[str, Any]) -> bool:
    """Whether the process that says it trains is there; one on another host is taken at its word."""
    import psutil

    return owner.get("host") != socket.gethostname() or psutil.pid_exists(int(owner.get("pid", -1)))


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
    """How a process ended, in words."""
    if exitcode is None or exitcode >= 0:
        return f"{what} ended with status {exitcode}"
    hint = ", often for lack of memory" if -exitcode == signal.SIGKILL else ""
    return f"{what} was killed by {signal.Signals(-exitcode).name}{hint}"
