"""Figure 4: phi between two seeds at r = 64, middle layer, and of random matrices (paper, Section 7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures import seeds
from analysis.figures.assembly import assemble, wrapped
from analysis.figures.drawing import Look
from analysis.figures.gaussian import DRAWS, average, gaussian_directions
from analysis.figures.layout import TICKS_FIG4_I, TICKS_FIG4_J
from analysis.figures.panels import frame, similarity
from analysis.figures.words import heading_of

if TYPE_CHECKING:
    from analysis.output import Result
    from analysis.selection import Selection

LIMITS = (0.0, 0.5)
MEAN, ONE = f"Random Gaussian, mean of {DRAWS}", "Random Gaussian, one pair"


def make(selection: Selection) -> Result:
    """1 x 3 panels: W_q, W_v, random. The CSV has every pair of seeds, with `drawn` for the first.

    Raises:
        MissingRunsError: the study lacks two seeds at r = 64.
    """
    pairs = seeds.pairs_of(selection)
    first = pairs[0]
    count = selection.layers(first[0])[-1] + 1
    layer = selection.one_layer(first[0])
    panels = [seeds.panel(selection, first, layer, letter, False) for letter in selection.letters]
    n, d = selection.directions(first[0], layer, selection.letters[0]).vectors.shape
    drawn = gaussian_directions(2 * DRAWS, n, d)
    random = [
        similarity(one, other, ONE, {"layer": None, "weight": "random, one pair", "rank": seeds.RANK})
        for one, other in zip(drawn[::2], drawn[1::2], strict=True)
    ]
    mean = average(random, MEAN, {"layer": None, "weight": f"random, mean of {DRAWS}", "rank": seeds.RANK})
    numbers = frame([*panels, mean, random[0]]).assign(drawn=1)
    others = [
        seeds.panel(selection, pair, layer, letter, False)
        for pair in pairs[1:]
        for letter in selection.letters
    ]
    if others:
        import pandas as pd

        numbers = pd.concat([numbers, frame(others).assign(drawn=0)], ignore_index=True)
    columns = min(3, len(panels) + 1)
    look = Look(
        title=heading_of(seeds.title(selection), selection.basis, [layer], count, panels),
        limits=LIMITS,
        ticks_i={seeds.RANK: TICKS_FIG4_I},
        ticks_j={seeds.RANK: TICKS_FIG4_J},
    )
    caption = (
        f"Figure 4. {seeds.caption(selection, first, [layer], count, panels)} Random Gaussian: right "
        f"singular vectors of {n} x {d} matrices of independent normal entries, the shape of A; the mean "
        f"over {DRAWS} pairs in the figure of φ, one pair in the figure of z, to show the noise."
    )
    runs = [run for pair in pairs for run in pair]
    return assemble(
        selection,
        runs,
        selection.stem("fig4"),
        wrapped([*panels, mean], columns),
        look,
        caption,
        rows_z=wrapped([*panels, random[0]], columns),
        numbers=numbers,
    )
