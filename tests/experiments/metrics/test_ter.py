"""TER from stored statistics against sacrebleu, which counts and computes by itself."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.metrics import References, metric
from experiments.parts import TaskConfig
from experiments.tasks import load_task
from experiments.tasks.sql import SQL
from tests.experiments.metrics.test_bleu import sentences

sacrebleu = pytest.importorskip("sacrebleu")


def test_against_sacrebleu():
    (predictions, golds), (_, others) = sentences(5), sentences(6)
    pairs = [References(pair) for pair in zip(golds, others, strict=True)]
    scores = np.array(metric("ter").scores(predictions, pairs))
    expected = sacrebleu.corpus_ter(predictions, [golds, others]).score / 100
    assert metric("ter").value(scores) == pytest.approx(expected)
    assert 0.1 < expected < 1


def test_by_hand():
    scores = metric("ter").scores(["the dog sleeps", "a b c d", "x"], ["the red dog sleeps", "d a b c", ""])
    assert scores == [(1, 4), (1, 4), (1, 0)]  # one word is lacking; one is moved; one is too many
    assert metric("ter").of_totals(np.array([[2.0, 8], [0, 0], [1, 0]])) == pytest.approx([0.25, 0, 1])


def test_no_task_is_compared_by_what_is_better_where_lower(monkeypatch):
    monkeypatch.setattr(SQL, "metrics", ("ter",))
    with pytest.raises(UserError, match="task=sql is compared by ter, of which less is better"):
        load_task(TaskConfig("sql", train=4, dev=2, test=2))
