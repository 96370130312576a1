"""The commands of `python -m analysis` that make a result, by name.

A figure, a table or a page is one module with `make(selection) -> Result`, and one entry here: then it has a
line of help and options, and is part of `all` and of the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection

SELECTION = ("task", "targets", "basis", "checkpoint", "layer", "seeds", "choose", "base", "device")
Place = Literal["first", "subspaces", "tables", "folded"]
"""On the report's page."""
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
        title: in headings and links, such as "Figure 3"; the command's name where it has none.
        place: where the report has it: among what came out, the subspaces, the tables, or folded at the end.
    """

    module: str
    help: str
    options: tuple[str, ...] = SELECTION
    every_task: bool = False
    own: tuple[str, ...] = ()
    sums_up: bool = False
    title: str = ""
    place: Place = "tables"

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
    "grid": Command(
        "analysis.tables.grid",
        "whatever the study holds, weights by rank, and the smallest that will do",
        (*ANSWERS, "margin", "paper"),
        True,
        ("margin", "paper"),
        title="Weights and rank",
        place="first",
    ),
    "table5": Command(
        "analysis.tables.table5",
        "which weights to adapt at equal budget, ours beside the paper's",
        ANSWERS,
        True,
        title="Table 5",
    ),
    "table6": Command(
        "analysis.tables.table6",
        "the effect of the rank, ours beside the paper's",
        ANSWERS,
        True,
        title="Table 6",
    ),
    "baselines": Command(
        "analysis.tables.baselines",
        "LoRA beside the model as it is, full fine-tuning and biases: what adapting reaches",
        ANSWERS,
        True,
        title="Baselines",
    ),
    "fig3": Command(
        "analysis.figures.fig3",
        "subspaces of r=8 in those of r=64, middle layer",
        title="Figure 3",
        place="subspaces",
    ),
    "fig4": Command(
        "analysis.figures.fig4",
        "subspaces of two seeds at r=64, and of random matrices",
        title="Figure 4",
        place="subspaces",
    ),
    "fig6": Command(
        "analysis.figures.fig6",
        "subspaces of r=8 in those of r=64, in four layers",
        title="Figure 6",
        place="subspaces",
    ),
    "fig7": Command(
        "analysis.figures.fig7",
        "subspaces of two seeds at r=64, in four layers",
        title="Figure 7",
        place="subspaces",
    ),
    "fig8": Command(
        "analysis.figures.fig8",
        "top directions of W against those of dW at r=4, 8, 64",
        title="Figure 8",
        place="subspaces",
    ),
    "table7": Command(
        "analysis.tables.table7",
        "what dW amplifies: projections of W, amplification factors",
        title="Table 7",
    ),
    "spectra": Command(
        "analysis.tables.spectra",
        "effective ranks, intruder dimensions, shared dimension",
        title="Spectra of dW",
        place="folded",
    ),
    "claims": Command(
        "analysis.claims.table",
        "each claim of Section 7: supported, contradicted or undecided",
        (*SELECTION, "split", "margin"),
        True,
        ("margin",),
        title="Verdicts",
        place="first",
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
                    made[keys[-1]] = command.make(
                        one, **{option: own[option] for option in command.own if option in own}
                    )
                except AnalysisError as error:
                    made[keys[-1]] = error
    return {key: made[key] for key in keys}
