"""Method against method: at every size (the paper's Table 15), and by training examples (Table 16).

Unlike in the grid, where marks are among LoRA's cells, all methods of a task are compared with each other.
The picture of Table 15, the paper's Figure 2, is the grid's second: accuracy against parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import CHOSEN_ON, Evaluation, TaskResult
from analysis.errors import AnalysisError, LackingError
from analysis.grid import Grid, GridCell, best_of, grids
from analysis.provenance import provenance_of, stem_of
from analysis.registry import ANSWERS, command
from analysis.result import Cell, Result, Row, Table
from analysis.tables.grid import NOWHERE
from analysis.tables.lines import MEAN, as_frame, facts, numbers, stacked
from analysis.tables.notes import notes

if TYPE_CHECKING:
    from analysis.paper_values import PaperValue
    from analysis.reading.run import Run
    from analysis.selection import Selection

SIZED = ("fttop2", "adapter_h", "adapter_l", "adapter_p", "prefix_embed", "prefix_layer", "lora_prefix")
"""Methods that Tables 5 and 6 and the baselines have no place for."""
_MATCHED = {"full": "full", "lora": "lora", "prefix_embed": "prefix-embed", "prefix_layer": "prefix-layer"}
"""Methods of Table 16, by the paper's names."""
PAPER16 = "Paper: GPT-3 175B on the whole validation set of MultiNLI; its noise is ±0.3."
_COLUMNS = (
    *("table", "task", "method", "what", "targets", "rank", "examples_train", "trainable", "dev", *MEAN),
    *("varies", "lr", "lr_tried", "seconds", "checkpoint", "split", "metric", "marked", "below_highest"),
    *("p_holm", "paper_task", "paper", "paper_noise", "paper_notes", "runs"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """All cells of one task, model and data, of whichever method.

    Attributes:
        title: the task, and what tells it from the study's other blocks.
        examples: that the runs were trained on.
        cells: as the grid has them: full fine-tuning first, LoRA last.
        result: with all of them compared.
    """

    title: str
    task: str
    model: str
    examples: int
    cells: tuple[GridCell, ...]
    result: TaskResult


def blocks(selection: Selection) -> list[Block]:
    """Those of the chosen runs, in the grid's order.

    Raises:
        AnalysisError: as `analysis.grid.grids`.
    """
    found: dict[str, list[Grid]] = {}
    for grid in grids(selection):
        found.setdefault(grid.block, []).append(grid)
    made = []
    for title, of_block in found.items():
        by_place = {cell.place: cell for grid in of_block for cell in (*grid.references, *grid.cells)}
        cells = tuple(by_place.values())
        result = dataclasses.replace(
            of_block[0].result,
            task=title,
            cells={cell.place: cell.result for cell in cells},
            best=best_of(cells),
            differing={},  # that methods differ in alpha or learning rate is what the rows say
        )
        examples = int(_run(selection, cells[0]).record["examples"]["train"])
        made.append(Block(title, of_block[0].task, of_block[0].model, examples, cells, result))
    return made


def _name(cell: GridCell) -> str:
    """The cell's name, with its method where the grid's leaves that to the heading."""
    if not cell.targets:
        return cell.name
    return f"{'LoRA' if cell.method in ('lora', 'lora_prefix') else cell.method} {cell.name}"


def _run(selection: Selection, cell: GridCell) -> Run:
    """One of the cell's runs."""
    return next(run for run in selection.study.runs if run.id == cell.result.runs[0])


def _result(
    selection: Selection, name: str, rows: Sequence[dict[str, Any]], used: Iterable[Block], table: Table
) -> Result:
    ids = {run for block in used for cell in block.cells for run in cell.result.runs}
    runs = [run for run in selection.study.runs if run.id in ids]
    return Result(
        stem_of(selection, name, targets=False, basis=False, layer=False, split=True),
        as_frame([{"table": name, **row} for row in rows], _COLUMNS),
        provenance_of(selection, runs, targets=False, basis=False, split=True),
        tables=(table,),
    )


def _number(block: Block, cell: GridCell, evaluation: Evaluation, paper: PaperValue | None) -> dict[str, Any]:
    return {
        **numbers(block.result, cell.place, evaluation, paper),
        "task": block.task,
        "method": cell.method,
        "what": _name(cell),
        "targets": cell.targets or None,
        "rank": cell.rank,
        "examples_train": block.examples,
    }


# ------------------------------------------------------------------------------- Table 15: method and size


def has_sizes(selection: Selection) -> bool:
    """Whether the study has runs of methods whose size can be chosen, besides LoRA's."""
    return any(run.settings["method"] in SIZED for run in selection.study.runs)


@command(
    "table15",
    "every method at every size: accuracy beside trainable parameters, and the paper's",
    selects=ANSWERS,
    every_task=True,
    title="Table 15",
    applies=has_sizes,
)
def table15(selection: Selection) -> Result:
    """All methods of each task at all their sizes, compared with each other.

    Raises:
        AnalysisError: as `blocks`.
    """
    evaluation = Evaluation(selection.checkpoint, selection.split)
    found = blocks(selection)
    values = {
        (block.title, cell.place): _paper15(block, cell, _run(selection, cell))
        for block in found
        for cell in block.cells
    }
    table = Table(
        title="Table 15: methods and their sizes",
        labels=("", ""),
        columns=("trainable", CHOSEN_ON, selection.split, "95%", "paper"),
        groups=tuple(
            tuple(
                Row(
                    (block.title, _name(cell)),
                    (
                        *facts(block.result, cell.place),
                        Cell(f"{value.value:.1f}" if (value := values[block.title, cell.place]) else ""),
                    ),
                )
                for cell in block.cells
            )
            for block in found
        ),
        notes=(
            *notes([block.result for block in found], evaluation),
            "Paper: Table 15; full fine-tuning and biases of Table 4, and of LoRA what only Table 6 has, at "
            "the same setting (r, l_p, l_i), which is not the same number of parameters.",
        ),
    )
    rows = [
        _number(block, cell, evaluation, values[block.title, cell.place])
        for block in found
        for cell in block.cells
    ]
    return _result(selection, "table15", rows, found, table)


def _paper15(block: Block, cell: GridCell, run: Run) -> PaperValue | None:
    """What the paper has of this method at this size."""
    if block.task not in paper_values.TASKS:
        return None
    if cell.method in ("full", "bias"):
        return paper_values.of_method(block.task, cell.method)
    if cell.method == "lora" and cell.setting:
        return None
    told = run.settings
    if cell.method == "lora_prefix" and (told["l_p"], told["l_i"]) == (8, 4):
        method, place = f"lora+prefix-{told['prefix']}", (cell.targets, cell.rank)
    elif cell.method == "adapter_h":
        method, place = "adapter-h", ("none", told["bottleneck"])
    else:
        method, place = cell.method, (cell.targets, cell.rank)
    for row in paper_values.table("table15").rows:
        if (row["method"], (row["targets"], row["rank"])) == (method, place):
            return paper_values.value(
                "table15", paper_values.TASKS[block.task], method=method, targets=place[0], rank=place[1]
            )
    if cell.method == "lora" and cell.rank is not None:
        return paper_values.at_place(["table6"], block.task, (cell.targets, cell.rank))
    return None


# -------------------------------------------------------------------------- Table 16: method and examples


def has_examples(selection: Selection) -> bool:
    """Whether runs of one task differ in how many examples they were trained on."""
    counts: dict[str, set[Any]] = {}
    for run in selection.study.runs:
        counts.setdefault(run.settings["task"], set()).add(run.record.get("examples", {}).get("train"))
    return any(len(of_task) > 1 for of_task in counts.values())


@command(
    "table16",
    "how few training examples are enough, by method, ours beside the paper's",
    selects=ANSWERS,
    every_task=True,
    title="Table 16",
    applies=has_examples,
)
def table16(selection: Selection) -> Result:
    """Methods by number of training examples; the methods at one number are compared with each other.

    Raises:
        LackingError: no task has runs of several numbers of examples.
        AnalysisError: as `blocks`, or two blocks differ in more than that number.
    """
    evaluation = Evaluation(selection.checkpoint, selection.split)
    tasks: dict[tuple[str, str], dict[int, Block]] = {}
    for block in blocks(selection):
        by_examples = tasks.setdefault((block.task, block.model), {})
        if block.examples in by_examples:
            raise AnalysisError(
                f"{block.title} and {by_examples[block.examples].title} have {block.examples:,} training "
                "examples both; leave one kind in with --choose"
            )
        by_examples[block.examples] = block
    tasks = {key: dict(sorted(found.items())) for key, found in tasks.items() if len(found) > 1}
    if not tasks:
        raise LackingError(
            f"study {selection.study.name} has runs of one number of training examples; train others: "
            "python run.py -m +experiment=table16, with this study's root=, model and task and a study= of "
            "its own"
        )
    columns = sorted({n for key, found in tasks.items() for n in (*found, *_papers_examples(key[0]))})
    groups, rows = [], []
    for (task, model), found in tasks.items():
        title = task if len({name for one, name in tasks if one == task}) == 1 else f"{task}, {model}"
        group: list[Row] = []
        for name, method in _methods(found):
            values = [_paper16(task, method, n) for n in columns]
            cells = [_named(found[n], name) if n in found else None for n in columns]
            group += stacked(
                [
                    (found[n].result, cell.place) if cell else (None, NOWHERE)
                    for n, cell in zip(columns, cells, strict=True)
                ],
                (title, name),
                values,
            )
            rows += [
                _number(found[n], cell, evaluation, value)
                for n, cell, value in zip(columns, cells, values, strict=True)
                if cell
            ]
        groups.append(tuple(group))
    used = [block for found in tasks.values() for block in found.values()]
    table = Table(
        title="Table 16: methods by the number of training examples",
        labels=("", "method", ""),
        columns=tuple(f"{n:,}" for n in columns),
        groups=tuple(groups),
        notes=(
            *notes([block.result for block in used], evaluation, paper=False),
            *[PAPER16] * any(row["paper"] is not None for row in rows),
            "Marks compare the methods of one task at one number of examples. All seeds train on the same "
            "examples, drawn by task.seed, so that no interval holds what another draw would do.",
        ),
    )
    return _result(selection, "table16", rows, used, table)


def _methods(found: Mapping[int, Block]) -> Iterator[tuple[str, str]]:
    """Every cell's name and method, in the order of the first block that has it."""
    seen = {_name(cell): cell.method for block in found.values() for cell in block.cells}
    yield from seen.items()


def _named(block: Block, name: str) -> GridCell | None:
    return next((cell for cell in block.cells if _name(cell) == name), None)


def _papers_examples(task: str) -> list[int]:
    """The numbers that the paper's table has, of its own task."""
    if paper_values.TASKS.get(task) != "multinli":
        return []
    return [*dict.fromkeys(row["examples"] for row in paper_values.table("table16").rows)]


def _paper16(task: str, method: str, examples: int) -> PaperValue | None:
    if method not in _MATCHED or examples not in _papers_examples(task):
        return None
    return paper_values.value("table16", "multinli", method=_MATCHED[method], examples=examples)
