"""The directions of one adapter: an ordered orthonormal basis, in one of the five bases that have been used.

A         right singular vectors of A, in input space: the paper's (Section 7.2, footnote 7)
dW-right  right singular vectors of dW: the same space as A's, in the order of what dW does
dW-left   left singular vectors of dW, in output space
B         left singular vectors of B, in output space: the same space as dW's, in B's order
A-A0      right singular vectors of A - A0: what training did to A
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.defaults import BASES
from analysis.errors import AnalysisError
from analysis.geometry.arrays import matrix, weight
from analysis.geometry.svd import (
    GAP_THRESHOLD,
    arbitrary_tops,
    delta_svd,
    nan_beyond,
    relative_gaps,
    right_svd,
    zero_beyond,
)


class Factors(Protocol):
    """A pair dW = scaling * B A, such as `lora.Factors`: A (r, d_in), B (d_out, r).

    Where A was stored in a coarser dtype than it has now, `stored` says which, as in `lora.Factors`.
    """

    @property
    def A(self) -> Any: ...
    @property
    def B(self) -> Any: ...
    @property
    def scaling(self) -> float: ...


@dataclass(frozen=True)
class Directions:
    """An ordered orthonormal basis of what an adapter spans.

    Attributes:
        vectors: one direction a row, most important first; NaN beyond the numerical rank.
        values: their singular values, descending; 0 beyond the numerical rank, all NaN where the rank is 0.
        rank: numerical rank; 0 where the matrix is zero (dW before the first step).
        basis: one of `BASES`.
    """

    vectors: Float[Tensor, "n d"]
    values: Float[Tensor, " n"]
    rank: int
    basis: str

    @property
    def relative_gaps(self) -> Float[Tensor, " n-1"]:
        """(s_i - s_{i+1}) / s_i for i = 1 .. n-1; NaN where s_i is 0 or NaN."""
        return relative_gaps(self.values)

    def near_equal(self, threshold: float = GAP_THRESHOLD) -> Bool[Tensor, " n-1"]:
        """Where s_i and s_{i+1} are so close that the span of the first i directions is arbitrary."""
        return arbitrary_tops(self.values, threshold)[:-1]


def directions(factors: Factors, basis: str = "A", initial: Factors | None = None) -> Directions:
    """The directions of one adapted projection.

    Args:
        factors: the pair, with .A (r, d_in), .B (d_out, r) and .scaling.
        basis: one of `BASES`.
        initial: the same pair at step 0; needed by "A-A0" and by no other basis.

    Raises:
        AnalysisError: the basis is unknown, "A-A0" lacks `initial` or it is of another shape, or the factors
            are no finite matrices of fitting shapes.
    """
    if basis == "A":
        values, vectors, rank = right_svd(factors.A)
    elif basis == "B":
        values, vectors, rank = right_svd(matrix(factors.B, "B").T)
    elif basis == "A-A0":
        values, vectors, rank = _movement(factors, initial)
    elif basis in ("dW-right", "dW-left"):
        U, values, Vh, rank = delta_svd(factors.B, factors.A, factors.scaling)
        vectors = Vh if basis == "dW-right" else U.T
    else:
        raise AnalysisError(f"basis: {basis!r} is unknown; valid are {', '.join(BASES)}")
    return Directions(vectors, values, rank, basis)


def _movement(factors: Factors, initial: Factors | None) -> tuple[Tensor, Tensor, int]:
    """Singular values, right singular vectors and numerical rank of A - A0."""
    if initial is None:
        raise AnalysisError(
            "basis 'A-A0' needs the factors at step 0: pass initial=, or choose one of the other bases "
            f"({', '.join(BASES[:-1])})"
        )
    A, A0 = matrix(factors.A, "A"), matrix(initial.A, "A0")
    if A.shape != A0.shape:
        raise AnalysisError(
            f"A is {tuple(A.shape)} and A0 {tuple(A0.shape)}; give the same projection's factors"
        )
    values, vectors, rank = right_svd(A - A0)
    # The difference cannot be finer than what A and A0 were rounded to when they were stored.
    precision = max(_precision(factors), _precision(initial))
    rank = min(rank, int((values > precision * torch.maximum(A.norm(), A0.norm())).sum()))
    return zero_beyond(rank, values), nan_beyond(rank, vectors), rank


def _precision(factors: Factors) -> float:
    """The relative spacing of the numbers that A was stored as."""
    stored = getattr(factors, "stored", None) or weight(factors.A, "A").dtype
    return torch.finfo(stored).eps
