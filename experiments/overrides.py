"""The command line, checked before Hydra reads it: a misspelt key or choice is one line, at once.

The valid keys and choices are those of the files in conf/.  What is not understood here is left to Hydra.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import nearest
from experiments.errors import UserError
from experiments.experiment import GROUP, Experiment, read_experiment

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_CODE = Path(__file__).resolve().parent
# In a wheel conf/ lies in this package; in a checkout a link there leads to it, where links are.
CONF = (_CODE / "conf" if (_CODE / "conf").is_dir() else _CODE.parent / "conf").resolve()
OTHER_CONFIG = ("--config-name", "--config-path", "--config-dir", "-cn", "-cp", "-cd")
MULTIRUN = ("--multirun", "-m")
SHOW_ONLY = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help")


@dataclass(frozen=True)
class Known:
    """The choices of each group, and the tree of keys over all files; a leaf is None."""

    choices: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, Any]


def check(arguments: Sequence[str], conf: Path = CONF) -> None:
    """Raise UserError for the first of `arguments` with an unknown key, or an unknown choice of a group.

    Also where an experiment cannot be run so, and where both a rank and a budget are given.
    """
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    if any(flag in OTHER_CONFIG for flag in flags):
        return
    known = _known(conf)
    sweeps = any(flag in MULTIRUN for flag in flags)
    given: list[Override] = []
    for override in _parsed(arguments):
        if override.is_hydra_override() or override.package is not None or "/" in override.key_or_group:
            sweeps |= override.key_or_group == "hydra.mode"
            continue
        _check_key(override, known)
        if override.is_sweep_override() and not sweeps:
            raise UserError(
                f"{override.input_line} gives several values; add -m to train a run for each of them, "
                f"or write a list as '{override.key_or_group}=[...]'"
            )
        if override.key_or_group in known.choices:
            _check_choice(override, known.choices[override.key_or_group])
        given.append(override)
    experiment = _experiment(given, conf)
    if experiment and not sweeps and not any(flag in SHOW_ONLY for flag in flags):
        _check_one_run(experiment, given)
    _check_rank_or_budget(experiment, given)


def _experiment(given: Sequence[Override], conf: Path) -> Experiment | None:
    """The one that is asked for; several at once would be the runs of none."""
    chosen = [override for override in given if override.key_or_group == GROUP]
    if not chosen:
        return None
    names = [name for override in chosen for name in _values(override)]
    if len(chosen) > 1 or len(names) != 1:
        texts = " ".join(str(override.input_line) for override in chosen)
        raise UserError(f"{texts}: give one experiment a command; the runs that they share are trained once")
    if not chosen[0].is_add():
        raise UserError(f"{chosen[0].input_line} is not valid; write +{GROUP}={names[0]}")
    return read_experiment(names[0], conf)


def _check_one_run(experiment: Experiment, given: Sequence[Override]) -> None:
    keys = [override.key_or_group for override in given]
    if any(key not in keys for key in experiment.swept):
        raise UserError(
            f"+{GROUP}={experiment.name} is a sweep over {', '.join(experiment.swept)}; add -m to train it, "
            "or give one value to each of these for one run"
        )


def _check_rank_or_budget(experiment: Experiment | None, given: Sequence[Override]) -> None:
    """Only what was asked for counts: a rank in a model's file is a default, which a budget replaces."""
    asked: dict[str, str] = {}
    if experiment is not None:
        values = {**experiment.fixed, **experiment.swept}
        asked = {key: f"{key}={value} (in {experiment.name})" for key, value in values.items()}
    for override in given:
        key = override.key_or_group.partition(".")[0]
        asked[key] = str(override.input_line)
        if override.value() is None:
            del asked[key]
    if "rank" in asked and "budget" in asked:
        raise UserError(
            f"{asked['rank']} and {asked['budget']} are both given, and the rank follows from the budget; "
            "leave one out, or make it null"
        )


def _parsed(arguments: Sequence[str]) -> Iterator[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for argument in arguments:
        if not argument.startswith("-"):
            try:
                yield parser.parse_override(argument)
            except HydraException:
                continue


def _check_key(override: Override, known: Known) -> None:
    key = override.key_or_group
    if override.is_delete():
        raise UserError(f"{override.input_line}: keys cannot be removed; set a value, such as {key}=null")
    level: Mapping[str, Any] | None = known.keys
    path: list[str] = []
    for word in key.split("."):
        if level is None:
            return
        if word not in level:
            raise UserError(_unknown(word, path, level))
        path.append(word)
        level = level[word]
    if level is not None and key not in known.choices and not isinstance(override.value(), dict):
        settings = ", ".join(f"{key}.{word}" for word in level)
        raise UserError(f"{override.input_line} is not valid; set one of {settings}")


def _unknown(word: str, path: Sequence[str], level: Mapping[str, Any]) -> str:
    close = nearest(word, level)
    if not close:
        close = f"; valid are {', '.join(level)}"
    below = f" of {'.'.join(path)}" if path else ""
    return f"{'.'.join([*path, word])} is not a key{below}{close} (python run.py --help explains the keys)"


def _check_choice(override: Override, choices: Sequence[str]) -> None:
    for value in _values(override):
        if value not in choices:
            hint = nearest(value, choices)
            if override.key_or_group == "model":
                hint += f"; for any other checkpoint give model=hf model.name={value}"
            raise UserError(
                f"{override.key_or_group}={value} is unknown; valid are {', '.join(choices)}{hint}"
            )


def _values(override: Override) -> Iterator[str]:
    """The choices named: one, or those of a sweep; none where Hydra must judge (a glob, a list)."""
    from hydra.core.override_parser.types import ValueType

    if override.value_type in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP):
        yield from (str(value).strip("'\"") for value in override.sweep_string_iterator())
    elif not override.is_sweep_override():
        value = override.value()
        if value is None or isinstance(value, str | int | float):
            yield "null" if value is None else str(value)


@functools.cache
def _known(conf: Path) -> Known:
    choices: dict[str, tuple[str, ...]] = {}
    keys = _keys(conf / "config.yaml")
    for folder in sorted(path for path in conf.iterdir() if path.is_dir() and path.name != "hydra"):
        files = sorted(folder.glob("*.yaml"), key=lambda file: file.stem)
        choices[folder.name] = tuple(file.stem for file in files)
        keys.setdefault(folder.name, None)
        for file in files:
            tree = _keys(file)
            _merge(keys, tree if _is_global(file) else {folder.name: tree})
    return Known(choices, keys)


def _keys(file: Path) -> dict[str, Any]:
    import yaml

    tree = _shape(yaml.safe_load(file.read_text(encoding="utf-8"))) or {}
    return {key: below for key, below in tree.items() if key not in ("defaults", "hydra")}


def _shape(value: Any) -> dict[str, Any] | None:
    return {str(key): _shape(below) for key, below in value.items()} if isinstance(value, dict) else None


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, below in tree.items():
        if isinstance(into.get(key), dict) and isinstance(below, Mapping):
            _merge(into[key], below)
        elif into.get(key) is None:
            into[key] = below


def _is_global(file: Path) -> bool:
    return "# @package _global_" in file.read_text(encoding="utf-8")
