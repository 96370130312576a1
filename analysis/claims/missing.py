"""Runs that a claim lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.errors import AnalysisError
from analysis.needs import MissingRunsError, Need
from analysis.selection import Selection

SEEDS = (0, 1, 2, 3, 4)
"""Of a study that has no runs yet to go by."""


class Lacking(AnalysisError):
    """A claim needs runs that the study does not have: `missing`."""

    def __init__(self, missing: Iterable[Need]) -> None:
        self.missing = tuple(dict.fromkeys(missing))
        super().__init__(f"lacks {'; '.join(map(str, self.missing))}")


def seeds_of(selection: Selection, least: int = 1) -> tuple[int, ...]:
    """The seeds to ask for: those chosen, else those that the study's LoRA runs of the task have.

    Args:
        least: how many; counted up from 0 where the study has fewer.
    """
    if selection.seeds is not None:
        return selection.seeds
    runs = [run for run in selection.study.runs if run.settings["method"] == "lora"]
    there = sorted({run.settings["seed"] for run in runs if run.settings["task"] == selection.task})
    seeds = there or SEEDS
    return tuple(dict.fromkeys((*seeds, *range(least))))[: max(least, len(seeds))]


def commands_for(selection: Selection, missing: Sequence[Need]) -> tuple[tuple[str, ...], str]:
    """The command lines that train these runs as the study's others were; or none, and the reason."""
    try:
        selection.require(missing)
    except MissingRunsError as error:
        return error.commands, ""
    except AnalysisError as error:
        return (), str(error)
    return (), ""
