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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import CHOSEN_ON, CellResult, Evaluation, Place, TaskResult, lora_runs, task_results
from analysis.errors import AnalysisError
from analysis.paper_values import PaperValue
from analysis.provenance import provenance_of, stem_of
from analysis.registry import ANSWERS, command
from analysis.result import Cell, Result, Row, Table
from analysis.tables.notes import PAPER_TASKS, notes
from analysis.tables.numbers import MISSING

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.selection import Selection

TABLE5_TARGETS = ("q", "k", "v", "o", "qk", "qv", "qkvo")
TABLE6_TARGETS = ("q", "qv", "qkvo")
TABLE6_RANKS = (1, 2, 4, 8, 64)
BUDGET_TARGETS, BUDGET_RANK = "q", 8


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """Table 5 or 6 of a study.

    Attributes:
        table: as readers see it.
        cells: one row a cell, ours and the paper's, shares in per cent: table, task, targets, rank,
            parameters, mean, seed_sd, low, high, seeds, examples, varies (what the interval holds), lr,
            lr_rule, checkpoint, split, metric, marked, below_highest (on paired runs), p_holm (of that),
            paper, paper_noise, paper_notes.  What a cell does not have is missing.
        runs: the ids of the runs used.
    """

    table: Table
    cells: DataFrame
    runs: tuple[str, ...]


@command(
    "table5",
    "which weights to adapt at equal budget, ours beside the paper's",
    selects=ANSWERS,
    every_task=True,
    title="Table 5",
)
def make_table5(selection: Selection) -> Result:
    """All tasks in one table.

    Raises:
        AnalysisError: as `table5`.
    """
    made = table5(selection.frame, checkpoint=selection.checkpoint, split=selection.split)
    return as_result(selection, "table5", made)


@command(
    "table6",
    "the effect of the rank, ours beside the paper's",
    selects=ANSWERS,
    every_task=True,
    title="Table 6",
)
def make_table6(selection: Selection) -> Result:
    """All tasks in one table.

    Raises:
        AnalysisError: as `table6`.
    """
    made = table6(selection.frame, checkpoint=selection.checkpoint, split=selection.split)
    return as_result(selection, "table6", made)


def table5(
    frame: DataFrame,
    *,
    checkpoint: str = "last",
    split: str = "test",
    lr: float | None = None,
    budget: int | None = None,
) -> AccuracyTable:
    """Which weight types to adapt at equal cost (the paper's Table 5).

    Of each set of types, the study's rank whose parameters are nearest to the budget, by the rule of
    `experiments.budget`: at most half of one rank's parameters away.

    Args:
        frame: a study's runs, as `analysis.load` gives them.
        checkpoint: "last", or "best" on dev.
        split: what to report.
        lr: only runs of this learning rate; None: where a cell has several, the one that is best on dev.
        budget: parameters of the adapter; None: those of q at r = 8, as in the paper.

    Raises:
        AnalysisError: the study has no such runs, runs that cannot stand in one table, or damaged ones.
    """
    evaluation = Evaluation(checkpoint, split, lr)
    lora = _lora(frame)
    cost = budget or _cost_of_q(lora)
    within = lora[(lora["adapter_parameters"] - cost).abs() * 2 * lora["rank"] <= lora["adapter_parameters"]]
    ranks = {
        targets: min(found["rank"], key=lambda rank: (abs(_cost(found, rank) - cost), rank))
        for targets in TABLE5_TARGETS
        if len(found := within[within["targets"] == targets])
    }
    if not ranks:
        raise AnalysisError(f"no run of the study costs {cost:,} parameters; give budget, or train such runs")
    places = [(targets, int(ranks[targets])) for targets in TABLE5_TARGETS if targets in ranks]
    results = task_results(lora, places, evaluation)
    papers = {place[0]: place for place in _paper_places("table5")}

    def group(result: TaskResult) -> tuple[Row, ...]:
        ours = [(targets, ranks.get(targets, 0)) for targets in TABLE5_TARGETS]
        theirs = [_paper("table5", result.task, papers[targets]) for targets in TABLE5_TARGETS]
        return (*_rows(result, (result.task,), ours), *_paper_rows(result, (), theirs))

    head = (
        Row(("r", "ours"), tuple(Cell(str(ranks.get(t, MISSING))) for t in TABLE5_TARGETS)),
        Row(("", "paper"), tuple(Cell(str(papers[t][1])) for t in TABLE5_TARGETS), "paper"),
    )
    missing = [targets for targets in TABLE5_TARGETS if targets not in ranks]
    shown = Table(
        title=f"Table 5: which weight types to adapt, with {cost:,} parameters",
        labels=("", ""),
        columns=tuple(_weights(targets) for targets in TABLE5_TARGETS),
        groups=(head, *(group(result) for result in results)),
        notes=notes(results, evaluation, missing),
    )
    return AccuracyTable(shown, _tidy("table5", results, places, evaluation, papers), _runs(results))


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
        raise AnalysisError(
            f"the study has no LoRA run of {', '.join(TABLE6_TARGETS)} at one rank; train some"
        )
    ranks = sorted({*TABLE6_RANKS, *map(int, lora["rank"])})
    there = {(targets, int(rank)) for targets, rank in zip(lora["targets"], lora["rank"], strict=True)}
    places = [(targets, rank) for targets in TABLE6_TARGETS for rank in ranks if (targets, rank) in there]
    results = task_results(lora, places, evaluation)

    def group(result: TaskResult) -> tuple[Row, ...]:
        rows: list[Row] = []
        for targets in TABLE6_TARGETS:
            ours = [(targets, rank) for rank in ranks]
            theirs = [_paper("table6", result.task, (targets, rank)) for rank in ranks]
            rows.extend(_rows(result, (result.task, _weights(targets)), ours))
            rows.extend(_paper_rows(result, ("",), theirs))
        return tuple(rows)

    missing = [
        f"{targets} r={rank}" for targets in TABLE6_TARGETS for rank in ranks if (targets, rank) not in there
    ]
    shown = Table(
        title="Table 6: the effect of the rank",
        labels=("", "weights", ""),
        columns=tuple(f"r={rank}" for rank in ranks),
        groups=tuple(group(result) for result in results),
        notes=notes(results, evaluation, missing),
    )
    papers = {place: place for place in _paper_places("table6")}
    return AccuracyTable(shown, _tidy("table6", results, places, evaluation, papers), _runs(results))


def as_result(selection: Selection, name: str, made: AccuracyTable) -> Result:
    """What the command leaves.

    Raises:
        AnalysisError: a cell lacks a seed that was chosen, or a task's runs are of different models.
    """
    if selection.seeds is not None:
        cells = made.cells[made.cells["seeds"].notna()]
        lacking = cells[cells["seeds"] < len(selection.seeds)]
        if len(lacking):
            named = lacking[["task", "targets", "rank"]].itertuples(index=False)
            told = ", ".join(f"{task} {targets} r={rank}" for task, targets, rank in named)
            raise AnalysisError(
                f"--seeds {','.join(map(str, selection.seeds))}: not each of them has a run of {told}; train "
                "those, or choose seeds that all cells have"
            )
    used = [run for run in selection.study.runs if run.id in made.runs]
    for task in dict.fromkeys(run.settings["task"] for run in used):
        selection.check_model(run for run in used if run.settings["task"] == task)
    return Result(
        stem_of(selection, name, targets=False, basis=False, layer=False, split=True),
        made.cells,
        provenance_of(selection, used, targets=False, basis=False, split=True),
        tables=(made.table,),
    )


# ------------------------------------------------------------------------------------------- the cells


def _lora(frame: DataFrame) -> DataFrame:
    """The LoRA runs with one rank."""
    if frame.empty:
        raise AnalysisError("the study has no finished run; train some with python run.py -m")
    lora = lora_runs(frame)
    if lora.empty:
        raise AnalysisError("the study has no LoRA run of one rank; train some with python run.py -m")
    return lora


def _cost_of_q(lora: DataFrame) -> int:
    found = lora[(lora["targets"] == BUDGET_TARGETS) & (lora["rank"] == BUDGET_RANK)]
    if found.empty:
        raise AnalysisError(
            f"the study lacks a run of {BUDGET_TARGETS} at r={BUDGET_RANK}, whose parameters are Table 5's "
            "budget; train one, or give budget"
        )
    return int(found["adapter_parameters"].iloc[0])


def _cost(found: DataFrame, rank: int) -> int:
    return int(found[found["rank"] == rank]["adapter_parameters"].iloc[0])


# ------------------------------------------------------------------------------------------- the layout


def _rows(result: TaskResult, labels: tuple[str, ...], places: Sequence[Place]) -> tuple[Row, ...]:
    """Our two lines: mean and spread of seeds, then the interval."""
    blank = ("",) * len(labels)
    cells = map(result.cells.get, places)
    intervals = tuple(Cell(result.interval(cell.mean) if cell else "") for cell in cells)
    return (
        Row((*labels, "ours"), tuple(map(result.shown, places))),
        Row((*blank, "95%"), intervals, "interval"),
    )


def _paper_rows(
    result: TaskResult, labels: tuple[str, ...], values: Sequence[PaperValue | None]
) -> tuple[Row, ...]:
    """The paper's line, where its tables have the task."""
    if result.column is None:
        return ()
    cells = tuple(Cell(f"{value.value:.1f}" if value else "") for value in values)
    return (Row((PAPER_TASKS[result.column], *labels, "paper"), cells, "paper"),)


def _weights(targets: str) -> str:
    return ", ".join(f"W_{letter}" for letter in targets)


def _paper_places(name: str) -> list[Place]:
    return [(row["targets"], row["rank"]) for row in paper_values.table(name).rows]


def _paper(name: str, task: str, place: Place) -> PaperValue | None:
    if task not in paper_values.TASKS or place not in _paper_places(name):
        return None
    return paper_values.accuracy(name, task=task, targets=place[0], rank=place[1])


def _tidy(
    name: str,
    results: Sequence[TaskResult],
    places: Sequence[Place],
    evaluation: Evaluation,
    papers: Mapping[Any, Place],
) -> DataFrame:
    """One row for each cell that the study or the paper has."""
    import pandas

    def paper_place(place: Place) -> Place | None:
        return papers.get(place[0]) if name == "table5" else papers.get(place)

    rows = []
    for result in results:
        shown = {paper_place(place) for place in places}
        others = [theirs for theirs in papers.values() if theirs not in shown] if result.column else []
        for place in [*places, *others]:
            theirs = paper_place(place)
            value = _paper(name, result.task, theirs) if theirs else None
            cell, marked = result.cell(place)
            rows.append(
                {
                    "table": name,
                    "task": result.task,
                    "targets": place[0],
                    "rank": place[1],
                    **(_measured(result, place, cell, evaluation) if cell else {}),
                    "marked": marked if cell else None,
                    "paper_task": PAPER_TASKS.get(result.column or ""),
                    "paper_rank": theirs[1] if theirs else None,
                    "paper": value.value if value else None,
                    "paper_noise": value.noise if value else None,
                    "paper_notes": " ".join(value.notes) if value else None,
                }
            )
    return pandas.DataFrame(rows).convert_dtypes(convert_floating=False, convert_string=False)


def _measured(result: TaskResult, place: Place, cell: CellResult, evaluation: Evaluation) -> dict[str, Any]:
    against = result.best.against.get(place)
    return {
        "parameters": cell.parameters,
        **result.measured(cell.mean),
        "varies": " and ".join(cell.mean.sources),
        "lr": cell.lr,
        "lr_rule": f"best on {CHOSEN_ON}" if len(cell.lr_tried) > 1 else "fixed",
        "checkpoint": evaluation.checkpoint,
        "split": evaluation.split,
        "metric": result.metric.title,
        "below_highest": result.metric.scale * against.difference if against else 0.0,
        "p_holm": against.p_holm if against else None,
    }


def _runs(results: Sequence[TaskResult]) -> tuple[str, ...]:
    return tuple(run for result in results for cell in result.cells.values() for run in cell.runs)
