"""One job of Hydra's: a single run, or one of a sweep on a launcher that is not this project's."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.overrides import searchpath
from experiments.plan import PlannedRun, plain
from experiments.store import FAILURE
from experiments.sweep import shortened

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from experiments.job import Outcome


def launch(config: DictConfig) -> float | None:
    """Run the job that Hydra has composed, tell how it ended, and give Hydra its metric on dev.

    In a sweep a failure is told and gives None, so that the sweep goes on; else the exit status is 1.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from experiments.config import read_config

    hydra = HydraConfig.get()
    given = OmegaConf.to_container(hydra.overrides, resolve=False)  # an interpolation is its text
    assert isinstance(given, dict)
    overrides = [*searchpath(given["hydra"]), *given["task"]]
    # Paths on the command line mean the folder in which it was typed, whatever hydra.job.chdir says.
    with contextlib.chdir(hydra.runtime.cwd):
        if not hydra.job.chdir:
            with contextlib.suppress(
                OSError
            ):  # Hydra's own folder for the job, where it has left nothing there
                Path(hydra.runtime.output_dir).rmdir()
        try:
            run = PlannedRun(read_config(plain(config)), tuple(map(str, overrides)))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            score = None
        else:
            from experiments.device import use_idle_cores
            from experiments.job import run_job

            if hydra.mode != RunMode.MULTIRUN:
                use_idle_cores()
            outcome = run_job(run)
            _tell(outcome)
            score = outcome.score
    if score is None and hydra.mode != RunMode.MULTIRUN:
        sys.exit(1)
    return score


def _tell(outcome: Outcome) -> None:
    """How the job ended and where it lies; of a failure its traceback, unless it was a user's error."""
    if outcome.status != "failed":
        print(f"{outcome.line()}\n          {outcome.folder}", flush=True)
        if outcome.record and (told := shortened(outcome.record)):
            print(f"          {told}", flush=True)
        if outcome.status == "kept":
            print("          finished before; force=true trains it again", flush=True)
        return
    print(f"error: {outcome.error}", file=sys.stderr, flush=True)
    file = Path(outcome.folder or "") / FAILURE
    if outcome.folder is not None and file.is_file():
        lines = json.loads(file.read_text(encoding="utf-8"))["traceback"]
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            print(*lines, sep="\n", file=sys.stderr, flush=True)
        elif not any(line.startswith("experiments.errors.UserError") for line in lines):
            print(f"       the traceback is in {file}", file=sys.stderr, flush=True)
