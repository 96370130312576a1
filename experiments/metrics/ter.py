"""TER (Snover et al. 2006): edits and shifts of words that make a prediction its nearest reference."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any

from experiments.errors import AbsentError
from experiments.metrics.metric import METRICS, CorpusMetric, References, references

if TYPE_CHECKING:
    import numpy as np


@METRICS.register
class TER(CorpusMetric):
    """Edits over the mean length of the references, both summed over the examples; 0 is a perfect answer."""

    name = "ter"
    lower_is_better = True
    computed_by = "sacrebleu, its defaults (lower case)"

    @property
    def title(self) -> str:
        return "TER"

    def require(self) -> None:
        if importlib.util.find_spec("sacrebleu") is None:
            raise AbsentError("metric ter needs sacrebleu, which is not installed: pip install -e '.[nlg]'")

    def score(self, prediction: str, gold: str | References) -> tuple[float, ...]:
        counted = _counter().sentence_score(prediction, list(references(gold)))
        return counted.num_edits, counted.ref_length

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        edits, length = totals[..., 0], totals[..., 1]
        values: np.ndarray = np.where(length > 0, edits / np.maximum(length, 1e-9), (edits > 0).astype(float))
        return values


@functools.cache
def _counter() -> Any:
    from sacrebleu.metrics import TER as Counter

    return Counter()
