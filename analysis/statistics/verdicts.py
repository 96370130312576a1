"""What a comparison says of the claim that it tests."""

from __future__ import annotations

from typing import Literal

from analysis.statistics.comparison import Comparison

Verdict = Literal["supported", "contradicted", "undecided"]
ALPHA = 0.05


def verdict(comparison: Comparison, alpha: float = ALPHA) -> Verdict:
    """Of "first is better than second" (from `compare`), or of "both are equal" (from `equivalence`).

    Better: supported or contradicted where the p-value is below alpha, by the side of the reference, 0 by
    default, that the difference lies on. Equal: supported where the p-value is below alpha, so the interval
    lies within +-margin; contradicted where the interval lies wholly beyond the margin. The p-value is Holm's
    where there is one. Else undecided: the data do not tell, which is not the same as no difference.
    """
    p_value = comparison.p_value if comparison.p_holm is None else comparison.p_holm
    if comparison.margin is None:
        if p_value >= alpha or comparison.difference == comparison.reference:
            return "undecided"
        return "supported" if comparison.difference > comparison.reference else "contradicted"
    if p_value < alpha:
        return "supported"
    beyond = comparison.low > comparison.margin or comparison.high < -comparison.margin
    return "contradicted" if beyond else "undecided"
