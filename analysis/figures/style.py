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


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """matplotlib's defaults with paper.mplstyle; what was set before is back afterwards."""
    import matplotlib
    import matplotlib.style

    with matplotlib.rc_context(), matplotlib.style.context(["default", STYLE]):
        yield


def spaced_ticks(count: int) -> tuple[int, ...]:
    """1 and at most eight round numbers up to `count`; powers of two, which most ranks are, in eighths."""
    steps = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)
    if count & (count - 1) == 0:
        step = max(1, count // 8)
    else:
        step = next((step for step in steps if count / step <= 8), count)
    return (1, *range(step if step > 1 else 2, count + 1, step))
