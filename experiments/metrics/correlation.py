"""How predicted numbers go with gold ones: Pearson's and Spearman's correlation; shown times 100."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.metrics.metric import METRICS, CorpusMetric, Metric

if TYPE_CHECKING:
    import numpy as np

NO_NUMBER = -1.0
LARGEST = 1e6
NEGLIGIBLE = 1e-12  # a variance below this share of the mean square is rounding


def number(prediction: str) -> float:
    """The number that a prediction is; -1, as in T5's code, where it is none, or beyond a million."""
    try:
        value = float(prediction)
    except ValueError:
        return NO_NUMBER
    return value if math.isfinite(value) and abs(value) <= LARGEST else NO_NUMBER


@METRICS.register
class Pearson(CorpusMetric):
    """The linear correlation; 0 where all predictions, or all golds, are one number.

    An example's statistics are 1, x, y, x^2, y^2 and x y, of the predicted x and the gold y.
    """

    name = "pearson"
    judges = "numbers"
    scale = 100.0

    @property
    def title(self) -> str:
        return "Pearson correlation x 100"

    def score(self, prediction: str, gold: float) -> tuple[float, ...]:
        x, y = number(prediction), float(gold)
        return 1.0, x, y, x * x, y * y, x * y

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        n, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
        spread_x, spread_y = n * xx - x**2, n * yy - y**2
        varied = (spread_x > NEGLIGIBLE * n * xx) & (spread_y > NEGLIGIBLE * n * yy)
        size = np.sqrt(np.where(varied, spread_x * spread_y, 1.0))
        values: np.ndarray = np.where(varied, np.clip((n * xy - x * y) / size, -1.0, 1.0), 0.0)
        return values


@METRICS.register
class Spearman(Metric):
    """Pearson's correlation of the ranks, equal numbers sharing their mean rank.

    An example's score is the pair of numbers.  Ranks are of all examples together, so that it is no function
    of sums over examples: it stands beside the metric that counts, and has no interval.
    """

    name = "spearman"
    judges = "numbers"
    scale = 100.0

    @property
    def title(self) -> str:
        return "Spearman correlation x 100"

    def score(self, prediction: str, gold: float) -> tuple[float, ...]:
        return number(prediction), float(gold)

    def value(self, scores: Sequence[Any]) -> float:
        import numpy as np
        from scipy.stats import rankdata

        x, y = rankdata(np.asarray(scores, dtype=float), axis=0).T
        statistics = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
        return float(Pearson().of_totals(statistics.sum(axis=0)))
