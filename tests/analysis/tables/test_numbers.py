import math

import pytest

from analysis.tables.numbers import grouped, grouped_medians, interval, mean_sd, median_range, short


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
        ([206.1, 206.3], "206 ± <0.5"),
        ([1.310, 1.312], "1.31 ± <0.005"),
        ([3.2e-7, 3.3e-7], "3.25e-07 ± 7.1e-09"),
        ([1.0, math.nan], "1.00 (1 of 2)"),
        ([1.0, math.nan, 3.0], "2.00 ± 1.41 (2 of 3)"),
        ([math.nan, math.nan], "–"),
        ([math.nan], "–"),
        ([], "–"),
    ],
)
def test_mean_and_standard_deviation(values, text):
    assert mean_sd(values) == text


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([[1.0, 3.0], [5.0, 7.0]], "4.00 ± 2.83"),
        ([[1.0, math.nan], [3.0, 5.0]], "2.50 ± 2.12 (3 of 4)"),
        ([[math.nan], [3.0]], "3.00 (1 of 2)"),
        ([[math.nan]], "–"),
    ],
)
def test_groups_count_every_value_that_is_not_defined(groups, text):
    assert grouped(groups) == text


def test_another_statistic_of_each_group():
    assert grouped([[1.0, 3.0, 2.0], [4.0, math.nan, 4.0]]) == "3.00 ± 1.41 (5 of 6)"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3.0, 431.0, 26.0], "26.0 (3.00–431)"),
        ([2.0, 2.0], "2.00"),
        ([math.nan, 1.0, 3.0], "2.00 (1.00–3.00) (2 of 3)"),
        ([math.nan], "–"),
    ],
)
def test_ratios_are_medians_with_their_range(values, text):
    assert median_range(values) == text


def test_medians_of_groups_count_every_value():
    assert grouped_medians([[1.0, 2.0, 9.0], [4.0, math.nan, 5.0]]) == "3.25 (2.00–4.50) (5 of 6)"


def test_intervals():
    assert interval(0.514, 1.49) == "0.514 to 1.49"
    assert interval(math.nan, math.nan) == "–"
