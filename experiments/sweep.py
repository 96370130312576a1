"""The end of a sweep: a table of its jobs, what failed and how to repeat it, and whether all went well.

Jobs may have run in other processes or on other machines; each has left its outcome in its Hydra folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from experiments.launch import JOB, written

if TYPE_CHECKING:
    from omegaconf import DictConfig

STATUS_WORDS = {"finished": "finished", "skipped": "kept", "failed": "FAILED", "busy": "busy elsewhere"}
NOT_RUN = "not run"
ALWAYS_SHOWN = ("targets", "rank")
SHOWN_IF_DIFFERENT = ("model", "task", "method", "alpha", "lr", "seed")
NUMBERS = ("#", "trainable", "dev", "test", "seconds")


@dataclass(frozen=True)
class Job:
    """One row: the overrides as written, the settings as far as known, and the outcome (None: not run)."""

    number: int
    overrides: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] | None = None

    @property
    def status(self) -> str:
        return STATUS_WORDS[self.outcome["status"]] if self.outcome else NOT_RUN

    @property
    def failed(self) -> bool:
        return self.outcome is not None and self.outcome["status"] == "failed"

    def value(self, key: str) -> str:
        """The setting as the job understood it, else as it was written on the command line."""
        value = (_pairs(self.overrides) | dict(self.settings)).get(key, "")
        return f"{value:g}" if isinstance(value, float) else str(value)

    def record(self) -> Mapping[str, Any]:
        return (self.outcome or {}).get("record") or {}

    def score(self, split: str) -> float | None:
        """The run's primary metric at its last checkpoint."""
        record = self.record()
        return record["metrics"]["last"].get(split, {}).get(record["metric"]) if record else None

    def seconds(self) -> float | None:
        """How long the training took, also where it was done before this sweep."""
        timing = self.record().get("timing", {}).get("seconds")
        return timing if timing is not None else (self.outcome or {}).get("seconds")


@dataclass(frozen=True)
class Sweep:
    """A sweep that Hydra has started: where its jobs write, those planned, and what they have in common."""

    folder: Path
    planned: Sequence[Sequence[str]]
    defaults: Mapping[str, str]
    root: Path
    study: str
    wandb: Mapping[str, Any]

    def jobs(self) -> list[Job]:
        """Every job, by number; where the plan is unknown, those that have left an outcome."""
        planned = {number: self._job(number, overrides) for number, overrides in enumerate(self.planned)}
        return [job for _, job in sorted((planned | self._reported()).items())]

    def _job(
        self,
        number: int,
        overrides: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        outcome: Mapping[str, Any] | None = None,
    ) -> Job:
        return Job(number, overrides, settings or {**self.defaults, **_pairs(overrides)}, outcome)

    def _reported(self) -> dict[int, Job]:
        jobs = {}
        for file in self.folder.glob(f"*/{JOB}"):
            number = int(file.parent.name)
            jobs[number] = self._job(number, **json.loads(file.read_text(encoding="utf-8")))
        return jobs


class SweepCallback(Callback):
    """Hydra's notice that a sweep starts."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        global _started
        from omegaconf import OmegaConf

        _started = Sweep(
            folder=Path(config.hydra.sweep.dir),
            planned=_planned(config),
            defaults=_defaults(config),
            root=Path(config.root),
            study=str(config.study),
            wandb=OmegaConf.to_container(config.wandb, resolve=True),  # type: ignore[arg-type]
        )


_started: Sweep | None = None


def _defaults(config: DictConfig) -> dict[str, str]:
    """What to show of a job that was not run; nothing where a value only follows from others."""
    shown = {key: config[key] for key in ALWAYS_SHOWN}
    if config.budget is not None:
        shown["rank"] = None
    return {key: "" if value is None else str(value) for key, value in shown.items()}


def _pairs(overrides: Sequence[str]) -> dict[str, Any]:
    return dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)


def _planned(config: DictConfig) -> list[list[str]]:
    """The overrides of each job, in Hydra's own numbering; empty for a sweeper that decides as it goes."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if not str(config.hydra.sweeper._target_).endswith(f".{BasicSweeper.__name__}"):
        return []
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    arguments = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    overrides = parser.parse_overrides([*arguments, *written(config.hydra.overrides.task)])
    return BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]


def report() -> bool:
    """Print the table of the sweep of this process, and log it.  True when no job failed or was left out.

    Where no sweep was started nothing is printed, and the answer is True.
    """
    if _started is None:
        return True
    jobs = _started.jobs()
    if not jobs:
        return True
    print(f"\n{render(jobs, _width())}", flush=True)
    _log(_started, jobs)
    return all(job.outcome is not None and not job.failed for job in jobs)


def _width() -> int | None:
    """Columns of the terminal; None where the output is no terminal, and so has no end of line."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def render(jobs: Sequence[Job], width: int | None = None) -> str:
    """The table, with the folders below it where a line would be longer than `width`; then the failures."""
    columns = _columns(jobs)
    rows = [_cells(job, columns) for job in jobs]
    parts = [
        _align([*columns, "folder"], [[*row, _folder(job)] for row, job in zip(rows, jobs, strict=True)])
    ]
    if width is not None and max(map(len, parts[0])) > width:
        folders = [f"  #{job.number}  {_folder(job)}" for job in jobs if _folder(job)]
        parts = [_align(columns, rows), folders]
    metrics = sorted({job.record()["metric"] for job in jobs if job.record()})
    if metrics:
        parts.append([f"dev, test: {' or '.join(metrics)} of the last checkpoint"])
    parts += [
        [f"#{job.number} failed: {job.outcome['error']}", f"    {job.outcome['command']}"]
        for job in jobs
        if job.failed and job.outcome
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _columns(jobs: Sequence[Job]) -> list[str]:
    """Number, targets and rank; other settings where rows differ; then counts, scores, time and status."""
    known = (*ALWAYS_SHOWN, *SHOWN_IF_DIFFERENT)
    swept = dict.fromkeys(key for job in jobs for key in _pairs(job.overrides) if key not in known)
    others = [*SHOWN_IF_DIFFERENT, *swept]
    # A job that was not understood or not run has no value of its own.
    different = [key for key in others if len({job.value(key) for job in jobs} - {""}) > 1]
    return ["#", *ALWAYS_SHOWN, *different, "trainable", "dev", "test", "seconds", "status"]


def _cells(job: Job, columns: Sequence[str]) -> list[str]:
    dev, test, seconds = job.score("dev"), job.score("test"), job.seconds()
    trainable = job.record().get("parameters", {}).get("trainable")
    made = {
        "#": str(job.number),
        "trainable": "" if trainable is None else f"{trainable:,}",
        "dev": "" if dev is None else f"{dev:.4f}",
        "test": "" if test is None else f"{test:.4f}",
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "status": job.status,
    }
    return [made[column] if column in made else job.value(column) for column in columns]


def _folder(job: Job) -> str:
    return (job.outcome or {}).get("folder") or ""


def _align(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, cell, width in zip(columns, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(columns), line(["-" * width for width in widths]), *map(line, rows)]


def _log(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Log the table to W&B, where this sweep has trained anything."""
    if not any(job.outcome and job.outcome["status"] == "finished" for job in jobs):
        return
    from experiments.config import WandbConfig
    from experiments.tracking import log_sweep

    columns = _columns(jobs)
    settings = WandbConfig(**{**sweep.wandb, "tags": tuple(sweep.wandb["tags"] or ())})
    rows = [[*_cells(job, columns), _folder(job)] for job in jobs]
    log_sweep(settings, sweep.root, sweep.study, sweep.folder.name, [*columns, "folder"], rows)
