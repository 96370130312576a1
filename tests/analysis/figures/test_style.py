import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.figures.style import spaced_ticks


@pytest.mark.parametrize(
    ("count", "ticks"),
    [
        (1, (1,)),
        (4, (1, 2, 3, 4)),
        (26, (1, 5, 10, 15, 20, 25)),
        (16, (1, 2, 4, 6, 8, 10, 12, 14, 16)),
        (64, (1, 8, 16, 24, 32, 40, 48, 56, 64)),
    ],
)
def test_examples(count, ticks):
    assert spaced_ticks(count) == ticks


@given(st.integers(1, 5000))
def test_ticks_rise_from_one_and_are_few(count):
    ticks = spaced_ticks(count)
    assert ticks[0] == 1
    assert list(ticks) == sorted(set(ticks))
    assert ticks[-1] <= count
    assert len(ticks) <= 9
