"""What the report is made of: the result of each other command, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.output import Result
from analysis.registry import COMMANDS

if TYPE_CHECKING:
    from analysis.selection import Selection

Made = dict[tuple[str, str | None], Result | AnalysisError]
"""Results and errors by command and task; the task is None where a command takes all of them together."""


@dataclass(frozen=True)
class Part:
    """What a command made of a task, or of all tasks together (None)."""

    command: str
    task: str | None
    outcome: Result | AnalysisError

    @property
    def result(self) -> Result | None:
        return None if isinstance(self.outcome, AnalysisError) else self.outcome


def gather(selection: Selection, own: Mapping[str, Any], made: Made) -> list[Part]:
    """Every command's part, in the order of `python -m analysis --help`.

    Args:
        own: the values of options that are no part of a selection, for the commands that take them.
        made: what is already made; what is not there is made and added.
    """
    parts = []
    for name, command in COMMANDS.items():
        if command.sums_up:
            continue
        for one in command.selections(selection):
            key = (name, one.task)
            if key not in made:
                try:
                    made[key] = command.make(one, **{option: own[option] for option in command.own})
                except AnalysisError as error:
                    made[key] = error
            parts.append(Part(name, one.task, made[key]))
    return parts
