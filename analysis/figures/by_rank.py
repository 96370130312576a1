"""A grid drawn: the metric against the rank, or against what is trained, a line a choice of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from analysis.figures.style import WIDTH, paper_style
from analysis.figures.words import listed, weight

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.grid import Grid, GridCell

Axis = Literal["rank", "parameters"]

# Inches.
PANEL, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, GAP = WIDTH / 2, 1.85, 0.42, 0.08, 0.24, 0.36, 0.46
LEGEND_LINE, LEGEND_EDGE = 0.15, 0.05
LEGEND_WIDTH = 0.78
"""Of one of its columns, at the least."""

FURTHER_COLOURS = ("#882255", "#888888")
"""After those of the style, which references have the black of."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
REFERENCE_LINES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
BAND: dict[str, Any] = {"alpha": 0.13, "linewidth": 0}
EDGE: dict[str, Any] = {"alpha": 0.55, "linewidth": 0.4}
"""Of a band: where many lie on each other, their edges still tell them apart."""
BAR: dict[str, Any] = {"linewidth": 0.8, "capsize": 1.5, "capthick": 0.8}
APART = 0.12
"""Of single cells at one place of the axis, in powers of two: their intervals would hide each other."""


def draw(grids: Sequence[Grid], axis: Axis) -> Figure:
    """One panel a grid."""
    from matplotlib.figure import Figure

    columns = min(2, len(grids))
    rows = -(-len(grids) // columns)
    looks = _looks(grids, axis)
    legend = _legend_rows(looks, columns)
    width = PANEL * columns
    pitch = TOP + HEIGHT + BOTTOM
    total = rows * pitch + legend * LEGEND_LINE + LEGEND_EDGE
    panel = (width - LEFT - RIGHT - (columns - 1) * GAP) / columns
    with paper_style():
        figure = Figure(figsize=(width, total))
        for number, grid in enumerate(grids):
            y, x = divmod(number, columns)
            left, bottom = LEFT + x * (panel + GAP), total - y * pitch - TOP - HEIGHT
            axes = figure.add_axes((left / width, bottom / total, panel / width, HEIGHT / total))
            _panel(axes, grid, axis, looks)
        _legend(figure, looks, columns, total)
    return figure


def caption(grids: Sequence[Grid], axis: Axis, source: str) -> str:
    """What is drawn, and how to read it.

    Args:
        source: study, checkpoint and split, in a sentence.
    """
    metrics = listed(dict.fromkeys(f"{grid.metric.title}{' (%)' * grid.metric.share}" for grid in grids))
    several = any(cell.seeds > 1 for grid in grids for cell in grid.cells)
    what = "the rank r" if axis == "rank" else "the number of trained parameters"
    lines = f"The {metrics} against {what}, on a logarithmic axis, of {listed(grid.title for grid in grids)}."
    kinds = "mean over seeds" if several else "one seed"
    over = "seeds and examples" if several else "examples alone, which says nothing of other seeds"
    text = (
        f"{lines} A line a choice of weights ({kinds}); bands, and bars where there is one rank alone: 95% "
        f"interval over {over}."
    )
    references = [cell for grid in grids for cell in grid.references]
    if not all(cell.is_mark for cell in references):
        text += " Horizontal lines: what has no rank, on the same task and model."
    if any(cell.is_mark for cell in references):
        marked = "Black marks: other methods at their sizes." if axis == "parameters" else ""
        text += f" {marked or 'Not drawn: other methods, which have no rank.'}"
    mixed = [cell.name for grid in grids for cell in grid.cells if cell.rank is None]
    if axis == "rank" and mixed:
        text += f" Not drawn, for their letters differ in rank: {', '.join(dict.fromkeys(mixed))}."
    return f"{text} {source}"


def _looks(grids: Sequence[Grid], axis: Axis) -> dict[str, dict[str, Any]]:
    """By line, the same in every panel; the cells' lines first."""
    import matplotlib

    with paper_style():
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    colours = [*(colour for colour in cycle if colour.strip("#") != "000000"), *FURTHER_COLOURS]
    names = list(dict.fromkeys(line for grid in grids for line in grid.lines))
    # Lines through several ranks first: they get the colours of the style.
    long = [n for n in names if any(len(grid.lines.get(n, ())) > 1 for grid in grids)]
    looks: dict[str, dict[str, Any]] = {}
    for number, name in enumerate([*long, *(name for name in names if name not in long)]):
        looks[name] = {
            "color": colours[number % len(colours)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": "none" if name not in long else "-" if number < len(colours) else "--",
        }
    references = dict.fromkeys(cell.line for grid in grids for cell in grid.references if not cell.is_mark)
    drawn = {cell.line for grid in grids for cell in grid.cells if axis != "rank" or cell.rank is not None}
    ordered = {name: looks[name] for name in names if name in drawn}
    for number, name in enumerate(dict.fromkeys(c.line for g in grids for c in _marks(g, axis))):
        ordered[name] = {"color": "black", "linestyle": "none", "markersize": 4 + number // len(MARKERS)}
        ordered[name]["marker"] = MARKERS[number % len(MARKERS)]
    for number, name in enumerate(references):
        style = REFERENCE_LINES[number % len(REFERENCE_LINES)]
        ordered[name] = {"color": "black", "linestyle": style, "linewidth": 0.8}
    return ordered


def _panel(axes: Axes, grid: Grid, axis: Axis, looks: Mapping[str, dict[str, Any]]) -> None:
    scale = grid.metric.scale
    lines = {line: [c for c in cells if axis != "rank" or c.rank] for line, cells in grid.lines.items()}
    lines |= {cell.line: [cell] for cell in _marks(grid, axis)}
    singles: dict[int, list[str]] = {}
    for line, cells in lines.items():
        if len(cells) == 1:
            singles.setdefault(_at(cells[0], axis), []).append(line)
    for cell in grid.references:
        if not cell.is_mark:
            axes.axhline(scale * cell.result.mean.mean, zorder=1, **looks[cell.line])
    for line, cells in lines.items():
        if not cells:
            continue
        ordered = sorted(cells, key=lambda cell: _at(cell, axis))
        x = [_at(cell, axis) for cell in ordered]
        means = [cell.result.mean for cell in ordered]
        y, low, high = ([scale * value for value in values] for values in _ends(means))
        look = looks[line]
        if len(ordered) > 1:
            axes.fill_between(x, low, high, color=look["color"], zorder=2, **BAND)
            for end in (low, high):
                axes.plot(x, end, color=look["color"], zorder=2, **EDGE)
            axes.plot(x, y, zorder=3, **look)
            continue
        beside = singles[x[0]]
        aside = APART * (beside.index(line) - (len(beside) - 1) / 2)
        error = [[y[0] - low[0]], [high[0] - y[0]]]
        axes.errorbar([x[0] * 2**aside], y, yerr=error, zorder=4, **{**look, "linestyle": "none"}, **BAR)
    _axis(axes, grid, axis)
    axes.set_title(grid.title)
    axes.set_ylabel(f"{grid.metric.title}{' (%)' * grid.metric.share}")


def _marks(grid: Grid, axis: Axis) -> list[GridCell]:
    """The other methods that are drawn, at their numbers of parameters."""
    return [cell for cell in grid.references if cell.is_mark and axis == "parameters"]


def _ends(means: Sequence[Any]) -> tuple[list[float], list[float], list[float]]:
    return [m.mean for m in means], [m.low for m in means], [m.high for m in means]


def _at(cell: GridCell, axis: Axis) -> int:
    return cell.result.trainable if axis == "parameters" else cell.rank or 0


def _axis(axes: Axes, grid: Grid, axis: Axis) -> None:
    """Base 2: ranks and what they cost are mostly powers of two; labels where they do not meet."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    there = sorted({_at(cell, axis) for cell in (*grid.cells, *_marks(grid, axis))} - {0})
    if not there:
        axes.set_xticks([])
        return
    if axis == "rank":
        axes.set_xlabel("rank $r$")
        labelled = _apart(there, there[-1] / there[0], 16)
        texts = [str(tick) for tick in labelled]
    else:
        axes.set_xlabel("trained parameters")
        steps = [10**k * m for k in range(12) for m in (1, 2, 5)]
        inside = [step for step in steps if there[0] / 1.5 <= step <= there[-1] * 1.5]
        labelled = _apart(inside or there, there[-1] / there[0], 9)
        texts = [_short(tick) for tick in labelled]
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.xaxis.set_minor_locator(FixedLocator(there) if axis == "rank" else NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    room = max(1.12, (there[-1] / there[0]) ** 0.04)
    axes.set_xlim(there[0] / room, there[-1] * room)


def _apart(ticks: Sequence[int], span: float, most: int) -> list[int]:
    """The ticks that leave room for each other's labels, from the largest down."""
    least = math.log2(max(span, 2)) / most
    kept: list[int] = []
    for tick in reversed(ticks):
        if not kept or math.log2(kept[-1] / tick) >= least:
            kept.append(tick)
    return kept[::-1]


def _short(count: int) -> str:
    """ "20k", "5M"."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)


def _legend_rows(looks: Mapping[str, Any], columns: int) -> int:
    return -(-len(looks) // _legend_columns(looks, columns))


def _legend_columns(looks: Mapping[str, Any], columns: int) -> int:
    longest = max((len(name) for name in looks), default=1)
    return max(1, int(PANEL * columns / max(LEGEND_WIDTH, 0.3 + 0.065 * longest)))


def _legend(figure: Figure, looks: Mapping[str, dict[str, Any]], columns: int, total: float) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=_label(name), **look) for name, look in looks.items()]
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, LEGEND_EDGE / total),
        ncols=_legend_columns(looks, columns),
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.3,
    )


def _label(line: str) -> str:
    """ "qv alpha=8" with its weights in mathtext; words as they are."""
    from lora.targets import parse_targets

    name, _, rest = line.partition(" ")
    try:
        letters = parse_targets(name.replace("-", ","))
    except ValueError:
        return line
    return f"{', '.join(map(weight, letters))} {rest}".strip()
