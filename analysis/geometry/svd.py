"""The singular value decomposition of dW = scaling * B A from its thin factors, in float64.

With the QR decompositions B = Q1 R1 and A^T = Q2 R2, dW = Q1 (scaling * R1 R2^T) Q2^T, so only an r x r
matrix is decomposed and no d_out x d_in matrix is ever built.

Of singular values alone: which are near-equal, so that their directions are arbitrary.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.arrays import like, matrix

GAP_THRESHOLD = 0.01
"""Relative gap below which two neighbouring singular values count as near-equal: their order, and so what the
top i directions are, is arbitrary.

A change of the matrix by half a gap, in spectral norm, is enough to exchange the two directions; below this
threshold, then, a change by half a per cent of s_i."""


class ThinSVD(NamedTuple):
    """M = U diag(S) Vh, thin, with k singular values.

    Attributes:
        U: left singular vectors, as columns; NaN beyond the rank, where they would be arbitrary.
        S: singular values, descending; 0 beyond the rank, and all NaN where it is 0.
        Vh: right singular vectors, as rows; NaN beyond the rank.
        rank: numerical rank, how many singular values stand out from rounding; the factors are taken as
            exact, whatever their dtype.
    """

    U: Float[Tensor, "d_out k"]
    S: Float[Tensor, " k"]
    Vh: Float[Tensor, "k d_in"]
    rank: int


def thin_svd(B: Any, A: Any, scaling: float = 1.0) -> tuple[Any, Any, Any]:
    """The SVD of dW = scaling * B A.

    Args:
        B: (d_out, r), tensor or array.
        A: (r, d_in), tensor or array.
        scaling: the factor applied to B A, such as alpha / r.

    Returns:
        U (d_out, k), S (k,) descending, Vh (k, d_in) with k = min(r, d_out, d_in), in float64; numpy arrays
        where B is one.  Beyond the numerical rank there are no directions: vectors are NaN there, singular
        values 0.  dW = 0 (B never moved) has none at all: all three are then NaN.

    Raises:
        AnalysisError: the factors are no finite matrices, their shapes do not fit, or scaling is not finite.
    """
    U, S, Vh, _ = delta_svd(B, A, scaling)
    return like(B, U), like(B, S), like(B, Vh)


def delta_svd(B: Any, A: Any, scaling: float = 1.0) -> ThinSVD:
    """As `thin_svd`, in tensors, with the numerical rank.

    A singular value counts if it is above max(d_out, d_in) * eps * |scaling| * ||B||_F ||A||_F with float64's
    eps: what rounding alone can make of a product that is exactly singular.
    """
    B, A = matrix(B, "B"), matrix(A, "A")
    if B.shape[1] != A.shape[0]:
        raise AnalysisError(
            f"B is {tuple(B.shape)} and A {tuple(A.shape)}; dW = B A needs B (d_out, r) and A (r, d_in)"
        )
    if not math.isfinite(scaling):
        raise AnalysisError(f"scaling={scaling}: give the finite factor applied to B A, such as alpha / r")
    Q1, R1 = torch.linalg.qr(B)
    Q2, R2 = torch.linalg.qr(A.T)
    U, S, Vh = torch.linalg.svd(_core(R1, R2, scaling), full_matrices=False)
    rank = _rank(S, abs(scaling) * float(R1.norm() * R2.norm()), max(len(Q1), len(Q2)))
    return _within_rank(Q1 @ U, S, Vh @ Q2.T, rank)


def delta_values(
    R_B: Float[Tensor, "k r"], R_A: Float[Tensor, "n r"], scaling: float, largest_dimension: int
) -> tuple[Float[Tensor, " k"], int]:
    """Singular values and numerical rank of dW as `delta_svd` has them, without its directions.

    Args:
        R_B, R_A: the triangular factors of B and of A^T.
        largest_dimension: max(d_out, d_in).
    """
    S = torch.linalg.svdvals(_core(R_B, R_A, scaling))
    rank = _rank(S, abs(scaling) * float(R_B.norm() * R_A.norm()), largest_dimension)
    return zero_beyond(rank, S), rank


def _core(R_B: Float[Tensor, "k r"], R_A: Float[Tensor, "n r"], scaling: float) -> Float[Tensor, "k n"]:
    """scaling * R_B R_A^T.  Raises AnalysisError where finite factors have an infinite product."""
    product = scaling * (R_B @ R_A.T)
    if not torch.isfinite(product).all():
        raise AnalysisError("scaling * B A is beyond float64: the factors' entries are too large")
    return product


def right_singular(A: Any) -> tuple[Any, Any]:
    """Singular values and right singular vectors of A alone: the paper's basis (Section 7.2, eq. 4).

    Args:
        A: (r, d), tensor or array.

    Returns:
        S (k,) descending and Vh (k, d) with k = min(r, d), in float64; numpy arrays where A is one.  Beyond
        the numerical rank vectors are NaN and singular values 0; for A = 0 everything is NaN.

    Raises:
        AnalysisError: A is no finite matrix.
    """
    S, Vh, _ = right_svd(A)
    return like(A, S), like(A, Vh)


def right_svd(A: Any) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"], int]:
    """As `right_singular`, in tensors, with the numerical rank (numpy's rule for `matrix_rank`)."""
    A = matrix(A, "A")
    Q, R = torch.linalg.qr(A.T)
    U, S, Vh = torch.linalg.svd(R.T, full_matrices=False)
    _, S, Vh, rank = _within_rank(U, S, Vh @ Q.T, _rank(S, float(S[0]), max(A.shape)))
    return S, Vh, rank


def nan_beyond(rank: int, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """`rows`, with NaN in place of those beyond the numerical rank: their directions would be arbitrary."""
    missing = torch.arange(len(rows), device=rows.device) >= rank
    return rows.masked_fill(missing[:, None], torch.nan)


def zero_beyond(rank: int, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """`values`, with 0 in place of those beyond the numerical rank; all NaN where it is 0."""
    if rank == 0:
        return torch.full_like(values, torch.nan)
    return values.masked_fill(torch.arange(len(values), device=values.device) >= rank, 0.0)


def _rank(S: Tensor, scale: float, largest_dimension: int) -> int:
    # At least the smallest normal number, so that a zero matrix has rank 0.
    numbers = torch.finfo(torch.float64)
    return int((max(largest_dimension * numbers.eps * scale, numbers.tiny) < S).sum())


def _within_rank(U: Tensor, S: Tensor, Vh: Tensor, rank: int) -> ThinSVD:
    """The decomposition without what lies beyond the rank."""
    return ThinSVD(nan_beyond(rank, U.T).T, zero_beyond(rank, S), nan_beyond(rank, Vh), rank)


def relative_gaps(values: Float[Tensor, " n"]) -> Float[Tensor, " n-1"]:
    """(s_i - s_{i+1}) / s_i of descending values, i = 1 .. n-1; NaN where s_i is 0 or NaN."""
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
