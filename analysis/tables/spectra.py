"""Spectra of dW: how many directions LoRA and full fine-tuning use, and how many of them seeds share.

Each projection has the effective ranks of dW (stable, entropy, 90 % of the energy), the intruder dimensions
of W + dW (arXiv 2410.21228), and for each pair of seeds the dimension that they share beyond chance: what
"W_q has a higher intrinsic rank than W_v" (paper, Section 7.2) becomes as a number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.figures.spectra import draw
from analysis.figures.words import basis_name, plain_weight
from analysis.provenance import full_sentence, lora_sentence, provenance_of, stem_of, weight_sentence
from analysis.reading import tensors
from analysis.registry import command
from analysis.result import Cell, Drawing, Result, Row, Table
from analysis.tables.numbers import defined_note, grouped, mean_sd

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from analysis.reading.run import Run
    from analysis.selection import Selection

RANKS = (8, 64)
INTRUDER_K, INTRUDER_THRESHOLD = 10, 0.5
SHARED_QUANTILE = 0.99
SHARED, SHARED_ELSEWHERE = "shared_dimension", "shared_dimension_other_layer"
QUANTITIES = {
    "stable rank": "stable_rank",
    "entropy rank": "entropy_rank",
    "90 % energy": "energy_rank",
    "intruders": "intruder_dimensions",
}
COLUMNS_A_TABLE = 8


@command(
    "spectra",
    "effective ranks, intruder dimensions, shared dimension",
    title="Spectra of dW",
    place="folded",
)
def make(selection: Selection) -> Result:
    """The tables, a figure, and the CSV of every number.

    Raises:
        MissingRunsError: the study has no LoRA runs of these targets.
        AnalysisError: the runs are of different models, or several of full fine-tuning match.
    """
    lora = [Source(run, rank) for (rank, _), run in selection.every_run(RANKS, count=2).items()]
    full = [Source(run, None) for run in selection.full_runs()]
    runs = [source.run for source in (*lora, *full)]
    selection.check_model(runs)
    lora_runs, full_runs = runs[: len(lora)], runs[len(lora) :]
    drawn = tensors.one_layer(selection, runs[0])
    numbers = spectra_numbers(selection, lora, full, drawn)
    note = (
        f"{lora_sentence(selection, lora_runs)} LoRA: {len(lora)} runs. "
        f"{full_sentence(selection, full_runs, lora_runs)}"
        f"{weight_sentence(selection, runs)}"
    )
    tables = [summary(numbers, note)]
    shared = numbers[numbers["quantity"] == SHARED]
    if shared.empty:
        shared_note = "There is one seed, so no shared dimension."
    else:
        shared_note = (
            "Shared dimension: how many principal cosines between two seeds' subspaces exceed the "
            f"{SHARED_QUANTILE:.0%} quantile of the largest between random ones, so that by chance it is 0; "
            "it is not defined where dW = 0 or twice the rank exceeds d, where any two subspaces meet. "
            f"Directions: {basis_name(selection.basis)}."
        )
        tables += shared_tables(numbers, (shared_note, note))
    caption = (
        f"Spectra of ΔW. Left: singular values in layer {drawn + 1}, relative to the largest. Middle: how "
        "many directions hold 90 % of the energy (squared singular values). Right: the dimension that two "
        f"seeds share. Means over seeds, or pairs of them, where they are defined. {shared_note} {note}"
    )
    return Result(
        stem_of(selection, "spectra"),
        numbers,
        {
            **provenance_of(selection, runs, weights=True),
            "intruder_dimensions": {"k": INTRUDER_K, "threshold": INTRUDER_THRESHOLD},
            "shared_dimension": {"quantile": SHARED_QUANTILE},
            "singular_values_of_layer": drawn + 1,
        },
        drawings={"": Drawing(draw(numbers, drawn + 1), caption)},
        tables=[*tables, projections(numbers, note)],
    )


# ---------------------------------------------------------------------------------------------- the numbers


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


# ----------------------------------------------------------------------------------------------- the tables


def summary(numbers: pd.DataFrame, note: str) -> Table:
    """Each weight and source, over all layers."""
    groups: list[tuple[Row, ...]] = []
    for _, of_weight in numbers.groupby("weight", sort=False):
        rows = []
        for (weight, source), found in of_weight.groupby(["weight", "source"], sort=False):
            cells = [
                grouped(list(_by_seed(found[found["quantity"] == name]))) for name in QUANTITIES.values()
            ]
            rows.append(Row((str(weight), str(source)), tuple(map(Cell, cells))))
        groups.append(tuple(rows))
    return Table(
        "Effective ranks of dW, mean over layers",
        ("weight", "dW of"),
        tuple(QUANTITIES),
        tuple(groups),
        (
            "Stable rank: sum of squared singular values over the largest one. Entropy rank: exp of the "
            "entropy of the singular values. 90 % energy: how many hold 90 % of the squares. Intruders: how "
            f"many of the top {INTRUDER_K} left singular vectors of W + dW have no |cosine| of "
            f"{INTRUDER_THRESHOLD} or more with any of W's{_undetermined(numbers)}. ± is the standard "
            f"deviation over seeds.{defined_note(numbers['value'])}",
            note,
        ),
    )


def projections(numbers: pd.DataFrame, note: str) -> Table:
    """Each projection and source."""
    groups: list[tuple[Row, ...]] = []
    for (layer, weight), of_projection in numbers.groupby(["layer", "weight"], sort=False):
        rows = []
        for source, found in of_projection.groupby("source", sort=False):
            cells = [
                mean_sd(found[found["quantity"] == name]["value"].tolist()) for name in QUANTITIES.values()
            ]
            rows.append(Row((str(layer), str(weight), str(source)), tuple(map(Cell, cells))))
        groups.append(tuple(rows))
    return Table(
        "Effective ranks of dW, each projection",
        ("layer", "weight", "dW of"),
        tuple(QUANTITIES),
        tuple(groups),
        (note,),
        long=True,
    )


def shared_tables(numbers: pd.DataFrame, notes: tuple[str, ...]) -> list[Table]:
    """A row a layer, a column for each weight and rank; then all layers, and the second null."""
    shared = numbers[numbers["quantity"].isin((SHARED, SHARED_ELSEWHERE))]
    pairs = shared[["rank", "weight"]].drop_duplicates().sort_values("rank", kind="stable")
    heads = [(int(rank), str(weight)) for rank, weight in pairs.itertuples(index=False)]
    tables = []
    for start in range(0, len(heads), COLUMNS_A_TABLE):
        chosen = heads[start : start + COLUMNS_A_TABLE]
        of_head = [shared[(shared["rank"] == rank) & (shared["weight"] == weight)] for rank, weight in chosen]
        columns = [found[found["quantity"] == SHARED] for found in of_head]
        elsewhere = [found[found["quantity"] == SHARED_ELSEWHERE] for found in of_head]
        rows = [
            Row(
                (str(layer),),
                tuple(Cell(mean_sd(c[c["layer"] == layer]["value"].tolist())) for c in columns),
            )
            for layer in shared["layer"].unique()
        ]
        means = [Row(("all, mean",), tuple(Cell(grouped(list(_by_pair(column)))) for column in columns))]
        if any(len(found) for found in elsewhere):
            cells = tuple(Cell(grouped(list(_by_pair(found)))) for found in elsewhere)
            means.append(Row(("different layers",), cells))
        tables.append(
            Table(
                "Dimension that two seeds share",
                ("layer",),
                tuple(f"{weight}, r = {rank}" for rank, weight in chosen),
                (tuple(rows), tuple(means)),
                (
                    "Means over pairs of seeds; ± is the standard deviation over them. Different layers: "
                    "each layer of the one seed with the next of the other, which tells what adapters share "
                    f"without being of the same layer.{defined_note(shared['value'])}",
                    *notes,
                ),
            )
        )
    return tables


def _by_seed(found: pd.DataFrame) -> Iterator[list[float]]:
    return (of_seed["value"].tolist() for _, of_seed in found.groupby("seed"))


def _by_pair(found: pd.DataFrame) -> Iterator[list[float]]:
    return (of_pair["value"].tolist() for _, of_pair in found.groupby(["seed", "seed_j"]))


def _undetermined(numbers: pd.DataFrame) -> str:
    """How many of the intruders counted belong to near-equal singular values."""
    from analysis.geometry.svd import GAP_THRESHOLD

    found = numbers[numbers["quantity"] == "intruder_dimensions"]
    counted, arbitrary = int(found["value"].sum()), int(found["arbitrary"].sum())
    if not arbitrary:
        return ""
    return (
        f"; of all {counted} counted, {arbitrary} belong to singular values of W + dW within "
        f"{GAP_THRESHOLD:.0%} of a neighbour's, and are arbitrary within their span (`arbitrary` in the CSV)"
    )
