"""A metric whose scores are any real numbers, and one of all examples together; closed forms are known."""

from __future__ import annotations

import pytest

from experiments.metrics import METRICS, CorpusMetric, MeanMetric


class Overlap(MeanMetric):
    """The words that prediction and gold share over those that either has."""

    name = "overlap"
    share = True

    def score(self, prediction, gold):
        one, other = set(prediction.split()), set(gold.split())
        return len(one & other) / max(1, len(one | other))


class WordRatio(CorpusMetric):
    """All predicted words over all gold words."""

    name = "word_ratio"

    def score(self, prediction, gold):
        return len(prediction.split()), len(gold.split())

    def of_totals(self, totals):
        return totals[..., 0] / totals[..., 1]


@pytest.fixture
def toy_metrics(monkeypatch):
    """Both, registered as their files would have them."""
    assert "accuracy" in METRICS
    for toy in (Overlap, WordRatio):
        monkeypatch.setitem(METRICS._entries, toy.name, toy)
