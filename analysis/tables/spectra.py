"""Spectra of dW: how many directions LoRA and full fine-tuning use, and how many of them seeds share.

Each projection has the effective ranks of dW (stable, entropy, 90 % of the energy), the intruder dimensions
of W + dW (arXiv 2410.21228), and for each pair of seeds the dimension that they share beyond chance: what
"W_q has a higher intrinsic rank than W_v" (paper, Section 7.2) becomes as a number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.figures.spectra import draw
from analysis.figures.words import basis_name, plain_weight
from analysis.output import Drawing, Result
from analysis.tables.layout import Cell, Row, Table
from analysis.tables.numbers import mean_sd

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from analysis.run import Run
    from analysis.selection import Selection

RANKS = (8, 64)
INTRUDER_K, INTRUDER_THRESHOLD = 10, 0.5
QUANTILE = 0.99
QUANTITIES = {
    "stable rank": "stable_rank",
    "entropy rank": "entropy_rank",
    "90 % energy": "energy_rank",
    "intruders": "intruder_dimensions",
}
COLUMNS_A_TABLE = 8


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


def make(selection: Selection) -> Result:
    """The tables, a figure, and the CSV of every number.

    Raises:
        MissingRunsError: the study has no LoRA runs of these targets.
    """
    lora = [Source(run, rank) for (rank, _), run in selection.every_run(RANKS, count=2).items()]
    full = [Source(run, None) for run in selection.available("full")]
    layers = selection.layers(lora[0].run)
    drawn = selection.one_layer(lora[0].run)
    numbers = _frame(
        [*_effective(selection, [*lora, *full], layers, drawn), *_shared(selection, lora, layers)]
    )
    note = (
        f"{selection.sentence([source.run for source in lora])} LoRA: {len(lora)} runs; full fine-tuning: "
        f"{len(full) or 'none'}."
    )
    shared_note = (
        f"Shared dimension: how many principal cosines between two seeds' subspaces exceed the "
        f"{QUANTILE:.0%} quantile of the largest between random ones, so that by chance it is 0; it says "
        f"nothing where twice the rank exceeds d. Directions: {basis_name(selection.basis)}."
    )
    tables = [_summary(numbers, note)]
    if (numbers["quantity"] == "shared_dimension").any():
        tables += _shared_tables(numbers, (shared_note, note))
    else:
        shared_note = "There is one seed, so no shared dimension."
    each, stem = _projections(numbers, note), selection.stem("spectra")
    caption = (
        f"Spectra of ΔW. Left: singular values in layer {drawn + 1}, relative to the largest. Middle: how "
        "many directions hold 90 % of the energy (squared singular values). Right: the dimension that two "
        f"seeds share. Means over seeds, or pairs of them. {shared_note} {note}"
    )
    return Result(
        stem,
        numbers,
        {
            **selection.provenance(source.run for source in (*lora, *full)),
            "intruder_dimensions": {"k": INTRUDER_K, "threshold": INTRUDER_THRESHOLD},
            "shared_dimension": {"quantile": QUANTILE},
            "singular_values_of_layer": drawn + 1,
        },
        drawings={"": Drawing(draw(numbers, drawn + 1), caption)},
        texts={
            ".md": "\n".join(table.markdown() for table in [*tables, each]),
            ".tex": "\n".join(table.latex() for table in [*tables, each]),
        },
        terminal="\n\n".join(table.terminal() for table in tables) + f"\n\nEach projection: {stem}.md",
    )


def _frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row a number: layer, weight, source, rank, seed, seed_j, quantity, k, value."""
    import pandas as pd

    columns = ["layer", "weight", "source", "rank", "seed", "seed_j", "quantity", "k", "value"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"rank": "Int64", "seed_j": "Int64", "k": "Int64"})


def _effective(
    selection: Selection, sources: Sequence[Source], layers: Sequence[int], drawn: int
) -> Iterator[dict[str, Any]]:
    """The effective ranks of each dW, intruder dimensions, and the singular values of one layer."""
    from tqdm import tqdm

    from analysis import spectra

    places = [(layer, letter) for layer in layers for letter in selection.letters]
    for layer, letter in tqdm(places, desc="spectra", unit="projection", leave=False, disable=None):
        W = selection.weight(sources[0].run, layer, letter).double()
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
            moved = bool(dW.any())
            values = {
                "stable_rank": spectra.stable_rank(S),
                "entropy_rank": spectra.entropy_rank(S),
                "participation_ratio": spectra.participation_ratio(S),
                "energy_rank": spectra.energy_rank(S),
                "intruder_dimensions": float(
                    spectra.intruder_dimensions(W, dW, min(INTRUDER_K, *W.shape), INTRUDER_THRESHOLD)
                )
                if moved
                else math.nan,
            }
            for quantity, value in values.items():
                yield {**base, "quantity": quantity, "value": value}
            if layer == drawn:
                for k, value in enumerate(S.tolist(), start=1):
                    yield {**base, "quantity": "singular_value", "k": k, "value": value}


def _delta(selection: Selection, source: Source, layer: int, letter: str) -> tuple[Tensor, Tensor] | None:
    """Singular values of dW, and dW itself in float64: intruder dimensions are those of W + dW."""
    import torch

    from analysis.svd import thin_svd

    if source.rank is None:
        deltas = source.run.deltas(selection.checkpoint)
        if (layer, letter) not in deltas:
            return None
        dW = deltas[layer, letter].to(selection.device).double()
        return torch.linalg.svdvals(dW), dW
    factors = selection.factors(source.run, layer, letter)
    S = thin_svd(factors.B, factors.A, factors.scaling)[1]
    return S, factors.scaling * factors.B.double() @ factors.A.double()


def _shared(selection: Selection, lora: Sequence[Source], layers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The shared dimension of every pair of seeds of the same rank."""
    from analysis.spectra import shared_dimension

    by_rank: dict[int, list[Source]] = {}
    for source in lora:
        by_rank.setdefault(source.rank or 0, []).append(source)
    for layer, letter in itertools.product(layers, selection.letters):
        for rank, sources in by_rank.items():
            found = [selection.directions(source.run, layer, letter).vectors for source in sources]
            for (one, V1), (other, V2) in itertools.combinations(zip(sources, found, strict=True), 2):
                yield {
                    "layer": layer + 1,
                    "weight": plain_weight(letter),
                    "source": one.name,
                    "rank": rank,
                    "seed": one.seed,
                    "seed_j": other.seed,
                    "quantity": "shared_dimension",
                    "value": shared_dimension(V1, V2, QUANTILE),
                }


def _summary(numbers: pd.DataFrame, note: str) -> Table:
    """Each weight and source, over all layers."""
    groups: list[tuple[Row, ...]] = []
    for _, of_weight in numbers.groupby("weight", sort=False):
        rows = []
        for (weight, source), found in of_weight.groupby(["weight", "source"], sort=False):
            cells = [
                mean_sd(found[found["quantity"] == name].groupby("seed")["value"].mean().tolist())
                for name in QUANTITIES.values()
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
            f"{INTRUDER_THRESHOLD} or more with any of W's. ± is the standard deviation over seeds.",
            note,
        ),
    )


def _projections(numbers: pd.DataFrame, note: str) -> Table:
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
    )


def _shared_tables(numbers: pd.DataFrame, notes: tuple[str, ...]) -> list[Table]:
    """A row a layer, a column for each weight and rank."""
    shared = numbers[numbers["quantity"] == "shared_dimension"]
    pairs = shared[["rank", "weight"]].drop_duplicates().sort_values("rank", kind="stable")
    heads = [(int(rank), str(weight)) for rank, weight in pairs.itertuples(index=False)]
    tables = []
    for start in range(0, len(heads), COLUMNS_A_TABLE):
        chosen = heads[start : start + COLUMNS_A_TABLE]
        columns = [shared[(shared["rank"] == rank) & (shared["weight"] == weight)] for rank, weight in chosen]
        rows = [
            Row(
                (str(layer),),
                tuple(Cell(mean_sd(c[c["layer"] == layer]["value"].tolist())) for c in columns),
            )
            for layer in shared["layer"].unique()
        ]
        means = [c.groupby(["seed", "seed_j"])["value"].mean().tolist() for c in columns]
        tables.append(
            Table(
                "Dimension that two seeds share",
                ("layer",),
                tuple(f"{weight}, r = {rank}" for rank, weight in chosen),
                (tuple(rows), (Row(("all, mean",), tuple(Cell(mean_sd(mean)) for mean in means)),)),
                ("Means over pairs of seeds; ± is the standard deviation over them.", *notes),
            )
        )
    return tables
