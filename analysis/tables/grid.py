"""`python -m analysis grid`: whatever a study holds, weights by rank, and the smallest that will do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.answer import HOW_SURE, Answer, answer
from analysis.cells import CHOSEN_ON, Evaluation
from analysis.defaults import DEFAULT_MARGIN
from analysis.errors import UsageError
from analysis.figures import by_rank
from analysis.grid import Grid, GridCell, grids, is_cut, named_runs
from analysis.provenance import provenance_of, stem_of
from analysis.registry import ANSWERS, command
from analysis.result import Cell, CommandLines, Drawing, Result, Row, Table
from analysis.tables.lines import MEAN, as_frame, facts, lines, numbers
from analysis.tables.notes import CHECKPOINT_WORDS, notes
from analysis.tables.numbers import MISSING
from lora.targets import parse_targets

if TYPE_CHECKING:
    from analysis.paper_values import PaperValue
    from analysis.selection import Selection

MANY_CELLS = 12
"""Of more the terminal does not show the table of cells: weights by rank say the most of it."""
NO_RANK = "no rank"
NOWHERE = ("", 0)
PAPER_TABLES = ("table6", "table5")
_COLUMNS = (
    *("grid", "task", "model", "method", "targets", "rank", "cell", "parameters", *MEAN, "varies", "dev"),
    *("lr", "lr_tried", "seconds", "checkpoint", "split", "metric", "marked", "p_holm", "to_highest"),
    *("to_highest_low", "to_highest_high", "margin", "answer", "runs", "paper"),
)


@command(
    "grid",
    "whatever the study holds, weights by rank, and the smallest that will do",
    selects=ANSWERS,
    every_task=True,
    title="Weights and rank",
    place="first",
)
def make(
    selection: Selection, margin: float = DEFAULT_MARGIN, paper: bool = False, metric: str | None = None
) -> Result:
    """The grid of every task, model and method; a figure of each kind with a panel for each.

    Args:
        margin: what does not matter: in points where the metric is a share, else in its own unit.
        paper: whether the paper's numbers stand beside ours.
        metric: by which the cells are compared; None: the one that counts for the runs' task.

    Raises:
        AnalysisError: as `analysis.grid.grids`.
    """
    if paper and metric is not None:
        raise UsageError("--paper's numbers are by the metric that counts; leave --metric or --paper out")
    found = grids(selection, metric)
    answers = [
        made for grid in found if (made := answer(grid, margin / grid.metric.scale, selection)) is not None
    ]
    evaluation = Evaluation(selection.checkpoint, selection.split, metric=metric)
    by_grid = {id(made.grid): made for made in answers}
    rows = [(grid, cell, by_grid.get(id(grid))) for grid in found for cell in (*grid.cells, *grid.references)]
    stem = stem_of(selection, "grid", targets=False, basis=False, layer=False, split=True)
    stem += f"-margin{margin:g}" * (margin != DEFAULT_MARGIN) + "-paper" * paper
    stem += f"-{metric.replace(':', '.')}" if metric else ""
    used = {run for grid in found for run in grid.runs}
    runs = [run for run in selection.study.runs if run.id in used]
    drawn = _drawings(found, selection)
    tables = _by_rank(found, selection, paper), _each(rows, selection, margin)
    said = [made.sentences for made in answers]
    sure = [HOW_SURE] if any(made.decision for made in answers) else []
    return Result(
        stem,
        as_frame([_number(*row, evaluation) for row in rows], _COLUMNS),
        {
            **provenance_of(selection, runs, targets=False, basis=False, split=True),
            "margin": margin,
            "not_in_the_grid": sorted({*_others(found), *_not_chosen(selection)}),
        },
        drawings=drawn,
        texts={".html": _page(selection, said, sure, drawn, tables)},
        tables=tables,
        commands=_commands(answers, selection),
        answers=[*said, *sure],
    )


def _page(
    selection: Selection,
    answers: Sequence[str],
    sure: Sequence[str],
    drawn: Mapping[str, Drawing],
    tables: Sequence[Table],
) -> str:
    from analysis.report.sheet import sheet

    lead = " ".join(answers) or "No run of this study has a rank."
    title = f"Weights and rank: study {selection.study.name}"
    return sheet("LoRA (Hu et al., 2021), Section 7", title, lead, sure, drawn.values(), tables)


# ---------------------------------------------------------------------------------------------- the tables


def _by_rank(found: Sequence[Grid], selection: Selection, paper: bool) -> Table:
    """Weights by rank: mean and spread of seeds, then the interval."""
    ranks = sorted({rank for grid in found for rank in grid.ranks})
    without = any(cell.rank is None for grid in found for cell in (*grid.cells, *grid.references))
    columns = (*(f"r={rank}" for rank in ranks), *([NO_RANK] if without else []))
    return Table(
        title="Weights by rank",
        labels=("", "weights", ""),
        columns=columns,
        groups=tuple(tuple(_lines(grid, ranks, without, paper)) for grid in found),
        notes=_notes(found, selection, paper),
    )


def _lines(grid: Grid, ranks: Sequence[int], without: bool, paper: bool) -> Iterable[Row]:
    for line, cells in {**grid.lines, **{cell.line: [cell] for cell in grid.references}}.items():
        by_rank = {cell.rank: cell.place for cell in cells}
        places = [by_rank.get(rank, NOWHERE) for rank in (*ranks, *([None] * without))]
        values = [_paper(grid, cells[0], rank) for rank in ranks] if paper else []
        labels = (grid.title, _words(cells[0], line))
        yield from lines(grid.result, labels, places, [*values, *([None] * without)], "mean")


def _each(rows: Sequence[tuple[Grid, GridCell, Answer | None]], selection: Selection, margin: float) -> Table:
    """One row a cell, with all that there is to say of it."""
    groups: dict[str, list[Row]] = {}
    for grid, cell, made in rows:
        groups.setdefault(grid.title, []).append(_row(grid, cell, made))
    return Table(
        title="Each cell",
        labels=("", "cell"),
        columns=(
            "parameters",
            CHOSEN_ON,
            selection.split,
            "95%",
            "to the highest",
            f"margin {margin:g}",
            "lr",
            "seconds",
            "seeds",
        ),
        groups=tuple(map(tuple, groups.values())),
        notes=(
            "To the highest: the difference of paired runs, with its 95% interval. Margin: whether the cell "
            "is shown to be within the margin of the best, or worse by more, against every other cell and "
            "corrected for their number; else undecided. Marks ask less, whether a cell is worse than the "
            "highest at all: one may bear a mark and be worse by the margin, or be undecided without a mark. "
            "Seconds: of a run, their mean.",
        ),
        long=len(rows) > MANY_CELLS,
    )


def _row(grid: Grid, cell: GridCell, made: Answer | None) -> Row:
    tried = len(cell.result.lr_tried)
    rate = f"{cell.result.lr:g}" + (f" of {tried}" if tried > 1 else "")
    return Row(
        (grid.title, cell.name),
        (
            *facts(grid.result, cell.place),
            Cell(made.to_highest(cell) if made else ""),
            Cell(made.status(cell) if made else ""),
            Cell(rate if cell.result.lr else MISSING),
            Cell(f"{cell.result.seconds:.0f}"),
            Cell(str(cell.seeds)),
        ),
    )


def _words(cell: GridCell, line: str) -> str:
    """The line with its weights as W_q, W_v."""
    if not (cell.targets and line.startswith(cell.targets)):
        return line
    letters = parse_targets(cell.targets.replace("-", ","))
    return ", ".join(f"W_{letter}" for letter in letters) + line.removeprefix(cell.targets)


def _paper(grid: Grid, cell: GridCell, rank: int | None) -> PaperValue | None:
    """The paper's value for the cell's weights at a rank, which its Tables 5 and 6 have of some."""
    if rank is None or cell.setting:
        return None
    return paper_values.at_place(PAPER_TABLES, grid.task, (cell.targets, rank))


# ----------------------------------------------------------------------------------------------- the notes


def _notes(found: Sequence[Grid], selection: Selection, paper: bool) -> tuple[str, ...]:
    results = [grid.result for grid in found]
    evaluation = Evaluation(selection.checkpoint, selection.split)
    which = "The paper's values are those of Table 6, and of Table 5 for other weights."
    has_paper = paper and any(result.column for result in results)
    return (*notes(results, evaluation, paper=paper), *[which] * has_paper, *_left_out(found, selection))


def _left_out(found: Sequence[Grid], selection: Selection) -> Iterable[str]:
    """The study's runs that are behind no number, so that none vanishes without a word."""
    rates = [run for grid in found for run in grid.other_rates]
    if rates:
        yield (
            f"Not in the numbers, for their learning rate is not the cell's best on {CHOSEN_ON}, or has "
            f"fewer seeds than another: {named_runs(dict.fromkeys(rates))}."
        )
    repeated = [run for grid in found for run in grid.repeated]
    if repeated:
        yield (
            "Not counted twice, for they differ from another run in nothing but the weights whose dW they "
            f"keep: {named_runs(dict.fromkeys(repeated))}."
        )
    if cut := sum(is_cut(run) for run in selection.study.runs):
        yield f"Runs of truncated adapters, {cut}, are in: python -m analysis truncation."
    if others := _not_chosen(selection):
        yield f"Not chosen, by --task, --seeds or --choose: {len(others)} run{'s' * (len(others) > 1)}."
    if selection.study.left_out:
        names = named_runs(name for name, _ in selection.study.left_out)
        yield f"Left out, as unfinished or damaged: {names}."


def _others(found: Sequence[Grid]) -> set[str]:
    return {run for grid in found for run in (*grid.other_rates, *grid.repeated)}


def _not_chosen(selection: Selection) -> list[str]:
    """The runs that --task, --seeds and --choose leave out."""
    chosen = {*selection.frame["run"]}
    return [run.id for run in selection.study.runs if run.id not in chosen]


# ----------------------------------------------------------------------- numbers, pictures and what is next


def _number(grid: Grid, cell: GridCell, made: Answer | None, evaluation: Evaluation) -> dict[str, Any]:
    scale = grid.metric.scale
    difference = made.decision.against_top.get(cell) if made and made.decision else None
    return {
        **numbers(grid.result, cell.place, evaluation, _paper(grid, cell, cell.rank)),
        "grid": grid.title,
        "task": grid.task,
        "model": grid.model,
        "method": cell.method,
        "targets": cell.targets,
        "rank": cell.rank,
        "cell": cell.name,
        "parameters": cell.result.trainable,
        "to_highest": scale * difference.difference if difference else None,
        "to_highest_low": scale * difference.low if difference else None,
        "to_highest_high": scale * difference.high if difference else None,
        "margin": scale * made.margin if made else None,
        "answer": made.status(cell) or None if made else None,
    }


def _drawings(found: Sequence[Grid], selection: Selection) -> dict[str, Drawing]:
    """By the rank, and by the parameters; none where nothing has a rank."""
    drawn = [grid for grid in found if grid.cells]
    if not drawn:
        return {}
    source = (
        f"Study {selection.study.name}, {CHECKPOINT_WORDS[selection.checkpoint]}, {selection.split} split."
    )
    axes: dict[str, by_rank.Axis] = {"": "rank", "-parameters": "parameters"}
    return {
        suffix: Drawing(by_rank.draw(drawn, axis), by_rank.caption(drawn, axis, source))
        for suffix, axis in axes.items()
    }


def _commands(answers: Sequence[Answer], selection: Selection) -> CommandLines | None:
    answers = [made for made in answers if not made.all_alike]
    lines = tuple(dict.fromkeys(line for made in answers for line in made.commands))
    if not lines:
        return None
    names = ", ".join(made.grid.title for made in answers if made.commands)
    root = selection.study.training_root
    archived = root != selection.study.root
    where = f" (an archive takes no run: these go to {root}, beside the study's others)" if archived else ""
    return CommandLines(f"To decide what is open on {names}{where}:", lines)
