"""Where a report comes from: the settings of its runs, models, versions, commits, machines and commands."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.defaults import (
    DEFAULT_BASIS,
    DEFAULT_CHECKPOINT,
    DEFAULT_DEVICE,
    DEFAULT_MARGIN,
    DEFAULT_ROOT,
    DEFAULT_SPLIT,
    DEFAULT_TARGETS,
)
from analysis.reading.needs import SWEPT, Need, command, commands
from analysis.reading.run import Run
from analysis.result import Cell, Row, Table, versions
from analysis.tables.numbers import MISSING
from experiments.provenance import git_commit

if TYPE_CHECKING:
    from analysis.selection import Selection

NOT_RECORDED = "not recorded"


def shared_settings(runs: Sequence[Run]) -> Table:
    """The settings that have one value, whether all runs have them or, such as alpha, those of one method."""
    rows = []
    for key, counts in _values(runs).items():
        if len(counts) == 1:
            value, count = counts.most_common()[0]
            rows.append(Row((key,), (Cell(value if count == len(runs) else f"{value} ({count:,} runs)"),)))
    return Table(
        "Settings that the runs share",
        ("setting",),
        ("value, with the number of runs where not all have such a setting",),
        (tuple(rows),),
    )


def differing_settings(runs: Sequence[Run]) -> Table:
    """The settings in which runs differ, with how many runs have each value."""
    rows = [
        Row((key,), (Cell("; ".join(f"{value} ({count:,})" for value, count in counts.items())),))
        for key, counts in _values(runs).items()
        if len(counts) > 1
    ]
    return Table(
        "Settings in which they differ",
        ("setting",),
        ("values, with the number of runs",),
        (tuple(rows),),
        ("Runs that do not have a setting, such as the rank of full fine-tuning, are not counted.",),
    )


def sources(runs: Sequence[Run]) -> Table:
    """Models, data, versions, commits, devices and times, as the runs recorded them."""

    def told(of: Callable[[Run], Any]) -> Cell:
        counts = Counter(str(value) if (value := of(run)) is not None else NOT_RECORDED for run in runs)
        if len(counts) == 1:
            return Cell(next(iter(counts)))
        return Cell("; ".join(f"{value} ({count:,} runs)" for value, count in sorted(counts.items())))

    packages = dict.fromkeys(name for run in runs for name in run.record.get("versions", {}))
    ends = sorted(str(run.record["finished_at"]) for run in runs if run.record.get("finished_at"))
    lines = {
        "base model": told(_model),
        "its weights, sha256": told(lambda run: run.record["model"]["sha256"]),
        "data": told(_data),
        "device": told(lambda run: run.record.get("device")),
        "commit": told(lambda run: run.record.get("git_commit")),
        **{name: told(partial(_version, name)) for name in packages},
        "finished": Cell(f"{ends[0]} to {ends[-1]}" if ends else NOT_RECORDED),
    }
    return Table(
        "What the runs were made with",
        ("",),
        ("",),
        (tuple(Row((name,), (cell,)) for name, cell in lines.items()),),
    )


def analysis_sources() -> Table:
    """What this page was made with."""
    lines = {"commit": git_commit() or NOT_RECORDED, **versions()}
    rows = tuple(Row((name,), (Cell(value),)) for name, value in lines.items())
    return Table("What this page was made with", ("",), ("",), (rows,))


def training_commands(selection: Selection, runs: Sequence[Run]) -> list[str]:
    """The lines that train these runs, from the settings that they recorded; many runs to a line.

    Raises:
        AnalysisError: settings are recorded that run.py does not take.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(str(_recipe(run)), []).append(run)
    study, root = selection.study.name, selection.study.training_root
    lines: list[str] = []
    for found in groups.values():
        recipe = _recipe(found[0])
        needs = [Need(*_swept(run)) for run in found if isinstance(run.settings.get("rank"), int)]
        lines += commands(study, root, recipe, needs, found[0].overrides) if needs else []
        others: dict[tuple[Any, ...], list[Run]] = {}
        for run in found:
            if not isinstance(run.settings.get("rank"), int):
                others.setdefault(_swept(run)[:2], []).append(run)
        for (targets, rank), alike in others.items():
            grid: dict[str, list[Any]] = {"targets": [targets]} if targets else {}
            grid |= {"rank": [_ranks(alike[0])]} if rank else {}
            grid["seed"] = sorted(run.settings["seed"] for run in alike)
            lines.append(command(study, root, recipe, grid, alike[0].overrides))
    return lines


def analysis_command(selection: Selection, margin: float) -> str:
    """The line that makes this page."""
    options: dict[str, Any] = {"study": selection.study.name}
    if selection.study.root != DEFAULT_ROOT:
        options["root"] = selection.study.root
    defaults = {
        "task": (selection.task, None),
        "targets": (selection.targets, DEFAULT_TARGETS),
        "basis": (selection.basis, DEFAULT_BASIS),
        "checkpoint": (selection.checkpoint, DEFAULT_CHECKPOINT),
        "split": (selection.split, DEFAULT_SPLIT),
        "margin": (f"{margin:g}", f"{DEFAULT_MARGIN:g}"),
        "layer": (None if selection.layer is None else selection.layer + 1, None),
        "seeds": (None if selection.seeds is None else ",".join(map(str, selection.seeds)), None),
        "base": (selection.base, None),
        "device": (selection.device, DEFAULT_DEVICE),
    }
    options |= {key: value for key, (value, default) in defaults.items() if value != default}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    words += [word for key, value in selection.choice.items() for word in ("--choose", f"{key}={value}")]
    return shlex.join(["python", "-m", "analysis", "report", *words])


def model_name(run: Run) -> str:
    """The model's name; of a folder not where it lies."""
    return Path(run.record["model"]["name"]).name


def _values(runs: Sequence[Run]) -> dict[str, Counter[str]]:
    """By setting, its values as text in order; a model's folder by its name alone."""
    found: dict[str, list[tuple[Any, str]]] = {}
    for run in runs:
        for key, value in run.settings.items():
            text = model_name(run) if key == "model" else _plain(value)
            number = value if isinstance(value, int | float) else math.inf
            found.setdefault(key, []).append((number, text))
    return {key: Counter(text for _, text in sorted(values)) for key, values in found.items()}


def _plain(value: Any) -> str:
    if value is None:
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def _model(run: Run) -> str:
    revision = run.record["model"]["revision"]
    return model_name(run) + (f" at {revision}" if revision else "")


def _data(run: Run) -> str:
    told = run.settings
    sizes = ", ".join(f"{count:,} {split}" for split, count in run.record.get("examples", {}).items())
    return " ".join(filter(None, (told["task"], told.get("task.identity"), f"({sizes})" if sizes else "")))


def _version(package: str, run: Run) -> str | None:
    return run.record.get("versions", {}).get(package)


def _recipe(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.settings.items() if key not in SWEPT}


def _swept(run: Run) -> tuple[Any, ...]:
    return tuple(run.settings.get(key) for key in SWEPT)


def _ranks(run: Run) -> str:
    """Ranks by letter in Hydra's grammar."""
    return "{" + ", ".join(f"{letter}: {rank}" for letter, rank in run.record["config"]["rank"].items()) + "}"
