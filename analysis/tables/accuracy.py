"""The paper's Tables 5 and 6 from a study, ours beside the paper's: which weight types, which rank.

    frame = analysis.load("study")
    made = table6(frame, checkpoint="best")
    print(made.table.terminal())        # or .markdown(), .latex()
    made.cells                          # one row a cell, for CSV

Every number of ours is on one split of one checkpoint, from the runs' own predictions, a share in per cent.
A cell's interval is a bootstrap over seeds and examples; cells are marked where the data support it and
nowhere else (`analysis.statistics`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis import paper_values
from analysis.cells import Evaluation, lora_runs
from analysis.errors import LackingError
from analysis.result import Cell, Row
from analysis.tables.lines import AccuracyTable, accuracy_table, fixed
from analysis.tables.numbers import MISSING
from experiments.budget import nearest_rank

if TYPE_CHECKING:
    from pandas import DataFrame


TABLE5_TARGETS = ("q", "k", "v", "o", "qk", "qv", "qkvo")
TABLE6_TARGETS = ("q", "qv", "qkvo")
TABLE6_RANKS = (1, 2, 4, 8, 64)
BUDGET_TARGETS, BUDGET_RANK = "q", 8
"""What Table 5's budget is the cost of."""


@accuracy_table("table5", "which weights to adapt at equal budget, ours beside the paper's", "Table 5")
def table5(
    frame: DataFrame,
    *,
    checkpoint: str = "last",
    split: str = "test",
    lr: float | None = None,
    budget: int | None = None,
) -> AccuracyTable:
    """Which weight types to adapt at equal cost (the paper's Table 5), each set at the budget's nearest rank.

    Args:
        frame: a study's runs, as `analysis.load` gives them.
        checkpoint: "last", or "best" on dev.
        split: what to report.
        lr: only runs of this learning rate; None: where a cell has several, the one that is best on dev.
        budget: parameters of the adapter; None: those of q at r = 8, as in the paper.

    Raises:
        AnalysisError: the study has no such runs (a LackingError), runs that cannot stand in one table, or
            damaged ones.
    """
    lora = _lora(frame)
    cost = budget or _cost_of_q(lora)
    sizes = zip(lora["adapter_parameters"], lora["rank"], strict=True)
    nearest = [nearest_rank(cost * int(rank), int(size)) for size, rank in sizes]
    at_budget = lora[(lora["rank"] == nearest) & lora["targets"].isin(TABLE5_TARGETS)]
    if at_budget.empty:
        raise LackingError(f"no run of the study costs {cost:,} parameters; train such runs")
    ranks = dict(zip(at_budget["targets"], map(int, at_budget["rank"]), strict=True))
    papers = {row["targets"]: int(row["rank"]) for row in paper_values.table("table5").rows}
    return fixed(
        "table5",
        lora,
        Evaluation(checkpoint, split, lr),
        title=f"Table 5: which weight types to adapt, with {cost:,} parameters",
        columns=[_weights(targets) for targets in TABLE5_TARGETS],
        shape={(): [((t, ranks.get(t, 0)), (t, papers[t])) for t in TABLE5_TARGETS]},
        head=(
            Row(("r", "ours"), tuple(Cell(str(ranks.get(t, MISSING))) for t in TABLE5_TARGETS)),
            Row(("", "paper"), tuple(Cell(str(papers[t])) for t in TABLE5_TARGETS), "paper"),
        ),
        missing=[targets for targets in TABLE5_TARGETS if targets not in ranks],
    )


@accuracy_table("table6", "the effect of the rank, ours beside the paper's", "Table 6")
def table6(
    frame: DataFrame, *, checkpoint: str = "last", split: str = "test", lr: float | None = None
) -> AccuracyTable:
    """The effect of the rank (the paper's Table 6); ranks that only the study has get a column too.

    Args and raises as `table5`.
    """
    evaluation = Evaluation(checkpoint, split, lr)
    lora = _lora(frame)
    lora = lora[lora["targets"].isin(TABLE6_TARGETS)]
    if lora.empty:
        raise LackingError(
            f"the study has no LoRA run of {', '.join(TABLE6_TARGETS)} at one rank; train some, or see "
            "what it has with python -m analysis grid"
        )
    ranks = sorted({*TABLE6_RANKS, *map(int, lora["rank"])})
    there = {*zip(lora["targets"], lora["rank"], strict=True)}
    places = {targets: [(targets, rank) for rank in ranks] for targets in TABLE6_TARGETS}
    return fixed(
        "table6",
        lora,
        evaluation,
        title="Table 6: the effect of the rank",
        columns=[f"r={rank}" for rank in ranks],
        shape={(_weights(t),): [*zip(line, line, strict=True)] for t, line in places.items()},
        missing=[f"{t} r={r}" for line in places.values() for t, r in line if (t, r) not in there],
    )


def _lora(frame: DataFrame) -> DataFrame:
    """The LoRA runs with one rank."""
    if frame.empty:
        raise LackingError("the study has no finished run; train some with python run.py -m")
    lora = lora_runs(frame)
    if lora.empty:
        raise LackingError("the study has no LoRA run of one rank; train some with python run.py -m")
    return lora


def _cost_of_q(lora: DataFrame) -> int:
    found = lora[(lora["targets"] == BUDGET_TARGETS) & (lora["rank"] == BUDGET_RANK)]
    if found.empty:
        raise LackingError(
            f"the study lacks runs of {BUDGET_TARGETS} at r={BUDGET_RANK}, whose parameters are Table 5's "
            "budget (in Python there is table5(frame, budget=...), too)",
            cells=[(BUDGET_TARGETS, BUDGET_RANK)],
        )
    return int(found["adapter_parameters"].iloc[0])


def _weights(targets: str) -> str:
    return ", ".join(f"W_{letter}" for letter in targets)
