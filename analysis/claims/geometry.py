"""What claims about subspaces and about W are judged from: one number a seed and layer, of one task.

The seeds are the sample: another study would have others.  The layers are not: all that the runs adapt are
taken (or the one that was chosen), and what holds of their mean holds of this model; how many of them agree
is told beside it.  A layer in which some run has no direction to measure (dW = 0) is left out of the mean.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from analysis.claims.evidence import missing_runs, seeds_of
from analysis.errors import AnalysisError
from analysis.reading import tensors
from analysis.reading.needs import Need
from analysis.selection import Selection

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.reading.run import Run

SMALL, LARGE = 8, 64
"""Figure 3's ranks."""

FEW, MANY = 4, 64
"""Table 7's."""


@dataclass(frozen=True)
class Overlap:
    """phi between the directions of r = 8 and of r = 64, of one weight.

    Attributes:
        top: of the first direction of either.
        others: of direction 2, 3, ... of r = 8 alone with all but the first of r = 64.
        top_null: what chance gives for `top`.
        others_null: for `others`.
    """

    top: Float[np.ndarray, "seeds layers"]
    others: Float[np.ndarray, "seeds layers n"]
    top_null: float
    others_null: float


@dataclass(frozen=True)
class Lifts:
    """W between directions of dW, for one r; all at the numerical rank of each dW, which is r or below.

    Attributes:
        lift: ||U'WV|| over the root mean square of what random directions give.
        random: the same of random directions, which seeds share.
        own: the same of W's own top directions.
        factor: the amplification factor.
        null_factor: that of random directions.
        neighbour: as `lift`, with the directions of another layer's dW; NaN where there is none.
    """

    lift: Float[np.ndarray, "seeds layers"]
    random: Float[np.ndarray, "seeds layers draws"]
    own: Float[np.ndarray, "seeds layers"]
    factor: Float[np.ndarray, "seeds layers"]
    null_factor: Float[np.ndarray, "seeds layers"]
    neighbour: Float[np.ndarray, "seeds layers"]


class Geometry:
    """The adapters of one task's runs, those of the selection's targets, basis and checkpoint."""

    one_family = False

    def __init__(self, selection: Selection, margin: float = math.nan) -> None:
        self.selection = selection
        self._overlaps: dict[str, Overlap] = {}

    @property
    def letters(self) -> tuple[str, ...]:
        return self.selection.letters

    @property
    def weight(self) -> str:
        """The letter that Table 7 is about: q, or the first there is."""
        return "q" if "q" in self.letters else self.letters[0]

    def overlap(self, letter: str) -> Overlap:
        """Each seed's r = 8 with the same seed's r = 64.

        Raises:
            MissingRunsError: no seed has both.
            AnalysisError: the directions of r = 64 fill the space.
        """
        if letter not in self._overlaps:
            self._overlaps[letter] = self._overlap(letter)
        return self._overlaps[letter]

    @property
    def other_ranks(self) -> list[int]:
        """The ranks besides r = 64 that three seeds or more have."""
        seeds: dict[Any, set[int]] = {}
        for run in self.selection.available():
            seeds.setdefault(run.settings["rank"], set()).add(run.settings["seed"])
        return sorted(r for r, has in seeds.items() if isinstance(r, int) and r != LARGE and len(has) > 2)

    def shared(self, letter: str, rank: int = LARGE) -> Float[np.ndarray, "seeds seeds layers"]:
        """The dimension that two seeds share (`analysis.shared_dimension`); its diagonal is 0.

        Raises:
            MissingRunsError: there are no two seeds.
            AnalysisError: any two such subspaces meet by chance alone.
        """
        from analysis.geometry.dimensions import shared_dimension

        seeds, runs = self._runs((rank,), least=2)
        layers = self._layers(runs[rank, seeds[0]])
        found = np.zeros((len(seeds), len(seeds), len(layers)))
        for place, layer in enumerate(layers):
            vectors = [
                tensors.directions(self.selection, runs[rank, seed], layer, letter).vectors for seed in seeds
            ]
            n, d = vectors[0].shape
            if 2 * n > d:
                raise AnalysisError(
                    f"any two subspaces of {n} dimensions meet in the space of {d}, so that r = {rank} "
                    "shows nothing of what seeds share"
                )
            for i, j in itertools.combinations(range(len(seeds)), 2):
                found[i, j, place] = found[j, i, place] = shared_dimension(vectors[i], vectors[j])
        return found

    @cached_property
    def lifts(self) -> dict[int, Lifts]:
        """W between the directions of dW, by rank, of the weight that Table 7 is about.

        The seeds are those that have both of Table 7's ranks.

        Raises:
            MissingRunsError: there are none.
            AnalysisError: W cannot be read.
        """
        import torch

        from analysis.figures.panels import array
        from analysis.geometry.amplification import amplification, own_projected_norms, random_projected_norms
        from analysis.tables.table7 import draws

        seeds, runs = self._runs((FEW, MANY))
        any_run = runs[FEW, seeds[0]]
        layers = self._layers(any_run)
        found = {rank: _no_lifts(len(seeds), len(layers), draws(rank)) for rank in (FEW, MANY)}
        for place, layer in enumerate(layers):
            W = tensors.weight(self.selection, any_run, layer, self.weight)
            S = torch.linalg.svdvals(W.double())
            own = own_projected_norms(S)

            @cache
            def random(rank: int, count: int, W: Tensor = W, S: Tensor = S, layer: int = layer) -> np.ndarray:
                return array(random_projected_norms(W, rank, count, layer, S))

            for rank, lifts in found.items():
                for s, seed in enumerate(seeds):
                    factors = tensors.factors(self.selection, runs[rank, seed], layer, self.weight)
                    one = amplification(W, factors.B, factors.A, factors.scaling)
                    if not one.rank:  # dW = 0
                        continue
                    null = one.null_projected_norm
                    lifts.lift[s, place] = one.lift
                    lifts.factor[s, place] = one.factor
                    lifts.null_factor[s, place] = one.null_factor
                    lifts.neighbour[s, place] = self._neighbour(W, runs[rank, seed], layer)
                    lifts.own[s, place] = float(own[one.rank - 1]) / null
                    lifts.random[s, place] = random(one.rank, draws(rank)) / null
        return found

    def _overlap(self, letter: str) -> Overlap:
        from analysis.geometry.nulls import phi_null
        from analysis.geometry.similarity import phi_grid

        seeds, runs = self._runs((SMALL, LARGE))
        layers = self._layers(runs[SMALL, seeds[0]])
        top = np.empty((len(seeds), len(layers)))
        rows = []
        for (s, seed), (place, layer) in itertools.product(enumerate(seeds), enumerate(layers)):
            small, large = (
                tensors.directions(self.selection, runs[rank, seed], layer, letter).vectors
                for rank in (SMALL, LARGE)
            )
            top[s, place] = float(phi_grid(small[:1], large[:1])[0, 0])
            rows.append([float(phi_grid(one[None], large[1:])[0, -1]) for one in small[1:]])
        (n, d), others = large.shape, np.array(rows)
        if n == d:
            raise AnalysisError(f"the {n} directions of r = {LARGE} fill the space, so that all are shared")
        return Overlap(
            top,
            others.reshape(len(seeds), len(layers), -1),
            float(phi_null(1, 1, d).mean),
            float(phi_null(1, n - 1, d - 1).mean[0, -1]),  # in the space that the first direction leaves
        )

    def _neighbour(self, W: Tensor, run: Run, layer: int) -> float:
        """The lift of W with the directions of the next layer's dW, of the first one's after the last."""
        from analysis.geometry.amplification import null_projected_norm, projected_norm
        from analysis.geometry.arrays import weight_norm
        from analysis.geometry.svd import thin_svd

        layers = tensors.layers(self.selection, run)
        other = layers[(layers.index(layer) + 1) % len(layers)]
        factors = tensors.factors(self.selection, run, other, self.weight)
        U, _, Vh = thin_svd(factors.B, factors.A, factors.scaling)
        there = ~Vh.isnan().any(dim=1)
        if other == layer or not there.any() or (len(U), Vh.shape[1]) != tuple(W.shape):
            return float("nan")
        norm = projected_norm(W, U[:, there], Vh[there].T)
        return norm / null_projected_norm(weight_norm(W), W.shape, int(there.sum()))

    def _runs(
        self, ranks: Sequence[int], least: int = 1
    ) -> tuple[tuple[int, ...], dict[tuple[int, int], Run]]:
        """The seeds that have all of these ranks, at least so many, and the run of each (rank, seed).

        Seeds that were chosen are all needed.
        """
        selection = self.selection
        there = {(run.settings["rank"], run.settings["seed"]) for run in selection.available()}
        candidates = selection.seeds or sorted({seed for _, seed in there})
        seeds = tuple(seed for seed in candidates if all((rank, seed) in there for rank in ranks))
        if len(seeds) < least or (selection.seeds is not None and seeds != tuple(selection.seeds)):
            # What a pair is taken of is asked for three times: one pair does not tell how much pairs differ.
            wanted = seeds_of(selection, 1 if least == 1 else 3)
            needs = [Need(selection.targets, rank, seed) for rank in ranks for seed in wanted]
            missing = [need for need in needs if (need.rank, need.seed) not in there]
            if not missing:
                raise AnalysisError(f"{least} seeds are compared, and --seeds gives {len(seeds)}; give more")
            raise missing_runs(selection, missing)
        return seeds, selection.runs(ranks, seeds)

    def _layers(self, run: Run) -> tuple[int, ...]:
        selection = self.selection
        return (
            tensors.layers(selection, run)
            if selection.layer is None
            else (tensors.one_layer(selection, run),)
        )


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


def _no_lifts(seeds: int, layers: int, draws: int) -> Lifts:
    lift, own, factor, null_factor, neighbour = (np.full((seeds, layers), np.nan) for _ in range(5))
    return Lifts(lift, np.full((seeds, layers, draws), np.nan), own, factor, null_factor, neighbour)
