"""What a metric is: a score for each example, and how the scores of many become one number.

    @METRICS.register
    class TokenF1(MeanMetric):                      # any real number an example, and their mean
        name = "token_f1"
        share = True

        def score(self, prediction, gold): ...      # 0.37

    @METRICS.register
    class WordRatio(CorpusMetric):                  # computed from all examples together, as BLEU is
        name = "word_ratio"

        def score(self, prediction, gold):
            return len(prediction.split()), len(gold.split())

        def of_totals(self, totals):
            return totals[..., 0] / totals[..., 1]

By a task's first metric the best checkpoint is chosen, so of that higher must be better.  The analysis reads
metrics too, so torch is not imported here, and numpy only where a corpus metric is computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.errors import UserError
from experiments.registry import Registry

if TYPE_CHECKING:
    import numpy as np

Score = float | tuple[float, ...]
"""Of one example: a number, or a corpus metric's statistics of it."""


@dataclass(frozen=True)
class References:
    """The gold of a text that can be written in several ways.

    Attributes:
        texts: each of them right; at least one.
        part: of the data that the example belongs to, where metrics tell parts apart, as WebNLG's "seen".
    """

    texts: tuple[str, ...]
    part: str = ""


def references(gold: str | References) -> tuple[str, ...]:
    """The texts that a prediction is held against."""
    return (gold,) if isinstance(gold, str) else gold.texts


class Metric(ABC):
    """A way to score predictions.

    Attributes:
        name: in run.json, histories and tables.
        share: whether values lie between 0 and 1; they are then shown in per cent, and differences in points.
        binary: whether every score is 0 or 1, an answer wrong or right.
        judges: what it can tell right from wrong: "text" against text, "labels", "numbers", or "queries".
        lower_is_better: such a metric is told beside the one that counts.
        computed_by: the tool or definition whose numbers these are, where several share the name.
        labels: those of the task, where answers are chosen among labels; set before anything is scored.
    """

    name: ClassVar[str]
    share: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    judges: ClassVar[str] = "text"
    lower_is_better: ClassVar[bool] = False
    computed_by: ClassVar[str] = ""
    labels: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")

    @property
    def scale(self) -> float:
        """What a value is multiplied by where people read it."""
        return 100.0 if self.share else 1.0

    @property
    def decimals(self) -> int:
        """That people read."""
        return 1 if self.scale == 100 else 2

    def require(self) -> None:  # noqa: B027 - most need nothing
        """Raise UserError where a package that scoring needs is not installed."""

    @abstractmethod
    def score(self, prediction: str, gold: Any) -> Score | None:
        """Of one prediction against its example's gold; None where the metric says nothing of the example."""

    def scores(self, predictions: Sequence[str], golds: Sequence[Any]) -> Sequence[Score | None]:
        """Of each prediction of a split."""
        return [self.score(*pair) for pair in zip(predictions, golds, strict=True)]

    @abstractmethod
    def value(self, scores: Sequence[Score]) -> float:
        """Of at least one example's scores together."""


class SplitMetric(Metric):
    """A metric that scores a split at once: scores depend on all golds, or one process makes them."""

    def score(self, prediction: str, gold: Any) -> Any:
        return self.scores([prediction], [gold])[0]

    @abstractmethod
    def scores(self, predictions: Sequence[str], golds: Sequence[Any]) -> Sequence[Any]: ...


class MeanMetric(Metric):
    """The mean of its scores, each any finite number."""

    @abstractmethod
    def score(self, prediction: str, gold: Any) -> float | None: ...

    def value(self, scores: Sequence[Any]) -> float:
        return float(sum(scores) / len(scores))


class CorpusMetric(Metric):
    """A function of the sums, over the examples, of each example's statistics.

    The statistics are stored with the predictions, so that the metric can be computed anew for any resampled
    set of examples: an n-gram's matches and counts for BLEU, not a BLEU of each sentence.
    """

    @abstractmethod
    def score(self, prediction: str, gold: Any) -> tuple[float, ...] | None:
        """The example's statistics; as many for each example."""

    @abstractmethod
    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        """The metric of sums of statistics, (..., statistics) -> (...); float64, and finite."""

    def value(self, scores: Sequence[Any]) -> float:
        import numpy as np

        return float(self.of_totals(np.sum(np.asarray(scores, dtype=float), axis=0)))


METRICS: Registry[type[Metric]] = Registry("metric", "experiments.metrics")


def metric(name: str, labels: tuple[str, ...] | None = None) -> Metric:
    """The metric of this name, for a task with these labels.

    Raises:
        UserError: there is none.
    """
    found = METRICS.find(name)()
    found.labels = labels or ()
    return found


def shown(name: str, value: float) -> str:
    """A value as people read it: a share in per cent; as it is where the metric is not known here."""
    try:
        known = metric(name)
    except UserError:
        return f"{value:.4f}"
    return f"{value * known.scale:.{known.decimals}f}"


def unit(name: str) -> str:
    """What stands behind the metric's name where its values are shown: " (%)", or nothing."""
    try:
        return " (%)" if metric(name).share else ""
    except UserError:
        return ""
