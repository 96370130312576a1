"""The pictures of a check-up and of a comparison, in the figures' style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.checkup.shortening import shortened
from analysis.figures.style import DIVERGING, WIDTH, paper_style, spaced_ticks
from analysis.geometry.noise import product_spectra
from analysis.result import Drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.checkup.compare import Comparison
    from analysis.checkup.inspect import Inspection

MOST_LABELS, MOST_PANELS = 40, 8
LINE, MEDIAN, NULL = "#005a8f", "#16191d", "#a84300"


def drawings(seen: Inspection) -> dict[str, Drawing]:
    """By name; none where dW = 0 throughout."""
    if not seen.numbers["norm"].any():
        return {}
    found = {}
    depends = " It depends on scales that are not stated (?)." if seen.mark("kept") else ""
    energy = seen.energy_map()
    if not energy.empty:
        caption = "Where the energy is: the share of ||dW||^2 in each projection, by kind and layer."
        caption += depends
        if len(energy) > MOST_LABELS:
            caption += f" The {MOST_LABELS} kinds with the most of {len(energy)} are shown."
        unit = f"% of energy{seen.mark('energy_share')}"
        one_stack = len(seen.adapter.stacks) == 1
        found["energy"] = Drawing(heat_map(energy[:MOST_LABELS], unit, 100, one_stack), caption)
    found["spectra"] = Drawing(
        _spectra(seen),
        "Singular values of each dW over its largest, a line a projection; the median in black. Dashed: an "
        "untrained pair of the same shape, whose spectrum is nearly flat.",
    )
    found["kept"] = Drawing(
        _kept(seen),
        "Energy that is kept where every module is cut to its top k directions, all together." + depends,
    )
    return found


def comparison_drawings(seen: Comparison) -> dict[str, Drawing]:
    """By name: the agreement by kind and layer, and phi of each pair of adapters."""
    found = {}
    agreement = seen.agreement()
    if not agreement.empty and agreement.notna().to_numpy().any():
        mean = "" if len(seen.adapters) == 2 else ", the mean over the pairs of adapters"
        found["agreement"] = Drawing(
            heat_map(
                agreement[:MOST_LABELS],
                "cosine of dW",
                one_stack=all(len(adapter.stacks) == 1 for adapter in seen.adapters),
                cmap=DIVERGING,
                vmin=-1,
                vmax=1,
            ),
            f"Where they agree: the cosine of dW by kind and layer{mean}.",
        )
    for first, second in seen.pairs()[:MOST_PANELS]:
        drawn = _phi(seen, first, second)
        if drawn is not None:
            found[f"phi-{first}-{second}"] = drawn
    return found


def _phi(seen: Comparison, first: int, second: int) -> Drawing | None:
    """phi of the input directions, the mean over layers, a panel a kind; beside each its mean chance."""
    from matplotlib.figure import Figure

    grids: dict[str, list[np.ndarray]] = {}
    chance: dict[str, float] = {}
    for one in seen.of(first, second):
        if np.isfinite(one.right).any():
            label = one.row["projection"]
            if one.right.shape == grids.get(label, [one.right])[0].shape:
                grids.setdefault(label, []).append(one.right)
                chance.setdefault(label, one.row["phi_right_chance"])
    if not grids:
        return None
    order = [*seen.agreement().index]
    labels = sorted(grids, key=lambda label: order.index(label) if label in order else len(order))
    labels = labels[:MOST_PANELS]
    columns = min(4, len(labels))
    rows = -(-len(labels) // columns)
    with paper_style():
        figure = Figure(figsize=(WIDTH, 0.3 + 1.55 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for one_axes in axes.flat[len(labels) :]:
            one_axes.set_visible(False)
        for one_axes, label, name in zip(axes.flat, labels, shortened(labels, 21), strict=False):
            stacked = np.ma.masked_invalid(grids[label])
            grid = stacked.mean(axis=0).filled(np.nan)
            drawn = one_axes.imshow(grid, vmin=0, vmax=1, cmap="magma", aspect="auto")
            one_axes.set_title(f"{name} (chance {chance[label]:.2g})")
            one_axes.set_xticks([t - 1 for t in spaced_ticks(grid.shape[1])], [*spaced_ticks(grid.shape[1])])
            one_axes.set_yticks([t - 1 for t in spaced_ticks(grid.shape[0])], [*spaced_ticks(grid.shape[0])])
            one_axes.set_xlabel("j")
            one_axes.set_ylabel("i")
        figure.colorbar(drawn, ax=axes, label="phi", fraction=0.03)
    names = seen.names
    return Drawing(
        figure,
        f"phi(i, j): the top i input directions of {names[first]} in the top j of {names[second]}, the mean "
        "over layers. By chance it is max(i, j) / d, largest in the corner, where each panel's title has it.",
    )


def heat_map(
    table: pd.DataFrame, unit: str, factor: float = 1.0, one_stack: bool = True, **colours: Any
) -> Figure:
    """Kinds by layers, a cell a projection; where there is none, grey.

    Args:
        one_stack: layers of one number are of one depth.
    """
    from matplotlib.figure import Figure

    rows, columns = table.shape
    names = shortened([*table.index], 34)
    left = 0.3 + 0.065 * max(map(len, names))
    width = max(min(0.6, (WIDTH - left - 0.9) / columns) * columns, 1.2)
    height = max(rows * 0.2, 0.5)
    with paper_style():
        figure = Figure(figsize=(WIDTH, height + 0.75))
        total = height + 0.75
        axes = figure.add_axes((left / WIDTH, 0.5 / total, width / WIDTH, height / total))
        axes.set_facecolor("0.88")
        look: dict[str, Any] = {"cmap": "cividis", "vmin": 0, **colours}
        shown = axes.imshow(factor * table.to_numpy(float), aspect="auto", **look)
        axes.set_yticks(range(rows), names)
        numbers = [int(layer) for layer in table.columns]
        ticks = [t - 1 for t in spaced_ticks(columns)]
        axes.set_xticks(ticks, [str(numbers[t] + 1) for t in ticks])
        axes.set_xlabel("layer" if one_stack else "layer of its stack")
        axes.tick_params(length=0)
        bar = figure.add_axes(((left + width + 0.12) / WIDTH, 0.5 / total, 0.09 / WIDTH, height / total))
        figure.colorbar(shown, cax=bar, label=unit)
    return figure


def _spectra(seen: Inspection) -> Figure:
    from matplotlib.figure import Figure

    labels = seen.labels[:MOST_PANELS]
    columns = min(4, len(labels))
    rows = -(-len(labels) // columns)
    with paper_style():
        figure = Figure(figsize=(WIDTH, 0.45 + 1.45 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes in grid.flat[len(labels) :]:
            axes.set_visible(False)
        for axes, label, name in zip(grid.flat, labels, shortened(labels, 25), strict=False):
            _panel(axes, seen, label)
            axes.set_title(name)
        figure.supxlabel("direction i", fontsize="medium")
        figure.supylabel("σ_i / σ_1", fontsize="medium")
    return figure


def _panel(axes: Any, seen: Inspection, label: str) -> None:
    alive = [one for one in seen.measured if one.label == label and one.row["norm"] > 0]
    lines = [one.values / one.values[0] for one in alive]
    lengths = {len(line) for line in lines}
    for line in lines:
        shown = np.where(line > 0, line, np.nan)
        axes.semilogy(np.arange(1, len(line) + 1), shown, color=LINE, lw=0.5, alpha=0.45)
    if len(lengths) == 1:
        (k,) = lengths
        axes.semilogy(np.arange(1, k + 1), np.median(lines, axis=0), color=MEDIAN, lw=1.1)
        row = alive[0].row
        if 1 < row["rank"] <= min(row["d_out"], row["d_in"]):
            null = product_spectra(row["d_out"], row["rank"], row["d_in"]).mean(0)
            axes.semilogy(np.arange(1, len(null) + 1), null / null[0], color=NULL, lw=1, ls="--")
        axes.set_xticks(spaced_ticks(k) if k > 1 else [1])
    floor = min((line[line > 0].min() for line in lines), default=0.1)
    axes.set_ylim(max(floor / 1.5, 1e-6), 1.4)


def _kept(seen: Inspection) -> Figure:
    from matplotlib.figure import Figure

    largest = seen.largest_rank
    ranks = np.arange(1, largest + 1)
    with paper_style():
        figure = Figure(figsize=(WIDTH, 2.0), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            ranks,
            [100 * seen.kept(int(rank)) for rank in ranks],
            color=LINE,
            marker="o" if largest <= 16 else "",
            ms=3,
            lw=1.2,
        )
        axes.set_xscale("log", base=2)
        ticks = [2**power for power in range(largest.bit_length())]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(0, 103)
        axes.set_xlabel("rank k of the copy")
        axes.set_ylabel(f"energy kept, %{seen.mark('kept')}")
    return figure
