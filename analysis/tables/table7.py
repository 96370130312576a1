"""Table 7: W in the directions of dW, in its own and in random ones; amplification factors (paper, 7.3, H.4).

One layer, every rank and seed of the study, each weight.  What the paper leaves open is stated: dW includes
its scale, and the amplification factor stands beside what random directions would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis import paper_values
from analysis.figures.words import layers_of, listed, plain_weight
from analysis.provenance import lora_sentence, provenance_of, stem_of, weight_sentence
from analysis.reading import tensors
from analysis.registry import command
from analysis.result import Cell, Result, Row, Table
from analysis.tables.numbers import MISSING, defined_note, grouped_medians, interval, mean_sd, median_range

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from analysis.reading.run import Run
    from analysis.selection import Selection

RANKS_A_TABLE = 2
SOURCES = ("delta", "weight", "random")
"""Where U and V are from: dW, W's own top r, random matrices."""
RATIOS = ("factor", "factor_raw", "lift_delta")
"""They divide by a norm that is near 0 where dW hardly meets W, or are the inverse of what does."""
RATIO_NOTE = (
    "median over seeds, with the lowest and the highest in brackets, for such ratios explode where the "
    "directions of dW hardly meet W"
)

PAPER_RANKS = (4, 64)
PAPER_LETTER = "q"
DRAWS, DRAWN_DIRECTIONS = 4000, 40_000
"""At a rank r, max(DRAWS, DRAWN_DIRECTIONS / r) pairs of random U and V: a small r varies most.  So many
know what 5 and 95 % are below to 0.001 at r = 64 and to 0.01 at r = 4."""
CHANCE = (0.05, 0.95)
"""Quantiles of the random pairs' norms."""


@command("table7", "what dW amplifies: projections of W, amplification factors", title="Table 7")
def make(selection: Selection) -> Result:
    """The table in the paper's layout, the factors, and the CSV of every number.

    Raises:
        MissingRunsError: the study has no LoRA runs of these targets.
    """
    runs = selection.every_run(PAPER_RANKS)
    any_run = next(iter(runs.values()))
    count = tensors.layers(selection, any_run)[-1] + 1
    layer = tensors.one_layer(selection, any_run)
    numbers = table7_numbers(selection, runs, layer)
    place = layers_of([layer], count)
    used = list(runs.values())
    sentences = lora_sentence(selection, used) + weight_sentence(selection, used)
    note = sentences + _deficient(numbers)
    ranks = sorted({rank for rank, _ in runs})
    first = PAPER_RANKS if {*PAPER_RANKS} <= {*ranks} else ranks  # the paper's in one table
    ordered = sorted(ranks, key=lambda rank: (rank not in first, rank))
    tables = [
        _projections(numbers, ordered[start : start + RANKS_A_TABLE], place, note)
        for start in range(0, len(ordered), RANKS_A_TABLE)
    ]
    tables.append(_factors(numbers, ranks, place, note))
    return Result(
        stem_of(selection, "table7", basis=False),
        numbers,
        {
            **provenance_of(selection, used, basis=False, weights=True),
            "layer": layer + 1,
            "random_draws": {rank: draws(rank) for rank in ranks},
            "scale": "dW = alpha/r (or the run's other rule) times B A; raw: B A",
        },
        tables=tables,
    )


def _projections(numbers: pd.DataFrame, ranks: list[int], place: str, note: str) -> Table:
    """The paper's layout: columns dW, W and random for each rank."""
    columns = tuple(f"{source}, r = {rank}" for rank in ranks for source in ("dW", "W", "random"))
    groups: list[tuple[Row, ...]] = []
    for weight in dict.fromkeys(numbers["weight"]):
        of_weight = numbers[numbers["weight"] == weight]

        def line(label: str, quantity: str, of: pd.DataFrame = of_weight, weight: str = weight) -> Row:
            of_seeds = median_range if quantity == "lift_{}" else mean_sd
            cells = [
                of_seeds(_values(of, rank, quantity.format(source))) for rank in ranks for source in SOURCES
            ]
            return Row((weight, label), tuple(map(Cell, cells)))

        groups.append(
            (
                line("projected norm", "projected_norm_{}"),
                line("null", "null_projected_norm"),
                line("lift", "lift_{}"),
                Row(
                    (weight, "lift by chance, 5-95 %"),
                    tuple(Cell(_chance(of_weight, rank)) for rank in ranks for _ in SOURCES),
                ),
            )
        )
    paper = [_paper_text(f"projected_norm_{source}", rank) for rank in ranks for source in SOURCES]
    chance = [_paper_text("null_projected_norm", rank) for rank in ranks for _ in SOURCES]
    source = paper_values.table("table7")
    if set(paper) != {MISSING}:
        name = plain_weight(PAPER_LETTER)
        groups.append(
            (
                Row((f"paper, {name}", "projected norm"), tuple(map(Cell, paper)), "paper"),
                Row((f"paper, {name}", "null"), tuple(map(Cell, chance)), "paper"),
            )
        )
    norms = [
        f"{weight}: {mean_sd(_values(numbers[numbers['weight'] == weight], ranks[0], 'weight_norm')[:1])}"
        for weight in dict.fromkeys(numbers["weight"])
    ]
    return Table(
        f"Table 7, {place}: Frobenius norm of W projected onto directions of dW, of W and of random matrices",
        ("weight", "r x r matrix U'WV"),
        columns,
        tuple(groups),
        (
            "U and V hold the top r left and right singular vectors of dW, of W itself, or of random "
            f"matrices (root mean square of {_drawn(ranks)} draws); W is the weight before adaptation, as "
            "stored. Null: r times the norm of W over sqrt(d_out d_in), the root mean square over all U and "
            "V; lift: projected norm over null, and by chance that of 5 and of 95 % of the draws. Norm of W: "
            f"{', '.join(norms)}; in the paper {_paper_text('weight_norm', PAPER_RANKS[0])}. ± is the "
            "standard deviation over seeds; lift: the median over seeds, with the lowest and the highest."
            f"{defined_note(numbers['value'])}",
            note,
            f"Paper: {source.model}, layer 48; its null is computed here.",
        ),
    )


def _factors(numbers: pd.DataFrame, ranks: list[int], place: str, note: str) -> Table:
    """One line a weight and rank: norms, amplification factors, gains."""
    heads = {
        "scale": "scaling",
        "norm of dW": "delta_norm",
        "AF": "factor",
        "null AF": "null_factor",
        "lift": "lift_delta",
        "by chance": "",
        "norm of B A": "delta_norm_raw",
        "AF of B A": "factor_raw",
    }
    groups: list[tuple[Row, ...]] = []
    for weight in dict.fromkeys(numbers["weight"]):
        of_weight = numbers[numbers["weight"] == weight]
        rows = []
        for rank in ranks:
            cells = [_of_seeds(of_weight, rank, quantity) for quantity in heads.values()]
            top = of_weight[(of_weight["rank"] == rank) & (of_weight["k"] == 1)]
            gains = of_weight[(of_weight["rank"] == rank) & (of_weight["quantity"] == "gain")]
            cells.append(median_range(top[top["quantity"] == "factor_top_k"]["value"].tolist()))
            by_seed = [of_seed["value"].tolist() for _, of_seed in gains.groupby("seed")]
            cells.append(grouped_medians(by_seed))
            rows.append(Row((weight, str(rank)), tuple(map(Cell, cells))))
        groups.append(tuple(rows))
    paper = []
    for rank in (rank for rank in PAPER_RANKS if rank in ranks):
        cells = [_paper_text(quantity, rank) for quantity in heads.values()] + [MISSING] * 2
        name = plain_weight(PAPER_LETTER)
        paper.append(Row((f"paper, {name}", str(rank)), tuple(map(Cell, cells)), "paper"))
    if paper:
        groups.append(tuple(paper))
    return Table(
        f"Amplification factors, {place}",
        ("weight", "r"),
        (*heads, "AF, k = 1", "median gain"),
        tuple(groups),
        (
            "AF is the norm of dW over the projected norm of W in the directions of dW, where dW includes "
            "the scale (alpha/r, or the run's other rule); AF of B A leaves it out. Whether the paper's "
            "norms include it is not stated. Null AF is that of a dW with the same singular values and "
            "random directions; it falls as 1/r whatever dW is. Lift: null AF over AF, and by chance that of "
            "5 and of 95 % of random directions. k = 1: of the best rank-1 part of dW alone; median gain: "
            "over the directions i of dW, of its singular value i over |u_i' W v_i|. AF, lift and gain: "
            f"{RATIO_NOTE}; ± is the standard deviation over seeds. Every k and direction "
            f"is in the CSV.{_undetermined(numbers)}{defined_note(numbers['value'])}",
            note,
        ),
    )


def _of_seeds(frame: pd.DataFrame, rank: int, quantity: str) -> str:
    """A quantity of the seeds as a cell; chance's where it has no name."""
    if not quantity:
        return _chance(frame, rank)
    return (median_range if quantity in RATIOS else mean_sd)(_values(frame, rank, quantity))


def _chance(frame: pd.DataFrame, rank: int) -> str:
    """What 5 and 95 % of the random lifts are below; seeds share it, but where their dW differ in rank."""
    bounds = (_values(frame, rank, f"lift_random_q{round(100 * q):02d}") for q in CHANCE)
    low, high = ([value for value in values if not math.isnan(value)] for values in bounds)
    return interval(min(low), max(high)) if low and high else MISSING


def _drawn(ranks: list[int]) -> str:
    return listed(f"{draws(rank)} (r = {rank})" for rank in ranks)


def _deficient(numbers: pd.DataFrame) -> str:
    """For the note: the dW whose numerical rank is below r."""
    ranks = numbers[numbers["quantity"] == "numerical_rank"]
    below = ranks[ranks["value"] < ranks["rank"]]
    told = [
        f"{row.weight} at r = {row.rank}, seed {row.seed} (numerical rank {row.value:.0f})"
        for row in below.itertuples()
    ]
    if not told:
        return ""
    return (
        f" Rank-deficient dW: {'; '.join(told)}; W's, random directions and the null are taken at that rank."
    )


def _undetermined(numbers: pd.DataFrame) -> str:
    """How many directions of dW are arbitrary: they are in the medians and the CSV all the same."""
    from analysis.geometry.svd import GAP_THRESHOLD

    gains = numbers[(numbers["quantity"] == "gain") & numbers["value"].notna()]
    by_rank = [
        f"{int(of_rank['arbitrary'].sum())} of {len(of_rank)} at r = {rank}"
        for rank, of_rank in gains.groupby("rank")
        if of_rank["arbitrary"].any()
    ]
    if not by_rank:
        return ""
    return (
        f" Directions whose singular value is within {GAP_THRESHOLD:.0%} of a neighbour's are arbitrary "
        f"within their span, and so are their gains: {', '.join(by_rank)} (all weights and seeds; "
        "`arbitrary` in the CSV)."
    )


def _values(frame: pd.DataFrame, rank: int, quantity: str) -> list[float]:
    """One value a seed."""
    return frame[(frame["rank"] == rank) & (frame["quantity"] == quantity)]["value"].tolist()


def _paper_text(quantity: str, rank: int) -> str:
    value = paper_number(PAPER_LETTER, quantity, rank)
    return MISSING if value is None else f"{value:g}"


# ---------------------------------------------------------------------------------------------- the numbers


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
