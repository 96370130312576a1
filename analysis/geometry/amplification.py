"""What dW does to W: ||U^T W V||_F, the amplification factor, nulls and controls (paper, Table 7, App. H.4).

U (d_out, r) and V (d_in, r) hold left and right singular vectors of dW as columns; W (d_out, d_in) is the
weight before adaptation.  dW includes its scale (alpha / r): ||dW||_F, the amplification factor and the gains
are proportional to it, ||U^T W V||_F and the lift do not depend on it.

W may be large and of any floating dtype: it is converted to float64 a block of rows at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.arrays import like, matrix, row_blocks, vector, weight, weight_norm
from analysis.geometry.svd import arbitrary_directions, arbitrary_tops, delta_svd

DRAWN_ELEMENTS = 2**22
"""Numbers of random matrices that are held at once: 32 MiB."""


@dataclass(frozen=True)
class Amplification:
    """One column of Table 7 and what it takes to judge it.

    With dW = 0 there is nothing to measure: rank and delta_norm are 0, and the rest but W's norm is NaN.

    Attributes:
        rank: r, the numerical rank of dW.
        scaling: the factor that dW includes.
        weight_norm: ||W||_F.
        delta_norm: ||dW||_F.
        projected_norm: ||U^T W V||_F, of W between the r directions of dW.
        factor: the amplification factor, delta_norm / projected_norm.
        null_projected_norm: what random U and V would give (see the function of that name).
        null_factor: delta_norm / null_projected_norm, the factor of a dW with the same singular values and
            random directions.  For a fixed ||dW||_F it falls as 1 / r, whatever dW does.
        lift: projected_norm / null_projected_norm; above 1, W is larger between dW's directions than between
            random ones.
        factor_top_k: (k,), for 1 .. k the factor of dW's best approximation of that rank.
        gains: (k,), sigma_i / |u_i^T W v_i| of each direction.
        arbitrary_top_k: (k,), where factor_top_k is arbitrary, since dW's next singular value nearly equals
            this one (`analysis.geometry.svd`).
        arbitrary_gains: (k,), where a gain is, since a neighbouring singular value does.
    """

    rank: int
    scaling: float
    weight_norm: float
    delta_norm: float
    projected_norm: float
    factor: float
    null_projected_norm: float
    null_factor: float
    lift: float
    factor_top_k: Any
    gains: Any
    arbitrary_top_k: Any
    arbitrary_gains: Any


def amplification(W: Any, B: Any, A: Any, scaling: float = 1.0) -> Amplification:
    """The amplification factor of dW = scaling * B A over W, with its null (paper, Section 7.3, Table 7).

    Args:
        W: (d_out, d_in), the weight before adaptation, of any floating dtype.
        B: (d_out, r).
        A: (r, d_in).
        scaling: the factor applied to B A, such as alpha / r.

    Returns:
        The numbers.  `factor_top_k` and `gains` have k = min(r, d_out, d_in) entries in float64, NaN beyond
        the numerical rank, the two flags as many; all are numpy arrays where B is one.

    Raises:
        AnalysisError: an argument is no finite matrix, the shapes do not fit, or W = 0.
    """
    W = weight(W, "W")
    U, S, Vh, rank = delta_svd(B, A, scaling)
    _check_fits(W, U, Vh.T)
    norm = weight_norm(W)
    if norm == 0:
        raise AnalysisError("W: is zero; give the weight before adaptation")
    # Row and column i of `core` belong to direction i; beyond the rank there is none.
    core = torch.full((len(S), len(S)), torch.nan, dtype=torch.float64, device=S.device)
    if rank:
        core[:rank, :rank] = projected(W, U[:, :rank], Vh[:rank].T)
    projected_norms = core.square().cumsum(0).cumsum(1).diagonal().sqrt()
    delta_norms = S.square().cumsum(0).sqrt()
    last = max(rank, 1) - 1
    delta, found = float(delta_norms[last]), float(projected_norms[last])
    null = null_projected_norm(norm, W.shape, rank) if rank else math.nan
    factors = delta_norms / projected_norms
    return Amplification(
        rank=rank,
        scaling=float(scaling),
        weight_norm=norm,
        delta_norm=delta if rank else 0.0,
        projected_norm=found,
        factor=float(factors[last]),
        null_projected_norm=null,
        null_factor=delta / null,
        lift=found / null,
        factor_top_k=like(B, factors),
        gains=like(B, S / core.diagonal().abs()),
        arbitrary_top_k=like(B, arbitrary_tops(S)),
        arbitrary_gains=like(B, arbitrary_directions(S)),
    )


def projected_norm(W: Any, U: Any, V: Any) -> float:
    """||U^T W V||_F, of the whole (r_u, r_v) matrix and not only its diagonal.

    Args:
        W: (d_out, d_in), of any floating dtype.
        U: (d_out, r_u), orthonormal columns.
        V: (d_in, r_v), orthonormal columns.

    Raises:
        AnalysisError: an argument is no finite matrix, or the shapes do not fit.
    """
    return float(projected(W, U, V).norm())


def projected(W: Any, U: Any, V: Any) -> Float[Tensor, "r_u r_v"]:
    """U^T W V in float64, on W's device; arguments and errors as `projected_norm`."""
    W = weight(W, "W")
    U, V = matrix(U, "U").to(W.device), matrix(V, "V").to(W.device)
    _check_fits(W, U, V)
    core = U.new_zeros(U.shape[1], V.shape[1])
    for rows, block in row_blocks(W):
        core += U[rows].T @ (block @ V)
    return core


def null_projected_norm(
    weight_norm: float, shape: tuple[int, ...], rank_u: int, rank_v: int | None = None
) -> float:
    """sqrt(r_u r_v / (d_out d_in)) ||W||_F: the root mean square of ||U^T W V||_F over random U and V.

    Exact for every W when U and V are independent and uniformly distributed (Haar): Table 7's "Random".

    Args:
        weight_norm: ||W||_F.
        shape: (d_out, d_in).
        rank_u: columns of U.
        rank_v: columns of V; as many as U's by default.

    Raises:
        AnalysisError: a rank is not from 1 to its dimension.
    """
    d_out, d_in = shape
    rank_v = rank_u if rank_v is None else rank_v
    if not (1 <= rank_u <= d_out and 1 <= rank_v <= d_in):
        raise AnalysisError(
            f"ranks {rank_u} and {rank_v}: W is ({d_out}, {d_in}), so they are from 1 to {d_out} and {d_in}"
        )
    return math.sqrt(rank_u * rank_v / (d_out * d_in)) * weight_norm


def null_squared_norm_sd(S: Any, shape: tuple[int, ...], rank: int) -> float:
    """Standard deviation of ||U^T W V||_F^2 over random U and V; its mean is `null_projected_norm` squared.

    Exact: for a uniformly distributed projection P of rank r in R^d and symmetric M,
    E tr(P M)^2 = a tr(M)^2 + 2 b tr(M^2) with a = r (r (d + 1) - 2) / c, b = r (d - r) / c and
    c = d (d - 1) (d + 2); here twice over, for P = U U^T and Q = V V^T, with M = W Q W^T.

    Args:
        S: (k,), all singular values of W, in any order.
        shape: (d_out, d_in), both above 1.
        rank: r, columns of U and of V.
    """
    energy = vector(S, "S").square()
    total, fourth = float(energy.sum()), float(energy.square().sum())
    (a, b), (c, d) = (_projection_moments(rank, size) for size in shape)
    of_trace = c * total**2 + 2 * d * fourth
    of_square = (c + d) * fourth + d * total**2
    mean = rank**2 / (shape[0] * shape[1]) * total
    return math.sqrt(max(0.0, a * of_trace + 2 * b * of_square - mean**2))


def _projection_moments(rank: int, d: int) -> tuple[float, float]:
    scale = rank / (d * (d - 1) * (d + 2))
    return scale * (rank * (d + 1) - 2), scale * (d - rank)


def random_projected_norms(
    W: Any, rank: int, draws: int = 1000, seed: int = 0, S: Any = None
) -> Float[Tensor, " draws"]:
    """||U^T W V||_F for fresh, independent, uniformly distributed U and V: Table 7's "Random", drawn.

    The norm depends on W by its singular values alone, since U and V have no direction of their own, and
    Gaussian matrices need no orthogonalisation but the Cholesky factors of their (r, r) Gram matrices: a draw
    takes some d r^2 operations, where W itself would take d^2 r.  The latest draws are kept, by all that they
    depend on: Table 7 and the claims ask for the same, and so does every task of one base model.

    Args:
        W: (d_out, d_in), of any floating dtype.
        rank: r, columns of U and of V.
        draws: how many pairs.
        seed: of the pairs; the same on every device.
        S: (k,), all singular values of W, where they are at hand.

    Returns:
        (draws,) in float64, on W's device; their mean square estimates `null_projected_norm` squared.

    Raises:
        AnalysisError: W is no finite matrix, the rank is not from 1 to min(d_out, d_in), or draws is below 1.
    """
    W = weight(W, "W")
    d_out, d_in = W.shape
    if not 1 <= rank <= min(d_out, d_in) or draws < 1:
        raise AnalysisError(
            f"rank={rank}, draws={draws}: W is ({d_out}, {d_in}), so the rank is from 1 to "
            f"{min(d_out, d_in)}; there is at least one draw"
        )
    values = torch.linalg.svdvals(W.double()) if S is None else vector(S, "S").to(W.device)
    step = max(1, DRAWN_ELEMENTS // (rank * (d_out + d_in)))
    spectrum = values.cpu().numpy().tobytes()
    return _random_norms(spectrum, (d_out, d_in), rank, draws, seed, step, W.device).clone()


@lru_cache(maxsize=256)
def _random_norms(
    spectrum: bytes,
    shape: tuple[int, int],
    rank: int,
    draws: int,
    seed: int,
    step: int,
    device: torch.device,
) -> Float[Tensor, " draws"]:
    """`random_projected_norms`, so many at a step, of W's singular values as the bytes of float64."""
    d_out, d_in = shape
    values = torch.from_numpy(np.frombuffer(spectrum).copy()).to(device)
    generator = torch.Generator().manual_seed(seed)
    norms = []
    for start in range(0, draws, step):
        size = (min(step, draws - start), d_out + d_in, rank)
        drawn = torch.randn(size, generator=generator).to(device).double()  # float32 is drawn faster
        U, V = drawn.split((d_out, d_in), dim=1)
        core = U[:, : len(values)].mT @ (values[:, None] * V[:, : len(values)])
        for factor in (U, V):  # U' W V becomes V' W' U in between
            lower = torch.linalg.cholesky(factor.mT @ factor)
            core = torch.linalg.solve_triangular(lower, core, upper=False).mT
        norms.append(core.flatten(1).norm(dim=1))
    return torch.cat(norms)


def own_projected_norms(S: Any) -> Any:
    """||U^T W V||_F with W's own top r singular vectors, for r = 1 .. k: Table 7's "W" column.

    Args:
        S: (k,), the largest singular values of W, descending (`top_directions`).

    Returns:
        (k,) in float64, sqrt(s_1^2 + ... + s_r^2); a numpy array where S is one.
    """
    return like(S, vector(S, "S").square().cumsum(0).sqrt())


def _check_fits(W: Tensor, U: Tensor, V: Tensor) -> None:
    if (len(U), len(V)) != tuple(W.shape):
        raise AnalysisError(
            f"W is {tuple(W.shape)}, the directions are of dimension {len(U)} (output) and {len(V)} (input); "
            "W is (d_out, d_in), as in y = W x: transpose it if it is stored as (d_in, d_out)"
        )
