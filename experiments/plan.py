"""From a command line to runs: composed as Hydra does, and checked, before anything is trained.

    plan(["-m", "rank=1,2", "targets=qv"])      what `python run.py -m rank=1,2 targets=qv` trains
    plan_experiments(["table5", "table6"])      the distinct runs of several of conf/experiment

Every mistake is one line (`experiments.overrides`).  Nothing here imports torch.
"""

from __future__ import annotations

import copy
import functools
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import CONF, RunConfig, digest, read_config
from experiments.errors import AbsentError, UserError
from experiments.overrides import (
    EXPERIMENT,
    MULTIRUN,
    check_experiment,
    check_key,
    check_one_run,
    check_rank_or_budget,
    choices,
    compose,
    flags_of,
    hydra_on_conf,
    is_value,
    offer_own_tasks,
    one_line,
    parse,
    searchpath,
    split,
    texts,
)

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import DictConfig

OTHER_CONFIG = ("--config-name", "--config-path", "-cn", "-cp")
SHOW_ONLY = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--version", "--shell-completion")
DISCRETE_SWEEPERS = (
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.section7.PlannedSweeper",
)
AT_ONCE, ALL_CORES = ("workers", "n_jobs", "array_parallelism"), -1
"""The setting of a launcher that says how many jobs run at the same time: ours, joblib's, Slurm's."""


@dataclass(frozen=True)
class PlannedRun:
    """One run, and the overrides of run.py that make it."""

    config: RunConfig
    overrides: tuple[str, ...]

    @property
    def command(self) -> str:
        return shlex.join(["python", "run.py", *self.overrides])

    @property
    def identity(self) -> str:
        """The same for the same run, and for no other; not its address, for which the data must be read."""
        config = self.config
        scientific = config.scientific(config.precision, repr(config.model), repr(config.task))
        return f"{config.root}/{config.study}/{config.readable_name()}-{digest(scientific)}"


@dataclass(frozen=True)
class Plan:
    """What a command line asks for.

    Attributes:
        runs: in Hydra's own numbering; none where Hydra alone knows: a page to print, another configuration,
            or a sweeper that decides as it goes.
        sweep: whether it is a sweep.
        logs: where jobs that submitit runs, out of sight, write what they print.
        workers: how many are trained at once; None: the engine's choice.
    """

    runs: list[PlannedRun]
    sweep: bool
    logs: str | None = None
    workers: int | None = 1


LAUNCHED: list[PlannedRun] = []
"""What this process's launcher was given to train, sweep by sweep."""


def plan(arguments: Sequence[str]) -> Plan:
    """The runs of `python run.py ARGUMENTS`; keys and choices are checked also where none is known.

    Args:
        arguments: with a --config-dir as the override that it is (`experiments.overrides.with_searchpath`).

    Raises:
        UserError: an override, or a value that follows from it, is not valid.
    """
    offer_own_tasks(arguments)
    flags = flags_of(arguments)
    if flags & {*OTHER_CONFIG, *SHOW_ONLY}:
        return Plan([], sweep=bool(flags & {*MULTIRUN}))
    with hydra_on_conf() as parser:
        given = parse(parser, [argument for argument in arguments if not argument.startswith("-")])
        settings = [one for one in given if not one.is_hydra_override()]
        of_hydra = [str(one.input_line) for one in given if one.is_hydra_override()]
        places = searchpath(of_hydra)
        check_experiment(settings)
        master = compose([*choices(settings), *of_hydra], return_hydra_config=True)
        params = {str(key): values for key, values in (master.hydra.sweeper.get("params") or {}).items()}
        if not flags & {*MULTIRUN} and str(master.hydra.mode) != "RunMode.MULTIRUN":
            check_one_run(settings, params)
            return Plan(plan_jobs(parser, [texts(settings)], compose, places), sweep=False)
        if master.hydra.sweeper._target_ not in DISCRETE_SWEEPERS:
            for override in filter(is_value, settings):
                check_key(override, master)
            return Plan([], sweep=True)
        if str(master.hydra.launcher._target_).endswith(".SlurmLauncher") and not shutil.which("srun"):
            raise AbsentError("this launcher submits jobs to Slurm, and there is no srun here; leave it out")
        swept = [f"{key}={values}" for key, values in params.items()]
        jobs = split(parse(parser, [*swept, *texts(settings)]))
        logs = str(Path(master.hydra.sweep.dir).parent / "*/.submitit")
        launcher = master.hydra.launcher
        at_once = next((launcher[key] for key in AT_ONCE if key in launcher), 1)
        return Plan(
            plan_jobs(parser, jobs, compose, places),
            sweep=True,
            logs=logs if "submitit_folder" in launcher else None,
            workers=None if at_once == ALL_CORES else at_once,
        )


def plan_experiments(names: Iterable[str], overrides: Sequence[str] = ()) -> list[PlannedRun]:
    """The distinct runs of these experiments, in the order in which they are first asked for.

    Args:
        names: of files in conf/experiment.
        overrides: as on run.py's command line; they beat the experiments' own.

    Raises:
        UserError: as `plan`.
    """
    runs: dict[str, PlannedRun] = {}
    for name in names:
        for run in plan(["-m", f"+{EXPERIMENT}={name}", *overrides]).runs:
            runs.setdefault(run.identity, run)
    return [*runs.values()]


def make_studies(runs: Iterable[PlannedRun]) -> None:
    """The folders that the runs go to.  Raises UserError where one cannot be made or written."""
    for root, folder in {(run.config.root, run.config.root / run.config.study) for run in runs}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror}); give another root or study"
            ) from None
        for place in (root, folder):  # Hydra writes beside the study, before any run does
            if not os.access(place, os.W_OK | os.X_OK):
                raise UserError(f"{place} cannot be written; give another root, or free this one")


def experiment_names() -> list[str]:
    """The experiments that there are, by name."""
    return sorted(file.stem for file in (CONF / EXPERIMENT).glob("*.yaml"))


def plan_jobs(
    parser: OverridesParser,
    jobs: Iterable[Sequence[str]],
    composer: Callable[[list[str]], DictConfig],
    places: Sequence[str] = (),
) -> list[PlannedRun]:
    """Each job, given by its overrides, with the configuration that Hydra composes for it, checked.

    Composing takes Hydra some 50 ms, so jobs that choose the same files share it: to what is composed from
    the choices the values are applied, as Hydra itself does after it has composed.

    Args:
        places: where else than in conf/ files of configuration lie, as the override that says so.

    Raises:
        UserError: a configuration is not valid; names the job where there are several.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    composed = functools.cache(lambda chosen: composer([*places, *chosen]))
    jobs, runs = [*jobs], []
    for job in jobs:
        offer_own_tasks(job)
        try:
            overrides = [one for one in parse(parser, job) if not one.is_hydra_override()]
            config = copy.deepcopy(composed(tuple(choices(overrides))))
            for override in filter(is_value, overrides):
                check_key(override, config)
                OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
            check_rank_or_budget(overrides, config)
            runs.append(PlannedRun(read_config(plain(config)), (*places, *texts(overrides))))
        except (UserError, OmegaConfBaseException) as error:
            line = str(error) if isinstance(error, UserError) else one_line(error)
            kind = AbsentError if isinstance(error, AbsentError) else UserError
            raise kind(f"{' '.join(job)}: {line}" if len(jobs) > 1 else line) from error
    return runs


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
