"""The generated text-to-SQL task: its layout, its variety, and splits that share nothing."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from experiments.embedded import sql
from experiments.embedded.split import SPLITS, bucket
from experiments.tasks.query import AGGREGATIONS, OPERATORS, Database, Query, parse, to_text


@pytest.fixture(scope="module")
def train():
    return sql.examples("train", 1500, seed=0)


def test_layout_is_wikisqls(train):
    questions, tables = train
    by_id = {table["id"]: table for table in tables}
    assert len(by_id) == len(tables)
    for question in questions:
        assert set(question) == {"phase", "table_id", "question", "sql"}
        assert set(question["sql"]) == {"sel", "agg", "conds"}
        table = by_id[question["table_id"]]
        assert len(table["header"]) == len(table["types"]) == len(set(table["header"]))
        assert set(table["types"]) <= {"text", "real"}
        for row in table["rows"]:
            assert [isinstance(cell, int) for cell in row] == [kind == "real" for kind in table["types"]]


def test_world_is_wide():
    columns = [column.name for columns in sql.subjects().values() for column in columns]
    assert len(sql.subjects()) >= 10
    assert len(set(columns)) == len(columns) >= 100


def test_every_aggregation_operator_and_number_of_conditions(train):
    queries = [Query.from_dict(question["sql"]) for question in train[0]]
    assert set(Counter(query.agg for query in queries)) == set(range(len(AGGREGATIONS)))
    assert {o for query in queries for _, o, _ in query.conds} == {0, 1, 2}
    conditions = Counter(len(query.conds) for query in queries)
    assert set(conditions) == {0, 1, 2, 3}
    assert conditions[2] > 300
    assert conditions[3] > 100


def test_every_question_has_an_answer_and_reads_back(train):
    for question, table in zip(*train, strict=True):
        query = Query.from_dict(question["sql"])
        text = to_text(query, table["header"])
        assert '"' not in text
        assert parse(text, table["header"]) == Query(
            query.sel, query.agg, tuple((c, o, str(v)) for c, o, v in query.conds)
        )
        database = Database.of_rows(table["types"], table["rows"])
        result = database.execute(query)
        assert result, question
        assert result != [0] or AGGREGATIONS[query.agg] != "COUNT"
        database.close()


def test_aggregations_but_count_are_over_numbers(train):
    for question, table in zip(*train, strict=True):
        if AGGREGATIONS[question["sql"]["agg"]] not in ("", "COUNT"):
            assert table["types"][question["sql"]["sel"]] == "real"


def test_questions_are_paraphrased():
    rng = random.Random(3)
    table = sql.sample_table(rng)
    query = sql.sample_query(rng, table)
    assert len({sql.phrase(rng, table, query) for _ in range(200)}) > 40


def test_splits_share_no_question():
    drawn = {split: {q["question"] for q in sql.examples(split, 300, seed=1)[0]} for split in SPLITS}
    for split, questions in drawn.items():
        assert len(questions) == 300
        assert {bucket(question) for question in questions} == {split}


def test_same_seed_same_examples():
    assert sql.examples("dev", 50, seed=5) == sql.examples("dev", 50, seed=5)
    assert sql.examples("dev", 50, seed=5) != sql.examples("dev", 50, seed=6)


def test_vocabulary_is_closed(train):
    known = sql.words()
    questions, tables = train
    texts = [q["question"] for q in questions] + [name for t in tables for name in t["header"]]
    texts += [str(cell) for t in tables for row in t["rows"] for cell in row]
    assert {word for text in texts for word in text.split()} <= known


def test_conditions_use_official_operators(train):
    symbols = {OPERATORS[o] for question in train[0] for _, o, _ in question["sql"]["conds"]}
    assert symbols == {"=", ">", "<"}
