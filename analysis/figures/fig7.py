"""Figure 7: as Figure 4, in the first layer, at one and two thirds, and in the last (paper, App. H.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures import seeds
from analysis.figures.assembly import assemble, wrapped
from analysis.figures.drawing import Look
from analysis.figures.style import TICKS_FIG7_I, TICKS_FIG7_J
from analysis.figures.words import heading_of
from analysis.provenance import stem_of
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection

LIMITS = (0.0, 0.8)


@command("fig7", "subspaces of two seeds at r=64, in four layers", title="Figure 7", place="subspaces")
def make(selection: Selection) -> Result:
    """2 x 4 panels: two layers a row, each W_q and W_v.

    Raises:
        MissingRunsError: the study lacks two seeds at r = 64.
    """
    pair = seeds.pairs_of(selection)[0]
    count = tensors.layers(selection, pair[0])[-1] + 1
    layers = tensors.some_layers(selection, pair[0])
    panels = seeds.panels_of(selection, pair, layers)
    # As many whole layers in a row as make the paper's four panels.
    columns = len(selection.letters) * max(1, 4 // len(selection.letters))
    look = Look(
        title=heading_of(seeds.title(selection), selection.basis, layers, count, panels),
        limits=LIMITS,
        ticks_i={seeds.RANK: TICKS_FIG7_I},
        ticks_j={seeds.RANK: TICKS_FIG7_J},
    )
    return assemble(
        selection,
        pair,
        stem_of(selection, "fig7", layer=False),
        wrapped(panels, columns),
        look,
        f"Figure 7. {seeds.caption(selection, pair, layers, count, panels)}",
    )
