"""What training logs to Weights & Biases: a run's numbers as they come, a sweep's table at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import RunConfig, WandbConfig
from experiments.methods import lookup
from experiments.store import RunFolder
from experiments.wandb_run import Tracker, start, wandb_id


def start_tracker(
    config: RunConfig, *, run_id: str, folder: RunFolder, scientific: Mapping[str, Any]
) -> Tracker:
    """A started tracker for one run, or one that drops all where W&B is disabled or cannot start.

    Under an agent of a W&B sweep the one run of a `python run.py` is the agent's, so that the sweep sees its
    metrics; each run of a sweep of this project is one of its own.

    Args:
        run_id: the hash of the run's scientific configuration; with the study it makes the W&B id, so that
            a repeated run goes on under the id it had.
    """
    return _start(
        config.wandb,
        folder.path.parent,
        {
            "id": wandb_id(config.study, run_id),
            "name": config.readable_name(),
            "group": config.study,
            "job_type": lookup(config.method).name,
            "tags": _tags(config),
            "config": dict(scientific),
        },
        for_agent=_is_single_run(),
    )


def log_sweep(config: RunConfig, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Log a sweep's table as one W&B run of job type "sweep" in the group of the study of `config`.

    Returns where it is to be seen: its address, or the command that sends what was logged offline.
    """
    study = config.study
    tracker = _start(
        config.wandb,
        config.root / study,
        {
            "id": wandb_id(study, f"sweep/{name}"),
            "name": f"sweep-{name}",
            "group": study,
            "job_type": "sweep",
            "tags": ["sweep", *config.wandb.tags],
        },
    )
    tracker.media(lambda wandb: {"sweep": wandb.Table(list(columns), [list(row) for row in rows])})
    tracker.finish(succeeded=True)
    return tracker.where


def _start(config: WandbConfig, study: Path, identity: Mapping[str, Any], for_agent: bool = False) -> Tracker:
    return start(
        study,
        mode=config.mode,
        project=config.project,
        entity=config.entity,
        identity=identity,
        for_agent=for_agent,
    )


def _is_single_run() -> bool:
    """Whether Hydra runs one configuration in this process: `python run.py` without -m."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN


def _tags(config: RunConfig) -> list[str]:
    words = lookup(config.method).words(config)
    return list(dict.fromkeys([config.task.name, *words, *config.wandb.tags]))
