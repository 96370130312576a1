"""Exact match and token F1 by hand."""

from __future__ import annotations

import pytest

from experiments.metrics import metric


@pytest.mark.parametrize(
    ("prediction", "gold", "same", "f1"),
    [
        ("the red dog", "the red dog", 1, 1),
        (" the red dog\n", "the red dog", 1, 1),
        ("the  red dog", "the red dog", 0, 1),  # the same words
        ("The red dog", "the red dog", 0, 2 / 3),  # precision 2/3, recall 2/3
        ("red", "the red dog", 0, 2 * (1 * 1 / 3) / (1 + 1 / 3)),
        ("red red red", "red dog", 0, 2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2)),  # each gold word counts once
        ("red red red", "red red", 0, 2 * (2 / 3 * 1) / (2 / 3 + 1)),
        ("cat", "dog", 0, 0),
        ("", "dog", 0, 0),
        ("", "", 1, 1),
    ],
)
def test_one_answer(prediction, gold, same, f1):
    assert metric("exact_match").score(prediction, gold) == same
    assert metric("token_f1").score(prediction, gold) == pytest.approx(f1)


def test_many_answers_are_their_mean():
    assert metric("token_f1").value([1.0, 0.5, 0.0]) == 0.5
