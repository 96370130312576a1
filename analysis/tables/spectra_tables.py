"""The spectra's tables: over all layers, of each projection, and what two seeds share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analysis.result import Cell, Row, Table
from analysis.tables.numbers import defined_note, grouped, mean_sd
from analysis.tables.spectra_numbers import INTRUDER_K, INTRUDER_THRESHOLD, SHARED, SHARED_ELSEWHERE

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "stable rank": "stable_rank",
    "entropy rank": "entropy_rank",
    "90 % energy": "energy_rank",
    "intruders": "intruder_dimensions",
}
COLUMNS_A_TABLE = 8


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
