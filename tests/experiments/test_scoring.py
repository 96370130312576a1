"""The official prediction format of WikiSQL, scored as the official script does."""

from __future__ import annotations

import json
import sqlite3

import pytest

from experiments.__main__ import main
from experiments.errors import UserError
from experiments.scoring import Share, score_wikisql

TABLE = {
    "id": "1-2",
    "header": ["Player", "Club", "Goals"],
    "types": ["text", "text", "real"],
    "rows": [["Ann", "United", 7], ["Ben", "Rovers", 9], ["Cid", "United", 4]],
}
ANN = {"sel": 0, "agg": 0, "conds": [[1, 0, "United"], [2, 1, 5]]}
COUNT = {"sel": 0, "agg": 3, "conds": [[1, 0, "united"]]}
BROKEN = {"sel": 0, "agg": 0, "conds": [[2, 0, "many"]]}


@pytest.fixture
def files(tmp_path):
    """`files(pred=[...])`: lines written beside the gold questions, the tables and the database."""
    database = sqlite3.connect(tmp_path / "test.db")
    database.execute("CREATE TABLE table_1_2 (col0 text, col1 text, col2 real)")
    database.executemany(
        "INSERT INTO table_1_2 VALUES (?, ?, ?)", [(a.lower(), b.lower(), c) for a, b, c in TABLE["rows"]]
    )
    database.commit()
    database.close()

    def write(pred, gold=(ANN, COUNT, COUNT), table=TABLE):
        questions = [{"table_id": "1-2", "question": "who?", "sql": sql} for sql in gold]
        for name, lines in (("gold", questions), ("pred", pred), ("tables", [table])):
            text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
            (tmp_path / f"{name}.jsonl").write_text(text)
        return tmp_path / "pred.jsonl", tmp_path / "gold.jsonl"

    return write


ANSWERS = [
    {"query": {"sel": 0, "agg": 0, "conds": [[2, 1, "5.0"], [1, 0, "UNITED"]]}},  # 5.0 is not 5, as a text
    {"query": COUNT | {"conds": [[2, 2, 8]]}},  # another query, the same result: two
    {"error": "could not parse"},
]


@pytest.mark.parametrize("source", ["tables", "database"])
def test_the_two_official_scores(files, tmp_path, source):
    given = (
        {"tables": tmp_path / "tables.jsonl"} if source == "tables" else {"database": tmp_path / "test.db"}
    )
    scores = score_wikisql(*files(ANSWERS), **given)
    assert (scores.logical_form, scores.execution) == (Share(0, 3), Share(2, 3))
    assert (scores.errors, scores.broken) == (1, 0)
    swapped = ANN | {"conds": ANN["conds"][::-1]}
    scores = score_wikisql(*files([{"query": q} for q in (swapped, COUNT, ANN)]), **given)
    assert (scores.logical_form, scores.execution) == (Share(2, 3), Share(2, 3))


def test_without_rows_execution_is_not_measured(files, tmp_path, capsys):
    pred, gold = files(ANSWERS, table=TABLE | {"rows": []})
    for given in ({}, {"tables": tmp_path / "tables.jsonl"}):
        assert score_wikisql(pred, gold, **given).execution == Share(0, 0)
    assert main(["score", "wikisql", str(pred), "--gold", str(gold)]) == 0
    assert "execution accuracy     not measured: give --db, or --tables with rows" in capsys.readouterr().out


def test_the_command_prints_shares_with_intervals(files, tmp_path, capsys):
    pred, gold = files([{"query": ANN}, {"query": COUNT}, {"error": "x"}])
    command = ["score", "wikisql", str(pred), "--gold", str(gold), "--db", str(tmp_path / "test.db")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "logical form accuracy  66.7 % [20.8, 93.9]  (2 of 3)" in out  # Wilson's, by hand
    assert "predictions without a query: 1" in out


def test_wilson_s_interval():
    """(p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)"""
    z, n, p = 1.959963984540054, 655, 483 / 655
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    expected = [(middle + sign * half) / (1 + z * z / n) for sign in (-1, 1)]
    assert Share(483, 655).interval == pytest.approx(expected)


def test_what_cannot_be_executed_is_wrong_and_told(files, tmp_path):
    pred = [{"query": BROKEN}, {"query": {"sel": 8, "agg": 9, "conds": []}}, {"query": BROKEN}]
    scores = score_wikisql(*files(pred, gold=(BROKEN, COUNT, COUNT)), database=tmp_path / "test.db")
    assert (scores.logical_form, scores.execution, scores.broken) == (Share(1, 3), Share(0, 3), 1)
    assert "cannot be executed, counted as wrong: 1" in str(scores)


GOOD = {"query": ANN}


@pytest.mark.parametrize(
    ("pred", "says"),
    [
        ([GOOD, GOOD], r"pred.jsonl has 2 lines and .*gold.jsonl 3; line i answers line i"),
        ([GOOD, "{", GOOD], "pred.jsonl, line 2 is not JSON"),
        ([GOOD, GOOD, "[1]"], "pred.jsonl, line 3 is no JSON object"),
        ([GOOD, {"sql": ANN}, GOOD], r"pred.jsonl, line 2 has sql; give \{\"query\": "),
        ([GOOD, {}, GOOD], "pred.jsonl, line 2 has nothing; give"),
        ([{"query": {"sel": 0, "agg": 0}}, GOOD, GOOD], "pred.jsonl, line 1: conds is missing"),
        ([{"query": {**ANN, "sel": "Player"}}, GOOD, GOOD], "line 1: sel is 'Player'; it must be an integer"),
        (
            [{"query": {**ANN, "conds": [[1, "=", "x"]]}}, GOOD, GOOD],
            r"line 1: the condition \[1, '=', 'x'\]",
        ),
    ],
)
def test_a_bad_line_is_told_by_file_and_line(files, pred, says):
    with pytest.raises(UserError, match=says) as caught:
        score_wikisql(*files(pred))
    assert "\n" not in str(caught.value)


def test_files_that_do_not_fit_are_told(files, tmp_path, capsys):
    pred, gold = files([GOOD] * 3, table=TABLE | {"id": "other"})
    with pytest.raises(UserError, match=r"gold.jsonl, line 1: --tables has no table '1-2'; give those of"):
        score_wikisql(pred, gold, tables=tmp_path / "tables.jsonl")
    with pytest.raises(UserError, match="cannot be read as an sqlite database"):
        score_wikisql(pred, gold, database=tmp_path / "pred.jsonl")
    with pytest.raises(UserError, match="cannot be read as an sqlite database"):
        score_wikisql(pred, gold, database=tmp_path / "none.db")
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE t (a)")
    with pytest.raises(UserError, match="line 1: the database has no table table_1_2; give the database of"):
        score_wikisql(pred, gold, database=tmp_path / "empty.db")
    assert main(["score", "wikisql", str(tmp_path / "none"), "--gold", str(gold)]) == 2
    assert "error: the file of predictions: " in capsys.readouterr().err


def test_gold_queries_of_the_real_rows(shared_data, tmp_path):
    """Answered by themselves, and by the column beside the right one; both sources of rows agree."""
    folder = shared_data / "wikisql" / "with_rows"
    gold = [json.loads(line) for line in (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    sources = {"database": folder / "test.db"}, {"tables": folder / "test.tables.jsonl"}
    for change in (0, 1):
        lines = [{"query": {**one["sql"], "sel": max(0, one["sql"]["sel"] - change)}} for one in gold]
        (tmp_path / "pred.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        one, two = (
            score_wikisql(tmp_path / "pred.jsonl", folder / "test.jsonl", **source) for source in sources
        )
        assert one == two
        unchanged = sum(line["query"] == question["sql"] for line, question in zip(lines, gold, strict=True))
        assert one.logical_form == Share(unchanged, 655)
        assert unchanged <= one.execution.right + one.broken <= 655
        if not change:
            assert one.execution == Share(655 - one.broken, 655)
            assert one.broken == 0
