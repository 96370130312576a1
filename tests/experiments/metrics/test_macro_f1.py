"""Macro F1 against precision and recall counted answer by answer, and for many totals at once."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.metrics import metric

LABELS = ("a", "b", "c", "d")


def by_hand(golds, predictions):
    """The mean over the labels that occur; precision and recall are 0 where they have no answers."""
    scores = []
    for label in sorted({*golds, *predictions}):
        hits = sum(g == p == label for g, p in zip(golds, predictions, strict=True))
        precision = hits / predictions.count(label) if label in predictions else 0
        recall = hits / golds.count(label) if label in golds else 0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0)
    return sum(scores) / len(scores)


def statistics(golds, predictions):
    scored = metric("macro_f1", LABELS)
    return [scored.score(p, g) for g, p in zip(golds, predictions, strict=True)]


@pytest.mark.parametrize(
    ("golds", "predictions", "value"),
    [
        ("aabb", "aabb", 1),
        ("aabb", "bbaa", 0),
        ("aaab", "aaaa", (6 / 7 + 0) / 2),  # accuracy would be 3/4
        ("ab", "ac", (1 + 0 + 0) / 3),  # c is predicted and no answer; d occurs nowhere
    ],
)
def test_closed_forms(golds, predictions, value):
    assert metric("macro_f1").value(statistics([*golds], [*predictions])) == pytest.approx(value)


def test_random_answers_and_their_resamples():
    generator = np.random.default_rng(0)
    golds, predictions = (generator.choice(LABELS[:3], 40, p=[0.7, 0.2, 0.1]).tolist() for _ in range(2))
    scores = np.array(statistics(golds, predictions))
    assert metric("macro_f1").value(scores) == pytest.approx(by_hand(golds, predictions))
    draws = generator.integers(0, 40, (50, 40))
    together = metric("macro_f1").of_totals(scores[draws].sum(1))
    alone = [by_hand([golds[i] for i in draw], [predictions[i] for i in draw]) for draw in draws]
    assert together == pytest.approx(alone)
