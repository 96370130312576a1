"""The figures on the page: which, under which title, said in words, and as data."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass

from analysis.errors import AnalysisError
from analysis.registry import Made
from analysis.report.markup import slug
from analysis.result import Drawing, rendered

DPI = 200
"""Of the images: as wide as the page on a usual screen, and half the bytes of those for print."""

FIGURES = {
    "fig3": (
        "Figure 3",
        "Heat maps of the subspace similarity φ(i, j) between the top directions of r = 8 and those of "
        "r = 64, one panel a weight, with zooms",
    ),
    "fig4": (
        "Figure 4",
        "Heat maps of the subspace similarity φ(i, j) between two seeds at r = 64, one panel a weight, and "
        "between random matrices",
    ),
    "fig6": (
        "Figure 6",
        "Heat maps of the subspace similarity φ(i, j) between r = 8 and r = 64 in several layers",
    ),
    "fig7": ("Figure 7", "Heat maps of the subspace similarity φ(i, j) between two seeds in several layers"),
    "fig8": (
        "Figure 8",
        "Heat maps of the subspace similarity φ(i, j) between the top directions of W and those of dW, for "
        "several ranks and for random directions",
    ),
    "spectra": (
        "Spectra of dW",
        "Three panels: singular values of dW, how many directions hold 90 % of its energy, and the "
        "dimension that two seeds share, by layer",
    ),
}
"""By command: the title, and what is to be seen, for who cannot see it."""

Z_SUFFIX = "-z"


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        source: a data URL.
        width, height: in pixels.
        alternative: what it shows, in words, for who cannot see it.
        caption: below it.
        reading: the rest of the caption, where that is how to read the figure; else empty.
    """

    source: str
    width: int
    height: int
    alternative: str
    caption: str
    reading: str


@functools.lru_cache(maxsize=128)
def image(drawing: Drawing) -> bytes:
    """The figure as PNG, for a screen."""
    return rendered(drawing, "png", drawing.caption.partition(".")[0], DPI)


def picture(drawing: Drawing, alternative: str) -> Picture:
    """The figure with its words."""
    data = image(drawing)
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))  # of the header
    encoded = base64.b64encode(data).decode()
    lead = drawing.lead or drawing.caption
    reading = drawing.caption.removeprefix(lead).strip()
    return Picture(f"data:image/png;base64,{encoded}", width, height, alternative, lead, reading)


@dataclass(frozen=True)
class Figure:
    """A figure of a task, and its z-scores where it has them."""

    anchor: str
    title: str
    main: Picture
    z: Picture | None


def figures_of(made: Made, task: str, spectra: bool) -> list[Figure]:
    """The paper's figures of a task, or with `spectra` that of its spectra; those that could be made."""
    found = []
    for (command, of_task), result in made.items():
        if of_task != task or isinstance(result, AnalysisError) or not _is_meant(command, spectra):
            continue
        title, shows = FIGURES[command]
        drawings = result.drawings
        z = drawings.get(Z_SUFFIX)
        found.append(
            Figure(
                slug(command, task),
                title,
                picture(drawings[""], f"{shows}. Task {task}."),
                picture(z, f"{shows}, as z-scores. Task {task}.") if z else None,
            )
        )
    return found


def unmade(made: Made, task: str) -> list[str]:
    """The titles of the paper's figures that a task has not."""
    return [
        FIGURES[command][0]
        for (command, of_task), outcome in made.items()
        if of_task == task and isinstance(outcome, AnalysisError) and _is_meant(command, spectra=False)
    ]


def _is_meant(command: str, spectra: bool) -> bool:
    return command in FIGURES and (command == "spectra") == spectra
