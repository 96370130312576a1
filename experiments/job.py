"""One job: find the run's address, skip it if it is finished, else train it and write its record."""

from __future__ import annotations

import contextlib
import datetime
import time
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from experiments.config import RunConfig, digest
from experiments.errors import UserError
from experiments.models import model_identity
from experiments.store import BusyError, RunFolder
from experiments.tasks import task_identity

if TYPE_CHECKING:
    from torch import device as Device

    from experiments.trainer import Bar

Status = Literal["finished", "skipped", "failed", "busy"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.  `record` is run.json's content where the run is finished; `error` is one line."""

    status: Status
    name: str
    folder: str | None
    record: dict[str, Any] | None
    error: str | None
    command: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Address:
    """Where a configuration's run lies in the store, and what that follows from on this machine."""

    device: Device
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


def run_job(config: RunConfig, *, command: str, bar: Bar | None = None) -> Outcome:
    """Train one run, unless it is finished and `config.force` is not set.

    Nothing that goes wrong is raised: an error fails this run alone and is told by the outcome, and with its
    traceback by failure.json.  `command` repeats the job; `bar` is told the steps, in place of the
    terminal.
    """
    start = time.perf_counter()
    folder: RunFolder | None = None

    def outcome(status: Status, record: dict[str, Any] | None = None, error: str | None = None) -> Outcome:
        name = folder.id if folder else config.readable_name()
        where = str(folder.path) if folder else None
        return Outcome(status, name, where, record, error, command, time.perf_counter() - start)

    try:
        from experiments.device import keep_freed_memory

        keep_freed_memory()
        place = address(config)
        folder = place.folder
        record = None if config.force else folder.read()
        if record:
            return outcome("skipped", record)
        with folder.lock():
            record = None if config.force else folder.read()
            if record:
                return outcome("skipped", record)
            try:
                return outcome("finished", _train(config, place, bar))
            except Exception as error:
                with contextlib.suppress(OSError):
                    folder.fail(_line(error), traceback.format_exc(), command)
                raise
    except BusyError as busy:
        return outcome("busy", error=str(busy))
    except Exception as error:
        return outcome("failed", error=_line(error))


def _line(error: Exception) -> str:
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())


def _train(config: RunConfig, place: Address, bar: Bar | None) -> dict[str, Any]:
    """Train, write everything, run.json last; returns its content."""
    from experiments import provenance
    from experiments.device import describe
    from experiments.tracking import start_tracker
    from experiments.trainer import train
    from experiments.workbench import workbench

    device, precision, scientific, folder = place.device, place.precision, place.scientific, place.folder
    commit = provenance.git_commit()
    bench = workbench(config.model, config.task)
    start = time.perf_counter()
    workspace = folder.begin()
    tracker = start_tracker(config, run_id=digest(scientific), folder=folder, scientific=scientific)
    succeeded = False
    try:
        trained = train(config, bench, workspace, device, precision, tracker.log, bar)
        record = {
            "name": config.readable_name(),
            "study": config.study,
            "config": scientific,
            "metric": bench.task.metric,
            "metrics": trained.metrics,
            "parameters": trained.parameters,
            "timing": {"seconds": time.perf_counter() - start, **trained.timing},
            "examples": {split: len(bench.task.examples(split)) for split in bench.task.splits},
            "truncated_examples": bench.objective.truncated,
            "model": bench.base.provenance,
            "precision": precision,
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
