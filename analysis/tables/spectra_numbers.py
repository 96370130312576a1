"""The spectra's numbers: effective ranks of dW, intruder dimensions, and what the seeds share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.figures.words import plain_weight
from analysis.reading import tensors

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from analysis.reading.run import Run
    from analysis.selection import Selection

INTRUDER_K, INTRUDER_THRESHOLD = 10, 0.5
SHARED_QUANTILE = 0.99
SHARED, SHARED_ELSEWHERE = "shared_dimension", "shared_dimension_other_layer"


@dataclass(frozen=True)
class Source:
    """Where a dW is from: a LoRA run, or one of full fine-tuning (rank None)."""

    run: Run
    rank: int | None

    @property
    def name(self) -> str:
        return "full" if self.rank is None else f"r = {self.rank}"

    @property
    def seed(self) -> int:
        return int(self.run.settings["seed"])


def spectra_numbers(
    selection: Selection, lora: Sequence[Source], full: Sequence[Source], drawn: int
) -> pd.DataFrame:
    """One row a number: layer, weight, source, rank, seed, seed_j, quantity, k, value, arbitrary.

    arbitrary belongs to near-equal singular values: of singular value k, 1 where direction k is
    undetermined; of the intruder dimensions, how many of those counted are.

    Args:
        drawn: the layer, from 0, whose singular values are kept.
    """
    import pandas as pd

    layers = tensors.layers(selection, lora[0].run)
    rows = [*_effective(selection, [*lora, *full], layers, drawn), *_shared(selection, lora, layers)]
    columns = ["layer", "weight", "source", "rank", "seed", "seed_j", "quantity", "k", "value", "arbitrary"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(("rank", "seed_j", "k", "arbitrary"), "Int64"))


def _effective(
    selection: Selection, sources: Sequence[Source], layers: Sequence[int], drawn: int
) -> Iterator[dict[str, Any]]:
    """The effective ranks of each dW, intruder dimensions, and the singular values of one layer."""
    from tqdm import tqdm

    from analysis.geometry import dimensions
    from analysis.geometry.svd import arbitrary_directions

    places = [(layer, letter) for layer in layers for letter in selection.letters]
    for layer, letter in tqdm(places, desc="spectra", unit="projection", leave=False, disable=None):
        W = tensors.weight(selection, sources[0].run, layer, letter).double()
        before = dimensions.left_vectors(W)
        for source in sources:
            found = _delta(selection, source, layer, letter)
            if found is None:
                continue
            S, dW = found
            base = {
                "layer": layer + 1,
                "weight": plain_weight(letter),
                "source": source.name,
                "rank": source.rank,
                "seed": source.seed,
            }
            values = {
                "stable_rank": dimensions.stable_rank(S),
                "entropy_rank": dimensions.entropy_rank(S),
                "participation_ratio": dimensions.participation_ratio(S),
                "energy_rank": dimensions.energy_rank(S),
            }
            for quantity, value in values.items():
                yield {**base, "quantity": quantity, "value": value}
            yield {**base, "quantity": "intruder_dimensions", **_intruders(W, dW, before)}
            if layer == drawn:
                flags = arbitrary_directions(S).int().tolist()
                for k, (value, flag) in enumerate(zip(S.tolist(), flags, strict=True), start=1):
                    yield {**base, "quantity": "singular_value", "k": k, "value": value, "arbitrary": flag}


def _intruders(W: Tensor, dW: Tensor, before: Tensor) -> dict[str, Any]:
    from analysis.geometry.dimensions import left_cosines

    if not dW.any():
        return {"value": math.nan, "arbitrary": None}
    found = left_cosines(W, dW, min(INTRUDER_K, *W.shape), before)
    intruders = found.cosines < INTRUDER_THRESHOLD
    return {"value": float(intruders.sum()), "arbitrary": int((intruders & found.arbitrary).sum())}


def _delta(selection: Selection, source: Source, layer: int, letter: str) -> tuple[Tensor, Tensor] | None:
    """Singular values of dW, and dW itself in float64: intruder dimensions are those of W + dW."""
    import torch

    from analysis.geometry.svd import thin_svd

    if source.rank is None:
        deltas = source.run.deltas(selection.checkpoint)
        if (layer, letter) not in deltas:
            return None
        dW = deltas[layer, letter].to(selection.device).double()
        return torch.linalg.svdvals(dW), dW
    factors = tensors.factors(selection, source.run, layer, letter)
    S = thin_svd(factors.B, factors.A, factors.scaling)[1]
    return S, factors.scaling * factors.B.double() @ factors.A.double()


def _shared(selection: Selection, lora: Sequence[Source], layers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The dimension that each pair of seeds of one rank shares, and, as its second null, in different layers.

    The second null compares a layer of the one with the next of the other, and the last with the first.
    """
    from analysis.geometry.dimensions import shared_dimension

    by_rank: dict[int | None, list[Source]] = {}
    for source in lora:
        by_rank.setdefault(source.rank, []).append(source)
    places = zip(layers, [*layers[1:], layers[0]], strict=True)
    for (layer, following), letter in itertools.product(places, selection.letters):
        for rank, sources in by_rank.items():
            here, there = (
                [tensors.directions(selection, source.run, place, letter).vectors for source in sources]
                for place in (layer, following)
            )
            for one, other in itertools.combinations(range(len(sources)), 2):
                compared = {SHARED: here[other]}
                if following != layer and there[other].shape[1] == here[one].shape[1]:
                    compared[SHARED_ELSEWHERE] = there[other]
                for quantity, vectors in compared.items():
                    yield {
                        "layer": layer + 1,
                        "weight": plain_weight(letter),
                        "source": sources[one].name,
                        "rank": rank,
                        "seed": sources[one].seed,
                        "seed_j": sources[other].seed,
                        "quantity": quantity,
                        "value": shared_dimension(here[one], vectors, SHARED_QUANTILE),
                    }
