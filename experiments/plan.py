"""From a command line to runs: composed as Hydra does, and checked, before anything is trained.

    plan(["-m", "rank=1,2", "targets=qv"])      what `python run.py -m rank=1,2 targets=qv` trains
    plan_experiments(["table5", "table6"])      the distinct runs of several of conf/experiment

Every mistake is one line that names what was given and what is valid.  Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import CONF, RunConfig, digest, read_config
from experiments.errors import UserError, nearest
from experiments.keys import keys
from experiments.parts import TaskConfig
from experiments.tasks import TASKS, meaningless

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

EXPERIMENT = "experiment"
OTHER_CONFIG = ("--config-name", "--config-path", "--config-dir", "-cn", "-cp", "-cd")
MULTIRUN = ("--multirun", "-m")
OPTIONS = ("-m", "--multirun", "--dry-run", "--help")
SHOW_ONLY = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--version", "--shell-completion")
DISCRETE_SWEEPERS = (
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.section7.PlannedSweeper",
)
MOST_RUNS = 10_000
AT_ONCE, ALL_CORES = ("workers", "n_jobs", "array_parallelism"), -1
"""The setting of a launcher that says how many jobs run at the same time: ours, joblib's, Slurm's."""
OWN_TASK = re.compile(r"(?<=[=,({ ])[\w.]+\\?:\w+")  # Hydra's sweeper escapes the colon
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "optuna": "tune"}
"""The extra of this project that brings a launcher or a sweeper."""
OTHER_NAMES = {
    "r": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_rslora": "scaling",
    "target_modules": "targets",
    "learning_rate": "lr",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "max_grad_norm": "clip",
    "label_smoothing_factor": "label_smoothing",
    "eval_steps": "eval_every",
    "logging_steps": "log_every",
    "output_dir": "root",
}
"""What PEFT and the transformers Trainer call a key of ours."""


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

    Raises:
        UserError: an override, or a value that follows from it, is not valid.
    """
    _offer_own_tasks(arguments)
    flags = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    if flags & {*MULTIRUN} and flags & {"--cfg", "-c", "--info", "-i"}:
        raise UserError("--cfg and --info show the configuration of one run; leave -m out")
    for flag in flags:
        name = flag.lstrip("-").replace("-", "_")
        if name := OTHER_NAMES.get(name, name if name in keys(RunConfig) or name == "budget" else ""):
            raise UserError(f"{flag} is not an option; write {name}=..., without --")
    for word in _unknown_options(arguments):
        raise UserError(
            f"{word} is not an option; valid are {', '.join(OPTIONS)} and Hydra's own (--hydra-help)"
            f"{nearest(word.partition('=')[0], OPTIONS)}"
        )
    if flags & {*OTHER_CONFIG, *SHOW_ONLY}:
        return Plan([], sweep=bool(flags & {*MULTIRUN}))
    with _hydra() as parser:
        given = _parse(parser, [argument for argument in arguments if not argument.startswith("-")])
        settings = [one for one in given if not one.is_hydra_override()]
        of_hydra = [str(one.input_line) for one in given if one.is_hydra_override()]
        _check_experiment(settings)
        master = _compose([*_choices(settings), *of_hydra], return_hydra_config=True)
        params = {str(key): values for key, values in (master.hydra.sweeper.get("params") or {}).items()}
        if not flags & {*MULTIRUN} and str(master.hydra.mode) != "RunMode.MULTIRUN":
            _check_one_run(settings, params)
            return Plan(plan_jobs(parser, [_texts(settings)], _compose), sweep=False)
        if master.hydra.sweeper._target_ not in DISCRETE_SWEEPERS:
            for override in filter(_is_value, settings):
                _check_key(override, master)
            return Plan([], sweep=True)
        if str(master.hydra.launcher._target_).endswith(".SlurmLauncher") and not shutil.which("srun"):
            raise UserError("this launcher submits jobs to Slurm, and there is no srun here; leave it out")
        swept = [f"{key}={values}" for key, values in params.items()]
        jobs = _split(_parse(parser, [*swept, *_texts(settings)]))
        logs = str(Path(master.hydra.sweep.dir).parent / "*/.submitit")
        launcher = master.hydra.launcher
        at_once = next((launcher[key] for key in AT_ONCE if key in launcher), 1)
        return Plan(
            plan_jobs(parser, jobs, _compose),
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


def _unknown_options(arguments: Sequence[str]) -> list[str]:
    """What Hydra's command line would answer with its usage."""
    from hydra._internal.utils import get_args_parser

    _, unknown = get_args_parser().parse_known_args([*arguments])
    return [word for word in unknown if word.startswith("-")]


def plan_jobs(
    parser: OverridesParser, jobs: Iterable[Sequence[str]], compose: Callable[[list[str]], DictConfig]
) -> list[PlannedRun]:
    """Each job, given by its overrides, with the configuration that Hydra composes for it, checked.

    Composing takes Hydra some 50 ms, so jobs that choose the same files share it: to what is composed from
    the choices the values are applied, as Hydra itself does after it has composed.

    Raises:
        UserError: a configuration is not valid; names the job where there are several.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    composed = functools.cache(lambda choices: compose(list(choices)))
    jobs, runs = [*jobs], []
    for job in jobs:
        _offer_own_tasks(job)
        try:
            overrides = [one for one in _parse(parser, job) if not one.is_hydra_override()]
            config = copy.deepcopy(composed(tuple(_choices(overrides))))
            for override in filter(_is_value, overrides):
                _check_key(override, config)
                OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
            _check_rank_or_budget(overrides, config)
            runs.append(PlannedRun(read_config(plain(config)), tuple(_texts(overrides))))
        except (UserError, OmegaConfBaseException) as error:
            line = str(error) if isinstance(error, UserError) else _line(error)
            raise UserError(f"{' '.join(job)}: {line}" if len(jobs) > 1 else line) from error
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


# ------------------------------------------------------------------------------------------ Hydra's words


def quoted(argument: str) -> str:
    """A template in quotes of its own, which the shell has taken away and Hydra cannot read it without."""
    key, _, value = argument.partition("=")
    if key.lstrip("+") != "task.template" or value.startswith(("'", '"')) or value == "null":
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def _offer_own_tasks(texts: Iterable[str]) -> None:
    """A file of conf/task, as Hydra wants one, for each task that is named by its import path.

    Raises:
        UserError: there is no such task.
    """
    import yaml
    from hydra.core.config_store import ConfigStore

    chosen = (text for text in texts if text.lstrip("+").startswith("task="))
    for path in (path.replace("\\", "") for text in chosen for path in OWN_TASK.findall(text)):
        TASKS.find(path)
        values = yaml.safe_load((CONF / "task" / "jsonl.yaml").read_text(encoding="utf-8"))
        ConfigStore.instance().store(group="task", name=path, node={**values, "name": path})


@contextlib.contextmanager
def _hydra() -> Iterator[OverridesParser]:
    """Hydra on conf/, whatever it is initialised to before (in a notebook) and is again after."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    finally:
        GlobalHydra.instance().hydra = before


def _compose(overrides: list[str], **options: Any) -> DictConfig:
    from hydra import compose
    from hydra.errors import HydraException, MissingConfigException

    try:
        return compose("config", overrides=overrides, **options)
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if name in EXTRAS and group.startswith("hydra/"):
            raise UserError(
                f"{group}={name} needs a plugin of Hydra's: pip install -e '.[{EXTRAS[name]}]'"
            ) from error
        if not error.options:
            raise UserError(_line(error)) from error
        hint = nearest(name, error.options)
        if group == "model":
            hint += f"; for any other checkpoint give model=hf model.name={name}"
        raise UserError(f"{group}={name} is unknown; valid are {', '.join(error.options)}{hint}") from error
    except (HydraException, ValueError) as error:
        raise UserError(f"{' '.join(overrides)}: {_line(error)}") from error


def _parse(parser: OverridesParser, overrides: Iterable[str]) -> list[Override]:
    from hydra.errors import HydraException

    parsed = []
    for override in overrides:
        try:
            parsed += parser.parse_overrides([override])
        except HydraException as error:
            if override.endswith(",") or override.startswith(","):
                hint = "write the values without spaces between them, as in rank=1,2,4"
            elif "=" not in override:
                hint = "write key=value, as in rank=8"
            else:
                hint = "a text with other signs than letters, digits and ._-/ is put in quotes of its own"
            raise UserError(f"{override!r} cannot be read; {hint}") from error
    return parsed


def _split(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job of a sweep over them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.errors import HydraException

    try:
        jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    except HydraException as error:
        raise UserError(f"{_line(error)}; give the values one by one, or a range(...)") from error
    if not 0 < len(jobs) <= MOST_RUNS:
        raise UserError(f"this is a sweep of {len(jobs):,} runs; give one of 1 to {MOST_RUNS:,}")
    return jobs


def _is_value(override: Override) -> bool:
    """Whether it sets a plain value, so that it has no part in which files are composed."""
    key = override.key_or_group
    return override.package is None and "/" not in key and not (CONF / key).is_dir()


def _choices(overrides: Sequence[Override]) -> list[str]:
    """What decides which files are composed; of a swept choice the first."""
    return [
        f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if one.is_sweep_override() else text
        for one, text in zip(overrides, _texts(overrides), strict=True)
        if not _is_value(one)
    ]


def _texts(overrides: Iterable[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


# ----------------------------------------------------------------------------------------------- checking


def _check_key(override: Override, config: DictConfig) -> None:
    from omegaconf import DictConfig

    key = override.key_or_group
    if override.is_delete():
        raise UserError(f"{override.input_line}: keys cannot be removed; set a value, such as {key}=null")
    level: Any = config
    path: list[str] = []
    for word in key.split("."):
        if not isinstance(level, DictConfig):
            return
        if path == ["task"] and word not in {*level} and word in keys(TaskConfig):
            raise UserError(meaningless(word, str(level.name)))
        if word not in {*level}:  # "in level" would say no of a key whose value is still missing
            valid = [str(name) for name in level if name != "hydra"]
            below = f" of {'.'.join(path)}" if path else ""
            if path and "name" in level:
                below += f"={level.name}" if path == ["task"] else ""
            close = nearest(word, valid) or f"; valid are {', '.join(valid)}"
            if not path and word in OTHER_NAMES:
                close = f"; here it is {OTHER_NAMES[word]}"
            raise UserError(
                f"{'.'.join([*path, word])} is not a key{below}{close} (python run.py --help explains them)"
            )
        path.append(word)
        level = level._get_node(word)
    if isinstance(level, DictConfig) and not isinstance(override.value(), dict) and not level._is_none():
        settings = ", ".join(f"{key}.{word!s}" for word in level)
        raise UserError(f"{override.input_line} is not valid; set one of {settings}")


def _check_experiment(settings: Iterable[Override]) -> None:
    """At most one: several at once would be the runs of none."""
    chosen = [override for override in settings if override.key_or_group == EXPERIMENT]
    if len(chosen) > 1 or any(one.is_sweep_override() or not isinstance(one.value(), str) for one in chosen):
        raise UserError(
            f"{' '.join(_texts(chosen))}: give one experiment a command; the runs that they share are "
            "trained once"
        )
    if chosen and (not chosen[0].is_add() or chosen[0].is_force_add()):
        raise UserError(f"{chosen[0].input_line} is not valid; write +{EXPERIMENT}={chosen[0].value()}")


def _check_one_run(settings: Iterable[Override], params: Mapping[str, str]) -> None:
    """Params are what a file of conf/experiment sweeps."""
    for override in settings:
        if override.is_sweep_override():
            raise UserError(
                f"{override.input_line} gives several values; add -m to train a run for each of them"
            )
    if set(params) - {override.key_or_group for override in settings}:
        raise UserError(
            f"this experiment is a sweep over {', '.join(params)}; add -m to train it, or give one value to "
            "each of these for one run"
        )


def _check_rank_or_budget(overrides: Iterable[Override], config: DictConfig) -> None:
    """Only a rank that was asked for counts: one in a model's file is a default, which a budget replaces."""
    asked = [one for one in overrides if one.key_or_group.partition(".")[0] == "rank"]
    if asked and asked[-1].value() is not None and config.budget is not None:
        raise UserError(
            f"{asked[-1].input_line} and budget={config.budget} are both given, and the rank follows from "
            "the budget; leave one out, or make it null"
        )
