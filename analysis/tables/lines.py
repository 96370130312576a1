"""What tables of accuracies are made of: their lines, their numbers for programs, what a command leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from analysis import paper_values
from analysis.cells import CHOSEN_ON, Evaluation, Place, TaskResult, task_results
from analysis.errors import AnalysisError, LackingError
from analysis.provenance import provenance_of, stem_of
from analysis.reading.needs import MissingRunsError, Need, command
from analysis.registry import ANSWERS, COMMANDS, Command
from analysis.result import Cell, Result, Row, Table
from analysis.tables.notes import PAPER_TASKS, notes
from analysis.tables.numbers import MISSING
from experiments.methods import lookup

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.paper_values import PaperValue
    from analysis.selection import Selection

MEAN = ("mean", "seed_sd", "low", "high", "seeds", "examples")
"""Columns of `numbers`."""

Make = TypeVar("Make", bound=Callable[..., "AccuracyTable"])


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """A table of a study.

    Attributes:
        table: as readers see it.
        cells: one row a cell, with columns of `numbers` and what else the table says of it.
        runs: the ids of the runs used.
    """

    table: Table
    cells: DataFrame
    runs: tuple[str, ...]


def lines(
    result: TaskResult,
    labels: tuple[str, ...],
    places: Sequence[Place],
    paper: Sequence[PaperValue | None] = (),
    word: str = "ours",
) -> Iterator[Row]:
    """Mean and spread of seeds at each place, then the intervals, then the paper's values where it has some.

    Args:
        labels: of the first line, but for the last, which is `word`.
        paper: by place.
    """
    yield from stacked([(result, place) for place in places], labels, paper, word)


def stacked(
    cells: Sequence[tuple[TaskResult | None, Place]],
    labels: tuple[str, ...],
    paper: Sequence[PaperValue | None],
    word: str = "ours",
) -> Iterator[Row]:
    """As `lines`, of cells that may be of several results; None is blank."""
    blank = ("",) * len(labels)
    shown = tuple(result.shown(place) if result else Cell(MISSING) for result, place in cells)
    yield Row((*labels, word), shown)
    found = [(result, result.cells.get(place)) if result else (None, None) for result, place in cells]
    intervals = (result.interval(cell.mean) if result and cell else "" for result, cell in found)
    yield Row((*blank, "95%"), tuple(map(Cell, intervals)), "interval")
    if any(paper):
        values = tuple(Cell(f"{value.value:.1f}" if value else "") for value in paper)
        column = next(result.column for result, _ in cells if result)
        yield Row((PAPER_TASKS[column or ""], *blank[1:], "paper"), values, "paper")


def facts(result: TaskResult, place: Place) -> tuple[Cell, ...]:
    """Of a cell that has a line of its own: parameters, dev, the mean and its interval."""
    cell = result.cells[place]
    return (
        Cell(f"{cell.trainable:,}"),
        Cell(MISSING if cell.dev is None else result.number(cell.dev)),
        result.shown(place),
        Cell(result.interval(cell.mean)),
    )


def numbers(
    result: TaskResult, place: Place, evaluation: Evaluation, paper: PaperValue | None
) -> dict[str, Any]:
    """Whatever there is to say of a cell, ours and the paper's, in the unit that people read.

    `varies` is what the interval holds; `below_highest` and `p_holm` are of paired runs.  Where the study has
    no such cell, what the paper says.
    """
    cell, marked = result.cell(place)
    of_paper = {
        "task": result.task,
        "targets": place[0],
        "rank": place[1],
        "paper_task": PAPER_TASKS.get(result.column or ""),
        "paper": paper.value if paper else None,
        "paper_noise": paper.noise if paper else None,
        "paper_notes": " ".join(paper.notes) if paper else None,
    }
    if cell is None:
        return of_paper
    mean, scale = cell.mean, result.metric.scale
    against = result.best.against.get(place)
    return {
        **of_paper,
        **{name: scale * getattr(mean, name) for name in MEAN[:4]},
        **{name: getattr(mean, name) for name in MEAN[4:]},
        "parameters": cell.parameters,
        "trainable": cell.trainable,
        "varies": " and ".join(mean.sources),
        "dev": None if cell.dev is None else scale * cell.dev,
        "lr": cell.lr or None,
        "lr_rule": f"best on {CHOSEN_ON}" if len(cell.lr_tried) > 1 else "fixed",
        "lr_tried": " ".join(f"{rate:g}" for rate in cell.lr_tried if rate),
        "seconds": cell.seconds,
        "checkpoint": evaluation.checkpoint,
        "split": evaluation.split,
        "metric": result.metric.title,
        "marked": marked,
        "below_highest": scale * against.difference if against else 0.0,
        "p_holm": against.p_holm if against else None,
        "runs": " ".join(cell.runs),
    }


def as_frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> DataFrame:
    """These columns of the rows; whole numbers may be missing."""
    import pandas

    made = pandas.DataFrame(rows, columns=[*columns])
    return made.convert_dtypes(convert_floating=False, convert_string=False)


def runs_of(results: Iterable[TaskResult]) -> tuple[str, ...]:
    return tuple(run for result in results for cell in result.cells.values() for run in cell.runs)


# ------------------------------------------------------------------------- tables of a shape that is given

Pair = tuple[Place, Place]
"""Where a cell of ours is, and where the paper's is that stands below it."""

_COLUMNS = (
    *("table", "task", "targets", "rank", "parameters", *MEAN, "varies", "lr", "lr_rule", "checkpoint"),
    *("split", "metric", "below_highest", "p_holm", "marked", "paper_task", "paper_rank", "paper"),
    *("paper_noise", "paper_notes"),
)


def fixed(
    name: str,
    runs: DataFrame,
    evaluation: Evaluation,
    *,
    title: str,
    columns: Sequence[str],
    shape: Mapping[tuple[str, ...], Sequence[Pair]],
    head: Sequence[Row] = (),
    missing: Sequence[str] = (),
) -> AccuracyTable:
    """One of the paper's tables, ours above the paper's line by line, for each task of the runs.

    Args:
        name: of the paper's table.
        runs: as `lora_runs` gives them.
        shape: by the labels of a line, its cells by column; what the study lacks among them is left blank.
        head: lines above all tasks.
        missing: what the study lacks, in words.

    Raises:
        AnalysisError: runs cannot stand in one table, or are damaged.
    """
    pairs = [pair for line in shape.values() for pair in line]
    there = {(targets, int(rank)) for targets, rank in zip(runs["targets"], runs["rank"], strict=True)}
    ours = [pair for pair in pairs if pair[0] in there]
    results = task_results(runs, [place for place, _ in ours], evaluation)
    groups, rows = [tuple(head)] if head else [], []
    for result in results:
        group: list[Row] = []
        for labels, line in shape.items():
            values = [paper_values.at_place([name], result.task, theirs) for _, theirs in line]
            group += lines(result, (result.task, *labels), [place for place, _ in line], values)
        groups.append(tuple(group))
        for place, theirs in sorted(pairs, key=lambda pair: pair not in ours):
            value = paper_values.at_place([name], result.task, theirs)
            if value or place in there:
                row = numbers(result, place if place in there else theirs, evaluation, value)
                rows.append({"table": name, "paper_rank": theirs[1] if value else None, **row})
    table = Table(
        title=title,
        labels=("", *("weights" for _ in next(iter(shape))), ""),
        columns=tuple(columns),
        groups=tuple(groups),
        notes=notes(results, evaluation, missing),
    )
    return AccuracyTable(table, as_frame(rows, _COLUMNS), runs_of(results))


# ----------------------------------------------------------------------------------------------- the commands


def accuracy_table(name: str, help: str, title: str) -> Callable[[Make], Make]:
    """Register a function that makes a table of a study's frame as a command, all tasks in one table.

    Args:
        name, help, title: as of `analysis.registry.Command`.
    """

    def register(make: Make) -> Make:
        def of(selection: Selection) -> Result:
            try:
                made = make(selection.frame, checkpoint=selection.checkpoint, split=selection.split)
            except LackingError as error:
                lines = [line for one in selection.each_task() for line in _training(one, error)]
                if not lines:
                    raise
                raise LackingError("\n  ".join([f"{error}; to train them:", *lines])) from None
            return _as_result(selection, name, made)

        command = Command(name, of, help, ANSWERS, every_task=True, title=title)
        COMMANDS.register(command, make)
        return make

    return register


def _training(selection: Selection, lacking: LackingError) -> list[str]:
    """The commands that train what a task lacks as its LoRA runs were; none where these leave that open."""
    like = [
        run
        for run in selection.study.matching(method="lora", task=selection.task)
        if selection.seeds is None or run.settings["seed"] in selection.seeds
    ]
    seeds = sorted({run.settings["seed"] for run in like})
    if not like:
        return []
    if lacking.cells:
        needs = [Need(*cell, seed) for cell in lacking.cells for seed in seeds]
        try:
            selection.study.require(needs, task=selection.task)
        except MissingRunsError as missing:
            return [*missing.commands]
        except AnalysisError:
            return []
    if not lacking.methods:
        return []
    # Another method has its own learning rate, and no rank or weights.
    own = {*lookup("lora").settings, "lr", "method", "experiment"}
    run = like[0]
    settings = {key: value for key, value in run.settings.items() if key not in own}
    recorded = [one for one in run.overrides if one.lstrip("+~").partition("=")[0] not in own]
    swept = {"method": [*lacking.methods], "seed": seeds}
    return [command(selection.study.name, selection.study.training_root, settings, swept, recorded)]


def _as_result(selection: Selection, name: str, made: AccuracyTable) -> Result:
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
        selection.check_model([run for run in used if run.settings["task"] == task])
    return Result(
        stem_of(selection, name, targets=False, basis=False, layer=False, split=True),
        made.cells,
        provenance_of(selection, used, targets=False, basis=False, split=True),
        tables=(made.table,),
    )
