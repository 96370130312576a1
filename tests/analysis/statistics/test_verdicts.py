"""Verdicts follow from the numbers alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from analysis.statistics import Comparison, Components, verdict

COMPARISON = Comparison(
    difference=0.02,
    low=0.01,
    high=0.03,
    p_value=0.01,
    p_holm=None,
    seeds=3,
    examples=100,
    method="",
    level=0.95,
    margin=None,
    sources=("seeds", "examples"),
    components=Components(3, 100, math.nan, math.nan, math.nan),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "supported"),
        ({"difference": -0.02}, "contradicted"),
        ({"p_value": 0.06}, "undecided"),
        ({"p_holm": 0.06}, "undecided"),
        ({"p_holm": 0.04}, "supported"),
        ({"difference": 0.0}, "undecided"),
        ({"margin": 0.05, "low": -0.01}, "supported"),
        ({"margin": 0.05, "p_holm": 0.2}, "undecided"),
        ({"margin": 0.005, "p_value": 1.0}, "contradicted"),
        ({"margin": 0.005, "p_value": 1.0, "low": -0.03, "high": -0.01}, "contradicted"),
        ({"margin": 0.02, "p_value": 0.5}, "undecided"),
    ],
)
def test_verdict(changes, expected):
    assert verdict(replace(COMPARISON, **changes)) == expected


def test_alpha():
    assert verdict(COMPARISON, alpha=0.001) == "undecided"
