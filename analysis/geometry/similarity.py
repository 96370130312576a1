"""Subspace similarity phi, for all i and j at once (paper, Section 7.2, eq. 4).

    phi(i, j) = ||V1_i V2_j^T||_F^2 / min(i, j)    in [0, 1]

The rows of V1_i are the first i directions of one matrix, those of V2_j the first j of another.  It is the
mean squared cosine of the min(i, j) principal angles between their spans (scipy.linalg.subspace_angles).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.arrays import like, matrix
from analysis.geometry.svd import right_svd

TOLERANCE = 1e-6
"""How far rounding may take phi above 1, and the length of a direction from 1 (its square twice as far)."""


def phi(A1: Any, A2: Any) -> Any:
    """phi(A1, A2, i, j) between the right singular vectors of A1 and of A2.

    Args:
        A1: (r1, d), tensor or array: LoRA's A, or B^T to compare output spaces.
        A2: (r2, d).

    Returns:
        (min(r1, d), min(r2, d)) in float64, entry [i - 1, j - 1] for i and j counted from 1; a numpy array
        where A1 is one.  NaN where i or j is beyond the numerical rank: there is no i-th direction.

    Raises:
        AnalysisError: an argument is no finite matrix, or the matrices differ in d.
    """
    return like(A1, phi_grid(_right_directions(A1, "A1"), _right_directions(A2, "A2")))


def phi_grid(V1: Any, V2: Any) -> Any:
    """phi for all i and j from two ordered orthonormal bases.

    Args:
        V1: (n1, d), orthonormal rows (`Directions.vectors`); rows of NaN, at the end, stand for directions
            that do not exist.
        V2: (n2, d), likewise.

    Returns:
        (n1, n2) in float64, NaN where a direction is missing; a numpy array where V1 is one.

    Raises:
        AnalysisError: the bases differ in d, or the rows are not orthonormal.
    """
    first, second = bases(V1, V2)
    overlap = (first @ second.T).square().cumsum(0).cumsum(1)
    grid = overlap / smaller(len(first), len(second), device=overlap.device)
    if (grid > 1 + TOLERANCE).any():
        raise AnalysisError("V1 or V2: the rows are not orthonormal enough (phi > 1); give them in float64")
    return like(V1, grid.clamp(max=1.0))


def bases(V1: Any, V2: Any) -> tuple[Tensor, Tensor]:
    """V1 (n1, d) and V2 (n2, d) as float64 tensors; arguments and errors as `phi_grid`."""
    first, second = matrix(V1, "V1", finite=False), matrix(V2, "V2", finite=False)
    if first.shape[1] != second.shape[1]:
        raise AnalysisError(
            f"the directions live in spaces of {first.shape[1]} and {second.shape[1]} dimensions; compare "
            "projections that share their input space (or, for B, their output space)"
        )
    for rows, name in ((first, "V1"), (second, "V2")):
        off = (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).abs()
        wrong = off > 2 * TOLERANCE  # never of rows of NaN
        if wrong.diagonal().any():
            raise AnalysisError(f"{name}: has rows that are not of length 1; give orthonormal directions")
        if wrong.any():
            raise AnalysisError(f"{name}: has rows that are not orthogonal; give orthonormal directions")
    return first, second


def smaller(n1: int, n2: int, device: Any = None) -> Tensor:
    """min(i, j) for i = 1 .. n1 and j = 1 .. n2, as (n1, n2) float64."""
    i = torch.arange(1, n1 + 1, dtype=torch.float64, device=device)[:, None]
    j = torch.arange(1, n2 + 1, dtype=torch.float64, device=device)
    return torch.minimum(i, j)


def _right_directions(A: Any, name: str) -> Tensor:
    return right_svd(matrix(A, name))[1]
