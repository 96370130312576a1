"""Near-equal singular values: where the order, and so what the top i directions are, is arbitrary.

All functions take singular values (n,), descending; values of 0 (beyond the numerical rank) and NaN (a zero
matrix) are close to nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GAP_THRESHOLD = 0.01
"""Relative gap below which two neighbouring singular values count as near-equal.

A change of the matrix by half a gap, in spectral norm, is enough to exchange the two directions; below this
threshold, then, a change by half a per cent of s_i."""


def relative_gaps(values: Float[Tensor, " n"]) -> Float[Tensor, " n-1"]:
    """(s_i - s_{i+1}) / s_i for i = 1 .. n-1; NaN where s_i is 0 or NaN."""
    return (values[:-1] - values[1:]) / values[:-1]


def arbitrary_tops(values: Float[Tensor, " n"], threshold: float = GAP_THRESHOLD) -> Bool[Tensor, " n"]:
    """Where s_i nearly equals s_{i+1}, so that the span of the first i directions is arbitrary.

    After the last one there is no gap to judge: False.
    """
    close = relative_gaps(values) < threshold
    return torch.cat((close, close.new_zeros(1)))


def arbitrary_directions(values: Float[Tensor, " n"], threshold: float = GAP_THRESHOLD) -> Bool[Tensor, " n"]:
    """Where s_i nearly equals s_{i-1} or s_{i+1}, so that direction i itself is arbitrary."""
    close = arbitrary_tops(values, threshold)
    return close | close.roll(1)  # the last is False, so that nothing comes round to the first
