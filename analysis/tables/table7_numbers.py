"""Table 7's numbers: W between dW's directions, its own and random ones, for every rank, seed and weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis import paper_values
from analysis.figures.words import plain_weight
from analysis.reading import tensors

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from analysis.reading.run import Run
    from analysis.selection import Selection

PAPER_RANKS = (4, 64)
PAPER_LETTER = "q"
DRAWS, DRAWN_DIRECTIONS = 4000, 40_000
"""At a rank r, max(DRAWS, DRAWN_DIRECTIONS / r) pairs of random U and V: a small r varies most.  So many
know what 5 and 95 % are below to 0.001 at r = 64 and to 0.01 at r = 4."""
CHANCE = (0.05, 0.95)
"""Quantiles of the random pairs' norms."""


def table7_numbers(selection: Selection, runs: dict[tuple[int, int], Run], layer: int) -> pd.DataFrame:
    """One row a number: layer, weight, rank, seed, quantity, k, value, arbitrary, paper.

    Of the quantities of direction k, arbitrary is 1 where near-equal singular values of dW leave it, or for
    factor_top_k the top k, undetermined.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for letter in selection.letters:
        for rank, seed, number in _numbers(selection, runs, layer, letter):
            row = {"layer": layer + 1, "weight": plain_weight(letter), "rank": rank, "seed": seed}
            paper = paper_number(letter, number.quantity, rank) if number.k is None else None
            rows.append({**row, **number._asdict(), "paper": paper})
    columns = ["layer", "weight", "rank", "seed", "quantity", "k", "value", "arbitrary", "paper"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"k": "Int64", "arbitrary": "Int64", "paper": "float64"})


class Number(NamedTuple):
    """A value, and what it is of: with k, of direction k or of the top k."""

    quantity: str
    value: float
    k: int | None = None
    arbitrary: int | None = None


def draws(rank: int) -> int:
    """How many pairs of random U and V of this rank."""
    return max(DRAWS, DRAWN_DIRECTIONS // rank)


def _numbers(
    selection: Selection, runs: dict[tuple[int, int], Run], layer: int, letter: str
) -> Iterator[tuple[int, int, Number]]:
    """rank, seed and number, for one projection; W is read once.

    dW, W's own directions, random ones and the null are compared at one rank: dW's numerical rank, which is
    r unless dW is rank-deficient.
    """
    from analysis.geometry.amplification import amplification, own_projected_norms, random_projected_norms
    from analysis.geometry.weight_svd import top_directions

    W = tensors.weight(selection, next(iter(runs.values())), layer, letter)
    own = own_projected_norms(top_directions(W, min(max(rank for rank, _ in runs), *W.shape))[1])

    @cache
    def random(rank: int) -> Tensor:
        return random_projected_norms(W, rank, draws(rank))

    for (rank, seed), run in runs.items():
        factors = tensors.factors(selection, run, layer, letter)
        found = amplification(W, factors.B, factors.A, factors.scaling)
        own_norm = random_norm = sd = low = high = math.nan  # dW = 0 has no rank to compare at
        if found.rank:
            drawn = random(found.rank)
            own_norm = float(own[found.rank - 1])
            # The root mean square, as the null is: the mean of the norms is below it.
            random_norm, sd = float(drawn.square().mean().sqrt()), float(drawn.std())
            low, high = (float(drawn.quantile(q)) for q in CHANCE)
        single = {
            "numerical_rank": float(found.rank),
            "scaling": found.scaling,
            "weight_norm": found.weight_norm,
            "delta_norm": found.delta_norm,
            "delta_norm_raw": found.delta_norm / found.scaling,
            "projected_norm_delta": found.projected_norm,
            "projected_norm_weight": own_norm,
            "projected_norm_random": random_norm,
            "projected_norm_random_sd": sd,
            "null_projected_norm": found.null_projected_norm,
            "lift_delta": found.lift,
            "lift_weight": own_norm / found.null_projected_norm,
            "lift_random": random_norm / found.null_projected_norm,
            "lift_random_q05": low / found.null_projected_norm,
            "lift_random_q95": high / found.null_projected_norm,
            "factor": found.factor,
            "factor_raw": found.factor / found.scaling,
            "null_factor": found.null_factor,
        }
        for quantity, value in single.items():
            yield rank, seed, Number(quantity, value)
        for quantity, values, arbitrary in (
            ("factor_top_k", found.factor_top_k, found.arbitrary_top_k),
            ("gain", found.gains, found.arbitrary_gains),
        ):
            for k, (value, flag) in enumerate(zip(values.tolist(), arbitrary.tolist(), strict=True), start=1):
                yield rank, seed, Number(quantity, value, k, int(flag))


def paper_number(letter: str, quantity: str, rank: int) -> float | None:
    """The paper's number, or what follows from its numbers; None where it has none."""
    if letter != PAPER_LETTER or rank not in PAPER_RANKS:
        return None
    name = "lift" if quantity == "lift_delta" else quantity
    for table in ("table7", "derived_table7"):
        if name in paper_values.table(table).quantities:
            return paper_values.value(table, name, rank=rank).value
    return None
