"""Table 7: W in the directions of dW, in its own and in random ones; amplification factors (paper, 7.3, H.4).

One layer, every rank and seed of the study, each weight.  What the paper leaves open is stated: dW includes
its scale, and the amplification factor stands beside what random directions would give.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.figures.words import layers_of, plain_weight
from analysis.output import Result
from analysis.tables.layout import Cell, Row, Table
from analysis.tables.numbers import MISSING, mean_sd

if TYPE_CHECKING:
    import pandas as pd

    from analysis.run import Run
    from analysis.selection import Selection

PAPER_RANKS = (4, 64)
PAPER_LETTER = "q"
DRAWS = 20
RANKS_A_TABLE = 2
SOURCES = ("delta", "weight", "random")
"""Where U and V are from: dW, W's own top r, random matrices."""


def make(selection: Selection) -> Result:
    """The table in the paper's layout, the factors, and the CSV of every number.

    Raises:
        MissingRunsError: the study has no LoRA runs of these targets.
    """
    runs = selection.every_run(PAPER_RANKS)
    any_run = next(iter(runs.values()))
    count = selection.layers(any_run)[-1] + 1
    layer = selection.one_layer(any_run)
    numbers = _frame(selection, runs, layer)
    place = layers_of([layer], count)
    note = selection.sentence(list(runs.values()))
    ranks = sorted({rank for rank, _ in runs})
    ordered = sorted(ranks, key=lambda rank: (rank not in PAPER_RANKS, rank))  # the paper's in one table
    tables = [
        _projections(numbers, ordered[start : start + RANKS_A_TABLE], place, note)
        for start in range(0, len(ordered), RANKS_A_TABLE)
    ]
    tables.append(_factors(numbers, ranks, place, note))
    return Result(
        selection.stem("table7", basis=False),
        numbers,
        {
            **selection.provenance(runs.values(), basis=False),
            "layer": layer + 1,
            "random_draws": DRAWS,
            "scale": "dW = alpha/r (or the run's other rule) times B A; raw: B A",
        },
        texts={
            ".md": "\n".join(table.markdown() for table in tables),
            ".tex": "\n".join(table.latex() for table in tables),
        },
        terminal="\n\n".join(table.terminal() for table in tables),
    )


def _frame(selection: Selection, runs: dict[tuple[int, int], Run], layer: int) -> pd.DataFrame:
    """One row a number: layer, weight, rank, seed, quantity, k, value, paper."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for letter in selection.letters:
        for rank, seed, quantity, k, value in _numbers(selection, runs, layer, letter):
            row = {"layer": layer + 1, "weight": plain_weight(letter), "rank": rank, "seed": seed}
            paper = _paper(letter, quantity, rank) if k is None else None
            rows.append({**row, "quantity": quantity, "k": k, "value": value, "paper": paper})
    frame = pd.DataFrame(rows)
    return frame.astype({"k": "Int64", "paper": "float64"})


def _numbers(
    selection: Selection, runs: dict[tuple[int, int], Run], layer: int, letter: str
) -> Iterator[tuple[int, int, str, int | None, float]]:
    """rank, seed, quantity, k (of a direction) and value, for one projection; W is read once."""
    from analysis.amplifying import amplification, own_projected_norms, random_projected_norms
    from analysis.weight_svd import top_directions

    W = selection.weight(next(iter(runs.values())), layer, letter)
    ranks = sorted({min(rank, *W.shape) for rank, _ in runs})
    own = own_projected_norms(top_directions(W, ranks[-1])[1])
    random = {rank: random_projected_norms(W, rank, DRAWS) for rank in ranks}
    for (rank, seed), run in runs.items():
        factors = selection.factors(run, layer, letter)
        found = amplification(W, factors.B, factors.A, factors.scaling)
        directions = min(rank, *W.shape)
        single = {
            "scaling": found.scaling,
            "weight_norm": found.weight_norm,
            "delta_norm": found.delta_norm,
            "delta_norm_raw": found.delta_norm / found.scaling,
            "projected_norm_delta": found.projected_norm,
            "projected_norm_weight": float(own[directions - 1]),
            "projected_norm_random": float(random[directions].mean()),
            "projected_norm_random_sd": float(random[directions].std()),
            "null_projected_norm": found.null_projected_norm,
            "lift_delta": found.lift,
            "lift_weight": float(own[directions - 1]) / found.null_projected_norm,
            "lift_random": float(random[directions].mean()) / found.null_projected_norm,
            "factor": found.factor,
            "factor_raw": found.factor / found.scaling,
            "null_factor": found.null_factor,
        }
        for quantity, value in single.items():
            yield rank, seed, quantity, None, value
        for quantity, values in (("factor_top_k", found.factor_top_k), ("gain", found.gains)):
            for k, value in enumerate(values.tolist(), start=1):
                yield rank, seed, quantity, k, value


def _projections(numbers: pd.DataFrame, ranks: list[int], place: str, note: str) -> Table:
    """The paper's layout: columns dW, W and random for each rank."""
    columns = tuple(f"{source}, r = {rank}" for rank in ranks for source in ("dW", "W", "random"))
    groups: list[tuple[Row, ...]] = []
    for weight in dict.fromkeys(numbers["weight"]):
        of_weight = numbers[numbers["weight"] == weight]

        def line(label: str, quantity: str, of: pd.DataFrame = of_weight, weight: str = weight) -> Row:
            cells = [
                mean_sd(_values(of, rank, quantity.format(source))) for rank in ranks for source in SOURCES
            ]
            return Row((weight, label), tuple(map(Cell, cells)))

        groups.append(
            (
                line("projected norm", "projected_norm_{}"),
                line("null", "null_projected_norm"),
                line("lift", "lift_{}"),
            )
        )
    paper = [_paper_text(f"projected_norm_{source}", rank) for rank in ranks for source in SOURCES]
    chance = [_paper_text("null_projected_norm", rank) for rank in ranks for _ in SOURCES]
    source = paper_values.table("table7")
    if set(paper) != {MISSING}:
        name = plain_weight(PAPER_LETTER)
        groups.append(
            (
                Row((f"paper, {name}", "projected norm"), tuple(map(Cell, paper))),
                Row((f"paper, {name}", "null"), tuple(map(Cell, chance))),
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
            f"matrices (mean of {DRAWS} draws); W is the weight before adaptation, as stored. Null: r times "
            "the norm of W over sqrt(d_out d_in), the root mean square over random U and V; lift: projected "
            f"norm over null. Norm of W: {', '.join(norms)}; in the paper "
            f"{_paper_text('weight_norm', PAPER_RANKS[0])}. ± is the standard deviation over seeds.",
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
        "norm of B A": "delta_norm_raw",
        "AF of B A": "factor_raw",
    }
    groups: list[tuple[Row, ...]] = []
    for weight in dict.fromkeys(numbers["weight"]):
        of_weight = numbers[numbers["weight"] == weight]
        rows = []
        for rank in ranks:
            cells = [mean_sd(_values(of_weight, rank, quantity)) for quantity in heads.values()]
            top = of_weight[(of_weight["rank"] == rank) & (of_weight["k"] == 1)]
            gains = of_weight[(of_weight["rank"] == rank) & (of_weight["quantity"] == "gain")]
            cells.append(mean_sd(top[top["quantity"] == "factor_top_k"]["value"].tolist()))
            cells.append(mean_sd(gains.groupby("seed")["value"].median().tolist()))
            rows.append(Row((weight, str(rank)), tuple(map(Cell, cells))))
        groups.append(tuple(rows))
    paper = []
    for rank in (rank for rank in PAPER_RANKS if rank in ranks):
        cells = [_paper_text(quantity, rank) for quantity in heads.values()] + [MISSING] * 2
        paper.append(Row((f"paper, {plain_weight(PAPER_LETTER)}", str(rank)), tuple(map(Cell, cells))))
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
            "random directions; it falls as 1/r whatever dW is. Lift: null AF over AF. k = 1: of the best "
            "rank-1 part of dW alone; median gain: over the directions i of dW, of its singular value i over "
            "|u_i' W v_i|. Every k and direction is in the CSV.",
            note,
        ),
    )


def _values(frame: pd.DataFrame, rank: int, quantity: str) -> list[float]:
    """One value a seed."""
    return frame[(frame["rank"] == rank) & (frame["quantity"] == quantity)]["value"].tolist()


def _paper(letter: str, quantity: str, rank: int) -> float | None:
    """The paper's number, or what follows from its numbers; None where it has none."""
    if letter != PAPER_LETTER or rank not in PAPER_RANKS:
        return None
    name = "lift" if quantity == "lift_delta" else quantity
    for table in ("table7", "derived_table7"):
        if name in paper_values.table(table).quantities:
            return paper_values.value(table, name, rank=rank).value
    return None


def _paper_text(quantity: str, rank: int) -> str:
    value = _paper(PAPER_LETTER, quantity, rank)
    return MISSING if value is None else f"{value:g}"
