"""The metrics: each file registers what it defines, and tasks name them.

metric("accuracy").value([1.0, 0.0])        # 0.5
"""

from experiments.metrics.metric import (
    METRICS,
    CorpusMetric,
    MeanMetric,
    Metric,
    References,
    Score,
    SplitMetric,
    metric,
    references,
    shown,
    unit,
)

__all__ = [
    "METRICS",
    "CorpusMetric",
    "MeanMetric",
    "Metric",
    "References",
    "Score",
    "SplitMetric",
    "metric",
    "references",
    "shown",
    "unit",
]
