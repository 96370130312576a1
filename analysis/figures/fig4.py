"""Figure 4: phi between two seeds at r = 64, middle layer, and of random matrices (paper, Section 7.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures import seeds
from analysis.figures.assembly import assemble, wrapped
from analysis.figures.drawing import Look
from analysis.figures.gaussian import DRAWS, average, gaussian_directions
from analysis.figures.panels import Panel, frame, similarity
from analysis.figures.style import TICKS_FIG4_I, TICKS_FIG4_J
from analysis.figures.words import gaussian_name, heading_of
from analysis.provenance import stem_of
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection

LIMITS = (0.0, 0.5)
MEAN, ONE = f"Random Gaussian, mean of {DRAWS}", "Random Gaussian, one pair"


@command(
    "fig4", "subspaces of two seeds at r=64, and of random matrices", title="Figure 4", place="subspaces"
)
def make(selection: Selection) -> Result:
    """1 x 3 panels: W_q, W_v, random. The CSV has every pair of seeds, with `drawn` for the first.

    Raises:
        MissingRunsError: the study lacks two seeds at r = 64.
    """
    pairs = seeds.pairs_of(selection)
    first = pairs[0]
    count = tensors.layers(selection, first[0])[-1] + 1
    layer = tensors.one_layer(selection, first[0])
    panels = seeds.panels_of(selection, first, [layer])
    spaces = list(dict.fromkeys((panel.shape[0], panel.d) for panel in panels))
    means, ones = zip(*(_random(n, d, several=len(spaces) > 1) for n, d in spaces), strict=True)
    numbers = frame([*panels, *means, *ones]).assign(drawn=1)
    others = [panel for pair in pairs[1:] for panel in seeds.panels_of(selection, pair, [layer])]
    if others:
        import pandas as pd

        numbers = pd.concat([numbers, frame(others).assign(drawn=0)], ignore_index=True)
    look = Look(
        title=heading_of(seeds.title(selection), selection.basis, [layer], count, panels),
        limits=LIMITS,
        ticks_i={seeds.RANK: TICKS_FIG4_I},
        ticks_j={seeds.RANK: TICKS_FIG4_J},
    )
    caption = (
        f"Figure 4. {seeds.caption(selection, first, [layer], count, panels)} Random Gaussian: "
        f"{gaussian_name(selection.basis, spaces)}; the mean over {DRAWS} pairs in the figure of φ, one pair "
        "in the figure of z, to show the noise."
    )
    runs = [run for pair in pairs for run in pair]
    return assemble(
        selection,
        runs,
        stem_of(selection, "fig4"),
        _rows(panels, means),
        look,
        caption,
        rows_z=_rows(panels, ones),
        numbers=numbers,
    )


def _random(n: int, d: int, several: bool) -> tuple[Panel, Panel]:
    """The mean over the pairs of random matrices, and the first pair."""
    drawn = gaussian_directions(2 * DRAWS, n, d)
    labels = {"layer": None, "rank": seeds.RANK}
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
