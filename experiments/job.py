"""One job: find the run's address, skip it if it is finished, else train it and write its record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shlex
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.config import RunConfig, digest
from experiments.errors import UserError
from experiments.forgetting import lacks
from experiments.methods import lookup
from experiments.metrics import shown, unit
from experiments.models import model_identity, projection_shapes
from experiments.store import BusyError, RunFolder
from experiments.tasks import task_identity

if TYPE_CHECKING:
    from experiments.plan import PlannedRun

SWEEP = "LORA_SECTION7_SWEEP"
"""In the environment: which sweep the jobs of a launcher in other processes are of."""
TRIES = 2
"""So many processes of one sweep may die over a run: out of memory may have been another one's doing."""
Status = Literal["finished", "kept", "failed", "busy", "not run"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: "kept" where the run was finished before; "busy" where another process trains it.
        name: of its folder, or the readable part of it where the address is not known.
        folder: None where the address is not known.
        record: run.json's content where the run is finished.
        error: one line, where it failed or is busy.
        command: what repeats the job.
    """

    status: Status
    name: str
    folder: Path | None
    record: dict[str, Any] | None
    error: str | None
    command: str

    @property
    def score(self) -> float | None:
        """The task's metric on dev (on test where there is no dev) at the last checkpoint.

        None without a record, which sweepers that optimise take for a failed trial (NaN ends Optuna's).
        """
        if self.record is None:
            return None
        last = self.record["metrics"]["last"]
        return float(last.get("dev", last.get("test"))[self.record["metric"]])

    def line(self, count: str = "") -> str:
        """How it ended, in one line: its scores and seconds, or its error."""
        parts = [f"{'FAILED' if self.status == 'failed' else self.status:8}", count, self.name]
        if self.record is None:
            parts[-1] += f": {self.error}"
        else:
            metric, last = self.record["metric"], self.record["metrics"]["last"]
            scores = [(split, last[split][metric]) for split in ("dev", "test") if split in last]
            parts += [f"{split} {shown(metric, score)}{unit(metric).strip(' ()')}" for split, score in scores]
            parts.append(f"{self.record['timing']['seconds']:.1f} s")
        return "  ".join(filter(None, parts))


@dataclass(frozen=True)
class Address:
    """Where a configuration's run lies in the store, and what that follows from on this machine."""

    device: str
    precision: str
    scientific: dict[str, Any]
    folder: RunFolder


def address(config: RunConfig) -> Address:
    """The run's address.  Raises UserError where the device, the model or the data is not there."""
    from experiments.device import resolve_device, resolve_precision

    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    scientific = config.scientific(precision, model_identity(config.model), task_identity(config.task))
    folder = RunFolder.of(config.root, config.study, config.readable_name(), digest(scientific))
    return Address(device, precision, scientific, folder)


def source_folder(config: RunConfig) -> RunFolder | None:
    """Where the run lies that the method, or `init_from`, starts from; None where it is the base model."""
    of = lookup(config.method).of
    if of is None:
        return RunFolder(Path(config.init_from).expanduser()) if config.init_from else None
    return address(dataclasses.replace(config, method=of)).folder


def source_of(run: PlannedRun) -> RunFolder | None:
    """The finished run that the method, or `init_from`, starts from; None where it is the base model alone.

    Raises:
        UserError: there is none.
    """
    folder, of = source_folder(run.config), lookup(run.config.method).of
    if of is not None and folder is not None and folder.read() is None:
        left_out = ("method=", "keep=", "by=")
        words = [word for word in run.overrides if not word.startswith(left_out)]
        raise UserError(
            f"method={run.config.method} starts from a finished run of method={of}, and {folder.path} is "
            f"none; train it first: {shlex.join(['python', 'run.py', *words])}"
        )
    return folder


def check_rank(config: RunConfig) -> None:
    """Raise UserError for a letter that the model lacks, and for a rank above min(d_out, d_in) of its W.

    Where the model's shapes are not known, nothing is said.
    """
    settings = lookup(config.method).settings
    if "targets" not in settings:
        return
    try:
        shapes, _ = projection_shapes(config.model)
    except UserError:
        return  # told, better, where the model is loaded
    for letter in config.targets:
        if letter not in shapes:
            raise UserError(f"targets: this model has no {letter}; it has {' '.join(shapes)}")
    for letter, rank in config.rank.items() if "rank" in settings else ():
        if rank > min(shapes[letter]):
            raise UserError(
                f"rank={rank} is too large for W_{letter}, which is {shapes[letter]}; at most "
                f"{min(shapes[letter])} is possible"
            )


def outcome_in(run: PlannedRun, folder: RunFolder, sweep: float) -> Outcome:
    """What the store says of a run: how it ended in this sweep, or that it was finished before."""

    def outcome(status: Status, record: dict[str, Any] | None = None, error: str | None = None) -> Outcome:
        return Outcome(status, folder.id, folder.path, record, error, run.command)

    record, failure = folder.read(), folder.failure()
    whole = record is not None and not lacks(run.config, record)
    if record and whole and record.get("sweep") == sweep:
        return outcome("finished", record)
    if failure.get("sweep") == sweep:
        return outcome("failed", error=str(failure.get("error")))
    return outcome("kept", record) if whole and not run.config.force else outcome("not run")


def run_job(run: PlannedRun, sweep: float | None = None) -> Outcome:
    """Train one run, unless it is finished and not forced, or was finished or has failed in this sweep.

    A sweep is named by the time at which it was started, in seconds since the epoch; by default that of the
    command (`SWEEP` in the environment), or this one's own.

    Nothing that goes wrong is raised: an error fails this run alone and is told by the outcome, and with its
    traceback by failure.json.
    """
    sweep = float(os.environ.get(SWEEP, time.time())) if sweep is None else sweep
    folder: RunFolder | None = None
    try:
        from experiments.device import keep_freed_memory

        keep_freed_memory()
        place = address(run.config)
        folder = place.folder
        known = outcome_in(run, folder, sweep)
        if known.status != "not run":
            return known
        with folder.lock():
            known = outcome_in(run, folder, sweep)
            if known.status != "not run":
                return known
            if len(folder.attempts(sweep)) >= TRIES:
                raise BusyError(f"{folder.path} is given up: {TRIES} processes have died over it")
            try:
                finished = None if run.config.force else folder.read()
                record = _measure(run, place, finished, sweep) if finished else _train(run, place, sweep)
            except Exception as error:
                with contextlib.suppress(OSError):
                    folder.fail(_line(error), traceback.format_exc(), run.command, sweep)
                raise
        return Outcome("finished", folder.id, folder.path, record, None, run.command)
    except BusyError as busy:
        assert folder is not None
        return Outcome("busy", folder.id, folder.path, None, str(busy), run.command)
    except Exception as error:
        if folder is None:
            return Outcome("failed", run.config.readable_name(), None, None, _line(error), run.command)
        return Outcome("failed", folder.id, folder.path, None, _line(error), run.command)


def _measure(run: PlannedRun, place: Address, record: dict[str, Any], sweep: float) -> dict[str, Any]:
    """Add what a finished run has forgotten to its record; returns that."""
    import torch

    from experiments.forgetting import of_finished
    from experiments.workbench import workbench

    bench = workbench(run.config.model, run.config.task)
    source = source_of(run)
    found = of_finished(run.config, bench, place.folder, torch.device(place.device), place.precision, source)
    place.folder.amend({**record, "forgetting": found, "sweep": sweep})
    return {**record, "forgetting": found, "sweep": sweep}


def _line(error: Exception) -> str:
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())


def _train(run: PlannedRun, place: Address, sweep: float) -> dict[str, Any]:
    """Train, write everything, run.json last; returns its content."""
    import torch

    from experiments import provenance
    from experiments.device import describe
    from experiments.tracking import start_tracker
    from experiments.trainer import train
    from experiments.workbench import workbench

    config, device, scientific, folder = (
        run.config,
        torch.device(place.device),
        place.scientific,
        place.folder,
    )
    commit = provenance.git_commit()
    source = source_of(run)
    bench = workbench(config.model, config.task)
    start = time.perf_counter()
    workspace = folder.begin(sweep)
    tracker = start_tracker(config, run_id=digest(scientific), folder=folder, scientific=scientific)
    succeeded = False
    try:
        trained = train(config, bench, workspace, device, place.precision, tracker.log, source)
        record = {
            "name": config.readable_name(),
            "study": config.study,
            "config": scientific,
            "overrides": list(run.overrides),
            "sweep": sweep,
            "metric": bench.task.metric,
            "metrics": trained.metrics,
            "parameters": trained.parameters,
            "timing": {"seconds": time.perf_counter() - start, **trained.timing},
            "examples": {split: len(bench.task.examples(split)) for split in bench.task.splits},
            "truncated_examples": trained.truncated,
            **({"skipped_rows": bench.task.skipped} if bench.task.skipped else {}),
            **({"not_measured": bench.task.not_measured} if bench.task.not_measured else {}),
            **({"forgetting": trained.forgetting} if trained.forgetting else {}),
            "model": bench.base.provenance,
            "precision": place.precision,
            "device": describe(device),
            "versions": provenance.versions(),
            "git_commit": commit,
            "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        tracker.summary(_flat({"metrics": trained.metrics, "parameters": trained.parameters}))
        folder.publish(workspace, record)
        succeeded = True
    finally:
        tracker.finish(succeeded)
    finished = folder.read()
    assert finished is not None
    return finished


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """{"a": {"b": 1}} -> {"a/b": 1}"""
    flat: dict[str, float] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
