"""Runs that an analysis needs and a study lacks, and the commands that train them."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.defaults import DEFAULT_ROOT
from analysis.errors import AnalysisError, LackingError
from experiments.config import CONF
from lora.targets import parse_targets
from lora.targets import targets_name as joined

SWEPT = ("targets", "rank", "seed")
MOST_LISTED = 5
"""Numbers in a row; more are written as a range."""
_WRITTEN_APART = ("task", "model", "steps", "epochs", "precision")
_WORDS = ("null", "true", "false", "nan", "inf")  # of Hydra's grammar: no text, unless quoted
_SET_ANEW = ("study", "root", "force", "budget", *SWEPT)  # of a neighbour's overrides, what does not stay
_RECORDED = ("method", "science_version", "task.identity", "model.identity")  # no keys of run.py


@dataclass(frozen=True)
class Need:
    """A LoRA run.

    Attributes:
        targets: in any form that run.py takes; kept as run.json names them, "qv" or "q-up".
        rank: r of every target.
        seed: of the run.

    Raises:
        AnalysisError: `targets` name no projections.
    """

    targets: str
    rank: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", targets_name(self.targets))

    def __str__(self) -> str:
        return f"{self.targets} r={self.rank} seed={self.seed}"


class MissingRunsError(LackingError):
    """Runs are needed that the study does not have.

    Attributes:
        missing: every run that is needed and not there.
        commands: the command lines that train exactly these.
        reason: why there are none, where there are none.
    """

    def __init__(
        self,
        study: str,
        missing: Sequence[Need],
        commands: Sequence[str],
        archived: bool = False,
        reason: str = "",
    ) -> None:
        self.missing = tuple(missing)
        self.commands = tuple(commands)
        self.reason = reason
        what = f"{len(missing)} run" if len(missing) == 1 else f"{len(missing)} runs"
        how = reason or "to train them:"
        lines = [f"study {study} lacks {what}: {'; '.join(map(str, missing))}; {how}", *commands]
        if any("task.path=???" in command for command in commands):
            lines.append(
                "(task.path: the release that the study was trained on; runs do not record where it is)"
            )
        if archived:
            lines.append(
                f"(an archive takes no run: train them beside the study's other runs, in {DEFAULT_ROOT})"
            )
        super().__init__("\n  ".join(lines))


def targets_name(targets: str | Iterable[str]) -> str:
    """Targets as run.json names them: "qv", or "q-up" where one is more than a letter.

    Raises:
        AnalysisError: they name no projections.
    """
    try:
        letters = parse_targets(targets.replace("-", ",") if isinstance(targets, str) else targets)
    except ValueError as error:
        raise AnalysisError(str(error)) from None
    return joined(letters)


def commands(
    study: str,
    root: str | Path,
    settings: Mapping[str, Any],
    missing: Sequence[Need],
    recorded: Sequence[str] = (),
) -> list[str]:
    """`python run.py -m ...` lines that train the missing runs and nothing else.

    Each line is a grid of targets x ranks x seeds, all of whose cells are missing: no run that exists is
    named, even though run.py would skip it. Cells are joined along one axis after the other, and of the six
    orders of the axes the one with the fewest lines is taken.

    Args:
        settings: of the study's runs, as `analysis.reading.run.settings` gives them, with targets, rank and
            seed left out; what they do not name stays at run.py's default. The precision is always written,
            since "auto" means another one on another machine.
        recorded: the overrides of a finished run of these settings, from its run.json; what they do not say
            follows from the settings.
    """
    grids = [dict(zip(SWEPT, grid, strict=True)) for grid in _grids(missing)]
    return [command(study, root, settings, grid, recorded) for grid in grids]


def command(
    study: str,
    root: str | Path,
    settings: Mapping[str, Any],
    swept: Mapping[str, Sequence[Any]],
    recorded: Sequence[str] = (),
) -> str:
    """The `python run.py -m ...` line that trains every combination of `swept` with these settings.

    Args:
        settings, recorded: as of `commands`.
        swept: the values of each key; targets as run.json names them, and other texts in Hydra's grammar.
    """
    grid = (f"{key}={_swept(key, values)}" for key, values in swept.items())
    return shlex.join(["python", "run.py", "-m", *_overrides(study, root, settings, recorded), *grid])


def _swept(key: str, values: Sequence[Any]) -> str:
    """The values of a sweep: "0,1,2", or "range(5,46)" of many whole numbers in a row."""
    whole = all(isinstance(value, int) for value in values)
    if len(values) > MOST_LISTED and whole and [*values] == [*range(values[0], values[-1] + 1)]:
        return f"range({values[0]},{values[-1] + 1})"
    return ",".join(_targets_value(value) if key == "targets" else str(value) for value in values)


def _grids(missing: Iterable[Need]) -> list[tuple[tuple[Any, ...], ...]]:
    """Boxes (targets, ranks, seeds) that together hold each missing run once."""
    cells = list(dict.fromkeys((need.targets, need.rank, need.seed) for need in missing))
    found = []
    for order in itertools.permutations(range(3)):
        boxes = [tuple((value,) for value in cell) for cell in cells]
        for axis in order:
            boxes = _joined(boxes, axis)
        found.append(boxes)
    return min(found, key=len)


def _joined(boxes: list[tuple[tuple[Any, ...], ...]], axis: int) -> list[tuple[tuple[Any, ...], ...]]:
    """Boxes that differ in one axis alone, as one."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for box in boxes:
        groups.setdefault((*box[:axis], *box[axis + 1 :]), []).extend(box[axis])
    return [(*rest[:axis], tuple(values), *rest[axis:]) for rest, values in groups.items()]


def _overrides(
    study: str, root: str | Path, settings: Mapping[str, Any], recorded: Sequence[str]
) -> Iterator[str]:
    """What to write so that run.py makes a run of these settings.

    That is what was written for a run like it, where a record says so, else the choice of task, model and
    method; then, in run.py's own order, every key that is not what these make it.
    """
    yield f"study={_value(study)}"
    if Path(root) != DEFAULT_ROOT:
        yield f"root={_value(str(root))}"
    words = tuple(one for one in recorded if _key(one) not in _SET_ANEW)
    made = _composed(words) if words else None
    if made is None:
        words = tuple(_choices(settings))
        made = _composed(words)
        assert made is not None
    yield from words
    own_data = str(settings.get("task.identity", "")).startswith(("files:", "examples:"))
    if own_data and {"task.path", "task.hub"}.isdisjoint(map(_key, words)):
        yield "task.path=???"  # run.py asks for it
    if made["budget"] is not None:
        yield "budget=null"  # of an experiment: the rank is given
    _, _, revision = str(settings.get("model.identity", "")).rpartition("@")
    pinned = made["model"]["revision"] or "main"
    if str(settings.get("model.identity", "")).startswith("hub:") and revision != pinned:
        yield f"model.revision={_value(revision)}"
    length = {key: made[key] for key in ("steps", "epochs") if made[key] is not None}
    length = length or made["model"]["budget"]
    wanted = {key: settings[key] for key in ("steps", "epochs") if settings.get(key) is not None}
    if any(value != length.get(key) for key, value in wanted.items()):
        yield from (f"{key}={_value(value)}" for key, value in wanted.items())
    for key, value in settings.items():
        if key not in (*SWEPT, *_WRITTEN_APART, *_RECORDED) and value != _look_up(made, key):
            yield f"{key}={_value(value)}"
    if "precision" in settings and made["precision"] != settings["precision"]:
        yield f"precision={settings['precision']}"


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _choices(settings: Mapping[str, Any]) -> Iterator[str]:
    """Task, model and method, as far as the settings name them."""
    if task := settings.get("task"):
        yield f"task={task}"
    if model := settings.get("model"):
        named = _model_file(model)
        yield from [f"model={named}"] if named else ["model=hf", f"model.name={_value(model)}"]
    if settings.get("method", "lora") != "lora":
        yield f"method={settings['method']}"


@cache
def _model_file(name: str) -> str | None:
    """The choice of conf/model that is this model, or None: then it is model=hf."""
    import yaml

    for file in sorted((CONF / "model").glob("*.yaml")):
        if yaml.safe_load(file.read_text(encoding="utf-8"))["model"]["name"] == name:
            return file.stem
    return None


@cache
def _composed(words: tuple[str, ...]) -> Mapping[str, Any] | None:
    """run.py's configuration, given these overrides; None where they make none here."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # A class of one's own is configured as files are.
    known = ["task=jsonl" if _key(word) == "task" and ":" in word else word for word in words]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(compose("config", overrides=known), resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError):
        return None
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _look_up(tree: Mapping[str, Any], key: str) -> Any:
    for word in key.split("."):
        tree = tree.get(word, {})
    return tree


def _targets_value(name: str) -> str:
    return f"[{','.join(name.split('-'))}]" if "-" in name else name


def _value(value: Any) -> str:
    """A value in Hydra's grammar; text that could be taken for something else is quoted."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if not isinstance(value, str):
        return str(value).lower()
    if re.fullmatch(r"[A-Za-z_./][\w./+-]*", value) and value.lower() not in _WORDS:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
