"""The query's text form reads back as itself, and its scores are the official ones."""

from __future__ import annotations

import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.tasks.query import AGGREGATIONS, OPERATORS, Database, Query, QueryError, parse, to_text

HEADER = ["player", "club", "age", "goals"]


def test_text_form():
    query = Query(3, AGGREGATIONS.index("MAX"), ((1, 0, "united"), (2, 1, 30)))
    assert to_text(query, HEADER) == "SELECT MAX goals FROM table WHERE club = united AND age > 30"
    assert to_text(Query(0), HEADER) == "SELECT player FROM table"


# Names and values made of the grammar's own words, quotes and blanks: all that breaks naive parsers.
PIECES = st.lists(
    st.sampled_from(
        ["SELECT", "FROM table", "WHERE", "AND", "MAX", "=", "<", '"', "'", "#2", "a", "B", " ", "é"]
    ),
    max_size=6,
)
WORDS = PIECES.map(" ".join)


@st.composite
def queries(draw):
    header = draw(st.lists(WORDS, min_size=1, max_size=4))
    column = st.integers(0, len(header) - 1)
    condition = st.tuples(column, st.integers(0, len(OPERATORS) - 1), WORDS)
    return header, Query(
        draw(column),
        draw(st.integers(0, len(AGGREGATIONS) - 1)),
        tuple(draw(st.lists(condition, max_size=3))),
    )


@given(queries())
def test_every_query_reads_back_as_itself(drawn):
    header, query = drawn
    assert parse(to_text(query, header), header).matches(query)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "player FROM table",
        "SELECT FROM table",
        "SELECT height FROM table",
        "SELECT player",
        "SELECT player FROM table WHERE",
        "SELECT player FROM table WHERE club united",
        "SELECT player FROM table WHERE club = ",
        "SELECT player FROM table AND club = united",
        "SELECT MEDIAN age FROM table",
    ],
)
def test_what_is_no_query_is_an_error(text):
    with pytest.raises(QueryError):
        parse(text, HEADER)


def test_case_of_the_text_does_not_matter():
    assert parse("select max GOALS from TABLE where Club = united", HEADER).matches(
        Query(3, 1, ((1, 0, "united"),))
    )


def test_logical_form_ignores_order_and_case_of_conditions():
    a = Query(0, 0, ((1, 0, "United"), (2, 1, 30)))
    assert a.matches(Query(0, 0, ((2, 1, "30"), (1, 0, "united"))))
    assert not a.matches(Query(0, 0, ((2, 1, 30),)))
    assert not a.matches(Query(0, 0, ((2, 2, 30), (1, 0, "united"))))
    assert not a.matches(Query(1, 0, a.conds))
    assert not a.matches(Query(0, 3, a.conds))
    # As official: the string "30.0" is not the string "30".
    assert not a.matches(Query(0, 0, ((1, 0, "United"), (2, 1, 30.0))))


ROWS = [["Ann", "united", 31, 7], ["Ben", "rovers", 25, 9], ["Cid", "united", 22, 4]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT player FROM table WHERE club = United", ["ann", "cid"]),
        ("SELECT MAX goals FROM table WHERE age < 30", [9]),
        ("SELECT MIN goals FROM table", [4]),
        ("SELECT COUNT player FROM table WHERE club = united AND age > 30", [1]),
        ("SELECT SUM goals FROM table", [20]),
        ("SELECT AVG age FROM table", [26]),
        ("SELECT player FROM table WHERE age > about 1 hundred", ["ann", "ben", "cid"]),
        ("SELECT player FROM table WHERE goals > 4,000", []),
    ],
)
def test_execution(text, expected):
    database = Database.of_rows(["text", "text", "real", "real"], ROWS)
    assert database.execute(parse(text, HEADER)) == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (Query(0, 0, ((1, 3, "x"),)), "cannot be executed"),  # OP is a placeholder
        (Query(0, 0, ((2, 0, "old"),)), "holds numbers"),
        (Query(9), "cannot be executed"),
        (Query(-1), "cannot be executed"),
        (Query(0, -1), "an operation that is not there"),
        (Query(0, 6), "an operation that is not there"),
        (Query(0, 0, ((1, -1, "x"),)), "an operation that is not there"),
        (Query(0, 0, ((7, 0, "x"),)), "there is no column 7"),
        (Query(0, 0, ((2, 0, 10**30),)), "cannot be executed"),
    ],
)
def test_what_cannot_be_executed_is_an_error(query, says):
    database = Database.of_rows(["text", "text", "real", "real"], ROWS)
    with pytest.raises(QueryError, match=says):
        database.execute(query)
    assert not database.same_result(query, query)


def test_of_two_conditions_on_a_column_both_have_the_last_value():
    """As in the release: age > 22 and age < 31 is age > 31 and age < 31 there."""
    database = Database.of_rows(["text", "text", "real", "real"], ROWS)
    assert database.execute(Query(0, 0, ((2, 1, 22), (2, 2, 31)))) == []
    assert database.execute(Query(0, 0, ((2, 1, 30), (2, 1, 22)))) == ["ann", "ben"]


def test_execution_agrees_with_the_official_database(shared_data):
    """Against test.db of the release's own schema, queried with SQL written here."""
    folder = shared_data / "wikisql" / "with_rows"
    tables = {t["id"]: t for t in map(json.loads, (folder / "test.tables.jsonl").open(encoding="utf-8"))}
    official = sqlite3.connect(folder / "test.db")
    compared = 0
    for record in map(json.loads, (folder / "test.jsonl").open(encoding="utf-8")):
        table = tables[record["table_id"]]
        query = Query.from_dict(record["sql"])
        if any(table["types"][c] == "real" and isinstance(v, str) for c, _, v in query.conds):
            continue
        name = "table_" + table["id"].replace("-", "_")
        selection = f"{AGGREGATIONS[query.agg]}(col{query.sel})" if query.agg else f"col{query.sel}"
        where = " AND ".join(f"col{c} {OPERATORS[o]} ?" for c, o, _ in query.conds) or "1"
        values = [v.lower() if isinstance(v, str) else v for _, _, v in query.conds]
        theirs = [row[0] for row in official.execute(f"SELECT {selection} FROM {name} WHERE {where}", values)]
        database = Database.of_rows(table["types"], table["rows"])
        assert database.execute(query) == theirs, record["question"]
        database.close()
        assert Database.stored(official, table["id"]).execute(query) == theirs
        compared += 1
    assert compared > 500
