"""McNemar's test: do two runs get equally many of the same examples right?"""

from __future__ import annotations

from analysis.errors import AnalysisError


def mcnemar(only_first: int, only_second: int, *, mid_p: bool = True) -> float:
    """Two-sided p-value from the examples that only one of two runs gets right.

    Under the null each of them is as likely to be the first's as the second's: a binomial with share 1/2. The
    mid-p form counts half of the outcome seen; it keeps its level in practice, where the exact one is
    conservative (Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013).

    Args:
        only_first: examples that the first gets right and the second wrong.
        only_second: the reverse.
        mid_p: False for the exact test.

    Raises:
        AnalysisError: a count is negative.
    """
    if only_first < 0 or only_second < 0:
        raise AnalysisError(f"counts {only_first} and {only_second}: give numbers of examples, 0 or more")
    from scipy.stats import binom, binomtest

    fewer, total = min(only_first, only_second), only_first + only_second
    if total == 0:
        return 1.0
    exact = float(binomtest(fewer, total).pvalue)
    if not mid_p:
        return exact
    if only_first == only_second:  # the two tails share the outcome seen, so that together they are certain
        return 1.0
    return exact - float(binom.pmf(fewer, total, 0.5))
