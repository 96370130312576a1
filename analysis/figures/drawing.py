"""Panels as a figure: one row of axes a row of panels, one colour bar, the null at the edges, a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.panels import BEYOND, QUANTILE, Flags, Grid, Panel
from analysis.figures.style import DIVERGING, WIDTH, paper_style, spaced_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch

# Inches.
LEFT, RIGHT, TOP, LEGEND, TICKS = 0.40, 0.65, 0.30, 0.24, 0.36
COLUMN_GAP, TITLE = 0.20, 0.26
STRIP, STRIP_GAP = 0.06, 0.025
BAR_GAP, BAR = 0.17, 0.09

RAIL = "#D55E00"
BLANK = "white"
LUMINANCE = (0.2126, 0.7152, 0.0722)
LIGHT = 0.62
UNDEFINED: dict[str, Any] = {"facecolor": "0.85", "edgecolor": "0.45", "hatch": "xxxxxx", "linewidth": 0}
CHANCE: dict[str, Any] = {"hatch": "//////", "linewidth": 0}
Z_STEPS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True)
class Look:
    """What is common to a figure's panels.

    Attributes:
        title: above all panels.
        limits: colour range of phi.
    """

    title: str
    limits: tuple[float, float]


def draw(rows: Sequence[Sequence[Panel]], look: Look, z: bool = False) -> Figure:
    """The figure of phi, or with `z` of its z-scores on one symmetric scale for all panels."""
    from matplotlib.figure import Figure

    panels = [panel for row in rows for panel in row]
    columns = max(len(row) for row in rows)
    width = (WIDTH - LEFT - RIGHT - (columns - 1) * COLUMN_GAP) / columns
    pitch = TITLE + width + TICKS  # panels are square
    total = TOP + len(rows) * pitch + LEGEND
    with paper_style():
        figure = Figure(figsize=(WIDTH, total))
        norm, cmap = _colours(panels, look.limits, z)
        for y, row in enumerate(rows):
            for x, panel in enumerate(row):
                left = LEFT + x * (width + COLUMN_GAP)
                bottom = total - TOP - y * pitch - TITLE - width
                axes = figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, width / total))
                _heat_map(axes, panel, norm, cmap, z)
                _ticks(axes, panel, first=x == 0)
                if not z:
                    _strips(axes, panel, norm, cmap, width)
        span = (len(rows) - 1) * pitch + width
        bar = figure.add_axes(
            (
                (WIDTH - RIGHT + BAR_GAP) / WIDTH,
                (LEGEND + TICKS) / total,
                BAR / WIDTH,
                span / total,
            )
        )
        _colour_bar(figure, bar, panels, norm, cmap, z)
        figure.text(LEFT / WIDTH, 1 - 0.07 / total, look.title, ha="left", va="top", fontsize=9)
        _legend(figure, panels, z, total)
    return figure


def _colours(panels: Sequence[Panel], limits: tuple[float, float], z: bool) -> tuple[Normalize, Any]:
    import matplotlib
    from matplotlib.colors import AsinhNorm, Normalize

    if not z:
        return Normalize(*limits), matplotlib.colormaps[matplotlib.rcParams["image.cmap"]]
    largest = max(float(np.abs(np.nan_to_num(panel.z[panel.shown])).max()) for panel in panels)
    edge = next((step for step in Z_STEPS if step >= largest), Z_STEPS[-1])
    return AsinhNorm(BEYOND, -edge, edge), matplotlib.colormaps[DIVERGING]


def _heat_map(axes: Axes, panel: Panel, norm: Normalize, cmap: Any, z: bool) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    values = panel.values(z)
    n1, n2 = panel.shape
    undefined = panel.undefined(z)
    if undefined.any():
        axes.add_patch(Rectangle((0.5, 0.5), n2, n1, **UNDEFINED, zorder=0))
    extent = (0.5, n2 + 0.5, n1 + 0.5, 0.5)
    image = cmap(norm(np.ma.masked_invalid(values)))
    image[undefined] = 0
    image[~panel.shown] = to_rgba(BLANK)
    axes.imshow(image, aspect="auto", extent=extent, zorder=1)
    if z:
        axes.add_collection(LineCollection(_edges(panel.outlined), colors="black", linewidths=0.5, zorder=3))
    else:
        chance = panel.shown & ~undefined & ~panel.beyond_chance
        light = image[..., :3] @ LUMINANCE > LIGHT
        for cells, colour in ((chance & ~light, "white"), (chance & light, "black")):
            axes.add_artist(_cells(cells, colour))  # add_patch would look for the limits of each cell
    _rails(axes, panel)


def _cells(cells: Flags, colour: str) -> PathPatch:
    """A set of cells under the hatch that says "not beyond chance"."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    boxes = [
        [(start - 0.5, i - 0.5), (end + 0.5, i - 0.5), (end + 0.5, i + 0.5), (start - 0.5, i + 0.5)]
        for i, row in enumerate(cells, start=1)
        for start, end in _stretches(row)
    ]
    paths = [Path([*box, box[0]], closed=True) for box in boxes]
    edge = to_rgba(colour, 0.55)
    return PathPatch(Path.make_compound_path(*paths), **CHANCE, edgecolor=edge, fill=False, zorder=2)


def _edges(cells: Flags) -> list[list[tuple[float, float]]]:
    """The border of a set of cells, as segments (x, y) with cell (i, j), from 1, around its centre."""
    padded = np.pad(cells, 1)
    upright = [
        [(j + 0.5, i - 0.5), (j + 0.5, i + 0.5)]
        for i, j in zip(*np.nonzero(padded[:, 1:] != padded[:, :-1]), strict=True)
    ]
    level = [
        [(j - 0.5, i + 0.5), (j + 0.5, i + 0.5)]
        for i, j in zip(*np.nonzero(padded[1:] != padded[:-1]), strict=True)
    ]
    return upright + level


def _rails(axes: Axes, panel: Panel) -> None:
    """A line along the axis beside each i and j whose top subspace is arbitrary."""
    style: dict[str, Any] = {
        "color": RAIL,
        "linewidth": 1.2,
        "solid_capstyle": "butt",
        "clip_on": False,
        "zorder": 5,
    }
    for start, end in _stretches(panel.arbitrary_i):
        axes.plot([-0.012] * 2, [start - 0.5, end + 0.5], transform=axes.get_yaxis_transform(), **style)
    for start, end in _stretches(panel.arbitrary_j):
        axes.plot([start - 0.5, end + 0.5], [-0.012] * 2, transform=axes.get_xaxis_transform(), **style)
    axes.set(xlim=(0.5, panel.shape[1] + 0.5), ylim=(panel.shape[0] + 0.5, 0.5))


def _stretches(flags: Flags) -> list[tuple[int, int]]:
    """First and last number, from 1, of each run of True."""
    change = np.flatnonzero(np.diff(np.pad(flags.astype(np.int8), 1)))
    return [(int(start) + 1, int(end)) for start, end in change.reshape(-1, 2)]


def _ticks(axes: Axes, panel: Panel, *, first: bool) -> None:
    for axis, count in ((axes.yaxis, panel.shape[0]), (axes.xaxis, panel.shape[1])):
        axis.set_ticks(spaced_ticks(count))
    axes.set_title(panel.title, pad=4 + 72 * (STRIP + STRIP_GAP))
    axes.set_xlabel("$j$")
    if first:
        axes.set_ylabel("$i$", rotation=0, labelpad=5, va="center")
    else:
        axes.tick_params(labelleft=False)


def _strips(axes: Axes, panel: Panel, norm: Normalize, cmap: Any, width: float) -> None:
    """Chance on the panel's own scale: j/d above, i/d at the right; a cell's is the larger of the two."""
    above: Grid = panel.mean[:1, :]
    right: Grid = panel.mean[:, :1]
    top = axes.inset_axes((0, 1 + STRIP_GAP / width, 1, STRIP / width))
    side = axes.inset_axes((1 + STRIP_GAP / width, 0, STRIP / width, 1))
    for strip, values in ((top, above), (side, right)):
        strip.imshow(values, aspect="auto", norm=norm, cmap=cmap)
        strip.set(xticks=[], yticks=[])


def _colour_bar(
    figure: Figure, bar: Axes, panels: Sequence[Panel], norm: Normalize, cmap: Any, z: bool
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    values = np.concatenate([p.values(z)[p.shown] for p in panels])
    values = values[np.isfinite(values)]
    over, under = bool((values > high).any()), bool((values < low).any())
    extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get((over, under), "neither")
    colours = figure.colorbar(ScalarMappable(norm, cmap), cax=bar, extend=extend, extendfrac=0.03)
    colours.outline.set_linewidth(0.5)
    if z:
        edge = int(high)
        marks = [tick for tick in (2, 10, 50, 200, 1000) if tick <= edge / 3] + [edge]
        ticks = [-t for t in reversed(marks)] + [0, *marks]
        colours.set_ticks(ticks, labels=[f"{t}".replace("-", "−") for t in ticks])
        colours.minorticks_off()
        bar.set_title("$z$")
    else:
        colours.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
        bar.set_title(r"$\phi$")


def _legend(figure: Figure, panels: Sequence[Panel], z: bool, total: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if z:
        handles.append((Line2D([], [], color="black", linewidth=0.8), f"border of $z > {BEYOND:g}$"))
    else:
        strip = Patch(facecolor="0.6", edgecolor="black")
        hatched = Patch(facecolor="0.45", edgecolor="white", **CHANCE)
        handles.append((strip, r"strips: chance, $j/d$ and $i/d$"))
        handles.append((hatched, f"not beyond chance (its {QUANTILE:.0%} quantile)"))
    if any(panel.arbitrary_i.any() or panel.arbitrary_j.any() for panel in panels):
        rail = Line2D([], [], color=RAIL, linewidth=1.2)
        handles.append((rail, r"$\sigma_i\approx\sigma_{i+1}$: top $i$ undetermined"))
    if any(panel.undefined(z).any() for panel in panels):
        handles.append((Patch(**UNDEFINED), "not defined"))
    figure.legend(
        *zip(*handles, strict=True),
        loc="lower left",
        bbox_to_anchor=(LEFT / WIDTH, 0.03 / total),
        ncols=len(handles),
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.6,
    )
