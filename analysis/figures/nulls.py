"""What is held against the panels: directions of random matrices of the adapters' own shape (PAPER 5.13), and
phi between the same two runs in different layers, the second null of Figures 3, 4, 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.panels import OtherLayers, Panel, array
from analysis.reading import tensors

if TYPE_CHECKING:
    from analysis.geometry.subspaces import Directions
    from analysis.reading.run import Run
    from analysis.selection import Selection

DRAWS = 20
MOST = 16
"""Of more layers, this many, evenly spaced, are paired: all their directions are in memory together."""


def gaussian_directions(count: int, n: int, d: int, device: str = "cpu") -> list[Directions]:
    """Right singular vectors of `count` fresh n x d matrices of independent normal entries.

    They are the same each time, and on every device.
    """
    import torch

    from analysis.geometry.subspaces import Directions
    from analysis.geometry.svd import right_svd

    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(count):
        entries = torch.randn(n, d, dtype=torch.float64, generator=generator)
        values, vectors, rank = right_svd(entries.to(device))
        drawn.append(Directions(vectors, values, rank, "A"))
    return drawn


def average(panels: Sequence[Panel], title: str, labels: Mapping[str, Any]) -> Panel:
    """The mean over panels of phi and of z; no direction of a mean is near-equal to another."""
    first = panels[0]
    return replace(
        first,
        title=title,
        labels=labels,
        phi=np.mean([panel.phi for panel in panels], axis=0),
        z=np.mean([panel.z for panel in panels], axis=0),
        arbitrary_i=np.zeros_like(first.arbitrary_i),
        arbitrary_j=np.zeros_like(first.arbitrary_j),
    )


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
