"""Predictions of other systems, in WikiSQL's official format, scored by its two official metrics.

    python -m experiments score wikisql PRED.jsonl --gold test.jsonl --db test.db

Line i of PRED.jsonl answers line i of the gold file: {"query": {"sel": 0, "agg": 3, "conds": [[1, 0, "x"]]}},
or {"error": "..."} where the system gives none, which is wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.tasks.files import json_lines
from experiments.tasks.query import Database, Query, QueryError
from experiments.tasks.wikisql import wrong_query, wrong_question, wrong_table

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """So many of so many right; `of` is 0 where nothing was measured."""

    right: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, over questions."""
        from scipy.stats import binomtest

        found = binomtest(self.right, self.of).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = (f"{100 * end:.1f}" for end in self.interval)
        return f"{100 * self.right / self.of:.1f} % [{low}, {high}]  ({self.right:,} of {self.of:,})"


@dataclass(frozen=True)
class Scores:
    """Of one file of predictions.

    Attributes:
        logical_form: the same query as the gold one.
        execution: the same result, of the questions whose table has rows.
        errors: predictions that give no query.
        broken: gold queries that cannot be executed, at which the official script stops; whatever answers
            them is wrong here.
    """

    logical_form: Share
    execution: Share
    errors: int
    broken: int

    def __str__(self) -> str:
        measured = (
            str(self.execution) if self.execution.of else "not measured: give --db, or --tables with rows"
        )
        lines = [
            f"logical form accuracy  {self.logical_form}",
            f"execution accuracy     {measured}",
            f"predictions without a query: {self.errors:,}; intervals: 95 %, Wilson's, over questions",
        ]
        if self.broken:
            lines.append(f"gold queries that cannot be executed, counted as wrong: {self.broken:,}")
        return "\n".join(lines)


def score_wikisql(
    predictions: Path, gold: Path, tables: Path | None = None, database: Path | None = None
) -> Scores:
    """Score the official prediction format.

    Args:
        predictions: PRED.jsonl.
        gold: the release's {split}.jsonl.
        tables: its {split}.tables.jsonl, whose rows are queried where there is no database.
        database: its {split}.db.

    Raises:
        UserError: a file cannot be read or a line is not valid, or there are not as many as gold ones.
    """
    golds = list(_records(gold, "--gold"))
    answers = list(_records(predictions, "the file of predictions"))
    if len(golds) != len(answers):
        raise UserError(
            f"{predictions} has {len(answers):,} lines and {gold} {len(golds):,}; line i answers line i"
        )
    for where, record in golds:
        if reason := wrong_question(record):
            raise UserError(f"{where}: {reason}")
    queries = [_predicted(where, record) for where, record in answers]
    same: list[bool] = []
    right: list[bool] = []
    broken = 0
    with closing(_Tables(tables, database)) as known:
        for (where, record), query in zip(golds, queries, strict=True):
            wanted = Query.from_dict(record["sql"])
            same.append(query is not None and query.matches(wanted))
            table = known.find(where, record["table_id"])
            if table is not None:
                broken += not table.same_result(wanted, wanted)
                right.append(query is not None and table.same_result(query, wanted))
    return Scores(
        Share(sum(same), len(same)), Share(sum(right), len(right)), sum(q is None for q in queries), broken
    )


class _Tables:
    """The tables that queries run on: a stored database, rows of a file of tables, or none."""

    def __init__(self, tables: Path | None, database: Path | None):
        self._stored = self._connect(database) if database is not None else None
        self._described: dict[str, Mapping[str, Any]] = {}
        self._built: tuple[str, Database] | None = None  # the last, which the next question is often of
        for where, record in _records(tables, "--tables") if tables is not None else ():
            if reason := wrong_table(record):
                raise UserError(f"{where}: {reason}")
            self._described[record["id"]] = record

    @staticmethod
    def _connect(database: Path) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(f"{database.expanduser().resolve().as_uri()}?mode=ro", uri=True)
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            raise UserError(f"--db {database} cannot be read as an sqlite database ({error})") from error
        return connection

    def find(self, where: str, name: str) -> Database | None:
        """The table of this id; None where nothing is known of its rows.

        Raises:
            UserError: the database or the file of tables lacks it.
        """
        if self._stored is not None:
            try:
                return Database.stored(self._stored, name)
            except QueryError as error:
                raise UserError(f"{where}: {error}; give the database of the gold file's split") from error
        if not self._described:
            return None
        if name not in self._described:
            raise UserError(f"{where}: --tables has no table {name!r}; give those of the gold file's split")
        if self._built is None or self._built[0] != name:
            self._forget()
            if not (rows := self._described[name].get("rows")):
                return None
            self._built = name, Database.of_rows(self._described[name]["types"], rows)
        return self._built[1]

    def close(self) -> None:
        self._forget()
        if self._stored is not None:
            self._stored.close()

    def _forget(self) -> None:
        if self._built is not None:
            self._built[1].close()
            self._built = None


def _records(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read ({error.strerror}); give a .jsonl file") from error
    return json_lines(content, str(path))


def _predicted(where: str, record: Mapping[str, Any]) -> Query | None:
    """The query of a line of predictions; None where it says that there is none."""
    if record.get("error"):
        return None
    if not isinstance(record.get("query"), dict):
        raise UserError(
            f'{where} has {", ".join(record) or "nothing"}; give {{"query": {{...}}}} or {{"error": "..."}}'
        )
    if reason := wrong_query(record["query"]):
        raise UserError(f"{where}: {reason}")
    return Query.from_dict(record["query"])
