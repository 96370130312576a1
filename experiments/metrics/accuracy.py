"""The share of predictions that are the gold label."""

from __future__ import annotations

from experiments.metrics.metric import METRICS, MeanMetric


@METRICS.register
class Accuracy(MeanMetric):
    """1 where the prediction is the gold label."""

    name = "accuracy"
    share = binary = True
    judges = "labels"

    def score(self, prediction: str, gold: str) -> float:
        return float(prediction == gold)
