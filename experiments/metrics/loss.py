"""The loss of the references themselves, word by word given what is right before it: nothing is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.metrics.metric import METRICS, CorpusMetric

if TYPE_CHECKING:
    import numpy as np


@METRICS.register
class Loss(CorpusMetric):
    """Cross-entropy in nats a token of the targets, without label smoothing, whatever training had.

    An example's statistics are the sum over the tokens of all its references, their ends of text among them,
    and the number of these.  The objective computes them from the model; a prediction has none.
    """

    name = "loss"
    lower_is_better = True
    judges = "likelihood"
    computed_by = "the model: nats a token, without label smoothing"

    @property
    def decimals(self) -> int:
        return 3

    def score(self, prediction: str, gold: object) -> None:
        return None

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        values: np.ndarray = totals[..., 0] / totals[..., 1]
        return values
