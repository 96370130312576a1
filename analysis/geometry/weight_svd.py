"""The largest singular values of a weight W and their singular vectors.

A small W is decomposed whole.  For a large one ARPACK's implicitly restarted Lanczos method
(scipy.sparse.linalg.svds) needs only the products W x and W^T y.  They are computed in float64 from blocks of
rows that fit the processor's cache: as fast as from a float64 copy of W, without its memory.  What comes back
is then verified against W, and against a search for what may have been missed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.arrays import like, weight, weight_norm
from analysis.geometry.svd import nan_beyond, zero_beyond

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

DENSE_BELOW = 512
"""Up to this smaller dimension, W is decomposed whole; so it is if more than a quarter of it is wanted."""

TOLERANCE = 1e-9
"""Largest ||W v - s u|| and ||W^T u - s v|| that pass, relative to the largest singular value.

The spanned subspaces are then exact to this over the relative gap to the next singular value."""

CACHED_ELEMENTS = 2**18
"""Elements of the blocks that are converted to float64 for a product: 2 MiB."""


def top_directions(W: Any, k: int) -> tuple[Any, Any, Any]:
    """The k largest singular values of W with their singular vectors.

    Args:
        W: (d_out, d_in), of any floating dtype; the products run on its device.
        k: how many, from 1 to min(d_out, d_in).

    Returns:
        U (d_out, k), S (k,) descending and Vh (k, d_in), in float64; numpy arrays where W is one.  Vectors
        beyond the numerical rank are NaN and singular values 0; everything is NaN if W = 0.

    Raises:
        AnalysisError: W is no finite matrix, k is out of range, or the iteration did not converge or did not
            pass its verification.
    """
    matrix = weight(W, "W")
    d_out, d_in = matrix.shape
    smaller = min(d_out, d_in)
    if not 1 <= k <= smaller:
        raise AnalysisError(f"k={k}: W is ({d_out}, {d_in}), so k is from 1 to {smaller}")
    if weight_norm(matrix) == 0:
        shapes = ((d_out, k), (k,), (k, d_in))
        U, S, Vh = (
            torch.full(shape, math.nan, dtype=torch.float64, device=matrix.device) for shape in shapes
        )
    elif smaller <= DENSE_BELOW or k > smaller // 4:
        U, S, Vh = torch.linalg.svd(matrix.to(torch.float64), full_matrices=False)
        U, S, Vh = U[:, :k], S[:k], Vh[:k]
    else:
        U, S, Vh = _lanczos(matrix, k)
    rank = int((max(d_out, d_in) * torch.finfo(torch.float64).eps * S[0] < S).sum())
    return like(W, nan_beyond(rank, U.T).T), like(W, zero_beyond(rank, S)), like(W, nan_beyond(rank, Vh))


def _lanczos(
    W: Float[Tensor, "d_out d_in"], k: int
) -> tuple[Float[Tensor, "d_out k"], Float[Tensor, " k"], Float[Tensor, "k d_in"]]:
    from scipy.sparse.linalg import ArpackError, aslinearoperator, svds

    operator = _products(W)
    generator = np.random.default_rng(0)
    first, second = (generator.standard_normal(min(W.shape)) for _ in range(2))
    try:
        U, S, Vh = svds(operator, k, v0=first, tol=0, solver="arpack")
        order = np.argsort(-S)
        U, S, Vh = U[:, order], S[order], Vh[order]
        # A search of its own in what is left: 40 Lanczos steps from a random start see any value that stands
        # out from the rest, and converge to none above the largest that is there.
        rest = operator - aslinearoperator(U * S) @ aslinearoperator(Vh)
        missed = svds(rest, 1, v0=second, ncv=40, tol=0.1, solver="arpack", return_singular_vectors=False)[0]
    except ArpackError as error:
        raise AnalysisError(f"W: its top {k} directions did not converge ({error}); ask for fewer") from None
    residual = max(
        np.linalg.norm(operator @ Vh.T - U * S, axis=0).max(),
        np.linalg.norm(operator.T @ U - Vh.T * S, axis=0).max(),
    )
    if residual > TOLERANCE * S[0]:
        raise AnalysisError(
            f"W: its top {k} directions did not pass verification: residual {residual / S[0]:.1e} of the "
            f"largest singular value, above {TOLERANCE:.0e}; ask for another k"
        )
    if missed > S[-1] + TOLERANCE * S[0]:
        raise AnalysisError(
            f"W: its top {k} directions did not pass verification: a singular value of at least {missed:.6g} "
            f"was missed, the smallest found is {S[-1]:.6g}; ask for another k"
        )
    U, S, Vh = (torch.from_numpy(np.ascontiguousarray(part)).to(W.device) for part in (U, S, Vh))
    return U, S, Vh


def _products(W: Float[Tensor, "d_out d_in"]) -> LinearOperator:
    """x -> W x and y -> W^T y in float64, for vectors and for matrices of columns."""
    from scipy.sparse.linalg import LinearOperator

    rows = max(1, CACHED_ELEMENTS // W.shape[1])
    # A GPU has no use for small blocks, and memory for a float64 copy.
    blocks = W.contiguous().split(rows) if W.device.type == "cpu" else (W.to(torch.float64),)
    sizes = [len(block) for block in blocks]
    # One buffer: giving memory back and getting it again for every block can cost more than the product.
    buffer = torch.empty(rows, W.shape[1], dtype=torch.float64)

    def upcast(block: Tensor) -> Tensor:
        return block if block.dtype == torch.float64 else buffer[: len(block)].copy_(block)

    def forward(x: np.ndarray) -> np.ndarray:
        columns = torch.from_numpy(x).to(W.device)
        return torch.cat([upcast(block) @ columns for block in blocks]).cpu().numpy()

    def transposed(y: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(y).to(W.device).split(sizes)
        total = torch.zeros(W.shape[1], *y.shape[1:], dtype=torch.float64, device=W.device)
        for block, part in zip(blocks, parts, strict=True):
            total += upcast(block).T @ part
        return total.cpu().numpy()

    return LinearOperator(
        tuple(W.shape),
        matvec=forward,
        rmatvec=transposed,
        matmat=forward,
        rmatmat=transposed,
        dtype=np.float64,
    )
