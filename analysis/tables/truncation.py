"""The truncation curve: adapters cut to their top directions, beside adapters trained at that rank.

Section 7.2 infers from phi that "the top singular-vector directions ... are the most useful, while other
directions potentially contain mostly random noises accumulated during training".  Here they are taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.cells import CellResult, Cells, Evaluation, lora_runs
from analysis.errors import AnalysisError
from analysis.figures.style import WIDTH, paper_style
from analysis.grid import is_cut
from analysis.paper_values import task_order
from analysis.provenance import provenance_of, stem_of
from analysis.registry import ANSWERS, command
from analysis.result import Cell, CommandLines, Drawing, Result, Row, Table
from analysis.statistics import Comparison, compare
from analysis.tables.numbers import MISSING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from analysis.selection import Selection
    from experiments.metrics import Metric

METHOD = "truncated"
ORDERS = ("dW", "A")
LOOKS: dict[str, dict[str, Any]] = {
    "dW": {"color": "#332288", "marker": "o", "linestyle": "-"},
    "A": {"color": "#999933", "marker": "s", "linestyle": "--"},
    "trained": {"color": "#cc6677", "marker": "^", "linestyle": "-"},
}
WORDS = {"dW": "cut, by dW", "A": "cut, by A", "trained": "trained at that rank"}
PANEL, HEIGHT, LEGEND = WIDTH / 2, 1.95, 0.3


@dataclass(frozen=True, eq=False)
class Curve:
    """The adapters of one task, choice of weights and rank, cut.

    Attributes:
        rank: of the adapters.
        whole: as they were trained.
        cut: by (order, directions kept).
        trained: by rank, those that were trained at a rank to which these are cut.
    """

    task: str
    targets: str
    rank: int
    metric: Metric
    whole: CellResult
    cut: dict[tuple[str, int], CellResult]
    trained: dict[int, CellResult]

    @property
    def title(self) -> str:
        return f"{self.task}, {self.targets} r={self.rank}"

    def number(self, value: float, sign: str = "") -> str:
        """A value of the metric as people read it; with sign="+" always signed."""
        return f"{self.metric.scale * value:{sign}.{self.metric.decimals}f}"

    @property
    def kept(self) -> list[int]:
        return sorted({keep for _, keep in self.cut})


def has_cuts(selection: Selection) -> bool:
    return any(is_cut(run) for run in selection.study.runs)


@command(
    "truncation",
    "adapters cut to their top directions of dW or of A, beside adapters trained at that rank",
    selects=ANSWERS,
    every_task=True,
    title="Truncation",
    place="subspaces",
    applies=has_cuts,
)
def make(selection: Selection) -> Result:
    """One table and a panel for each task, choice of weights and rank.

    Raises:
        AnalysisError: the study has no truncated run, or some that cannot be told apart or compared.
    """
    import pandas

    curves = [*curves_of(selection)]
    rows = [row for curve in curves for row in _numbers(curve)]
    ids = {run for curve in curves for run in _runs(curve)}
    runs = [run for run in selection.study.runs if run.id in ids]
    return Result(
        stem_of(selection, "truncation", targets=False, basis=False, layer=False, split=True),
        pandas.DataFrame(rows),
        provenance_of(selection, runs, targets=False, basis=False, split=True),
        drawings={"": Drawing(_draw(curves), _caption(curves, selection))},
        tables=(_table(curves, selection),),
        commands=_commands(curves),
    )


def curves_of(selection: Selection) -> Iterator[Curve]:
    frame = selection.frame
    cut = frame[frame["method"] == METHOD] if "keep" in frame else frame[:0]
    if cut.empty:
        raise AnalysisError(
            f"study {selection.study.name} has no truncated run; make some of its finished runs: python "
            f"run.py -m +experiment=truncation study={selection.study.name}"
        )
    evaluation = Evaluation(selection.checkpoint, selection.split)
    adapters = {*zip(cut["task"], cut["targets"], map(int, cut["rank"]), strict=True)}
    for task, targets, rank in sorted(adapters, key=lambda one: (task_order(one[0]), *one[1:])):
        found = cut[(cut["task"] == task) & (cut["targets"] == targets) & (cut["rank"] == rank)]
        rates, seeds = set(found["lr"]), set(found["seed"])
        whole = lora_runs(frame)
        whole = whole[(whole["task"] == task) & (whole["targets"] == targets) & whole["seed"].isin(seeds)]
        of_source = Cells(whole[(whole["rank"] == rank) & whole["lr"].isin(rates)], evaluation)
        others = Cells(whole, evaluation)
        if (targets, rank) not in of_source:
            raise AnalysisError(f"{task} {targets} r={rank}: the runs that were cut are not in the study")
        orders = {order: Cells(_kept(found[found["by"] == order]), evaluation) for order in ORDERS}
        cells = {(order, place[1]): orders[order][place] for order in ORDERS for place in orders[order]}
        yield Curve(
            task=task,
            targets=targets,
            rank=rank,
            metric=of_source.metric,
            whole=of_source[targets, rank],
            cut=cells,
            trained={keep: others[targets, keep] for _, keep in cells if (targets, keep) in others},
        )


def _kept(found: DataFrame) -> DataFrame:
    """The runs with the directions that they keep in the place of their adapter's rank."""
    found = found.copy()
    found["rank"] = found["keep"].astype(int)
    return found


def against(one: CellResult, other: CellResult, reference: float = 0.0) -> Comparison | None:
    """The two on the seeds that both have, as `statistics.compare`; None where they share none."""
    shared = [seed for seed in one.outcomes.seeds if seed in other.outcomes.seeds]
    if not shared:
        return None
    return compare(one.outcomes.rows(shared), other.outcomes.rows(shared), reference=reference)


def _numbers(curve: Curve) -> Iterator[dict[str, Any]]:
    scale = curve.metric.scale
    cells = [
        *((order, keep, curve.cut[order, keep]) for order, keep in sorted(curve.cut)),
        *(("trained", rank, curve.trained[rank]) for rank in sorted(curve.trained)),
        ("whole", curve.rank, curve.whole),
    ]
    for kind, keep, cell in cells:
        row = {
            "task": curve.task,
            "targets": curve.targets,
            "rank": curve.rank,
            "kind": kind,
            "directions": keep,
            "mean": scale * cell.mean.mean,
            "seed_sd": scale * cell.mean.seed_sd,
            "low": scale * cell.mean.low,
            "high": scale * cell.mean.high,
            "seeds": cell.mean.seeds,
        }
        for name, other in (("whole", curve.whole), ("trained", curve.trained.get(keep))):
            found = None if other is None or other is cell else against(cell, other)
            values = (None,) * 3 if found is None else (found.difference, found.low, found.high)
            for part, value in zip(("minus", "minus_low", "minus_high"), values, strict=True):
                row[f"{part}_{name}"] = None if value is None else scale * value
        yield row


def _runs(curve: Curve) -> Iterator[str]:
    for cell in (curve.whole, *curve.cut.values(), *curve.trained.values()):
        yield from cell.runs


# ------------------------------------------------------------------------------------------------ the table


def _table(curves: Sequence[Curve], selection: Selection) -> Table:
    metrics = ", ".join(dict.fromkeys(f"{c.metric.title}{' (%)' * c.metric.share}" for c in curves))
    return Table(
        title="Adapters cut to their top directions",
        labels=("adapter", "directions"),
        columns=("by dW", "by A", "trained at r", "by dW - whole", "by dW - trained"),
        groups=tuple(tuple(_rows(curve)) for curve in curves),
        notes=(
            f"In {metrics} of the {selection.checkpoint} checkpoint on {selection.split}: mean ± standard "
            "deviation over seeds. Differences of paired runs with their 95% interval over "
            f"{_over(curves)}.",
            "By dW: the top singular directions of dW are kept; by A: what of dW reads the top right "
            "singular directions of A, the order of Section 7.2. Nothing is trained after the cut.",
        ),
    )


def _over(curves: Sequence[Curve]) -> str:
    """What the intervals hold."""
    several = any(curve.whole.mean.seeds > 1 for curve in curves)
    return "seeds and examples" if several else "examples alone, which says nothing of other seeds"


def _rows(curve: Curve) -> Iterator[Row]:
    for keep in curve.kept:
        by_dw, trained = curve.cut.get(("dW", keep)), curve.trained.get(keep)
        yield Row(
            (curve.title, str(keep)),
            (
                _mean(curve, by_dw),
                _mean(curve, curve.cut.get(("A", keep))),
                _mean(curve, trained),
                _difference(curve, by_dw, curve.whole),
                _difference(curve, by_dw, trained),
            ),
        )
    nothing = Cell(MISSING)
    yield Row(
        (curve.title, f"{curve.rank} (whole)"),
        (nothing, nothing, _mean(curve, curve.whole), nothing, nothing),
    )


def _mean(curve: Curve, cell: CellResult | None) -> Cell:
    if cell is None:
        return Cell(MISSING)
    spread = f" ±{curve.number(cell.mean.seed_sd)}" if cell.mean.seeds > 1 else ""
    return Cell(f"{curve.number(cell.mean.mean)}{spread}")


def _difference(curve: Curve, one: CellResult | None, other: CellResult | None) -> Cell:
    found = None if one is None or other is None else against(one, other)
    if found is None:
        return Cell(MISSING)
    value, low, high = (curve.number(v, "+") for v in (found.difference, found.low, found.high))
    return Cell(f"{value} [{low}, {high}]")


def _commands(curves: Sequence[Curve]) -> CommandLines | None:
    lacking = [
        f"{curve.title}: r={', '.join(str(keep) for keep in curve.kept if keep not in curve.trained)}"
        for curve in curves
        if set(curve.kept) - curve.trained.keys()
    ]
    if not lacking:
        return None
    return CommandLines(f"Not trained at the rank of the cut: {'; '.join(lacking)}.", ())


# ----------------------------------------------------------------------------------------------- the figure


def _draw(curves: Sequence[Curve]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    with paper_style():
        figure = Figure(figsize=(PANEL * columns, HEIGHT * rows + LEGEND), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes in panels.flat[len(curves) :]:
            axes.remove()
        for axes, curve in zip(panels.flat, curves, strict=False):
            _panel(axes, curve)
        lines: dict[str, Any] = {}
        for axes in figure.axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                lines.setdefault(label, handle)
        figure.legend(
            lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), frameon=False
        )
    return figure


def _panel(axes: Any, curve: Curve) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

    scale = curve.metric.scale
    lines = {
        **{order: {keep: cell for (of, keep), cell in curve.cut.items() if of == order} for order in ORDERS},
        "trained": curve.trained,
    }
    for name, cells in lines.items():
        x = sorted(cells)
        means = [cells[keep].mean for keep in x]
        if not x:
            continue
        low, high = [scale * m.low for m in means], [scale * m.high for m in means]
        axes.fill_between(x, low, high, color=LOOKS[name]["color"], alpha=0.13, linewidth=0)
        axes.plot(x, [scale * m.mean for m in means], label=WORDS[name], **LOOKS[name])
    axes.axhline(scale * curve.whole.mean.mean, color="black", linestyle=":", linewidth=0.8, label="whole")
    axes.set_xscale("log", base=2)
    ticks = curve.kept
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("directions kept, or rank trained")
    axes.set_ylabel(f"{curve.metric.title}{' (%)' * curve.metric.share}")
    axes.set_title(curve.title)


def _caption(curves: Sequence[Curve], selection: Selection) -> str:
    return (
        "Adapters cut to their top singular directions and evaluated again, nothing trained after: "
        f"{'; '.join(curve.title for curve in curves)}. By dW: the top directions of dW; by A: what of dW "
        "reads the top right singular directions of A. Beside them adapters that were trained at that rank; "
        "dotted, the whole adapter. Bands: 95% interval over "
        f"{_over(curves)}. Study "
        f"{selection.study.name}, {selection.checkpoint} checkpoint, {selection.split} split."
    )
