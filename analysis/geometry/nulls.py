"""What subspaces that have nothing to do with each other would give: the nulls of phi.

Two independent subspaces of R^d, of dimensions i and j and uniformly distributed (Haar), have

    E phi(i, j)   = max(i, j) / d
    Var phi(i, j) = 2 i j (d - i) (d - j) / (d^2 (d - 1) (d + 2)) / min(i, j)^2

so in a small model they look similar by chance: j = 64 gives 0.005 at d = 12288 and 0.25 at d = 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.arrays import like, matrix
from analysis.geometry.similarity import phi_grid, smaller


@dataclass(frozen=True)
class PhiNull:
    """Mean and standard deviation of phi between independent subspaces, for i = 1 .. n1 and j = 1 .. n2."""

    mean: Float[Tensor, "n1 n2"]
    std: Float[Tensor, "n1 n2"]


@dataclass(frozen=True)
class EmpiricalNull:
    """Mean and standard deviation of phi over pairs of unrelated adapters.

    Attributes:
        mean: NaN where no pair has a value.
        std: over pairs, NaN where fewer than two have a value; pairs share adapters, so std / sqrt(pairs)
            is not the error of the mean.
        pairs: how many pairs there were.
    """

    mean: Float[Tensor, "n1 n2"]
    std: Float[Tensor, "n1 n2"]
    pairs: int


def phi_null(n1: int, n2: int, d: int) -> PhiNull:
    """The closed form, in float64, entry [i - 1, j - 1] for i and j counted from 1.

    Raises:
        AnalysisError: a dimension is below 1, or a subspace is larger than the space.
    """
    if not (1 <= n1 <= d and 1 <= n2 <= d):
        raise AnalysisError(f"n1={n1}, n2={n2}, d={d}: subspaces of R^d have from 1 to d dimensions")
    i = torch.arange(1, n1 + 1, dtype=torch.float64)[:, None]
    j = torch.arange(1, n2 + 1, dtype=torch.float64)
    mean = torch.maximum(i, j) / d
    if d == 1:  # a line has one subspace
        return PhiNull(mean, torch.zeros_like(mean))
    variance = 2 * i * j * (d - i) * (d - j) / (d**2 * (d - 1.0) * (d + 2)) / smaller(n1, n2) ** 2
    return PhiNull(mean, variance.sqrt())


def phi_quantile(i: Any, j: Any, d: int, q: Any) -> Any:
    """The q-quantile of phi(i, j) under the null.

    phi between a line and a b-dimensional subspace is exactly Beta(b / 2, (d - b) / 2).  Otherwise this is
    the Beta distribution with phi's exact mean and variance, an approximation; where i + j > d the subspaces
    must meet, and it is that of their orthogonal complements, mapped to the values that phi can then take.

    Args:
        i, j: dimensions from 1 to d; numbers or arrays that broadcast.
        q: probability, from 0 to 1.

    Returns:
        A float, or a float64 array of the broadcast shape.

    Raises:
        AnalysisError: a dimension is not from 1 to d, or q is no probability.
    """
    from scipy.stats import beta

    i, j, q = np.broadcast_arrays(np.asarray(i, float), np.asarray(j, float), np.asarray(q, float))
    small, large = np.minimum(i, j), np.maximum(i, j)
    if not (small.min() >= 1 and large.max() <= d):
        raise AnalysisError(
            f"i={i.tolist()}, j={j.tolist()}: subspaces of R^{d} have from 1 to {d} dimensions"
        )
    if not (q.min() >= 0 and q.max() <= 1):
        raise AnalysisError(f"q={q.tolist()} is no probability; give numbers from 0 to 1")
    # ||V1 V2^T||_F^2 is `forced` plus the same of subspaces of dimensions a <= b that need not meet.
    forced = np.maximum(i + j - d, 0.0)
    a, b = np.where(forced > 0, d - large, small), np.where(forced > 0, d - small, large)
    concentration = a * (d - 1) * (d + 2) / (2 * (d - a)) - 1
    free = a * beta.ppf(q, concentration * b / d, concentration * (1 - b / d))
    # With a = 0 one of them is the whole space and nothing is left to chance.
    return ((forced + np.where(a == 0, 0.0, free)) / small)[()]


def haar(n: int, d: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Orthonormal rows that span a uniformly distributed (Haar) n-dimensional subspace of R^d, in float64.

    The generator is a CPU's, so that a seed means the same subspace on every device.
    """
    return torch.linalg.qr(torch.randn(d, n, dtype=torch.float64, generator=generator))[0].T


def z_scores(grid: Any, d: int) -> Any:
    """(phi - mean) / standard deviation, cell by cell, under the closed-form null.

    Args:
        grid: (n1, n2), as `phi` gives.
        d: the dimension of the space that the directions live in.

    Returns:
        (n1, n2) in float64, a numpy array where the grid is one; NaN where phi is NaN, or cannot vary
        (i or j = d).

    Raises:
        AnalysisError: the grid is no matrix, or is larger than d allows.
    """
    values = matrix(grid, "grid", finite=False)
    null = phi_null(values.shape[0], values.shape[1], d)
    std = torch.where(null.std > 0, null.std, torch.nan)
    return like(grid, (values - null.mean.to(values)) / std.to(values))


def empirical_null(
    first: Sequence[Any], second: Sequence[Any], pairs: int = 200, seed: int = 0
) -> EmpiricalNull:
    """phi between adapters that should have nothing in common: those of different layers.

    The closed form assumes uniformly distributed directions; trained adapters share, for instance, what all
    layers' inputs have in common.  This null keeps that and removes only the pairing.

    Args:
        first: orthonormal rows (n1, d), one a layer (`Directions.vectors`).
        second: orthonormal rows (n2, d), in the same order: entry k of both belongs to the same layer, and
            the two are never paired.
        pairs: at most this many, drawn without replacement where there are more.
        seed: of that draw.

    Raises:
        AnalysisError: there are fewer than two layers, the lists differ in length, shapes in one list do, or
            no pair is asked for.
    """
    if len(first) != len(second) or len(first) < 2 or pairs < 1:
        raise AnalysisError(
            f"given are {len(first)} and {len(second)} layers, pairs={pairs}; the empirical null needs two "
            "lists of the same layers, at least two, and at least one pair"
        )
    for vectors in (first, second):
        shapes = sorted({tuple(rows.shape) for rows in vectors})
        if len(shapes) > 1:
            raise AnalysisError(f"the layers' directions differ in shape: {', '.join(map(str, shapes))}")
    count = len(first) * (len(first) - 1)
    drawn = np.arange(count)
    if pairs < count:
        drawn = np.random.default_rng(seed).choice(drawn, size=pairs, replace=False)
    grids = []
    for index in drawn:
        one, other = divmod(int(index), len(first) - 1)
        other += other >= one  # skips the pair of a layer with itself
        grids.append(matrix(phi_grid(first[one], second[other]), "phi", finite=False))
    stacked = torch.stack(grids)
    present = (~stacked.isnan()).sum(0)
    mean = stacked.nanmean(0)
    squares = (stacked - mean).square().nansum(0)
    std = torch.where(present > 1, squares / (present - 1).clamp(min=1), torch.nan).sqrt()
    return EmpiricalNull(mean, std, len(grids))
