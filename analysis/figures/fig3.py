"""Figure 3: phi between the directions of r = 8 and of r = 64, in the middle layer (paper, Section 7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures import ranks
from analysis.provenance import stem_of
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection


@command("fig3", "subspaces of r=8 in those of r=64, middle layer", title="Figure 3", place="subspaces")
def make(selection: Selection) -> Result:
    """1 x 4 panels: W_q, W_v, and a zoom on each.

    Raises:
        MissingRunsError: the study lacks r = 8 or r = 64.
    """
    runs = ranks.runs_of(selection)
    layer = tensors.one_layer(selection, runs[ranks.SMALL])
    return ranks.make(selection, runs, [layer], stem_of(selection, "fig3"), "Figure 3.")
