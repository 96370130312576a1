"""The commands of `python -m analysis` that make a result, each registered where it is made:

    @command("fig3", "subspaces of r=8 in those of r=64, middle layer", title="Figure 3", place="subspaces")
    def fig3(selection: Selection) -> Result: ...

One file in `analysis.figures` or `analysis.tables` is all that a figure or a table takes: then it has a line
of help and options, and is part of `all` and of the report. These files are imported for the help page, so
none imports torch, scipy, pandas or matplotlib at its top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from analysis.errors import AnalysisError
from experiments.registry import Registry

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection

SELECTION = ("task", "targets", "basis", "checkpoint", "layer", "seeds", "choose", "base", "device")
ANSWERS = ("task", "checkpoint", "split", "seeds", "choose")
Place = Literal["first", "subspaces", "tables", "folded"]
"""On the report's page."""
PACKAGES = ("analysis.figures", "analysis.tables", "analysis.claims", "analysis.report")
MADE = "made"
"""The parameter of a command that is made of what the others make."""

Make = TypeVar("Make", bound=Callable[..., Any])


def always(selection: Selection) -> bool:
    return True


@dataclass(frozen=True)
class Command:
    """One of `python -m analysis`.

    Attributes:
        name: of the command and its files.
        make: from a selection to the result; its further parameters are options of its own, but for `made`.
        help: one line.
        selects: what of a selection it takes as options, and other options of `analysis.commands` that its
            result does not depend on.
        every_task: takes all tasks together where none is chosen.
        title: in headings and links, such as "Figure 3"; the name where it has none.
        place: where the report has it: among what came out, the subspaces, the tables, or folded at the end.
        applies: whether a study asked for it; `all` and the report leave it out without a word where not.
        alone: it needs no study where a file is given with --from.
    """

    name: str
    make: Callable[..., Result]
    help: str
    selects: tuple[str, ...] = SELECTION
    every_task: bool = False
    title: str = ""
    place: Place = "tables"
    applies: Callable[[Selection], bool] = always
    alone: bool = False

    @property
    def own(self) -> tuple[str, ...]:
        """Its options that are no part of a selection."""
        return tuple(name for name in [*signature(self.make).parameters][1:] if name != MADE)

    @property
    def options(self) -> tuple[str, ...]:
        """What it takes of the options of `analysis.commands`, besides those of every command."""
        return tuple(dict.fromkeys((*self.selects, *self.own)))

    @property
    def sums_up(self) -> bool:
        """Whether it is made of what the others make."""
        return MADE in signature(self.make).parameters

    def selections(self, together: Selection) -> list[Selection]:
        """What it is made of: all tasks together, or each by itself."""
        return [together] if self.every_task else together.each_task() or [together]


def _as_in_the_report(command: Command) -> tuple[Any, ...]:
    return command.sums_up, get_args(Place).index(command.place), command.name


COMMANDS: Registry[Command] = Registry("command", *PACKAGES, order=_as_in_the_report)


def command(name: str, help: str, **rest: Any) -> Callable[[Make], Make]:
    """Register the function as what makes the command's result; arguments as of `Command`."""

    def register(make: Make) -> Make:
        COMMANDS.register(Command(name, make, help, **rest), make)
        return make

    return register


Made = dict[tuple[str, str | None], "Result | AnalysisError"]
"""Results and errors by command and task; the task is None where a command takes all of them together."""


def make_each(selection: Selection, own: Mapping[str, Any], made: Made) -> Made:
    """What every command but those that sum up makes of a selection, or why it cannot, in their order.

    Args:
        own: the values of options that are no part of a selection, for the commands that take them.
        made: what is already made; what is not there is made and added.
    """
    keys = []
    for name, command in COMMANDS.items():
        if command.sums_up or not command.applies(selection):
            continue
        for one in command.selections(selection):
            keys.append((name, one.task))
            if keys[-1] not in made:
                try:
                    made[keys[-1]] = command.make(
                        one, **{option: own[option] for option in command.own if option in own}
                    )
                except AnalysisError as error:
                    made[keys[-1]] = error
    return {key: made[key] for key in keys}
