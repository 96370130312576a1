"""The random panel: directions of Gaussian matrices of the adapters' own shape (PAPER 5.13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.panels import Panel

if TYPE_CHECKING:
    from analysis.geometry.subspaces import Directions

DRAWS = 20


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
