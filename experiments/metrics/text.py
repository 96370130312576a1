"""How near a generated text is to the wanted one: the same, and the words that they share."""

from __future__ import annotations

from collections import Counter

from experiments.metrics.metric import METRICS, MeanMetric


@METRICS.register
class ExactMatch(MeanMetric):
    """1 where the prediction is the target, blanks at the ends apart."""

    name = "exact_match"
    share = binary = True

    def score(self, prediction: str, gold: str) -> float:
        return float(prediction.strip() == gold.strip())


@METRICS.register
class TokenF1(MeanMetric):
    """The harmonic mean of precision and recall over words, each counted as often as it stands there.

    Words are what blanks separate, as they are written (SQuAD's F1, without its lower case and without
    leaving out articles and punctuation).
    """

    name = "token_f1"
    share = True

    @property
    def title(self) -> str:
        return "token F1"

    def score(self, prediction: str, gold: str) -> float:
        found, wanted = prediction.split(), gold.split()
        shared = sum((Counter(found) & Counter(wanted)).values())
        return 2 * shared / (len(found) + len(wanted)) if found or wanted else 1.0
