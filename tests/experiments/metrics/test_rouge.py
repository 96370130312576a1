"""ROUGE by hand."""

from __future__ import annotations

import pytest

from experiments.metrics import References, metric

pytest.importorskip("rouge_score")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # dogs and dog have one stem: 3 words of 4 and 5 are shared, 1 pair of 3 and 4, in order again 3.
        ("rouge1", 2 * 3 / (4 + 5)),
        ("rouge2", 2 * 1 / (3 + 4)),
        ("rougeL", 2 * 3 / (4 + 5)),
    ],
)
def test_one_answer(name, value):
    prediction, gold = "The sleep: dogs, today", "the sleep of a dog"
    assert metric(name).score(prediction, gold) == pytest.approx(value)
    assert metric(name).score(prediction, References(("cats", gold))) == pytest.approx(value)
    assert metric(name).score("", gold) == 0
