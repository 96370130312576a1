"""NIST (Doddington 2002), as mteval-v13a defines it: rare n-grams count for more, orders 1 to 5."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.errors import AbsentError
from experiments.metrics.metric import METRICS, CorpusMetric, References, SplitMetric, references

if TYPE_CHECKING:
    import numpy as np

ORDERS = 5
BETA = -math.log(0.5) / math.log(1.5) ** 2
"""At two thirds of the references' length the score is halved."""
Grams = Counter[tuple[str, ...]]


@METRICS.register
class NIST(SplitMetric, CorpusMetric):
    """The sum over n of (information of the n-grams that match) / (n-grams), times a penalty for brevity.

    An n-gram's information is log2(count of its first n - 1 words / count of it) in all references of the
    split; matches are clipped by the reference that has the n-gram most often, and the length compared with
    is the mean over references.  An example's statistics are the information matched and the n-grams of
    each order, and the two lengths; where examples are resampled, information stays that of the split.
    """

    name = "nist"
    computed_by = "this project, by mteval-v13a's definition: sacrebleu's 13a tokens, lower case"

    @property
    def title(self) -> str:
        return "NIST"

    def require(self) -> None:
        if importlib.util.find_spec("sacrebleu") is None:
            raise AbsentError(
                "metric nist needs sacrebleu's tokens, and it is not installed: pip install -e '.[nlg]'"
            )

    def scores(
        self, predictions: Sequence[str], golds: Sequence[str | References]
    ) -> list[tuple[float, ...]]:
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        tokens = Tokenizer13a()
        wanted = [[tokens(text).lower().split() for text in references(gold)] for gold in golds]
        found = [tokens(text).lower().split() for text in predictions]
        seen: Grams = Counter(gram for texts in wanted for words in texts for gram in _grams(words))
        seen[()] = sum(len(words) for texts in wanted for words in texts)
        return [_statistics(*pair, seen) for pair in zip(found, wanted, strict=True)]

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        information, grams = totals[..., :ORDERS], totals[..., ORDERS : 2 * ORDERS]
        ratio = totals[..., -2] / np.maximum(totals[..., -1], 1)
        shortness = np.log(np.clip(ratio, 1e-9, 1.0))
        values: np.ndarray = (information / np.maximum(grams, 1)).sum(-1) * np.exp(-BETA * shortness**2)
        return values


def _statistics(found: list[str], wanted: list[list[str]], seen: Grams) -> tuple[float, ...]:
    most: Grams = Counter()
    for words in wanted:
        most |= Counter(_grams(words))
    information = [0.0] * ORDERS
    for gram, count in (Counter(_grams(found)) & most).items():
        information[len(gram) - 1] += count * math.log2(seen[gram[:-1]] / seen[gram])
    grams = [max(0, len(found) - order) for order in range(ORDERS)]
    return (*information, *grams, len(found), sum(map(len, wanted)) / len(wanted))


def _grams(words: list[str]) -> Iterator[tuple[str, ...]]:
    """All n-grams, n from 1 to 5."""
    for order in range(1, ORDERS + 1):
        for start in range(len(words) - order + 1):
            yield tuple(words[start : start + order])
