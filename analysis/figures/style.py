"""The figures' style: paper.mplstyle, whatever the user's own settings are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

STYLE = Path(__file__).with_name("paper.mplstyle")
WIDTH = 6.75
"""Inches: the text width of a two-column page."""

DIVERGING = "PuOr_r"
"""For z-scores: orange above chance, purple below; told apart with any kind of colour blindness."""


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """matplotlib's defaults with paper.mplstyle; what was set before is back afterwards."""
    import matplotlib
    import matplotlib.style

    with matplotlib.rc_context(), matplotlib.style.context(["default", STYLE]):
        yield
