"""The commands of `python -m analysis` that make a result, by name.

A figure, a table or a page is one module with `make(selection) -> Result`, and one entry here: then it has a
line of help and options, and is part of `all` and of the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection

SELECTION = ("task", "targets", "basis", "checkpoint", "layer", "seeds", "choose", "base", "device")
ANSWERS = ("task", "checkpoint", "split", "seeds", "choose")


@dataclass(frozen=True)
class Command:
    """One of `python -m analysis`.

    Attributes:
        module: has `make(selection) -> Result`.
        help: one line.
        options: what of `analysis.commands` it takes, besides those of every command.
        every_task: takes all tasks together where none is chosen.
        own: its options that are no part of a selection; `make` has them as keywords.
        sums_up: is made of what the others make, which `make` has as `made`; its module has `publish` too.
    """

    module: str
    help: str
    options: tuple[str, ...] = SELECTION
    every_task: bool = False
    own: tuple[str, ...] = ()
    sums_up: bool = False

    def selections(self, together: Selection) -> list[Selection]:
        """What it is made of: all tasks together, or each by itself."""
        return [together] if self.every_task else together.each_task() or [together]

    def make(self, selection: Selection, **own: Any) -> Result:
        """The result; its module is imported now.

        Args:
            own: the values of its own options, and `made` where it sums up.

        Raises:
            AnalysisError: it cannot be made.
        """
        result: Result = import_module(self.module).make(selection, **own)
        return result


COMMANDS = {
    "table5": Command(
        "analysis.tables.table5",
        "which weights to adapt at equal budget, ours beside the paper's",
        ANSWERS,
        True,
    ),
    "table6": Command(
        "analysis.tables.table6", "the effect of the rank, ours beside the paper's", ANSWERS, True
    ),
    "baselines": Command(
        "analysis.tables.baselines",
        "LoRA beside the model as it is, full fine-tuning and biases: what adapting reaches",
        ANSWERS,
        True,
    ),
    "fig3": Command("analysis.figures.fig3", "subspaces of r=8 in those of r=64, middle layer"),
    "fig4": Command("analysis.figures.fig4", "subspaces of two seeds at r=64, and of random matrices"),
    "fig6": Command("analysis.figures.fig6", "as fig3, in four layers"),
    "fig7": Command("analysis.figures.fig7", "as fig4, in four layers"),
    "fig8": Command("analysis.figures.fig8", "top directions of W against those of dW at r=4, 8, 64"),
    "table7": Command("analysis.tables.table7", "what dW amplifies: projections of W, amplification factors"),
    "spectra": Command("analysis.tables.spectra", "effective ranks, intruder dimensions, shared dimension"),
    "claims": Command(
        "analysis.claims.table",
        "each claim of Section 7: supported, contradicted or undecided",
        (*SELECTION, "split", "margin"),
        True,
        ("margin",),
    ),
    "report": Command(
        "analysis.report",
        "one HTML page with all of these, learning curves, costs and provenance",
        (*SELECTION, "split", "margin", "wandb", "project"),
        True,
        ("margin",),
        sums_up=True,
    ),
}


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
        if command.sums_up:
            continue
        for one in command.selections(selection):
            keys.append((name, one.task))
            if keys[-1] not in made:
                try:
                    made[keys[-1]] = command.make(one, **{option: own[option] for option in command.own})
                except AnalysisError as error:
                    made[keys[-1]] = error
    return {key: made[key] for key in keys}
