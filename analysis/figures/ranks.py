"""Figures 3 and 6: the directions of a small rank in those of a large one, with a zoom on the first ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.assembly import assemble, wrapped
from analysis.figures.drawing import Look
from analysis.figures.other_layers import other_layers
from analysis.figures.panels import OtherLayers, Panel, frame, similarity, zoom
from analysis.figures.style import TICKS_8, TICKS_FIG3
from analysis.figures.words import (
    basis_name,
    dimensions,
    heading_of,
    layers_of,
    listed,
    plain_weight,
    symbol,
    weight,
)
from analysis.provenance import lora_sentence
from analysis.reading import tensors

if TYPE_CHECKING:
    from analysis.reading.run import Run
    from analysis.result import Result
    from analysis.selection import Selection

SMALL, LARGE = 8, 64
LIMITS = (0.0, 1.0)
A_ROW = 2
"""Weights in one row of panels: W_q and W_v, then their zooms."""


def runs_of(selection: Selection) -> dict[int, Run]:
    """The two runs by rank, of the first seed that has both.

    Raises:
        MissingRunsError: there are none.
    """
    seed = selection.seeds_with((SMALL, LARGE))[0]
    found = selection.runs((SMALL, LARGE), (seed,))
    return {rank: run for (rank, _), run in found.items()}


def make(
    selection: Selection, runs: dict[int, Run], layers: Sequence[int], stem: str, heading: str
) -> Result:
    """The result for these layers, from 0; `heading` opens the caption."""
    count = tensors.layers(selection, runs[SMALL])[-1] + 1
    rows: list[list[Panel]] = []
    whole: list[Panel] = []
    others = {
        letter: other_layers(selection, runs[SMALL], runs[LARGE], letter) for letter in selection.letters
    }
    for layer in layers:
        panels = [
            _panel(selection, runs, layer, letter, len(layers) > 1, others[letter])
            for letter in selection.letters
        ]
        whole += panels
        for group in wrapped(panels, A_ROW):
            rows.append([*group, *(zoom(panel, SMALL, f"{panel.title}, zoom") for panel in group)])
    pair = rf"$\phi({symbol(selection.basis, SMALL)}, {symbol(selection.basis, LARGE)}, i, j)$"
    look = Look(
        title=heading_of(pair, selection.basis, layers, count, whole),
        limits=LIMITS,
        ticks_i={SMALL: TICKS_8},
        ticks_j={SMALL: TICKS_8, LARGE: TICKS_FIG3},
    )
    weights = listed(f"Δ{plain_weight(letter)}" for letter in selection.letters)
    caption = (
        f"{heading} Similarity φ(i, j) between the top i directions of {weights} at r = {SMALL} and the top "
        f"j at r = {LARGE}, {layers_of(layers, count)}; directions: {basis_name(selection.basis)}, d = "
        f"{dimensions(whole)}. "
        f"{lora_sentence(selection, list(runs.values()))} "
        f"Both runs have seed {runs[SMALL].settings['seed']}. "
        f"The zooms show the first {SMALL} columns; cells above the diagonal (j > i) are blank in them, "
        "because the paper's caption has them show the lower-left triangle; in the panels that they are "
        "taken from nothing is blank."
    )
    return assemble(selection, runs.values(), stem, rows, look, caption, numbers=frame(whole))


def _panel(
    selection: Selection,
    runs: dict[int, Run],
    layer: int,
    letter: str,
    name_layer: bool,
    others: OtherLayers | None,
) -> Panel:
    small, large = (tensors.directions(selection, runs[rank], layer, letter) for rank in (SMALL, LARGE))
    labels = {
        "layer": layer + 1,
        "weight": plain_weight(letter),
        "rank_i": SMALL,
        "rank_j": LARGE,
        "seed": runs[SMALL].settings["seed"],
    }
    title = weight(letter, delta=True)
    return similarity(small, large, f"Layer {layer + 1}, {title}" if name_layer else title, labels, others)
