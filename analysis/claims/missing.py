"""Runs that a claim or a table lacks: the seeds to ask for, and the error that says how to train them."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.errors import AnalysisError
from analysis.reading.needs import MissingRunsError, Need
from analysis.selection import Selection

SEEDS = (0, 1, 2, 3, 4)
"""Of a study that has no runs yet to go by."""


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


def missing_runs(selection: Selection, missing: Iterable[Need]) -> MissingRunsError:
    """The error of these runs, to be raised or told; with the command lines that train them as the study's
    others were, or the reason why there are none.
    """
    needs = tuple(dict.fromkeys(missing))
    commands: tuple[str, ...] = ()
    reason = ""
    try:
        selection.require(needs)
    except MissingRunsError as error:
        commands = error.commands
    except AnalysisError as error:
        reason = str(error)
    return MissingRunsError(selection.study.name, needs, commands, reason=reason)
