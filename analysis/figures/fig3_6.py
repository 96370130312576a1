"""Figures 3 and 6: phi between the directions of a small and of a large rank (paper, Section 7.2, App. H.1).

A zoom shows the first directions. Figure 3 has the middle layer, Figure 6 the first layer, those at one and
two thirds, and the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.assembly import assemble, panels_of, wrapped
from analysis.figures.drawing import Look
from analysis.figures.panels import Panel, frame, zoom
from analysis.figures.words import (
    basis_name,
    dimensions,
    heading_of,
    layers_of,
    listed,
    plain_weight,
    symbol,
)
from analysis.provenance import lora_sentence, stem_of
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from analysis.reading.run import Run
    from analysis.result import Result
    from analysis.selection import Selection

PAPER_RANKS = (8, 64)
LIMITS = (0.0, 1.0)
A_ROW = 2
"""Weights in one row of panels: W_q and W_v, then their zooms."""


@command("fig3", "subspaces of r=8 in those of r=64, middle layer", title="Figure 3", place="subspaces")
def fig3(selection: Selection, ranks: tuple[int, int] | None = None) -> Result:
    """1 x 4 panels: W_q, W_v, and a zoom on each.

    Args:
        ranks: the small one and the large one; None: the paper's, or the study's least and largest where it
            lacks one of those.

    Raises:
        MissingRunsError: the study lacks one of the ranks.
    """
    runs = _runs_of(selection, ranks)
    layer = tensors.one_layer(selection, next(iter(runs.values())))
    return _make(selection, runs, [layer], stem_of(selection, "fig3") + _suffix(ranks), "Figure 3.")


@command("fig6", "subspaces of r=8 in those of r=64, in four layers", title="Figure 6", place="subspaces")
def fig6(selection: Selection, ranks: tuple[int, int] | None = None) -> Result:
    """4 rows of panels, one a layer, each as Figure 3; arguments and errors too."""
    runs = _runs_of(selection, ranks)
    layers = tensors.some_layers(selection, next(iter(runs.values())))
    stem = stem_of(selection, "fig6", layer=False) + _suffix(ranks)
    return _make(selection, runs, layers, stem, "Figure 6.")


def _runs_of(selection: Selection, ranks: tuple[int, int] | None) -> dict[int, Run]:
    """The two runs by rank, the small one first, of the first seed that has both."""
    if ranks is None:
        there = selection.ranks
        lacks = len(there) > 1 and not {*PAPER_RANKS} <= {*there}
        ranks = (there[0], there[-1]) if lacks else PAPER_RANKS
    seed = selection.seeds_with(ranks)[0]
    found = selection.runs(ranks, (seed,))
    return {rank: run for (rank, _), run in found.items()}


def _suffix(ranks: tuple[int, int] | None) -> str:
    return f"-r{ranks[0]}-{ranks[1]}" if ranks and ranks != PAPER_RANKS else ""


def _make(
    selection: Selection, runs: dict[int, Run], layers: Sequence[int], stem: str, heading: str
) -> Result:
    """The result for these layers, from 0; `heading` opens the caption."""
    small, large = runs
    count = tensors.layers(selection, runs[small])[-1] + 1
    rows: list[list[Panel]] = []
    whole: list[Panel] = []
    labels = {"rank_i": small, "rank_j": large, "seed": runs[small].settings["seed"]}
    for panels in panels_of(selection, [*runs.values()], layers, labels):
        whole += panels
        for group in wrapped(panels, A_ROW):
            rows.append([*group, *(zoom(panel, small, f"{panel.title}, zoom") for panel in group)])
    pair = rf"$\phi({symbol(selection.basis, small)}, {symbol(selection.basis, large)}, i, j)$"
    look = Look(
        title=heading_of(pair, selection.basis, layers, count, whole),
        limits=LIMITS,
    )
    zoomed = f"{small} columns" if small > 1 else "column"
    weights = listed(f"Δ{plain_weight(letter)}" for letter in selection.letters)
    caption = (
        f"{heading} Similarity φ(i, j) between the top i directions of {weights} at r = {small} and the top "
        f"j at r = {large}, {layers_of(layers, count)}; directions: {basis_name(selection.basis)}, d = "
        f"{dimensions(whole)}. "
        f"{lora_sentence(selection, list(runs.values()))} "
        f"Both runs have seed {runs[small].settings['seed']}. "
        f"The zooms show the first {zoomed}; cells above the diagonal (j > i) are blank in them, "
        "because the paper's caption has them show the lower-left triangle; in the panels that they are "
        "taken from nothing is blank."
    )
    lacking = [f"r = {rank}" for rank in PAPER_RANKS if rank not in {*runs, *selection.ranks}]
    told = (
        f"{heading} The paper's has r = 8 and 64; the study lacks {listed(lacking)}; drawn: r = {small} and "
        f"{large}."
    )
    return assemble(
        selection,
        runs.values(),
        stem,
        rows,
        look,
        caption,
        numbers=frame(whole),
        lacks=told if lacking else None,
    )
