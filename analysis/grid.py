"""The grid of a study: what its runs of each choice of weights and rank score, whatever the choices are.

    for grid in grids(Selection.of_tasks(Study.open("mine"))):
        grid.cells          # weights by rank, of one task, model and method
        grid.references     # what has no rank: full fine-tuning, biases alone, the base model

Runs that differ in what cannot be compared (task, data, model, metric) are in different grids; those that
differ in a further setting, such as alpha, are in different cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.cells import CellResult, Cells, Evaluation, Place, TaskResult
from analysis.errors import AnalysisError
from analysis.statistics import Best, best_together
from analysis.tables.numbers import setting_value
from experiments.errors import nearest
from experiments.metrics import Metric
from lora.targets import LETTERS, parse_targets

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.reading.run import Run
    from analysis.selection import Selection

REFERENCES = {
    "full": "full fine-tuning",
    "bias": "biases alone",
    "none": "base model",
    "fttop2": "top two layers",
    "adapter_h": "Adapter H",
    "adapter_l": "Adapter L",
    "adapter_p": "Adapter P",
    "prefix_embed": "PreEmbed",
    "prefix_layer": "PreLayer",
}
"""Methods that have no rank of targets, in words."""

SIZES = {"bottleneck": "r", "l_p": "l_p", "l_i": "l_i"}
"""Settings that say how large such a method is, and what the paper calls them: they are in its name."""

FEWEST_SEEDS = 2
"""That tell how much seeds differ: fewer decide nothing."""

_NO_SETTINGS = ("method", "targets", "rank", "seed", "lr", "science_version")
"""What a cell is told by, or is an average over, or chooses on dev: no further settings of it."""


@dataclass(frozen=True, eq=False)
class GridCell:
    """One choice of weights and rank.

    Attributes:
        place: its key in the grid's results.
        name: for sentences: "qv r=8", "qv r=8 alpha=16", "full fine-tuning".
        method: of its runs.
        line: the name without the rank: cells of one line differ in the rank alone.
        targets: as run.json names them; empty where the method has none.
        rank: None where there is none, or one for each letter.
        setting: what else tells it from other cells, as in "alpha=16"; else empty.
        result: the scores.
    """

    place: Place
    name: str
    line: str
    method: str
    targets: str
    rank: int | None
    setting: str
    result: CellResult

    @property
    def seeds(self) -> int:
        return self.result.mean.seeds

    @property
    def is_mark(self) -> bool:
        """Whether it is a method whose size can be chosen, though it has no rank: a mark, not a line."""
        return not self.targets and self.rank is None and self.method not in ("full", "bias", "none")


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of one task, model and method.

    Attributes:
        title: the task, and what tells it from the study's other grids.
        block: the same without the method: runs of grids of one block can be compared.
        task, model, method: of its runs; the model's name without its folder.
        cells: few weights before many, in the order q k v o; then by rank.
        references: the cells of methods without a rank, on the same task and model.
        result: the same cells and references as the tables of accuracies have them; of the cells, or where
            there are none the references, the best of those with several seeds.
        other_rates: runs of its cells at learning rates that are not the best on dev.
        repeated: runs of full fine-tuning that differ from another in nothing but whose dW they keep.
    """

    title: str
    block: str
    task: str
    model: str
    method: str
    cells: tuple[GridCell, ...]
    references: tuple[GridCell, ...]
    result: TaskResult
    other_rates: tuple[str, ...]
    repeated: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        return self.result.metric

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({cell.rank for cell in self.cells if cell.rank is not None}))

    @property
    def lines(self) -> dict[str, list[GridCell]]:
        """The cells by line, each by rank."""
        found: dict[str, list[GridCell]] = {}
        for cell in self.cells:
            found.setdefault(cell.line, []).append(cell)
        return found

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of the runs behind the numbers."""
        return tuple(run for cell in (*self.cells, *self.references) for run in cell.result.runs)


def grids(selection: Selection, metric: str | None = None) -> list[Grid]:
    """Every grid of the chosen runs: the paper's tasks first, then the others by name.

    Args:
        metric: by which they are compared; None: the one that counts. Learning rates are chosen by that one.

    Raises:
        AnalysisError: there is no run, one is damaged, or runs of one grid cannot be told apart or are of
            different models.
    """
    frame = selection.frame
    if frame.empty:
        raise AnalysisError("the study has no finished run; train some with python run.py -m")
    chosen = {*frame["run"]}
    blocks: dict[tuple[Any, ...], list[Run]] = {}
    for run in selection.study.runs:
        if run.id in chosen and not is_cut(run):
            blocks.setdefault(_block(run), []).append(run)
    evaluation = Evaluation(selection.checkpoint, selection.split, metric=metric)
    titles = _titles(blocks)
    order = [*paper_values.TASKS]
    found = []
    for key, runs in sorted(blocks.items(), key=lambda item: _task_order(item[1][0], order)):
        selection.check_model(runs)
        found += _of_block(titles[key], runs, frame, evaluation)
    return found


def is_cut(run: Run) -> bool:
    """Whether it is another run's adapter, truncated: `python -m analysis truncation` has it, no grid."""
    return "keep" in run.settings


def _task_order(run: Run, order: Sequence[str]) -> tuple[int, str]:
    task = run.settings["task"]
    return (order.index(task) if task in order else len(order), task)


# ---------------------------------------------------------------------------- which runs stand together


def _block(run: Run) -> tuple[Any, ...]:
    """What runs must share to be compared."""
    told = run.settings
    identified = told.get("model.identity") is not None
    names = [
        name
        for name in told
        if name == "task" or name.startswith(("task.", "model.")) or (name == "model" and not identified)
    ]
    return (
        *((name, told[name]) for name in names if told[name] is not None),
        ("metric", run.record["metric"]),
    )


def _titles(blocks: Mapping[tuple[Any, ...], Sequence[Run]]) -> dict[tuple[Any, ...], str]:
    """By block: the task, the model where there are several, and whatever else two blocks differ in."""
    titles: dict[tuple[Any, ...], str] = {}
    models = {_model(runs[0]) for runs in blocks.values()}
    for key, runs in blocks.items():
        words = [runs[0].settings["task"], *([_model(runs[0])] if len(models) > 1 else [])]
        titles[key] = ", ".join(words)
    for title in {*titles.values()}:
        alike = [key for key, name in titles.items() if name == title]
        if len(alike) > 1:
            values = {
                name for key in alike for name in {*key} if any(name not in {*other} for other in alike)
            }
            told = {key: [one for one in key if one in values] for key in alike}
            names = {key: _words(settings) for key, settings in told.items()}
            if len({*names.values()}) < len(alike):  # what the data is counts where nothing else tells
                names = {key: _words(settings, identities=True) for key, settings in told.items()}
            titles |= {key: ", ".join(filter(None, (title, name))) for key, name in names.items()}
    return titles


def _words(settings: Iterable[tuple[str, Any]], identities: bool = False) -> str:
    """ "task.train=100, task.test=40"; with the first signs of what data and model are known by."""
    words = []
    for name, value in settings:
        if not name.endswith(".identity"):
            words.append(f"{name}={setting_value(value)}")
        elif identities:
            words.append(f"{name.partition('.')[0]} {str(value).rpartition(':')[2][:6]}")
    return ", ".join(words)


def _model(run: Run) -> str:
    return str(run.record["model"]["name"]).rstrip("/").rpartition("/")[2]


def _of_block(title: str, runs: Sequence[Run], frame: DataFrame, evaluation: Evaluation) -> list[Grid]:
    """A grid for each method that has ranks; one of the references alone where none has.

    Raises:
        AnalysisError: a run has no score by the metric that was chosen; with those it has.
    """
    metric = evaluation.metric
    for run in runs if metric is not None else ():
        there = run.record["metrics"][evaluation.checkpoint].get(evaluation.split, {})
        if metric not in there:
            raise AnalysisError(
                f"--metric {metric}: {run.id} has no such score; there are {', '.join(there)}"
                f"{nearest(str(metric), there)}"
            )
    runs, repeated = _without_repeats(runs)
    places = _places(runs)
    rows = frame[frame["run"].isin([run.id for run in runs])].copy()
    rows["targets"] = [places[run].place[0] for run in rows["run"]]
    rows["rank"] = [places[run].place[1] for run in rows["run"]]
    rows["lr"] = rows["lr"].astype(float).fillna(0.0) if "lr" in rows else 0.0  # of the base model
    cells = Cells(rows, evaluation)
    made = {named.place: _cell(named, cells[named.place]) for named in places.values()}
    methods = dict.fromkeys(named.method for named in places.values() if named.has_rank) or {"": None}
    task = runs[0].settings["task"]
    found = []
    for method in methods:
        of_method = [made[n.place] for n in _in_order(places) if n.has_rank and n.method == method]
        references = tuple(made[n.place] for n in _in_order(places) if not n.has_rank)
        shown = of_method or references
        name = f"{title}, {method}" if len(methods) > 1 else title
        result = TaskResult(
            name,
            paper_values.TASKS.get(task),
            cells.metric,
            {cell.place: cell.result for cell in (*of_method, *references)},
            best_of(shown),
            cells.differing([cell.place for cell in shown]),
        )
        used = {run for cell in (*of_method, *references) for run in cell.result.runs}
        others = tuple(
            run for run, n in places.items() if run not in used and (n.method == method or not n.has_rank)
        )
        found.append(
            Grid(
                name,
                title,
                task,
                _model(runs[0]),
                method,
                tuple(of_method),
                references,
                result,
                others,
                repeated,
            )
        )
    return found


def best_of(cells: Sequence[GridCell]) -> Best[Place]:
    """Of the cells with several seeds; of one seed each, the highest, and nothing is decided."""
    compared = [cell for cell in cells if cell.seeds >= FEWEST_SEEDS]
    if compared:
        return best_together({cell.place: cell.result.outcomes for cell in compared})
    top = max(cells, key=lambda cell: cell.result.mean.mean)
    return Best(top.place, tuple(cell.place for cell in cells), {}, decided=False)


# ------------------------------------------------------------------------------------- what a run's cell is


@dataclass(frozen=True)
class _Named:
    """A run's place, and its words."""

    place: Place
    method: str
    targets: str
    rank: int | str | None
    setting: str

    @property
    def has_rank(self) -> bool:
        return self.rank is not None

    @property
    def line(self) -> str:
        words = self.targets if self.has_rank else _method_words(self.method, self.targets)
        if isinstance(self.rank, str):
            words += f" r={self.rank}"
        return f"{words} {self.setting}".strip()

    @property
    def name(self) -> str:
        rank = f" r={self.rank}" if self.has_rank else ""
        words = self.targets if self.has_rank else _method_words(self.method, self.targets)
        return f"{words}{rank} {self.setting}".strip()


def _method_words(method: str, targets: str) -> str:
    return f"{REFERENCES.get(method, method)} {targets}".strip()


def _without_repeats(runs: Sequence[Run]) -> tuple[list[Run], tuple[str, ...]]:
    """Full fine-tuning's targets only tell of which projections dW is kept: its answers are the same."""
    kept, repeated, seen = [], [], set()
    for run in runs:
        full = run.settings["method"] == "full"
        settings = tuple((name, str(value)) for name, value in run.settings.items() if name != "targets")
        if full and settings in seen:
            repeated.append(run.id)
            continue
        if full:
            seen.add(settings)
        kept.append(run)
    return kept, tuple(repeated)


def _places(runs: Sequence[Run]) -> dict[str, _Named]:
    """By run id."""
    found = {}
    for method in dict.fromkeys(run.settings["method"] for run in runs):
        of_method = [run for run in runs if run.settings["method"] == method]
        further = _further(of_method)
        for run in of_method:
            told = run.settings
            targets = "" if method == "full" else told.get("targets") or ""
            rank = told.get("rank")
            sizes = ["prefix"] if rank else [*SIZES]
            sizes = [name for name in sizes if name in told]
            shown = dict.fromkeys([*sizes, *further])
            setting = " ".join(
                f"{SIZES.get(name, name)}={setting_value(run.setting(name))}" for name in shown
            )
            words = f"{method} {targets} {rank if isinstance(rank, str) else ''} {setting}"
            place = (words, rank if isinstance(rank, int) else 0)
            found[run.id] = _Named(place, method, targets, rank, setting)
    return found


def _further(runs: Sequence[Run]) -> list[str]:
    """The settings in which runs of one method, weights and rank differ: they tell cells apart."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        targets = "" if run.settings["method"] == "full" else run.settings.get("targets")
        groups.setdefault((targets, run.settings.get("rank")), []).append(run)
    found: dict[str, None] = {}
    for group in groups.values():
        names = dict.fromkeys(name for run in group for name in run.settings)
        for name in names:
            if name in _NO_SETTINGS or name.partition(".")[0] in ("task", "model"):
                continue
            if len({str(run.setting(name)) for run in group}) > 1:
                found[name] = None
    return [*found]


def _in_order(places: Mapping[str, _Named]) -> list[_Named]:
    def key(named: _Named) -> tuple[Any, ...]:
        letters = parse_targets(named.targets.replace("-", ",")) if named.targets else ()
        rank = named.rank
        return (
            [*REFERENCES].index(named.method) if named.method in REFERENCES else len(REFERENCES),
            len(letters),
            [LETTERS.index(letter) for letter in letters],
            isinstance(rank, str),
            [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", named.setting)],
            rank if isinstance(rank, int) else 0,
            str(rank),
        )

    return sorted(dict.fromkeys(places.values()), key=key)


def _cell(named: _Named, result: CellResult) -> GridCell:
    return GridCell(
        place=named.place,
        name=named.name,
        line=named.line,
        method=named.method,
        targets=named.targets,
        rank=named.rank if isinstance(named.rank, int) else None,
        setting=named.setting,
        result=result,
    )


def named_runs(runs: Iterable[str], most: int = 6) -> str:
    """Runs by name, the first ones where there are many."""
    names = [*runs]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
