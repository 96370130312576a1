"""WikiSQL: a table's header and a question in, a query out (paper sections 5.5 and 7, appendix C.1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.tasks.example import Example, Judgement, Task
from experiments.tasks.files import read_jsonl
from experiments.tasks.query import AGGREGATIONS, OPERATORS, Database, Query, QueryError, parse, to_text

HUB_ID = "Salesforce/wikisql"
# The hub's WikiSQL is a loading script; its converted files stand under this revision.
HUB_REVISION = "refs/convert/parquet"
HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
LOGICAL_FORM, EXECUTION = "logical_form_accuracy", "execution_accuracy"


@dataclass(frozen=True)
class Gold:
    """The gold query with the table that it runs on; `rows` is empty where the release carries none."""

    query: Query
    header: Sequence[str]
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]


class WikiSQL(Task):
    """Text-to-SQL.  Predictions are parsed back to a query; what does not parse is wrong."""

    name = "wikisql"
    labels = None
    metric = LOGICAL_FORM

    def judge(self, example: Example, prediction: str) -> Judgement:
        """Logical-form accuracy and, where the table has rows, execution accuracy (0 where a query fails)."""
        gold: Gold = example.gold
        try:
            query = parse(prediction, gold.header)
        except QueryError:
            query = None
        scores = {LOGICAL_FORM: float(query is not None and query.matches(gold.query))}
        if gold.rows:
            scores[EXECUTION] = float(query is not None and _same_result(query, gold))
        return Judgement(scores)

    @classmethod
    def from_records(
        cls, records: Mapping[str, tuple[Iterable[dict[str, Any]], Iterable[dict[str, Any]]]]
    ) -> WikiSQL:
        """From the records of {split}.jsonl and {split}.tables.jsonl."""
        return cls(
            {split: list(_examples(questions, tables)) for split, (questions, tables) in records.items()}
        )

    @classmethod
    def from_path(cls, path: Path) -> WikiSQL:
        """From the official release: data.tar.bz2, the folder it unpacks to, or any part with its splits."""
        names = [f"{split}{kind}.jsonl" for split in ("train", "dev", "test") for kind in ("", ".tables")]
        files = read_jsonl(path, names, required=False)
        present = [split for split in ("train", "dev", "test") if f"{split}.jsonl" in files]
        if not present:
            raise UserError(
                f"task.path={path} is no WikiSQL release: it holds none of {', '.join(names[::2])}"
            )
        for split in present:
            if f"{split}.tables.jsonl" not in files:
                raise UserError(f"task.path={path} holds {split}.jsonl but not {split}.tables.jsonl")
        return cls.from_records({s: (files[f"{s}.jsonl"], files[f"{s}.tables.jsonl"]) for s in present})

    @classmethod
    def from_hub_rows(cls, rows: Mapping[str, Iterable[dict[str, Any]]]) -> WikiSQL:
        """From the hub's layout, where each row carries its table and conditions are parallel lists."""
        records = {}
        for split, hub_split in HUB_SPLITS.items():
            if hub_split in rows:
                pairs = [_from_hub(row, index) for index, row in enumerate(rows[hub_split])]
                records[split] = ([question for question, _ in pairs], [table for _, table in pairs])
        return cls.from_records(records)


def prompt(header: Sequence[str], question: str) -> str:
    return f"table: {' | '.join(header)}\nquestion: {question.strip()}\nsql:"


def _examples(questions: Iterable[dict[str, Any]], tables: Iterable[dict[str, Any]]) -> Iterable[Example]:
    by_id = {table["id"]: table for table in tables}
    for number, record in enumerate(questions):
        table = by_id.get(record["table_id"])
        if table is None:
            raise UserError(
                f"question {number} names table {record['table_id']!r}, which the tables file lacks"
            )
        query = Query.from_dict(record["sql"])
        header = table["header"]
        indices = [query.sel, *(condition[0] for condition in query.conds)]
        valid = all(0 <= index < len(header) for index in indices) and 0 <= query.agg < len(AGGREGATIONS)
        if not valid or not all(0 <= condition[1] < len(OPERATORS) for condition in query.conds):
            raise UserError(
                f"question {number} on table {table['id']!r} has a query outside its header: {query}"
            )
        yield Example(
            id=str(number),
            prompt=prompt(header, record["question"]),
            target=" " + to_text(query, header),
            sentences=(" | ".join(header), record["question"]),
            gold=Gold(query, header, table["types"], table.get("rows") or ()),
        )


def _same_result(query: Query, gold: Gold) -> bool:
    database = Database(gold.types, gold.rows)
    try:
        return database.execute(query) == database.execute(gold.query)
    except (QueryError, sqlite3.Error):
        return False
    finally:
        database.close()


def _from_hub(row: Mapping[str, Any], index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    conditions = row["sql"]["conds"]
    columns, operators = conditions["column_index"], conditions["operator_index"]
    query = {
        "sel": row["sql"]["sel"],
        "agg": row["sql"]["agg"],
        "conds": list(zip(columns, operators, conditions["condition"], strict=True)),
    }
    table = {**row["table"], "id": str(index)}
    return {"table_id": str(index), "question": row["question"], "sql": query}, table
