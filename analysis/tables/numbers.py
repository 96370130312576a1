"""Numbers in table cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

MISSING = "–"


def short(value: float) -> str:
    """Three significant digits, without an exponent where that is readable; a dash for NaN."""
    if math.isnan(value):
        return MISSING
    return f"{value:.{_decimals(value)}f}" if _plain(value) else f"{value:.2e}"


def mean_sd(values: Sequence[float]) -> str:
    """The mean and, where they differ, the standard deviation of the values, to the mean's last digit."""
    present = [value for value in values if not math.isnan(value)]
    if not present:
        return MISSING
    mean = statistics.fmean(present)
    if max(present) == min(present):
        return short(mean)
    sd = statistics.stdev(present)
    return f"{short(mean)} ± " + (f"{sd:.{_decimals(mean)}f}" if _plain(mean) else f"{sd:.1e}")


def _plain(value: float) -> bool:
    return value == 0 or 1e-3 <= abs(value) < 1e5


def _decimals(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2
