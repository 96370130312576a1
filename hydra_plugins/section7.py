"""What Hydra finds of this project: its launcher and its sweeper, both the default.

Hydra takes plugins from a package of this name alone, and imports every one at each start, so nothing heavy
is imported before it is used.  (It executes the module before that is in sys.modules, where dataclasses would
look for annotations that are text: so they are not.)
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


@dataclass
class WorkersConf:
    """`hydra.launcher.workers`: processes; null is one an idle core or GPU, 1 is this process itself."""

    _target_: str = "hydra_plugins.section7.WorkersLauncher"
    workers: int | None = None


@dataclass
class PlannedSweeperConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.section7.PlannedSweeper"


ConfigStore.instance().store("workers", WorkersConf, group="hydra/launcher", provider="section7")
ConfigStore.instance().store("planned", PlannedSweeperConf, group="hydra/sweeper", provider="section7")


class PlannedSweeper(BasicSweeper):
    """Hydra's own, without its check of every job (50 ms each): run.py has composed and checked them all."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Done before."""


class WorkersLauncher(Launcher):
    """Hands the sweep's runs to experiments.engine, and each run's dev metric back to the sweeper."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def setup(
        self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig"
    ) -> None:
        self._loader, self._config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from omegaconf import open_dict

        from experiments.engine import train
        from experiments.errors import UserError
        from experiments.job import SWEEP
        from experiments.overrides import searchpath
        from experiments.plan import LAUNCHED, plan_jobs

        places = searchpath(self._config.hydra.overrides.hydra)

        def compose(choices: list[str]) -> "DictConfig":
            choices = [word for word in choices if word not in places]  # which the loader has already
            config = self._loader.load_sweep_config(self._config, choices)
            with open_dict(config):
                del config["hydra"]
            return config

        parser = OverridesParser.create(config_loader=self._loader)
        Path(self._config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # where sweepers leave notes
        try:
            runs = plan_jobs(parser, job_overrides, compose, places)
            LAUNCHED.extend(runs)
            outcomes = train(runs, self.workers, float(os.environ.get(SWEEP, time.time())))
        except UserError as error:  # of which Hydra would print the traceback
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        return [
            JobReturn(
                overrides=list(job),
                working_dir=os.getcwd(),
                task_name="run",
                status=JobStatus.COMPLETED,
                _return_value=outcome.score,
            )
            for job, outcome in zip(job_overrides, outcomes, strict=True)
        ]
