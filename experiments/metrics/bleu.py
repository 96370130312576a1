"""BLEU (Papineni et al. 2002), as sacrebleu counts it: one reference, its 13a tokens, words of up to four."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any

from experiments.errors import UserError
from experiments.metrics.metric import METRICS, CorpusMetric

if TYPE_CHECKING:
    import numpy as np

ORDERS = 4


@METRICS.register
class BLEU(CorpusMetric):
    """From 0 to 1, shown from 0 to 100.

    An example's statistics are the matching and all n-grams of the prediction, n from 1 to 4, and the lengths
    of prediction and target in tokens.  Orders without a match are smoothed as sacrebleu does ("exp").
    """

    name = "bleu"
    share = True

    @property
    def title(self) -> str:
        return "BLEU"

    def require(self) -> None:
        if importlib.util.find_spec("sacrebleu") is None:
            raise UserError("metric bleu needs sacrebleu, which is not installed: pip install -e '.[nlg]'")

    def score(self, prediction: str, gold: str) -> tuple[float, ...]:
        counted = _counter().sentence_score(prediction, [gold])
        return (*counted.counts, *counted.totals, counted.sys_len, counted.ref_len)

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        matches, grams = totals[..., :ORDERS], totals[..., ORDERS : 2 * ORDERS]
        found, wanted = totals[..., -2], totals[..., -1]
        # The k-th order without a match counts as 2^-k of one.
        missed = matches == 0
        smoothed = np.where(missed, 0.5 ** np.cumsum(missed, -1), matches)
        precision = smoothed / np.maximum(grams, 1)
        brevity = np.exp(np.minimum(0.0, 1 - wanted / np.maximum(found, 1)))
        whole = (grams > 0).all(-1) & (matches > 0).any(-1)
        values: np.ndarray = np.where(whole, brevity * np.exp(np.log(precision).mean(-1)), 0.0)
        return values


@functools.cache
def _counter() -> Any:
    from sacrebleu.metrics import BLEU as Counter

    return Counter()
