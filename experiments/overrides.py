"""The words of a command line: read as Hydra reads them, and told apart from what was probably meant.

Options, overrides and choices of files, each mistake in one line that names what was given and what is valid.
What runs come of them, `experiments.plan` says.  Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import CONF, RunConfig
from experiments.errors import OTHER_NAMES, AbsentError, UserError, nearest
from experiments.keys import keys
from experiments.parts import TaskConfig
from experiments.tasks import TASKS, meaningless

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

EXPERIMENT = "experiment"
MULTIRUN = ("--multirun", "-m")
OPTIONS = ("-m", "--multirun", "--dry-run", "--help")
MOST_RUNS = 10_000
OWN_TASK = re.compile(r"(?<=[=,({ ])[\w.]+\\?:\w+")  # Hydra's sweeper escapes the colon
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "optuna": "tune"}
"""The extra of this project that brings a launcher or a sweeper."""


def flags_of(arguments: Sequence[str]) -> set[str]:
    """The options among the words, without their values.

    Raises:
        UserError: one is not an option, or two do not go together.
    """
    from hydra._internal.utils import get_args_parser

    flags = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    if flags & {*MULTIRUN} and flags & {"--cfg", "-c", "--info", "-i"}:
        raise UserError("--cfg and --info show the configuration of one run; leave -m out")
    for flag in flags:
        name = flag.lstrip("-").replace("-", "_")
        if name := OTHER_NAMES.get(name, name if name in keys(RunConfig) or name == "budget" else ""):
            raise UserError(f"{flag} is not an option; write {name}=..., without --")
    _, unknown = get_args_parser().parse_known_args([*arguments])
    for word in (word for word in unknown if word.startswith("-")):
        raise UserError(
            f"{word} is not an option; valid are {', '.join(OPTIONS)} and Hydra's own (--hydra-help)"
            f"{nearest(word.partition('=')[0], OPTIONS)}"
        )
    return flags


CONFIG_DIR = ("--config-dir", "-cd")
SEARCHPATH = "hydra.searchpath="


def config_dir(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder after --config-dir, which is the next word or stands behind a "="; and the other words."""
    folder, rest, words = None, [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in CONFIG_DIR:
            value = value if equals else next(words, "")
            folder = Path(value).expanduser() if value else None
        else:
            rest.append(word)
    return folder, rest


def with_searchpath(arguments: Sequence[str]) -> list[str]:
    """The words with --config-dir as the override that says the same, so that a run's record has it.

    Raises:
        UserError: there is no such folder, or the override is given, too.
    """
    folder, words = config_dir(arguments)
    if folder is None:
        return list(arguments)
    if any(word.startswith(SEARCHPATH) for word in words):
        raise UserError("give --config-dir or hydra.searchpath, not both")
    if not folder.is_dir():
        raise UserError(f"--config-dir {folder}: there is no such folder; give one with files as in {CONF}")
    overrides = (at for at, word in enumerate(words) if "=" in word and not word.startswith("-"))
    at = next(overrides, len(words))  # Hydra reads no overrides on two sides of an option
    return [*words[:at], f"{SEARCHPATH}['file://{folder.absolute()}']", *words[at:]]


def searchpath(of_hydra: Iterable[str]) -> list[str]:
    """Of Hydra's own overrides the one that says where else files of configuration lie."""
    return [word for word in of_hydra if word.startswith(SEARCHPATH)]


def quoted(argument: str) -> str:
    """A template in quotes of its own, which the shell has taken away and Hydra cannot read it without."""
    key, _, value = argument.partition("=")
    if key.lstrip("+") != "task.template" or value.startswith(("'", '"')) or value == "null":
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def offer_own_tasks(texts: Iterable[str]) -> None:
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
def hydra_on_conf() -> Iterator[OverridesParser]:
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


def compose(overrides: list[str], **options: Any) -> DictConfig:
    from hydra import compose
    from hydra.errors import HydraException, MissingConfigException

    try:
        return compose("config", overrides=overrides, **options)
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if name in EXTRAS and group.startswith("hydra/"):
            raise AbsentError(
                f"{group}={name} needs a plugin of Hydra's: pip install -e '.[{EXTRAS[name]}]'"
            ) from error
        if not error.options:
            raise UserError(one_line(error)) from error
        hint = nearest(name, error.options)
        if group == "model":
            hint += f"; for any other checkpoint give model=hf model.name={name}"
        raise UserError(f"{group}={name} is unknown; valid are {', '.join(error.options)}{hint}") from error
    except (HydraException, ValueError) as error:
        raise UserError(f"{' '.join(overrides)}: {one_line(error)}") from error


def parse(parser: OverridesParser, overrides: Iterable[str]) -> list[Override]:
    from hydra.errors import HydraException

    parsed = []
    for override in overrides:
        try:
            parsed += parser.parse_overrides([override])
        except HydraException as error:
            if override.endswith(",") or override.startswith(","):
                hint = "write the values with a comma between them and no space, as in rank=1,2,4"
            elif "=" not in override:
                hint = "write key=value, as in rank=8"
            else:
                key = override.partition("=")[0]
                hint = "a text with other signs than letters, digits and ._-/ is put in quotes of its own, "
                hint += f"""as in '{key}="..."'"""
            raise UserError(f"{override!r} cannot be read; {hint}") from error
    return parsed


def split(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job of a sweep over them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.errors import HydraException

    try:
        jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    except HydraException as error:
        raise UserError(f"{one_line(error)}; give the values one by one, or a range(...)") from error
    if not 0 < len(jobs) <= MOST_RUNS:
        raise UserError(f"this is a sweep of {len(jobs):,} runs; give one of 1 to {MOST_RUNS:,}")
    return jobs


def is_value(override: Override) -> bool:
    """Whether it sets a plain value, so that it has no part in which files are composed."""
    key = override.key_or_group
    return override.package is None and "/" not in key and not (CONF / key).is_dir()


def choices(overrides: Sequence[Override]) -> list[str]:
    """What decides which files are composed; of a swept choice the first."""
    return [
        f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if one.is_sweep_override() else text
        for one, text in zip(overrides, texts(overrides), strict=True)
        if not is_value(one)
    ]


def texts(overrides: Iterable[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def check_key(override: Override, config: DictConfig) -> None:
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


def check_experiment(settings: Iterable[Override]) -> None:
    """At most one: several at once would be the runs of none."""
    chosen = [override for override in settings if override.key_or_group == EXPERIMENT]
    if len(chosen) > 1 or any(one.is_sweep_override() or not isinstance(one.value(), str) for one in chosen):
        raise UserError(
            f"{' '.join(texts(chosen))}: give one experiment a command; the runs that they share are "
            "trained once"
        )
    if chosen and (not chosen[0].is_add() or chosen[0].is_force_add()):
        raise UserError(f"{chosen[0].input_line} is not valid; write +{EXPERIMENT}={chosen[0].value()}")


def check_one_run(settings: Iterable[Override], params: Mapping[str, str]) -> None:
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


def check_rank_or_budget(overrides: Iterable[Override], config: DictConfig) -> None:
    """Only a rank that was asked for counts: one in a model's file is a default, which a budget replaces."""
    asked = [one for one in overrides if one.key_or_group.partition(".")[0] == "rank"]
    if asked and asked[-1].value() is not None and config.budget is not None:
        raise UserError(
            f"{asked[-1].input_line} and budget={config.budget} are both given, and the rank follows from "
            "the budget; leave one out, or make it null"
        )
