"""The runs of several named experiments, each once: what Hydra's sweeps over conf/experiment would train.

    planned = plan(["table5", "table6"], ["study=mine", "seed=0"])

Nothing here imports torch.
"""

from __future__ import annotations

import copy
import functools
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import RunConfig, digest, read_config
from experiments.errors import UserError
from experiments.experiment import GROUP
from experiments.overrides import CONF, check

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


@dataclass(frozen=True)
class PlannedRun:
    """One run, and the overrides of run.py that make it."""

    config: RunConfig
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.config.readable_name()

    @property
    def command(self) -> str:
        return shlex.join(["python", "run.py", *self.overrides])


def experiment_names(conf: Path = CONF) -> list[str]:
    """The experiments that there are, by name."""
    return sorted(file.stem for file in (conf / GROUP).glob("*.yaml"))


def plan(names: Iterable[str], overrides: Sequence[str] = ()) -> list[PlannedRun]:
    """The distinct runs of these experiments, in the order in which they are first asked for.

    Args:
        names: of files in conf/experiment.
        overrides: as on run.py's command line; they beat the experiments' own.

    Raises:
        UserError: an override, or a value that follows from it, is not valid.
    """
    jobs: list[list[str]] = []
    for name in names:
        check(["-m", f"+{GROUP}={name}", *overrides])
        jobs += sweep_jobs(name, overrides)
    runs: dict[str, PlannedRun] = {}
    for config, job in zip(configs(jobs), jobs, strict=True):
        runs.setdefault(_identity(config), PlannedRun(config, tuple(job)))
    return [*runs.values()]


def sweep_jobs(name: str, overrides: Sequence[str] = ()) -> list[list[str]]:
    """What Hydra's sweeper makes of `-m +experiment=name ...`: the overrides of each job.

    Raises:
        UserError: Hydra cannot compose or sweep it.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.errors import HydraException

    with _hydra() as parser:
        config = _compose([f"+{GROUP}={name}"], return_hydra_config=True)
        swept = [f"{key}={values}" for key, values in (config.hydra.sweeper.params or {}).items()]
        parsed = _parse(parser, [*swept, f"+{GROUP}={name}", *overrides])
        try:
            return BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
        except HydraException as error:
            raise UserError(_line(error)) from error


def configs(jobs: Iterable[Sequence[str]]) -> list[RunConfig]:
    """The configuration of each job, as Hydra composes it and `read_config` checks it.

    Composing takes Hydra some 50 ms, so jobs that choose the same files share it: to what is composed from
    the choices the values are applied, as Hydra itself does after it has composed.

    Raises:
        UserError: a configuration is not valid; names the job.
    """
    from omegaconf import OmegaConf

    from experiments.launch import plain

    found = []
    with _hydra() as parser:
        composed = functools.cache(lambda choices: _compose(list(choices)))
        for job in jobs:
            parsed = _parse(parser, job)
            choices = tuple(str(override.input_line) for override in parsed if not _is_value(override))
            config = copy.deepcopy(composed(choices))
            for override in filter(_is_value, parsed):
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
            try:
                found.append(read_config(plain(config)))
            except UserError as error:
                raise UserError(f"{' '.join(job)}: {error}") from error
    return found


def _is_value(override: Override) -> bool:
    """Whether it sets a plain value, so that it has no part in which files are composed."""
    from hydra.core.override_parser.types import OverrideType

    key = override.key_or_group
    if override.type is not OverrideType.CHANGE or override.package is not None or key.startswith("hydra"):
        return False
    return not (CONF / key).is_dir()


def _identity(config: RunConfig) -> str:
    """The same for the same run, and for no other; not its address, for which the data must be read."""
    scientific = config.scientific(config.precision, repr(config.model), repr(config.task))
    return f"{config.root}/{config.study}/{config.readable_name()}-{digest(scientific)}"


@contextmanager
def _hydra() -> Iterator[OverridesParser]:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())


def _compose(overrides: list[str], **options: Any) -> DictConfig:
    from hydra import compose
    from hydra.errors import HydraException

    try:
        return compose("config", overrides=overrides, **options)
    except HydraException as error:
        raise UserError(f"{' '.join(overrides)}: {_line(error)}") from error


def _parse(parser: OverridesParser, overrides: Sequence[str]) -> list[Override]:
    from hydra.errors import HydraException

    try:
        return parser.parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(_line(error)) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
