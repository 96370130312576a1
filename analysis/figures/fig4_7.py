"""Figures 4 and 7: phi between the directions of two seeds at one rank (paper, Section 7.2, App. H.1).

Figure 4 has the middle layer, and random matrices beside it; Figure 7 the first layer, those at one and two
thirds, and the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.assembly import assemble, panels_of, wrapped
from analysis.figures.drawing import Look
from analysis.figures.nulls import DRAWS, average, gaussian_directions
from analysis.figures.panels import Panel, frame, similarity
from analysis.figures.words import (
    basis_name,
    dimensions,
    gaussian_name,
    heading_of,
    layers_of,
    listed,
    plain_weight,
    symbol,
)
from analysis.provenance import lora_sentence, stem_of
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from analysis.reading.run import Run
    from analysis.result import Result
    from analysis.selection import Selection

PAPER_RANK = 64
LIMITS_4, LIMITS_7 = (0.0, 0.5), (0.0, 0.8)
MEAN, ONE = f"Random Gaussian, mean of {DRAWS}", "Random Gaussian, one pair"
Pair = tuple["Run", "Run"]


@command(
    "fig4", "subspaces of two seeds at r=64, and of random matrices", title="Figure 4", place="subspaces"
)
def fig4(selection: Selection, rank: int | None = None) -> Result:
    """1 x 3 panels: W_q, W_v, random. The CSV has every pair of seeds, with `drawn` for the first.

    Args:
        rank: None: the paper's, or the study's largest where it lacks that.

    Raises:
        MissingRunsError: the study lacks two seeds at this rank.
    """
    pairs = _pairs_of(selection, rank)
    first = pairs[0]
    count = tensors.layers(selection, first[0])[-1] + 1
    layer = tensors.one_layer(selection, first[0])
    panels = _panels(selection, first, [layer])
    spaces = list(dict.fromkeys((panel.shape[0], panel.d) for panel in panels))
    means, ones = zip(*(_random(n, d, first, several=len(spaces) > 1) for n, d in spaces), strict=True)
    numbers = frame([*panels, *means, *ones]).assign(drawn=1)
    others = [panel for pair in pairs[1:] for panel in _panels(selection, pair, [layer])]
    if others:
        import pandas as pd

        numbers = pd.concat([numbers, frame(others).assign(drawn=0)], ignore_index=True)
    look = Look(
        title=heading_of(_title(selection, first), selection.basis, [layer], count, panels),
        limits=LIMITS_4,
    )
    caption = (
        f"Figure 4. {_caption(selection, first, [layer], count, panels)} Random Gaussian: "
        f"{gaussian_name(selection.basis, spaces)}; the mean over {DRAWS} pairs in the figure of φ, one pair "
        "in the figure of z, to show the noise."
    )
    runs = [run for pair in pairs for run in pair]
    return assemble(
        selection,
        runs,
        stem_of(selection, "fig4") + _suffix(rank),
        _rows(panels, means),
        look,
        caption,
        rows_z=_rows(panels, ones),
        numbers=numbers,
        lacks=_lacks(selection, "Figure 4.", first),
    )


@command("fig7", "subspaces of two seeds at r=64, in four layers", title="Figure 7", place="subspaces")
def fig7(selection: Selection, rank: int | None = None) -> Result:
    """2 x 4 panels: two layers a row, each W_q and W_v; arguments and errors as of Figure 4."""
    pair = _pairs_of(selection, rank)[0]
    count = tensors.layers(selection, pair[0])[-1] + 1
    layers = tensors.some_layers(selection, pair[0])
    panels = _panels(selection, pair, layers)
    # As many whole layers in a row as make the paper's four panels.
    columns = len(selection.letters) * max(1, 4 // len(selection.letters))
    look = Look(
        title=heading_of(_title(selection, pair), selection.basis, layers, count, panels),
        limits=LIMITS_7,
    )
    return assemble(
        selection,
        pair,
        stem_of(selection, "fig7", layer=False) + _suffix(rank),
        wrapped(panels, columns),
        look,
        f"Figure 7. {_caption(selection, pair, layers, count, panels)}",
        lacks=_lacks(selection, "Figure 7.", pair),
    )


def _random(n: int, d: int, pair: Pair, several: bool) -> tuple[Panel, Panel]:
    """The mean over the pairs of random matrices, and the first pair."""
    drawn = gaussian_directions(2 * DRAWS, n, d)
    labels = {"layer": None, "rank": _rank(pair)}
    space = f", $d$ = {d}" if several else ""
    pairs = [
        similarity(one, other, ONE + space, {**labels, "weight": "random, one pair"})
        for one, other in zip(drawn[::2], drawn[1::2], strict=True)
    ]
    return average(pairs, MEAN + space, {**labels, "weight": f"random, mean of {DRAWS}"}), pairs[0]


def _rows(panels: Sequence[Panel], random: Sequence[Panel]) -> list[list[Panel]]:
    """One random panel in line with the others, as in the paper; several below them."""
    if len(random) == 1:
        return wrapped([*panels, *random], 3)
    return [*wrapped(panels, 3), *wrapped(random, 3)]


def _pairs_of(selection: Selection, rank: int | None) -> list[Pair]:
    """Every pair of seeds, the first two seeds first."""
    if rank is None:
        several = [r for r in selection.ranks if len(selection.seeds_of(r)) > 1]
        there = several or selection.ranks
        rank = PAPER_RANK if PAPER_RANK in selection.ranks or not there else there[-1]
    seeds = selection.seeds_with((rank,), count=2)
    found = selection.runs((rank,), seeds)
    return [(found[rank, one], found[rank, other]) for one, other in itertools.combinations(seeds, 2)]


def _rank(pair: Pair) -> int:
    return int(pair[0].settings["rank"])


def _suffix(rank: int | None) -> str:
    return f"-r{rank}" if rank not in (None, PAPER_RANK) else ""


def _lacks(selection: Selection, heading: str, pair: Pair) -> str | None:
    """What the paper's figure has and the study lacks."""
    if PAPER_RANK in {_rank(pair), *selection.ranks}:
        return None
    return f"{heading} The paper's has r = {PAPER_RANK}, which the study lacks; drawn: r = {_rank(pair)}."


def _panels(selection: Selection, pair: Pair, layers: Sequence[int]) -> list[Panel]:
    seeds = {f"seed_{axis}": run.settings["seed"] for axis, run in zip("ij", pair, strict=True)}
    rows = panels_of(selection, pair, layers, {"rank": _rank(pair), **seeds})
    return [panel for row in rows for panel in row]


def _title(selection: Selection, pair: Pair) -> str:
    """What phi compares, in mathtext."""
    one, other = symbol(selection.basis, _rank(pair)), symbol(selection.basis, _rank(pair), r"\prime")
    return rf"$\phi({one}, {other}, i, j)$"


def _caption(
    selection: Selection, pair: Pair, layers: Sequence[int], count: int, panels: Sequence[Panel]
) -> str:
    """What is compared, without what is particular to a figure."""
    weights = listed(f"Δ{plain_weight(letter)}" for letter in selection.letters)
    one, other = (run.settings["seed"] for run in pair)
    return (
        f"Similarity φ(i, j) between the top i directions of {weights} trained from seed {one} and the top j "
        f"from seed {other}, both at r = {_rank(pair)}, {layers_of(layers, count)}; directions: "
        f"{basis_name(selection.basis)}, d = {dimensions(panels)}. "
        f"{lora_sentence(selection, pair)} Nothing is blank."
    )
