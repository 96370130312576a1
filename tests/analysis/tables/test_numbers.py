import math

import pytest

from analysis.tables.numbers import mean_sd, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.32345, "0.323"),
        (21.67, "21.7"),
        (342.7, "343"),
        (12345.6, "12346"),
        (3.2e-7, "3.20e-07"),
        (math.nan, "–"),
    ],
)
def test_three_digits(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([2.0], "2.00"),
        ([2.0, 2.0], "2.00"),
        ([1.0, 2.0, 3.0], "2.00 ± 1.00"),
        ([100.0, 102.0], "101 ± 1"),
        ([1.0, math.nan], "1.00"),
        ([math.nan], "–"),
        ([], "–"),
    ],
)
def test_mean_and_standard_deviation(values, text):
    assert mean_sd(values) == text
