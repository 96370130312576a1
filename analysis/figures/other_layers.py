"""The second null of Figures 3, 4, 6 and 7: phi between the same two runs, but of different layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.panels import OtherLayers, array
from analysis.reading import tensors

if TYPE_CHECKING:
    from analysis.reading.run import Run
    from analysis.selection import Selection

MOST = 16
"""Of more layers, this many, evenly spaced, are paired: all their directions are in memory together."""


def other_layers(selection: Selection, one: Run, other: Run, letter: str) -> OtherLayers | None:
    """phi between `one` in a layer and `other` in another, over pairs of layers; None with fewer than two.

    Layers whose projection has another shape than in the first layer are left out.
    """
    from analysis.geometry.nulls import empirical_null

    adapters = [run.adapter(selection.checkpoint) for run in (one, other)]
    there = [layer for layer in adapters[0].layers if all((layer, letter) in held for held in adapters)]
    there = [
        layer for layer in there if adapters[0].shape(layer, letter) == adapters[0].shape(there[0], letter)
    ]
    if len(there) < 2:
        return None
    chosen = np.linspace(0, len(there) - 1, min(MOST, len(there))).round().astype(int)
    first, second = (
        [tensors.directions(selection, run, there[place], letter).vectors for place in chosen]
        for run in (one, other)
    )
    found = empirical_null(first, second)
    return OtherLayers(array(found.mean), array(found.std), found.pairs)
