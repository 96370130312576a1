"""From Hydra to a job: check the configuration, run the job, tell how it ended."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import RunConfig, read_config
from experiments.errors import UserError
from experiments.store import FAILURE, write_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from experiments.job import Outcome

JOB = "job.json"


def launch(config: DictConfig) -> Outcome:
    """Run the job that Hydra has composed, print how it ended, and write it to the job's own Hydra folder.

    In a sweep a failure is told by the outcome alone, so that the sweep goes on.  Exits with status 1 when a
    single run did not end finished.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    overrides = written(hydra.overrides.task)
    command = shlex.join(["python", "run.py", *overrides])
    try:
        run_config = read_config(plain(config))
    except UserError as error:
        outcome = _rejected(error, overrides, command)
        settings: dict[str, Any] = {}
        if _full_error():
            traceback.print_exception(error)
    else:
        from experiments.job import run_job

        outcome = run_job(run_config, command=command)
        settings = _settings(run_config)
    _tell(outcome)
    report = {"overrides": overrides, "settings": settings, "outcome": outcome.to_dict()}
    write_json(Path(hydra.runtime.output_dir) / JOB, report)
    if hydra.mode != RunMode.MULTIRUN and outcome.status in ("failed", "busy"):
        sys.exit(1)
    return outcome


def written(overrides: Sequence[str]) -> list[str]:
    """Overrides as they were typed: an interpolation in one of them is its text."""
    from omegaconf import OmegaConf

    texts = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(texts, list)
    return [str(text) for text in texts]


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved values.  Raises UserError where one is missing or cannot be resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is missing; give {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _rejected(error: UserError, overrides: list[str], command: str) -> Outcome:
    from experiments.job import Outcome

    return Outcome("failed", " ".join(overrides), None, None, str(error), command, 0.0)


def _settings(config: RunConfig) -> dict[str, Any]:
    """What a table of runs tells them apart by."""
    adapts = config.method == "lora"
    return {
        "model": Path(config.model.name).name,
        "task": config.task.name,
        "method": config.method,
        "targets": config.targets_name if adapts else "-",
        "rank": config.rank_name if adapts else "-",
        "alpha": config.alpha,
        "lr": config.lr,
        "seed": config.seed,
    }


def _tell(outcome: Outcome) -> None:
    if outcome.status == "failed":
        print(f"error: {outcome.error}", file=sys.stderr, flush=True)
        _tell_traceback(outcome)
    elif outcome.status == "busy":
        print(f"busy      {outcome.error}; it is left to that one", flush=True)
    elif outcome.status == "skipped":
        print(f"kept      {outcome.folder}  (finished before; force=true trains it again)", flush=True)
    else:
        assert outcome.record is not None
        name, last = outcome.record["metric"], outcome.record["metrics"]["last"]
        scores = [f"{split} {last[split][name]:.4f}" for split in ("dev", "test") if split in last]
        trained = f"{outcome.record['parameters']['trainable']:,} trainable parameters"
        print(f"finished  {outcome.folder}", flush=True)
        print(f"          {'  '.join([name, *scores])}, {trained}, {outcome.seconds:.1f} s", flush=True)


def _tell_traceback(outcome: Outcome) -> None:
    """Where the traceback lies, unless the error was a user's; all of it with HYDRA_FULL_ERROR=1."""
    file = Path(outcome.folder or "") / FAILURE
    if outcome.folder is None or not file.is_file():
        return
    lines = json.loads(file.read_text(encoding="utf-8"))["traceback"]
    if _full_error():
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    elif not any(line.startswith("experiments.errors.UserError") for line in lines):
        print(f"       the traceback is in {file}", file=sys.stderr, flush=True)


def _full_error() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"
