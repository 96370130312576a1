"""The numbers of a check-up: a row for each projection, in float64 from the thin factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from analysis.defaults import WHOLE_BELOW
from analysis.errors import AnalysisError
from analysis.geometry.amplification import amplification
from analysis.geometry.dimensions import energy_rank, entropy_rank, left_cosines, stable_rank
from analysis.geometry.noise import beyond_noise, beyond_untrained, rounding_edge
from analysis.geometry.svd import ThinSVD, delta_svd, delta_values
from analysis.geometry.weight_svd import top_directions
from analysis.reading.base_weights import BaseWeights
from analysis.reading.pairs import Adapter, Pair

if TYPE_CHECKING:
    import pandas as pd

    from lora.saving import Factors

SCALED = frozenset({"norm", "sigma_1", "untrained_sigma", "noise_sigma", "rounding", "relative_norm"}) | {
    "factor",
    "null_factor",
    "intruders_left",
    "intruders_right",
    "arbitrary_left",
    "arbitrary_right",
}
"""The columns that depend on the scale."""
RATIOS = frozenset({"energy_share", "state", "kept"})
"""What depends on the scales of different projections to each other."""
SHAPED = frozenset(
    {"lift", "share_left", "share_right", "stable_rank", "entropy_rank", "rank_90", "rank_95", "rank_99"}
) | {"numerical_rank"}
"""The columns that depend on the scale where dW is not in proportion to it: with W, of DoRA."""

SAMPLE = 20_000
"""Entries of A that are held against the distributions it may have begun with."""
FEWEST = 1000
"""Entries below which the test tells too little."""
LEVEL = 0.01
INTRUDERS, EPSILON = 10, 0.5
"""Top directions of W + dW that are looked at, and the |cosine| below which one is an intruder."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One projection.

    Attributes:
        pair: the module that holds it.
        label: its letter, or the module's name below the layer.
        row: its numbers, by the names of the CSV's columns.
        values: (k,), singular values of dW, descending; NaN where dW = 0.
        whole: those of its whole module, which is what a copy cuts; None but for the module's first letter.
        dense: DoRA's dW with W, which is no pair, of full rank, and not in proportion to the pair's scale.
    """

    pair: Pair
    label: str
    row: dict[str, Any]
    values: np.ndarray = field(repr=False)
    whole: np.ndarray | None = field(repr=False)
    dense: bool = False

    @property
    def pair_alone(self) -> bool:
        """Of DoRA without W: the numbers are those of scaling * B A."""
        return self.pair.dora and not self.dense


def measure(
    adapter: Adapter,
    base: BaseWeights | None = None,
    intruders: int | None = None,
    epsilon: float = EPSILON,
) -> list[Measured]:
    """Every projection of an adapter; a fused module's letters one by one.

    Args:
        base: adds what needs W, for the projections that have a letter.
        intruders: how many of the top directions of W + dW are looked at; None is `INTRUDERS` where W is
            small (`WHOLE_BELOW`) and none else.
        epsilon: |cosine| below which one is an intruder.

    Raises:
        AnalysisError: the file is damaged, or not of the base.
    """
    return [one for pair in adapter for one in _of_pair(pair, base, intruders, epsilon)]


@dataclass(frozen=True, eq=False)
class _Thin:
    """A pair in float64 with what its triangular factors tell.

    Attributes:
        R_A, R_B: of the QR decompositions of A^T and of B.
        S, rank: singular values of dW and its numerical rank.
    """

    A: Tensor
    B: Tensor
    R_A: Tensor
    R_B: Tensor
    S: Tensor
    rank: int


def _thin(A: Tensor, B: Tensor, scaling: float) -> _Thin:
    A, B = A.double(), B.double()
    R_A, R_B = (torch.linalg.qr(factor, mode="r").R for factor in (A.T, B))
    return _Thin(A, B, R_A, R_B, *delta_values(R_B, R_A, scaling, max(A.shape[1], len(B))))


def _of_pair(
    pair: Pair, base: BaseWeights | None, intruders: int | None, epsilon: float
) -> Iterator[Measured]:
    letters = pair.factors()
    fused = len(pair.letters) > 1
    whole = _thin(*pair.read(), pair.scaling).S.numpy() if fused else None
    for label, factors in letters.items():
        if pair.magnitude is not None and base is not None and pair.letters and pair.layer is not None:
            W = _weight(pair, label, factors, base)
            if min(W.shape) <= WHOLE_BELOW:
                form = base.checkpoint.dequantised_from
                yield _weight_decomposed(pair, label, factors, W, intruders, epsilon, form)
                continue
        thin = _thin(factors.A, factors.B, pair.scaling)
        row = _identity(pair, label, factors) | _spectrum(thin) | _nulls(pair, thin)
        row |= _rounding(pair, thin, factors)
        row["A_init"] = None if pair.embedding else initial_family(factors.A, factors.stored)
        if base is not None:
            form = base.checkpoint.dequantised_from
            if pair.letters and pair.layer is not None:
                W = _weight(pair, label, factors, base)
                row |= _beside_weight(W, thin, pair.scaling, intruders, epsilon, form)
            elif (named := _named_weight(pair, factors, base)) is not None:  # a table may be vocabulary long
                row |= _beside_weight(named, thin, pair.scaling, intruders or 0, epsilon, form)
        values = thin.S.numpy()
        yield Measured(pair, label, row, values, whole if fused else values)
        whole = None


def _identity(pair: Pair, label: str, factors: Factors) -> dict[str, Any]:
    d_out, d_in = len(factors.B), factors.A.shape[1]
    return {
        "module": pair.module,
        "layer": pair.layer,
        "projection": label,
        "d_out": d_out,
        "d_in": d_in,
        "rank": factors.rank,
        "scaling": pair.scaling,
        "scale_stated": pair.stated,
        "dora": pair.dora,
        "stored": str(factors.stored).removeprefix("torch."),
    }


def _spectrum(thin: _Thin) -> dict[str, Any]:
    S = thin.S
    return {
        "norm": float(S.norm()) if thin.rank else 0.0,
        "sigma_1": float(S[0]) if thin.rank else 0.0,
        "stable_rank": stable_rank(S),
        "entropy_rank": entropy_rank(S),
        **{f"rank_{share}": energy_rank(S, share / 100) for share in (90, 95, 99)},
        "numerical_rank": thin.rank,
    }


def _nulls(pair: Pair, thin: _Thin) -> dict[str, Any]:
    sizes = len(thin.B), thin.A.shape[1], len(thin.A)
    scale = abs(pair.scaling) or math.nan
    untrained = beyond_untrained(thin.S / scale, float(thin.R_B.norm()), float(thin.R_A.norm()), *sizes)
    noise = beyond_noise(thin.S / scale, *sizes)
    return {
        "beyond_untrained": untrained.directions,
        "untrained_sigma": untrained.bar * scale,
        "beyond_noise": noise.directions,
        "noise_sigma": noise.bar * scale,
    }


def _rounding(pair: Pair, thin: _Thin, factors: Factors) -> dict[str, Any]:
    """What rounding of the stored factors alone can put into a singular value, and how many are below it.

    A factor stored with spacing eps has independent errors of about eps / (2 sqrt 3) of each entry; as a
    matrix their spectral norm is about (sqrt d + sqrt r) times their root mean square.
    """
    if factors.stored is None or thin.rank == 0:
        return {"rounding": 0.0, "below_rounding": 0}
    unit = torch.finfo(factors.stored).eps / (2 * math.sqrt(3))
    d_out, d_in, r = len(thin.B), thin.A.shape[1], len(thin.A)

    def error(R: Tensor, d: int) -> float:
        return unit * float(R.norm()) / math.sqrt(d * r) * (math.sqrt(d) + math.sqrt(r))

    largest_A, largest_B = (float(torch.linalg.svdvals(R)[0]) for R in (thin.R_A, thin.R_B))
    floor = abs(pair.scaling) * math.hypot(
        largest_B * error(thin.R_A, d_in), largest_A * error(thin.R_B, d_out)
    )
    return {"rounding": floor, "below_rounding": int((thin.S[: thin.rank] < floor).sum())}


def initial_family(A: Tensor, stored: torch.dtype | None = None) -> str | None:
    """The distribution that A began with where A is not told apart from it, else None.

    "kaiming" is U(-1 / sqrt(d_in), 1 / sqrt(d_in)) of PEFT, loralib, kohya, mlx-lm and this project,
    "gaussian 1/r" is N(0, 1 / r^2) of PEFT's "gaussian" and diffusers, "gaussian" N(0, 1 / (3 d_in)) of this
    project. A Kolmogorov-Smirnov test at 1 % on up to `SAMPLE` entries, and for the first no entry beyond its
    bound: of a hundred that never moved, one is missed. Entries are held against the distribution as rounding
    to the dtype that they are `stored` in leaves it, so that coarse ones are judged as fine ones are.
    """
    from scipy import stats

    r, d_in = A.shape
    entries = A.reshape(-1)
    if len(entries) < FEWEST:
        return None
    sample = entries[:: max(1, len(entries) // SAMPLE)].double().numpy()
    bound = 1 / math.sqrt(d_in)
    families = {
        "kaiming": stats.uniform(-bound, 2 * bound),
        "gaussian 1/r": stats.norm(0, 1 / r),
        "gaussian": stats.norm(0, 1 / math.sqrt(3 * d_in)),
    }
    largest = float(entries.abs().max())
    for name, family in families.items():
        if name == "kaiming" and largest > bound * (1 + 2**-7):  # as far as bfloat16 rounds it
            continue
        # The standard deviations alone tell most apart, at a thousandth of the test's cost.
        if abs(sample.std() / family.std() - 1) < 0.1 and _agrees(sample, family, stored):
            return name
    return None


def _agrees(sample: np.ndarray, family: Any, stored: torch.dtype | None) -> bool:
    """The Kolmogorov-Smirnov test of a sample that was rounded, with p-values of one that was not.

    A value v that was rounded to stands for all between the middles to its neighbours, which are eps times
    the power of 2 below |v| apart, so that there, and not at v, the two distributions are compared; from a
    power of 2 itself the neighbour toward 0 is half as far. The p-values are too large, if anything.
    """
    values, counts = np.unique(sample, return_counts=True)
    above = below = np.zeros(len(values))
    if stored is not None:
        numbers = torch.finfo(stored)
        level = np.where(values == 0, 0, np.ldexp(1.0, np.frexp(values)[1] - 1))
        level = np.maximum(level, numbers.smallest_normal)
        outward = numbers.eps / 2 * level
        halved = (np.abs(values) == level) & (level > numbers.smallest_normal)
        inward = np.where(halved, outward / 2, outward)
        above, below = np.where(values > 0, outward, inward), np.where(values > 0, inward, outward)
    reached = np.cumsum(counts) / len(sample)
    before = reached - counts / len(sample)
    largest = max(
        np.abs(reached - family.cdf(values + above)).max(), np.abs(before - family.cdf(values - below)).max()
    )
    return bool(largest < _critical_distance(len(sample)))


@lru_cache(maxsize=64)
def _critical_distance(size: int) -> float:
    """The Kolmogorov-Smirnov distance that a sample of this size exceeds with probability `LEVEL`, to 1e-8.

    One takes as long as some p-values, and adapters have many matrices of few sizes.
    """
    from scipy import stats

    return float(stats.kstwo.isf(LEVEL, size))


def _weight_decomposed(
    pair: Pair,
    label: str,
    factors: Factors,
    W: Tensor,
    intruders: int | None,
    epsilon: float,
    form: str | None,
) -> Measured:
    """DoRA's dW = m (W0 + s B A) / ||W0 + s B A|| - W0, norms of rows: dense, and of full rank.

    What W's directions are compared with are the top r of dW, r the rank of the pair; the nulls of a pair do
    not apply.
    """
    assert pair.magnitude is not None
    magnitude = pair.magnitude().double()
    if len(magnitude) != pair.shape.d_out:
        raise AnalysisError(f"{pair.module}: {len(magnitude)} magnitudes for {pair.shape.d_out} rows of B")
    W0 = W.double()
    tuned = W0 + pair.scaling * factors.B.double() @ factors.A.double()
    dW = (magnitude[pair.letters[label]] / tuned.norm(dim=1))[:, None] * tuned - W0
    U, S, Vh = torch.linalg.svd(dW, full_matrices=False)
    whole, r = _thin(Vh, U * S, 1.0), factors.rank
    row = _identity(pair, label, factors) | _spectrum(whole)
    row |= dict.fromkeys(("beyond_untrained", "untrained_sigma", "beyond_noise", "noise_sigma"), math.nan)
    row |= {"rounding": math.nan, "below_rounding": 0, "A_init": initial_family(factors.A, factors.stored)}
    row |= _beside_weight(W, _thin(Vh[:r], U[:, :r] * S[:r], 1.0), 1.0, 0, epsilon, form)
    row["relative_norm"] = row["norm"] / row["weight_norm"]
    row |= _intruders(W, lambda: dW, whole, intruders, epsilon)
    values = whole.S.numpy()
    return Measured(pair, label, row, values, values, dense=True)


def _weight(pair: Pair, label: str, factors: Factors, base: BaseWeights) -> Tensor:
    """W0 of a projection.  Raises AnalysisError where it is zero, not finite, or of another shape than dW."""
    assert pair.layer is not None
    W = base.projection(pair.layer, label)
    shape = len(factors.B), factors.A.shape[1]
    if tuple(W.shape) != shape:
        raise AnalysisError(
            f"{pair.module}: dW_{label} of layer {pair.layer + 1} is {shape}; W of {base.checkpoint.source} "
            f"is {tuple(W.shape)}"
        )
    _check_weight(W, f"{base.checkpoint.source}: W_{label} of layer {pair.layer + 1}")
    return W


def _named_weight(pair: Pair, factors: Factors, base: BaseWeights) -> Tensor | None:
    """W0 of a module without a letter (an embedding, a head, a convolution), by its name, as dW is laid out.

    None where the checkpoint has no such module, or one of other sizes.  Raises AnalysisError as `_weight`.
    """
    W = base.module_weight(pair.module)
    if W is None or W.ndim < 2:
        return None
    W = W.T if pair.embedding else W.flatten(1)
    if tuple(W.shape) != (len(factors.B), factors.A.shape[1]):
        return None
    _check_weight(W, f"{base.checkpoint.source}: W of {pair.module}")
    return W


def _check_weight(W: Tensor, what: str) -> None:
    total = W.abs().sum(dtype=torch.float64)
    if not total or not torch.isfinite(total):
        raise AnalysisError(f"{what} {'has entries that are NaN or infinite' if total else 'is zero'}")


def _beside_weight(
    W: Tensor, thin: _Thin, scaling: float, intruders: int | None, epsilon: float, form: str | None
) -> dict[str, Any]:
    A, B = thin.A, thin.B
    amplified = amplification(W, B, A, scaling)
    row: dict[str, Any] = {
        "weight_norm": amplified.weight_norm,
        "relative_norm": amplified.delta_norm / amplified.weight_norm,
        "factor": amplified.factor,
        "null_factor": amplified.null_factor,
        "lift": amplified.lift,
    }
    small = min(W.shape) <= WHOLE_BELOW
    edge = rounding_edge(W, form) if form is not None and small else None
    if edge is not None:
        row["weight_below_rounding"] = int((torch.linalg.svdvals(W.double()) < edge).sum())
    if thin.rank:
        row |= _in_top_directions(W, delta_svd(B, A, scaling))
    return row | _intruders(W, lambda: scaling * B @ A, thin, intruders, epsilon)


def _intruders(
    W: Tensor, delta: Callable[[], Tensor], thin: _Thin, intruders: int | None, epsilon: float
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    k = intruders if intruders is not None else INTRUDERS * (min(W.shape) <= WHOLE_BELOW)
    if k and thin.rank:
        k = min(k, *W.shape)
        W, dW = W.double(), delta()
        for side, cosines in (("left", left_cosines(W, dW, k)), ("right", left_cosines(W.T, dW.T, k))):
            row[f"intruders_{side}"] = int((cosines.cosines < epsilon).sum())
            row[f"arbitrary_{side}"] = int((cosines.arbitrary & (cosines.cosines < epsilon)).sum())
    return row


def _in_top_directions(W: Tensor, svd: ThinSVD) -> dict[str, float]:
    """The share of ||dW||^2 in the top r directions of W, r the rank of dW; by chance r / d."""
    k = svd.rank
    U, _, Vh = top_directions(W, k)
    energy = svd.S[:k].square()
    left = (U.T @ svd.U[:, :k]).square().nansum(0)
    right = (Vh @ svd.Vh[:k].T).square().nansum(0)
    return {
        "share_left": float((left * energy).sum() / energy.sum()),
        "share_right": float((right * energy).sum() / energy.sum()),
        "chance_left": k / W.shape[0],
        "chance_right": k / W.shape[1],
    }


def frame(measured: list[Measured]) -> pd.DataFrame:
    """One row a projection."""
    import pandas as pd

    return pd.DataFrame([one.row for one in measured])
