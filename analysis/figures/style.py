"""The figures' style: paper.mplstyle, whatever the user's own settings are, and where ticks stand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

STYLE = Path(__file__).with_name("paper.mplstyle")
WIDTH = 6.75
"""Inches: the text width of a two-column page."""

DIVERGING = "PuOr_r"
"""For z-scores: orange above chance, purple below; told apart with any kind of colour blindness."""

TICKS_8 = tuple(range(1, 9))
TICKS_FIG3 = (1, 6, 12, 18, 23, 29, 35, 40, 46, 52, 58)
TICKS_FIG4_I = (1, 8, 16, 24, 32, 40, 48, 56)
TICKS_FIG4_J = (1, 5, 10, 15, 20, 25, 30, 34, 39, 44, 49, 54, 59)
TICKS_FIG7_I = (1, 7, 13, 19, 25, 31, 37, 43, 49, 55, 61)
TICKS_FIG7_J = (1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 61)
"""The paper's ticks."""


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """matplotlib's defaults with paper.mplstyle; what was set before is back afterwards."""
    import matplotlib
    import matplotlib.style

    with matplotlib.rc_context(), matplotlib.style.context(["default", STYLE]):
        yield


def spaced_ticks(count: int) -> tuple[int, ...]:
    """1 and about five round numbers up to `count`."""
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000) if count / step <= 8)
    return (1, *range(step if step > 1 else 2, count + 1, step))
