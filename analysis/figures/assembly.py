"""From panels to a command's result: the figure of phi, the figure of z, captions, numbers, provenance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.drawing import Look, draw
from analysis.figures.nulls import other_layers
from analysis.figures.panels import QUANTILE, Panel, frame, similarity
from analysis.figures.words import marks, plain_weight, weight
from analysis.provenance import provenance_of
from analysis.reading import tensors
from analysis.result import Drawing, Result

if TYPE_CHECKING:
    import pandas as pd

    from analysis.reading.run import Run
    from analysis.selection import Selection

Rows = Sequence[Sequence[Panel]]


def assemble(
    selection: Selection,
    runs: Iterable[Run],
    stem: str,
    rows: Rows,
    look: Look,
    caption: str,
    rows_z: Rows | None = None,
    numbers: pd.DataFrame | None = None,
    weights: bool = False,
    lacks: str | None = None,
) -> Result:
    """The result.

    Args:
        stem: the files' name.
        rows: the panels, as they stand in the figure.
        look: with the paper's colour range.
        caption: what is drawn; how to read it is added.
        rows_z: the panels of the figure of z-scores, where they differ.
        numbers: the CSV, where it is not just the panels' cells.
        weights: whether W is read.
        lacks: what the paper's figure has and the study does not, in a sentence for the terminal.
    """
    panels = [panel for row in rows for panel in row]
    limits = colour_range(look.limits, panels)
    drawings = {}
    for suffix, drawn, z in (("", rows, False), ("-z", rows_z or rows, True)):
        sentences = [caption, marks([panel for row in drawn for panel in row], z)]
        if not z and limits != look.limits:
            low, high = look.limits
            sentences.append(
                f"Colours run from {limits[0]:g} to {limits[1]:g}; the paper's, from {low:g} to {high:g}, "
                "would not tell the cells outside it apart."
            )
        figure = draw(drawn, dataclasses.replace(look, limits=limits), z)
        drawings[suffix] = Drawing(figure, " ".join(sentences), lead=caption)
    provenance = {
        "null": "independent, uniformly distributed subspaces: mean max(i, j)/d, sd in closed form",
        "hatched_up_to_quantile": QUANTILE,
        "colour_range": limits,
    }
    return Result(
        stem,
        frame(panels) if numbers is None else numbers,
        {**provenance_of(selection, runs, weights=weights), **provenance},
        drawings,
        terminal=lacks,
    )


def panels_of(
    selection: Selection, pair: Sequence[Run], layers: Sequence[int], labels: Mapping[str, Any]
) -> list[list[Panel]]:
    """phi between two runs: a list a layer, in it a panel a weight; several layers are named.

    Args:
        labels: of every panel in the CSV, behind layer and weight.
    """
    one, other = pair
    others = {letter: other_layers(selection, one, other, letter) for letter in selection.letters}
    rows: list[list[Panel]] = []
    for layer in layers:
        rows.append([])
        for letter in selection.letters:
            i, j = (tensors.directions(selection, run, layer, letter) for run in pair)
            title = f"Layer {layer + 1}, " * (len(layers) > 1) + weight(letter, delta=True)
            named = {"layer": layer + 1, "weight": plain_weight(letter), **labels}
            rows[-1].append(similarity(i, j, title, named, others[letter]))
    return rows


def colour_range(paper: tuple[float, float], panels: Sequence[Panel]) -> tuple[float, float]:
    """The paper's, or, where a cell or a strip would lie outside it, from 0 to what holds all of them."""
    shown = np.concatenate([panel.phi[panel.shown] for panel in panels])
    strips = np.concatenate([panel.mean[panel.shown] for panel in panels])
    values = np.concatenate([shown[np.isfinite(shown)], strips])
    if paper[0] <= values.min() and values.max() <= paper[1]:
        return paper
    return 0.0, max(paper[1], math.ceil(10 * values.max()) / 10)


def wrapped(panels: Sequence[Panel], columns: int) -> list[list[Panel]]:
    """The panels in rows of `columns`."""
    return [list(panels[start : start + columns]) for start in range(0, len(panels), columns)]
