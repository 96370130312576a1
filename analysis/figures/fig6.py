"""Figure 6: as Figure 3, in the first layer, at one and two thirds, and in the last (paper, App. H.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures import ranks
from analysis.provenance import stem_of
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection


@command("fig6", "subspaces of r=8 in those of r=64, in four layers", title="Figure 6", place="subspaces")
def make(selection: Selection) -> Result:
    """4 rows of panels, one a layer, each as Figure 3.

    Raises:
        MissingRunsError: the study lacks r = 8 or r = 64.
    """
    runs = ranks.runs_of(selection)
    layers = tensors.some_layers(selection, runs[ranks.SMALL])
    return ranks.make(selection, runs, layers, stem_of(selection, "fig6", layer=False), "Figure 6.")
