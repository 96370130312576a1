"""WikiSQL's two official scores: is it the same query, does it give the same result?"""

from __future__ import annotations

from experiments.metrics.metric import METRICS, MeanMetric
from experiments.tasks.query import Database, Gold, Query, QueryError, parse


@METRICS.register
class LogicalFormAccuracy(MeanMetric):
    """1 where the prediction is a query, and the gold one."""

    name = "logical_form_accuracy"
    share = binary = True
    judges = "queries"

    def score(self, prediction: str, gold: Gold) -> float:
        query = _query(prediction, gold)
        return float(query is not None and query.matches(gold.query))


@METRICS.register
class ExecutionAccuracy(MeanMetric):
    """1 where the prediction gives the gold query's result; nothing where the table has no rows.

    What cannot be executed is wrong.
    """

    name = "execution_accuracy"
    share = binary = True
    judges = "queries"

    def score(self, prediction: str, gold: Gold) -> float | None:
        if not gold.rows:
            return None
        query = _query(prediction, gold)
        return float(query is not None and _same_result(query, gold))


def _query(prediction: str, gold: Gold) -> Query | None:
    try:
        return parse(prediction, gold.header)
    except QueryError:
        return None


def _same_result(query: Query, gold: Gold) -> bool:
    database = Database.of_rows(gold.types, gold.rows)
    try:
        return database.same_result(query, gold.query)
    finally:
        database.close()
