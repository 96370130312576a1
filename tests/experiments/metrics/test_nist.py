"""NIST by hand, and against nltk where there is one reference: with several, nltk's is another definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.metrics import References, metric
from tests.experiments.metrics.test_bleu import sentences

pytest.importorskip("sacrebleu")
BETA = -math.log(0.5) / math.log(1.5) ** 2


def test_a_worked_example():
    """Nine words in all references: a 3 times, b 2, c 4; "a b" twice."""
    golds = [References(("a b c", "A b c c")), References(("c a",))]
    # The first answer matches a, b and "a b"; the second says c twice, which its reference has once.
    scores = metric("nist").scores(["a b", "c c"], golds)
    words = math.log2(9 / 3) + math.log2(9 / 2)
    assert scores[0] == pytest.approx((words, math.log2(3 / 2), 0, 0, 0, 2, 1, 0, 0, 0, 2, 3.5))
    assert scores[1] == pytest.approx((math.log2(9 / 4), 0, 0, 0, 0, 2, 1, 0, 0, 0, 2, 2))
    penalty = math.exp(-BETA * math.log(4 / 5.5) ** 2)
    expected = ((words + math.log2(9 / 4)) / 4 + math.log2(3 / 2) / 2) * penalty
    assert metric("nist").value(scores) == pytest.approx(expected)


def test_at_two_thirds_of_the_length_it_is_halved():
    whole = np.array([10.0, 0, 0, 0, 0, 4, 3, 2, 1, 0, 4, 4])
    short = whole.copy()
    short[-1] = 6
    assert metric("nist").of_totals(np.stack([whole, short])) == pytest.approx([2.5, 1.25])
    assert metric("nist").of_totals(np.array([0.0] * 11 + [3])) == 0  # nothing was written


def test_one_reference_is_nltk_s():
    nist_score = pytest.importorskip("nltk.translate.nist_score")
    predictions, golds = sentences(3)
    kept = [(p, g) for p, g in zip(predictions, golds, strict=True) if len(p.split()) >= 5]
    assert len(kept) > 5
    ours = metric("nist").value(metric("nist").scores(*map(list, zip(*kept, strict=True))))
    theirs = nist_score.corpus_nist([[g.split()] for _, g in kept], [p.split() for p, _ in kept])
    assert ours == pytest.approx(theirs)
    assert 1 < ours < 10


def test_resamples_are_of_the_sums():
    predictions, golds = sentences(4)
    scores = np.array(metric("nist").scores(predictions, golds))
    draws = np.random.default_rng(0).integers(0, 30, (20, 30))
    alone = [metric("nist").value(scores[draw]) for draw in draws]
    assert metric("nist").of_totals(scores[draws].sum(1)) == pytest.approx(alone)
