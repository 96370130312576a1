"""What is counted label by label: F1 of one, F1 of all, and the Matthews correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.metrics.metric import METRICS, CorpusMetric

if TYPE_CHECKING:
    import numpy as np


class _Counted(CorpusMetric):
    """An example's statistics are, label by label, whether it is a true positive, predicted, and gold."""

    judges = "labels"

    def score(self, prediction: str, gold: str) -> tuple[float, ...]:
        return tuple(
            float(one)
            for label in self.labels
            for one in (prediction == label == gold, prediction == label, gold == label)
        )


def _counts(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, predicted and gold, each (..., labels)."""
    import numpy as np

    correct, predicted, gold = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)
    return correct, predicted, gold


@METRICS.register
class MacroF1(_Counted):
    """The mean, over the labels that occur, of F1 = 2 TP / (predicted + gold): each counts the same.

    A label that is neither predicted nor gold has no F1 (as in scikit-learn's f1_score without `labels`).
    """

    name = "macro_f1"
    share = True

    @property
    def title(self) -> str:
        return "macro F1"

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        correct, predicted, gold = _counts(totals)
        either = predicted + gold
        scores = 2 * correct / np.where(either > 0, either, 1)
        values: np.ndarray = scores.sum(-1) / (either > 0).sum(-1)
        return values


@METRICS.register
class F1(_Counted):
    """Of two labels, 2 TP / (predicted + gold) of the second, the positive one; 0 where it does not occur."""

    name = "f1"
    share = True

    @property
    def title(self) -> str:
        return "F1"

    def require(self) -> None:
        if self.labels and len(self.labels) != 2:
            raise UserError(
                f"metric f1 is of two labels, of which the second is the positive one; here are "
                f"{len(self.labels)}: use macro_f1"
            )

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        correct, predicted, gold = (counts[..., -1] for counts in _counts(totals))
        values: np.ndarray = 2 * correct / np.maximum(predicted + gold, 1)
        return values


@METRICS.register
class Matthews(_Counted):
    """The Matthews correlation, of any number of labels (Gorodkin 2004); from -1 to 1, shown times 100.

    With c right answers of n, p_k predicted and t_k gold of label k,
    (c n - sum p_k t_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2)); 0 where only one label is predicted, or
    only one gold.
    """

    name = "matthews"
    scale = 100.0

    @property
    def title(self) -> str:
        return "Matthews correlation x 100"

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        correct, predicted, gold = _counts(totals)
        n = gold.sum(-1)
        covariance = correct.sum(-1) * n - (predicted * gold).sum(-1)
        spreads = (n**2 - (predicted**2).sum(-1)) * (n**2 - (gold**2).sum(-1))
        values: np.ndarray = np.where(
            spreads > 0, covariance / np.sqrt(np.where(spreads > 0, spreads, 1)), 0.0
        )
        return values
