"""How many directions a matrix really uses: effective ranks, intruder dimensions, what two seeds share.

The effective ranks take singular values S (k,): a tensor, an array or a list.  A zero matrix has no effective
rank: NaN, as for the NaN that `thin_svd` gives for dW = 0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.arrays import matrix, vector
from analysis.geometry.similarity import bases
from analysis.geometry.svd import arbitrary_directions

DRAWS = 2000
"""Pairs of random subspaces from which `shared_dimension` takes its quantile."""


def stable_rank(S: Any) -> float:
    """||M||_F^2 / ||M||_2^2 = sum s^2 / max s^2, from 1 to k."""
    energy = vector(S, "S").square()
    return float(energy.sum() / energy.max())


def participation_ratio(S: Any) -> float:
    """(sum s^2)^2 / sum s^4, from 1 to k."""
    energy = vector(S, "S").square()
    return float(energy.sum() ** 2 / energy.square().sum())


def entropy_rank(S: Any) -> float:
    """exp(-sum p log p) with p = s / sum s, from 1 to k (effective rank of Roy and Vetterli, 2007)."""
    values = vector(S, "S")
    return float(torch.special.entr(values / values.sum()).sum().exp())


def energy_rank(S: Any, share: float = 0.9) -> float:
    """The smallest number of singular values whose squares make up `share` of their sum.

    Biderman et al. (2024, arXiv 2405.09673) use 90 % for full fine-tuning's dW.

    Returns:
        A whole number from 1 to k, as a float; NaN for a zero matrix.

    Raises:
        AnalysisError: share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise AnalysisError(f"share={share}: give a share of the energy, above 0 and at most 1")
    energy = vector(S, "S").square().sort(descending=True).values
    reached = energy.cumsum(0) / energy.sum()
    if reached.isnan().any():
        return math.nan
    # A share that is reached exactly may have been rounded below itself.
    return float((reached < share * (1 - 1e-12)).sum() + 1)


class LeftCosines(NamedTuple):
    """The top k left singular vectors of W0 + dW, held against all of W0's.

    Attributes:
        cosines: of each, the largest |cosine| with one of W0's.
        arbitrary: whether its singular value nearly equals a neighbour's (`arbitrary_directions`): then it
            is arbitrary within their span, and can be like none of W0's without having left it.
    """

    cosines: Float[Tensor, " k"]
    arbitrary: Bool[Tensor, " k"]


def left_cosines(
    W0: Any, dW: Any, k: int = 10, before: Float[Tensor, "d_out n"] | None = None
) -> LeftCosines:
    """For each of the top k left singular vectors of W0 + dW, its largest |cosine| with one of W0's.

    Args:
        W0: (d_out, d_in), the weight before adaptation.
        dW: (d_out, d_in), with its scale.
        k: how many, from 1 to min(d_out, d_in).
        before: `left_vectors(W0)`, where it is at hand.

    Raises:
        AnalysisError: an argument is no finite matrix, the shapes differ, or k is out of range.
    """
    W0, dW = matrix(W0, "W0"), matrix(dW, "dW")
    if W0.shape != dW.shape:
        raise AnalysisError(f"W0 is {tuple(W0.shape)} and dW {tuple(dW.shape)}; give two of the same shape")
    if not 1 <= k <= min(W0.shape):
        raise AnalysisError(f"k={k}: W0 is {tuple(W0.shape)}, so k is from 1 to {min(W0.shape)}")
    if before is None:
        before = left_vectors(W0)
    after, S, _ = torch.linalg.svd(W0 + dW, full_matrices=False)
    return LeftCosines((before.T @ after[:, :k]).abs().amax(0), arbitrary_directions(S)[:k])


def left_vectors(W0: Any) -> Float[Tensor, "d_out n"]:
    """All left singular vectors of W0, as columns: one decomposition for many dW.

    Raises:
        AnalysisError: W0 is no finite matrix.
    """
    return torch.linalg.svd(matrix(W0, "W0"), full_matrices=False).U


def intruder_dimensions(W0: Any, dW: Any, k: int = 10, threshold: float = 0.5) -> int:
    """How many of the top k left singular vectors of W0 + dW are like none of W0's: |cosine| < threshold.

    Shuttleworth et al. (2024, arXiv 2410.21228), Algorithm 1.  Vectors that belong to near-equal singular
    values are arbitrary within their span, and can fall below the threshold without having left it.

    `left_cosines` tells which do; arguments and errors are its.
    """
    return int((left_cosines(W0, dW, k).cosines < threshold).sum())


def shared_dimension(V1: Any, V2: Any, quantile: float = 0.99) -> float:
    """The dimension that two subspaces share beyond chance.

    It is the number of their squared principal cosines (the angles are scipy.linalg.subspace_angles) above
    the `quantile` of the largest squared principal cosine of two independent, uniformly distributed (Haar)
    subspaces of the same dimensions.  So unrelated subspaces share 0 with probability `quantile`.  The order
    of the directions does not matter.

    The quantile comes from `DRAWS` simulated pairs with a fixed seed, kept for each (n1, n2, d).  Where
    n1 + n2 > d any two subspaces meet: chance explains a cosine of 1, so that nothing can be beyond it, and
    the shared dimension is not defined.

    Args:
        V1: (n1, d), orthonormal rows (`Directions.vectors`); rows of NaN are left out.
        V2: (n2, d), likewise.
        quantile: of the null, between 0 and 1.

    Returns:
        A whole number from 0 to min(n1, n2), as a float; NaN where a subspace has no direction (dW = 0) or
        n1 + n2 > d.

    Raises:
        AnalysisError: the bases differ in d or are not orthonormal, or quantile is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise AnalysisError(f"quantile={quantile}: give a probability between 0 and 1")
    first, second = bases(V1, V2)
    d = first.shape[1]
    first, second = (rows[~rows.isnan().any(1)] for rows in (first, second))
    if not (len(first) and len(second)):
        return math.nan
    small, large = sorted((len(first), len(second)))
    if small + large > d:
        return math.nan
    squared_cosines = torch.linalg.svdvals(first @ second.T).square()
    return float((squared_cosines > np.quantile(_largest_squared_cosines(small, large, d), quantile)).sum())


@lru_cache(maxsize=256)
def _largest_squared_cosines(small: int, large: int, d: int) -> np.ndarray:
    """The largest squared principal cosine of two Haar subspaces, small <= large <= d - small: (DRAWS,).

    The column space of a Gaussian X (d, small) is Haar.  Its squared principal cosines with the span of the
    first `large` coordinates are the eigenvalues of (H + E)^-1 H, where H = X_top^T X_top and
    E = X_rest^T X_rest are independent Wishart matrices.  They are drawn by their Cholesky factors, whose
    size does not depend on d.
    """
    from scipy.linalg import eigh

    generator = np.random.default_rng(0)
    largest = np.empty(DRAWS)
    for draw in range(DRAWS):
        H, E = _wishart(small, large, generator), _wishart(small, d - large, generator)
        largest[draw] = eigh(H, H + E, eigvals_only=True, subset_by_index=(small - 1, small - 1))[0]
    return largest


def _wishart(n: int, degrees: int, generator: np.random.Generator) -> np.ndarray:
    """A draw of Wishart_n(degrees, identity), degrees >= n, by Bartlett's decomposition."""
    L = np.tril(generator.standard_normal((n, n)), -1)
    np.fill_diagonal(L, np.sqrt(generator.chisquare(degrees - np.arange(n))))
    return L @ L.T
