"""Numbers in table cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "–"


def setting_value(value: Any) -> str:
    """A value of a run's setting as people write it: 8 for 8.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def short(value: float) -> str:
    """Three significant digits, without an exponent where that is readable; a dash for NaN."""
    if math.isnan(value):
        return MISSING
    return f"{value:.{_decimals(value)}f}" if _plain(value) else f"{value:.2e}"


def mean_sd(values: Sequence[float]) -> str:
    """The mean and, where they differ, the standard deviation of the values, to the mean's last digit.

    A standard deviation that would be 0 there is "<" half of that digit.  Where some values are NaN, the mean
    is over the others, and "(n of m)" says so; where all are, the cell is a dash.
    """
    return grouped([[value] for value in values])


def grouped(groups: Sequence[Sequence[float]]) -> str:
    """As `mean_sd`, of the mean of each group; "(n of m)" counts the values of all groups."""
    present = [[value for value in group if not math.isnan(value)] for group in groups]
    found = [statistics.fmean(group) for group in present if group]
    if not found:
        return MISSING
    mean = statistics.fmean(found)
    text = short(mean)
    if max(found) != min(found):
        text += f" ± {_spread(statistics.stdev(found), mean)}"
    defined, total = sum(map(len, present)), sum(map(len, groups))
    return text if defined == total else f"{text} ({defined} of {total})"


def median_range(values: Sequence[float]) -> str:
    """The median and, where they differ, the lowest and the highest value; "(n of m)" as in `mean_sd`.

    For ratios: where what they divide by is almost 0 they explode, and so would a mean and its deviation.
    """
    return grouped_medians([[value] for value in values])


def grouped_medians(groups: Sequence[Sequence[float]]) -> str:
    """As `median_range`, of the median of each group; "(n of m)" counts the values of all groups."""
    present = [[value for value in group if not math.isnan(value)] for group in groups]
    medians = [statistics.median(group) for group in present if group]
    if not medians:
        return MISSING
    text = short(statistics.median(medians))
    if max(medians) != min(medians):
        text += f" ({short(min(medians))}–{short(max(medians))})"
    defined, total = sum(map(len, present)), sum(map(len, groups))
    return text if defined == total else f"{text} ({defined} of {total})"


def defined_note(values: Iterable[float]) -> str:
    """A sentence that explains "(n of m)", with a space before it; nothing where every number is defined."""
    if not any(map(math.isnan, values)):
        return ""
    return " (n of m): only n of the m numbers behind a cell are defined, and it is over these."


def interval(low: float, high: float) -> str:
    """Two numbers as a range; a dash where they are NaN."""
    return MISSING if math.isnan(low) or math.isnan(high) else f"{short(low)} to {short(high)}"


def _spread(sd: float, mean: float) -> str:
    if not _plain(mean):
        return f"{sd:.1e}"
    decimals = _decimals(mean)
    text = f"{sd:.{decimals}f}"
    return text if float(text) > 0 else f"<{0.5 * 10**-decimals:g}"


def _plain(value: float) -> bool:
    return value == 0 or 1e-3 <= abs(value) < 1e5


def _decimals(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2
