"""Generated tables and questions in the layout of WikiSQL.

A question is drawn as a query over a random table and then put into words: a phrasing for what is asked, the
column's header or one of its synonyms, and a phrase for each condition ("older than 30", "whose team is
rovers").  The world (subjects, columns, values) stands in `domains.yaml`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.embedded.split import bucket
from experiments.tasks.query import AGGREGATIONS, OPERATORS, Query

# {a} is the asked column, {s} the table's subject with its conditions, {w} a word for the aggregation.
OPENINGS = {
    "": [
        "what is the {a} of the {s}",
        "what {a} do the {s} have",
        "name the {a} of the {s}",
        "show the {a} for {s}",
        "tell me the {a} of all {s}",
        "which {a} belongs to the {s}",
        "i want to know the {a} for the {s}",
        "please list the {a} of {s}",
    ],
    "COUNT": [
        "how many {a} entries are there for {s}",
        "count the {a} of the {s}",
        "how many values of {a} are listed for {s}",
        "i want the count of {a} among {s}",
    ],
    "other": [
        "what is the {w} {a} of the {s}",
        "find the {w} {a} among {s}",
        "tell me the {w} {a} for {s}",
        "what {w} {a} do the {s} have",
        "give the {w} {a} of all {s}",
    ],
}
AGGREGATION_WORDS = {
    "MAX": ["highest", "largest", "maximum", "greatest"],
    "MIN": ["lowest", "smallest", "minimum", "least"],
    "SUM": ["total", "combined", "summed", "overall"],
    "AVG": ["average", "mean", "typical"],
}
CONDITION_PHRASES = {
    "=": [
        "with {a} {v}",
        "whose {a} is {v}",
        "where the {a} is {v}",
        "having {a} {v}",
        "that have {v} as {a}",
    ],
    ">": [
        "with {a} over {v}",
        "whose {a} is above {v}",
        "with more than {v} {a}",
        "where the {a} exceeds {v}",
    ],
    "<": [
        "with {a} under {v}",
        "whose {a} is below {v}",
        "with less than {v} {a}",
        "where {a} is lower than {v}",
    ],
}
JOINTS = [" and ", " and also ", " , "]
_OWN_PHRASES = {"=": "is", ">": "over", "<": "under"}


@dataclass(frozen=True)
class Column:
    """One column of a subject: its header, its values and the ways to speak of it."""

    name: str
    values: tuple[str | int, ...]
    numeric: bool
    ask: tuple[str, ...]
    phrases: dict[str, tuple[str, ...]]  # operator -> phrases that name the value alone


@dataclass(frozen=True)
class Table:
    """`rows` holds one list of cells a row; `types` is WikiSQL's "text" or "real" for each column."""

    subject: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | int, ...], ...]

    @property
    def header(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def types(self) -> list[str]:
        return ["real" if column.numeric else "text" for column in self.columns]


@functools.cache
def subjects() -> dict[str, tuple[Column, ...]]:
    """Table subject -> the columns that its tables draw from."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is faster
    world = yaml.load((Path(__file__).parent / "domains.yaml").read_text(encoding="utf-8"), loader)
    return {
        subject: tuple(_column(name, entry, world["pools"]) for name, entry in columns.items())
        for subject, columns in world["domains"].items()
    }


def _column(name: str, entry: dict[str, Any], pools: dict[str, list[str]]) -> Column:
    kind = entry["kind"]
    values: tuple[str | int, ...]
    if isinstance(kind, str):
        values = tuple(value for entry in pools[kind] for value in _fill(entry, pools))
    else:
        values = tuple(range(kind["from"], kind["to"] + 1, kind["step"]))
    phrases = {operator: tuple(entry.get(key, ())) for operator, key in _OWN_PHRASES.items()}
    return Column(name, values, not isinstance(kind, str), (name, *entry["ask"]), phrases)


def _fill(template: str, pools: dict[str, list[str]]) -> Iterator[str]:
    """Every way to fill the pools named in braces, e.g. "{first} {last}"."""
    if "{" not in template:
        yield template
        return
    before, rest = template.split("{", 1)
    pool, after = rest.split("}", 1)
    for value in pools[pool]:
        for tail in _fill(after, pools):
            yield before + value + tail


def sample_table(rng: random.Random) -> Table:
    """Four to six columns of one subject, in random order, and six to ten rows."""
    subject, columns = rng.choice(list(subjects().items()))
    chosen = tuple(rng.sample(columns, rng.randint(4, 6)))
    rows = tuple(tuple(rng.choice(c.values) for c in chosen) for _ in range(rng.randint(6, 10)))
    return Table(subject, chosen, rows)


def sample_query(rng: random.Random, table: Table) -> Query:
    """A query whose conditions hold for at least one row of the table."""
    aggregation = rng.choices(range(len(AGGREGATIONS)), weights=(45, 11, 11, 11, 11, 11))[0]
    selectable = list(range(len(table.columns)))
    if AGGREGATIONS[aggregation] in AGGREGATION_WORDS:
        selectable = [index for index in selectable if table.columns[index].numeric]
        if not selectable:
            aggregation, selectable = 0, list(range(len(table.columns)))
    selected = rng.choice(selectable)
    others = [index for index in range(len(table.columns)) if index != selected]
    row = rng.choice(table.rows)
    count = rng.choices((0, 1, 2, 3), weights=(8 if aggregation else 0, 42, 35, 15))[0]
    conditions = tuple(
        _sample_condition(rng, table, index, row[index]) for index in rng.sample(others, count)
    )
    return Query(selected, aggregation, conditions)


def _sample_condition(
    rng: random.Random, table: Table, index: int, cell: str | int
) -> tuple[int, int, str | int]:
    column = table.columns[index]
    if column.numeric and rng.random() < 0.7:
        position = column.values.index(cell)
        above, below = column.values[position + 1 :], column.values[:position]
        if below and (not above or rng.random() < 0.5):
            return index, OPERATORS.index(">"), rng.choice(below)
        if above:
            return index, OPERATORS.index("<"), rng.choice(above)
    return index, OPERATORS.index("="), cell


def phrase(rng: random.Random, table: Table, query: Query) -> str:
    """One of the many ways to ask for the query, ending in " ?"."""
    selected = table.columns[query.sel]
    subject = table.subject
    for place, (index, operator, value) in enumerate(query.conds):
        joint = " " if place == 0 else rng.choice(JOINTS)
        subject += joint + _condition_phrase(rng, table.columns[index], OPERATORS[operator], value)
    name = AGGREGATIONS[query.agg]
    opening = rng.choice(OPENINGS.get(name, OPENINGS["other"]))
    word = rng.choice(AGGREGATION_WORDS[name]) if name in AGGREGATION_WORDS else ""
    return opening.format(a=rng.choice(selected.ask), s=subject, w=word) + " ?"


def _condition_phrase(rng: random.Random, column: Column, operator: str, value: str | int | float) -> str:
    own = column.phrases[operator]
    template = rng.choice(own if own and rng.random() < 0.6 else CONDITION_PHRASES[operator])
    return template.format(a=rng.choice(column.ask), v=value)


def sample(rng: random.Random, split: str) -> tuple[Table, Query, str]:
    """A table, a query over it and a question that belongs to `split`."""
    while True:
        table = sample_table(rng)
        query = sample_query(rng, table)
        question = phrase(rng, table, query)
        if bucket(question) == split:
            return table, query, question


def examples(split: str, count: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`count` distinct questions and their tables, as the records of WikiSQL's .jsonl and .tables.jsonl."""
    rng = random.Random(f"sql/{split}/{seed}")
    seen: set[str] = set()
    questions: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []
    while len(questions) < count:
        table, query, question = sample(rng, split)
        if question in seen:
            continue
        seen.add(question)
        table_id = f"{split}-{seed}-{len(tables)}"
        questions.append({"phase": 1, "table_id": table_id, "question": question, "sql": query.to_dict()})
        tables.append(
            {
                "id": table_id,
                "header": table.header,
                "types": table.types,
                "rows": [list(row) for row in table.rows],
                "page_title": table.subject,
            }
        )
    return questions, tables


def words() -> set[str]:
    """Every word that a question, a header or a value can contain."""
    texts = [*JOINTS, "?", *subjects()]
    texts += [
        t for group in (OPENINGS, AGGREGATION_WORDS, CONDITION_PHRASES) for ts in group.values() for t in ts
    ]
    for columns in subjects().values():
        for column in columns:
            texts += [
                *column.ask,
                *map(str, column.values),
                *(p for ps in column.phrases.values() for p in ps),
            ]
    return {word for text in texts for word in text.split() if not word.startswith("{")}
