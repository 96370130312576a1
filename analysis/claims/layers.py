"""From numbers of seeds and layers to one number a seed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped

from analysis.errors import AnalysisError


def defined(*values: Shaped[np.ndarray, "seeds layers"]) -> Bool[np.ndarray, " layers"]:
    """The layers in which every seed has every one of these numbers.

    Args:
        values: further dimensions may follow; the seeds may differ in number.

    Raises:
        AnalysisError: there is none.
    """
    layers = values[0].shape[1]
    mask = np.ones(layers, dtype=bool)
    for found in values:
        mask &= np.isfinite(found.reshape(len(found), layers, -1)).all(axis=(0, 2))
    if not mask.any():
        raise AnalysisError("in no layer do all runs have directions: dW = 0, or of too low a rank")
    return mask


def agreement(
    values: Shaped[np.ndarray, "seeds layers"], mask: Bool[np.ndarray, " layers"], *, above: float
) -> str:
    """In how many layers the mean over seeds is above a number, and how many were left out."""
    count = int((values[:, mask].mean(axis=0) > above).sum())
    return f"{count} of {int(mask.sum())} layers{left_out(mask)}"


def left_out(mask: Bool[np.ndarray, " layers"]) -> str:
    """How many layers are in no number, to stand behind a number; empty where all are in."""
    left = int((~mask).sum())
    return f", {left} of {len(mask)} layers left out (dW = 0, or of too low a rank)" if left else ""
