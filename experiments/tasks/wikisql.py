"""WikiSQL: a table's header and a question in, a query out (paper sections 5.5 and 7, appendix C.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from experiments.errors import UserError
from experiments.parts import TaskConfig
from experiments.tasks.examples import Example
from experiments.tasks.files import hub_rows, read_jsonl, release_path, wrong_field
from experiments.tasks.query import AGGREGATIONS, OPERATORS, Gold, Query, to_text
from experiments.tasks.task import TASKS, ReleaseTask

HUB_ID = "Salesforce/wikisql"
# The hub's WikiSQL is a loading script; its converted files stand under this revision.
HUB_REVISION = "refs/convert/parquet"
HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
LOGICAL_FORM, EXECUTION = "logical_form_accuracy", "execution_accuracy"


@TASKS.register
class WikiSQL(ReleaseTask):
    """Text-to-SQL.  Predictions are parsed back to a query; what does not parse is wrong."""

    name = "wikisql"
    labels = None
    metrics = (LOGICAL_FORM, EXECUTION)

    @classmethod
    def load(cls, config: TaskConfig) -> Self:
        if config.path is None:
            return cls.from_hub_rows(hub_rows(cls.name, HUB_ID, HUB_REVISION))
        return cls.from_path(release_path(config.path))

    @staticmethod
    def pack(gold: Gold) -> Any:
        return [gold.query.to_dict(), gold.header, gold.types, gold.rows]

    @staticmethod
    def unpack(packed: Any) -> Gold:
        query, header, types, rows = packed
        return Gold(Query.from_dict(query), header, types, rows or ())

    @classmethod
    def from_records(
        cls, records: Mapping[str, tuple[Iterable[dict[str, Any]], Iterable[dict[str, Any]]]]
    ) -> Self:
        """From the records of {split}.jsonl and {split}.tables.jsonl."""
        return cls({split: read_examples(split, *both) for split, both in records.items()})

    @classmethod
    def from_path(cls, path: Path) -> Self:
        """From the official release: data.tar.bz2, the folder it unpacks to, or any part with its splits."""
        splits = ("train", "dev", "test")
        questions = {f"{split}.jsonl": wrong_question for split in splits}
        tables = {f"{split}.tables.jsonl": wrong_table for split in splits}
        files = read_jsonl(path, questions | tables, required=False)
        present = [split for split in splits if f"{split}.jsonl" in files]
        if not present:
            raise UserError(
                f"task.path={path} is no WikiSQL release: it holds none of {', '.join(questions)}"
            )
        for split in present:
            if f"{split}.tables.jsonl" not in files:
                raise UserError(f"task.path={path} holds {split}.jsonl but not {split}.tables.jsonl")
        return cls.from_records({s: (files[f"{s}.jsonl"], files[f"{s}.tables.jsonl"]) for s in present})

    @classmethod
    def from_hub_rows(cls, rows: Mapping[str, Iterable[dict[str, Any]]]) -> Self:
        """From the hub's layout, where each row carries its table and conditions are parallel lists."""
        records = {}
        for split, hub_split in HUB_SPLITS.items():
            if hub_split in rows:
                pairs = [_from_hub(hub_split, row, index) for index, row in enumerate(rows[hub_split])]
                records[split] = ([question for question, _ in pairs], [table for _, table in pairs])
        return cls.from_records(records)


def prompt(header: Sequence[str], question: str) -> str:
    return f"table: {' | '.join(header)}\nquestion: {question.strip()}\nsql:"


def wrong_question(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a line of {split}.jsonl, or None."""
    reason = wrong_field(record, {"table_id": str, "question": str, "sql": dict})
    return reason or wrong_query(record["sql"])


def wrong_query(query: Mapping[str, Any]) -> str | None:
    """What is wrong with a query in the release's form, or None."""
    reason = wrong_field(query, {"sel": int, "agg": int, "conds": list})
    for condition in () if reason else query["conds"]:
        parts = condition if isinstance(condition, list | tuple) else ()
        if len(parts) != 3 or not all(map(isinstance, parts, (int, int, str | int | float))):
            return f"the condition {condition} is not a column, an operator and a value"
    return reason


def wrong_table(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a line of {split}.tables.jsonl, or None."""
    reason = wrong_field(record, {"id": str, "header": list, "types": list})
    if reason:
        return reason
    header, rows = record["header"], record.get("rows") or ()
    if not all(isinstance(name, str) for name in header):
        return f"header has a column without a name: {header}"
    if any(not isinstance(row, list) or len(row) != len(header) for row in (record["types"], *rows)):
        return f"types and each row have as many entries as header, {len(header)}"
    return None


def read_examples(
    split: str, questions: Iterable[dict[str, Any]], tables: Iterable[dict[str, Any]]
) -> list[Example]:
    """Of records in the layout of the release.  Raises UserError for the first that is not."""
    by_id: dict[str, dict[str, Any]] = {}
    for one in tables:
        if by_id.setdefault(one["id"], one) is not one:
            raise UserError(f"{split}: two tables have the id {one['id']!r}; a release has one of each")
    examples = []
    for number, record in enumerate(questions):
        table = by_id.get(record["table_id"])
        if table is None:
            raise UserError(
                f"{split} question {number} names table {record['table_id']!r}, which the tables file lacks"
            )
        query = Query.from_dict(record["sql"])
        header = table["header"]
        indices = [query.sel, *(condition[0] for condition in query.conds)]
        valid = all(0 <= index < len(header) for index in indices) and 0 <= query.agg < len(AGGREGATIONS)
        if not valid or not all(0 <= condition[1] < len(OPERATORS) for condition in query.conds):
            raise UserError(
                f"{split} question {number} on table {table['id']!r} has a query outside its header: {query}"
            )
        example = Example(
            id=str(number),
            prompt=prompt(header, record["question"]),
            target=" " + to_text(query, header),
            sentences=(" | ".join(header), record["question"]),
            gold=Gold(query, header, table["types"], table.get("rows") or ()),
        )
        examples.append(example)
    return examples


def _from_hub(split: str, row: Mapping[str, Any], index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question and the table of a row, as the release has them."""
    try:
        conditions = row["sql"]["conds"]
        columns, operators = conditions["column_index"], conditions["operator_index"]
        query = {
            "sel": row["sql"]["sel"],
            "agg": row["sql"]["agg"],
            "conds": list(zip(columns, operators, conditions["condition"], strict=True)),
        }
        question = {"table_id": str(index), "question": row["question"], "sql": query}
        table = {**row["table"], "id": str(index)}
        reason = wrong_question(question) or wrong_table(table)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it is not in the layout of {HUB_ID}: {type(error).__name__}: {error}"
    if reason:
        raise UserError(f"{HUB_ID}, {split}, row {index}: {reason}")
    return question, table
