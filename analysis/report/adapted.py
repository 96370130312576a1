"""What runs adapt: in words, in the order that they are listed in, and what they differ in besides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analysis.reading.needs import SWEPT
from analysis.reading.run import Run
from lora.targets import LETTERS, parse_targets

METHODS = {"full": "full fine-tuning", "bias": "biases alone", "none": "base model"}
"""Those that are not LoRA."""


def letters(run: Run) -> tuple[str, ...]:
    """Of a LoRA run; of the others none."""
    if run.settings["method"] != "lora":
        return ()
    return parse_targets(run.settings["targets"].replace("-", ","))


def method_name(method: str) -> str:
    return "LoRA" if method == "lora" else METHODS.get(method, method)


def place(run: Run) -> tuple[Any, ...]:
    """To sort by: LoRA first, few weights before many, in the order q k v o; by rank, then by seed."""
    told = run.settings
    adapted, rank = letters(run), told.get("rank", 0)
    mixed = isinstance(rank, str)
    return (
        told["task"],
        told["method"] != "lora",
        told["method"],
        len(adapted),
        [LETTERS.index(letter) for letter in adapted],
        mixed,
        str(rank) if mixed else rank,
        told["seed"],
        run.id,
    )


def varied(runs: Iterable[Run]) -> list[str]:
    """The settings, but for targets, rank, seed and model, in which runs of one task and method differ."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.settings["task"], run.settings["method"]), []).append(run)
    found: dict[str, None] = {}
    for group in groups.values():
        keys = dict.fromkeys(key for run in group for key in run.settings if key not in (*SWEPT, "model"))
        found |= dict.fromkeys(key for key in keys if len({str(run.settings.get(key)) for run in group}) > 1)
    return [*found]
