"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) as summaries are judged by: Google's rouge-score, with stems."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

from experiments.errors import AbsentError
from experiments.metrics.metric import METRICS, MeanMetric, References, references


class _Rouge(MeanMetric):
    """The mean of each prediction's F, of several references the highest."""

    share = True
    computed_by = "rouge-score, stemmed"

    @property
    def title(self) -> str:
        return f"ROUGE-{self.name.removeprefix('rouge')}"

    def require(self) -> None:
        if importlib.util.find_spec("rouge_score") is None:
            raise AbsentError(
                f"metric {self.name} needs rouge-score, which is not installed: pip install -e '.[nlg]'"
            )

    def score(self, prediction: str, gold: str | References) -> float:
        scorer = _scorer(self.name)
        return max(float(scorer.score(text, prediction)[self.name].fmeasure) for text in references(gold))


@METRICS.register
class Rouge1(_Rouge):
    """Words."""

    name = "rouge1"


@METRICS.register
class Rouge2(_Rouge):
    """Pairs of words."""

    name = "rouge2"


@METRICS.register
class SummaryRougeL(_Rouge):
    """The longest common subsequence of the summary; another definition than the captions' `rouge_l`."""

    name = "rougeL"


@functools.cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=True)
