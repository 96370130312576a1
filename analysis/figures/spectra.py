"""The spectra's figure: singular values, the rank of 90 % of the energy, the dimension that seeds share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analysis.figures import words
from analysis.figures.style import WIDTH, paper_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 2.25
FULL = "full"
LINES = ("-", "--", ":", "-.")
DODGE = 0.05
"""Layers by which neighbouring lines are moved aside."""
MARKERS = ("o", "s", "^", "D")


def draw(numbers: pd.DataFrame, layer: int) -> Figure:
    """1 x 3 panels from the numbers of `analysis.tables.spectra`.

    Args:
        numbers: one row a number: layer, weight, source, quantity, k, value.
        layer: from 1, whose singular values are drawn.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    with paper_style():
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        names = [name for name in numbers["source"].unique() if name != FULL]
        colours = {**dict(zip(names, cycle * len(names), strict=False)), FULL: "black"}
        looks = {
            weight: {"linestyle": LINES[n % 4], "marker": MARKERS[n % 4]}
            for n, weight in enumerate(numbers["weight"].unique())
        }
        figure = Figure(figsize=(WIDTH, HEIGHT))
        values, energy, shared = figure.subplots(1, 3)
        figure.subplots_adjust(left=0.075, right=0.99, top=0.89, bottom=0.31, wspace=0.28)
        _singular_values(values, numbers, colours, looks, layer)
        _by_layer(energy, numbers, "energy_rank", colours, looks)
        energy.set(title="Rank of 90 % of the energy", yscale="log")
        energy.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        _by_layer(shared, numbers, "shared_dimension", colours, looks)
        top = numbers.loc[numbers["quantity"] == "shared_dimension", "value"].max()
        top = 1.0 if math.isnan(top) else max(top, 1.0)
        shared.set(title="Dimension shared by two seeds", ylim=(-0.1 * top, 1.1 * top))
        shared.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        _legend(figure, numbers, colours, looks)
    return figure


def _singular_values(
    axes: Axes, numbers: pd.DataFrame, colours: dict[str, str], looks: dict[str, dict[str, Any]], layer: int
) -> None:
    found = numbers[(numbers["quantity"] == "singular_value") & (numbers["layer"] == layer)]
    for source, weight, group in _lines(found):
        mean = group.groupby("k")["value"].mean()
        style = looks[weight]["linestyle"]
        axes.plot(mean.index.astype(int), mean / mean.iloc[0], color=colours[source], linestyle=style)
    axes.set(
        title=f"Singular values, layer {layer}",
        xlabel="$k$",
        ylabel=r"$\sigma_k\,/\,\sigma_1$",
        xscale="log",
        yscale="log",
        ylim=(1e-3, 1.3),
    )


def _by_layer(
    axes: Axes,
    numbers: pd.DataFrame,
    quantity: str,
    colours: dict[str, str],
    looks: dict[str, dict[str, Any]],
) -> None:
    from matplotlib.ticker import MaxNLocator

    found = numbers[numbers["quantity"] == quantity]
    lines = list(_lines(found))
    for n, (source, weight, group) in enumerate(lines):
        mean = group.groupby("layer")["value"].mean()
        aside = DODGE * (n - (len(lines) - 1) / 2)  # counts are often equal, and would hide each other
        axes.plot(mean.index + aside, mean, color=colours[source], **looks[weight])
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    undefined = [
        source
        for source in found["source"].unique()
        if found[found["source"] == source]["value"].isna().all()
    ]
    message = "one seed" if found.empty else "\n".join(f"${name}$: not defined" for name in undefined)
    axes.text(0.5, 0.5, message, ha="center", va="center", transform=axes.transAxes)


def _lines(found: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Source, weight and numbers of each line."""
    for source in found["source"].unique():
        for weight in found["weight"].unique():
            group = found[(found["source"] == source) & (found["weight"] == weight)]
            if not group.empty:
                yield source, weight, group


def _legend(
    figure: Figure, numbers: pd.DataFrame, colours: dict[str, str], looks: dict[str, dict[str, Any]]
) -> None:
    from matplotlib.lines import Line2D

    sources = [
        Line2D([], [], color=colours[name], label="full fine-tuning" if name == FULL else f"LoRA, ${name}$")
        for name in numbers["source"].unique()
    ]
    weights = [
        Line2D([], [], color="0.4", label=words.weight(name.removeprefix("W_"), delta=True), **look)
        for name, look in looks.items()
    ]
    figure.legend(
        handles=[*sources, *weights], loc="lower left", bbox_to_anchor=(0.065, 0.02), ncols=6, borderpad=0
    )
