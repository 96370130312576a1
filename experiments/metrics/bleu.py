"""BLEU (Papineni et al. 2002), as sacrebleu counts it: its 13a tokens, n-grams up to 4, any references."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.errors import AbsentError
from experiments.metrics.metric import METRICS, CorpusMetric, References, references

if TYPE_CHECKING:
    import numpy as np

ORDERS = 4


@METRICS.register
class BLEU(CorpusMetric):
    """From 0 to 1, shown from 0 to 100.

    An example's statistics are the matching and all n-grams of the prediction, n from 1 to 4, and the lengths
    in tokens of the prediction and of the reference nearest to it in length.  Orders without a match are
    smoothed as sacrebleu does ("exp").
    """

    name = "bleu"
    share = True
    lowercase: ClassVar[bool] = False
    computed_by = "sacrebleu, 13a tokens"

    @property
    def title(self) -> str:
        return "BLEU"

    def require(self) -> None:
        if importlib.util.find_spec("sacrebleu") is None:
            raise AbsentError(
                f"metric {self.name} needs sacrebleu, which is not installed: pip install -e '.[nlg]'"
            )

    def score(self, prediction: str, gold: str | References) -> tuple[float, ...] | None:
        counted = _counter(self.lowercase).sentence_score(prediction, list(references(gold)))
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


@METRICS.register
class LowercaseBLEU(BLEU):
    """Of lower-cased text, as mteval-v13a counts by default, and so the evaluation of the E2E challenge."""

    name = "bleu_lc"
    lowercase = True
    computed_by = "sacrebleu, 13a tokens, lower case, as mteval-v13a"


class _PartBLEU(LowercaseBLEU):
    """Of the examples of one part alone."""

    part: ClassVar[str]

    @property
    def title(self) -> str:
        return f"BLEU, {self.part}"

    def score(self, prediction: str, gold: str | References) -> tuple[float, ...] | None:
        here = isinstance(gold, References) and gold.part == self.part
        return super().score(prediction, gold) if here else None


@METRICS.register
class SeenBLEU(_PartBLEU):
    """Of WebNLG's categories that have training examples."""

    name, part = "bleu_lc_seen", "seen"


@METRICS.register
class UnseenBLEU(_PartBLEU):
    """Of WebNLG's categories that have none."""

    name, part = "bleu_lc_unseen", "unseen"


@functools.cache
def _counter(lowercase: bool) -> Any:
    from sacrebleu.metrics import BLEU as Counter

    return Counter(
        lowercase=lowercase, effective_order=True
    )  # without it each call warns; counts are the same
