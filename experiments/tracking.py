"""Weights & Biases as a second sink: the local files are the truth, and no trouble here stops a run.

wandb is imported only where it is used.  Its first start costs about two seconds a process, a further run
about 0.2 s (offline).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import RunConfig, WandbConfig
from experiments.store import RunFolder

FOLDER = ".wandb"
START_TIMEOUT_SECONDS = 30.0
FINISH_TIMEOUT_SECONDS = 120.0


class Tracker:
    """Where a run's numbers go besides the run's folder.  This one drops them."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Values measured at an optimizer step."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's final figures."""

    def finish(self, succeeded: bool) -> None:
        """Close the run with its true status."""


class WandbTracker(Tracker):
    """One W&B run.  At its first failure it warns once and drops what follows."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        # The step is a value like the others: W&B's own counter never goes back, as a repeated run must.
        self._try(lambda run: run.log({**values, "step": step}))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda run: run.summary.update(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        import wandb

        self._try(lambda run: run.log({name: wandb.Table(list(columns), [list(row) for row in rows])}))

    def finish(self, succeeded: bool) -> None:
        self._try(lambda run: run.finish(exit_code=0 if succeeded else 1))

    def _try(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._run = None
            _warn(f"it broke down ({_line(error)}); this run goes on without it")


def start_tracker(
    config: RunConfig, *, run_id: str, folder: RunFolder, scientific: Mapping[str, Any]
) -> Tracker:
    """A started tracker for one run, or one that drops all where W&B is disabled or cannot start.

    Args:
        run_id: the hash of the run's scientific configuration; with the study it makes the W&B id, so that
            a repeated run goes on under the id it had.
    """
    return _start(
        config.wandb,
        folder.path.parent,
        {
            "id": _wandb_id(config.study, run_id),
            "name": config.readable_name(),
            "group": config.study,
            "job_type": config.method,
            "tags": _tags(config),
            "config": dict(scientific),
        },
    )


def log_sweep(
    config: WandbConfig,
    root: Path,
    study: str,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    """Log a sweep's table as one W&B run of job type "sweep" in the study's group."""
    tracker = _start(
        config,
        root / study,
        {
            "id": _wandb_id(study, f"sweep/{name}"),
            "name": f"sweep-{name}",
            "group": study,
            "job_type": "sweep",
            "tags": ["sweep", *config.tags],
        },
    )
    if isinstance(tracker, WandbTracker):
        tracker.table("sweep", columns, rows)
        tracker.finish(succeeded=True)


def _wandb_id(study: str, name: str) -> str:
    return hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:12]


# A start that failed is not tried again in this process: each try may cost a time-out.
_given_up = False


def _start(config: WandbConfig, study: Path, identity: Mapping[str, Any]) -> Tracker:
    global _given_up
    if config.mode == "disabled" or _given_up:
        return Tracker()
    try:
        import wandb

        mode = _mode(config.mode)
        if mode == "disabled":
            return Tracker()
        # Made here, because wandb falls back to a temporary folder where it cannot write.
        folder = study / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            mode=mode,
            dir=str(folder),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                disable_job_creation=True,
                save_code=False,
                init_timeout=START_TIMEOUT_SECONDS,
                finish_timeout=FINISH_TIMEOUT_SECONDS,
            ),
            **identity,
        )
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
    except Exception as error:
        _given_up = True
        _warn(f"it cannot start ({_line(error)}); runs go on without it (wandb.mode=disabled: no warning)")
        return Tracker()
    return WandbTracker(run)


def _mode(mode: str) -> Any:
    """ "auto" is what WANDB_MODE says, else online where an API key is configured, else offline."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")


@functools.cache
def _has_key() -> bool:
    """Whether W&B finds an API key: in the environment, in .netrc or in its settings.  Never prompts."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):
        return wandb.login(prompt=False, verify=False)


def _tags(config: RunConfig) -> list[str]:
    adapter = [config.targets_name, f"r{config.rank_name}"] if config.method == "lora" else []
    return list(dict.fromkeys([config.task.name, *adapter, *config.wandb.tags]))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _warn(what: str) -> None:
    print(f"warning: Weights & Biases: {what}", file=sys.stderr, flush=True)
