"""Macro F1: every label counts the same, however rare it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.metrics.metric import METRICS, CorpusMetric

if TYPE_CHECKING:
    import numpy as np


@METRICS.register
class MacroF1(CorpusMetric):
    """The mean, over the labels that occur, of F1 = 2 TP / (predicted + gold).

    An example's statistics are, for each label in turn, whether it is a true positive, predicted, and gold.
    A label that is neither predicted nor gold has no F1 (as in scikit-learn's f1_score without `labels`).
    """

    name = "macro_f1"
    share = True
    judges = "labels"

    @property
    def title(self) -> str:
        return "macro F1"

    def score(self, prediction: str, gold: str) -> tuple[float, ...]:
        return tuple(
            float(one)
            for label in self.labels
            for one in (prediction == label == gold, prediction == label, gold == label)
        )

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        correct, predicted, gold = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)
        either = predicted + gold
        scores = 2 * correct / np.where(either > 0, either, 1)
        values: np.ndarray = scores.sum(-1) / (either > 0).sum(-1)
        return values
