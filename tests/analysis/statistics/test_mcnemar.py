"""McNemar's test, against worked examples and its definition."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics import mcnemar


def test_fagerlands_example():
    """Airway hyper-responsiveness before and after transplantation: 1 against 7 (Fagerland et al., 2013)."""
    assert mcnemar(1, 7, mid_p=False) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(1, 7) == pytest.approx(0.0391, abs=5e-5)


def test_no_example_that_only_one_gets_right():
    assert mcnemar(0, 0) == mcnemar(0, 0, mid_p=False) == 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_definition(first, second):
    total, fewer = first + second, min(first, second)
    tail = [comb(total, k) / 2**total for k in range(fewer + 1)]
    exact = min(1.0, 2 * sum(tail))
    half = min(1.0, 2 * sum(tail) - tail[-1]) if first != second else 1.0
    assert mcnemar(first, second, mid_p=False) == pytest.approx(exact)
    assert mcnemar(first, second) == pytest.approx(half)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_negative_counts():
    with pytest.raises(AnalysisError, match="-1 and 3"):
        mcnemar(-1, 3)
