"""Reading WikiSQL in every form it comes in, and judging predictions as the official script does."""

from __future__ import annotations

import json
import tarfile

import pytest

from experiments.embedded import sql
from experiments.errors import UserError
from experiments.tasks.query import to_text
from experiments.tasks.wikisql import EXECUTION, LOGICAL_FORM, WikiSQL, prompt

TABLE = {
    "id": "t",
    "header": ["Player", "Goals"],
    "types": ["text", "real"],
    "rows": [["Ann", 7], ["Ben", 9]],
}


def question(sel=0, agg=0, conds=(), text="who?"):
    return {
        "phase": 1,
        "table_id": "t",
        "question": text,
        "sql": {"sel": sel, "agg": agg, "conds": list(conds)},
    }


def task(*questions):
    return WikiSQL.from_records({"dev": (list(questions), [TABLE])})


def test_example():
    [example] = task(question(0, 0, [[1, 1, 8]], " Who scored? ")).examples("dev")
    assert example.prompt == "table: Player | Goals\nquestion: Who scored?\nsql:"
    assert example.target == " SELECT Player FROM table WHERE Goals > 8"


@pytest.mark.parametrize(
    ("prediction", "logical", "execution"),
    [
        ("SELECT Player FROM table WHERE Goals > 8", 1, 1),
        ("select player from table where goals > 8", 1, 1),
        # Another query with the same answer is right by execution alone.
        ("SELECT Player FROM table WHERE Player = Ben", 0, 1),
        ("SELECT Player FROM table WHERE Goals > 6", 0, 0),
        ("SELECT Goals FROM table WHERE Goals > 8", 0, 0),
        ("no query at all", 0, 0),
        ("", 0, 0),
        # What cannot be executed is wrong, not an error.
        ("SELECT Player FROM table WHERE Goals > many", 0, 0),
    ],
)
def test_judging(prediction, logical, execution):
    desk = task(question(0, 0, [[1, 1, 8]]))
    scores = desk.judge(desk.examples("dev")[0], prediction).scores
    assert scores == {LOGICAL_FORM: logical, EXECUTION: execution}


def test_without_rows_there_is_no_execution_accuracy():
    desk = WikiSQL.from_records({"dev": ([question()], [TABLE | {"rows": []}])})
    assert desk.judge(desk.examples("dev")[0], "SELECT Player FROM table").scores == {LOGICAL_FORM: 1.0}


@pytest.fixture
def release(tmp_path):
    """A release in the official layout, from generated examples."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        questions, tables = sql.examples(split, 5, seed=0)
        for name, records in ((f"{split}.jsonl", questions), (f"{split}.tables.jsonl", tables)):
            (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_folder_and_archive_agree(release, tmp_path):
    archive = tmp_path / "data.tar.bz2"
    with tarfile.open(archive, "w:bz2") as file:
        file.add(release, "data")
    for split in ("train", "dev", "test"):
        one, two, outer = (WikiSQL.from_path(p).examples(split) for p in (release, archive, tmp_path))
        assert one == two == outer
        assert len(one) == 5


def test_hub_rows_agree_with_the_release(release):
    ours = WikiSQL.from_path(release)
    rows = []
    for record, table in zip(*sql.examples("train", 5, seed=0), strict=True):
        conds = record["sql"]["conds"]
        query = record["sql"] | {
            "conds": {
                "column_index": [c for c, _, _ in conds],
                "operator_index": [o for _, o, _ in conds],
                "condition": [str(v) for _, _, v in conds],
            }
        }
        rows.append({"phase": 1, "question": record["question"], "table": table, "sql": query})
    theirs = WikiSQL.from_hub_rows({"train": rows})
    for a, b in zip(ours.examples("train"), theirs.examples("train"), strict=True):
        assert (a.prompt, a.target) == (b.prompt, b.target)


def test_what_is_wrong_with_a_release_is_told(release, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        WikiSQL.from_path(tmp_path / "nowhere")
    (release / "dev.tables.jsonl").unlink()
    with pytest.raises(UserError, match=r"dev\.jsonl but not dev\.tables\.jsonl"):
        WikiSQL.from_path(release)
    (release / "dev.jsonl").write_text('{"a": 1}\n{broken\n')
    with pytest.raises(UserError, match=r"dev\.jsonl, line 2 is not JSON"):
        WikiSQL.from_path(release)
    damaged = tmp_path / "x.tar.bz2"
    damaged.write_bytes(b"BZh9 no archive")
    with pytest.raises(UserError, match="cannot be read"):
        WikiSQL.from_path(damaged)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no WikiSQL release"):
        WikiSQL.from_path(empty)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (question(sel=2), "outside its header"),
        (question(agg=6), "outside its header"),
        (question(conds=[[0, 4, "x"]]), "outside its header"),
        (question() | {"table_id": "u"}, "names table 'u'"),
    ],
)
def test_broken_records_are_told(record, says):
    with pytest.raises(UserError, match=says):
        task(record)


def test_every_official_gold_query_reads_back(shared_data):
    """All 80,654 of them: columns with keywords in their names, repeated headers, values with operators."""
    official = WikiSQL.from_path(shared_data / "wikisql" / "data.tar.bz2")
    sizes = {split: len(official.examples(split)) for split in official.splits}
    assert sizes == {"train": 56355, "dev": 8421, "test": 15878}
    for split in official.splits:
        for example in official.examples(split):
            assert official.judge(example, example.target).scores[LOGICAL_FORM] == 1.0, example
    first = official.examples("train")[0]
    assert first.prompt == prompt(first.gold.header, "Tell me what the notes are for South Australia")
    assert to_text(first.gold.query, first.gold.header) == (
        "SELECT notes FROM table WHERE current slogan = SOUTH AUSTRALIA"
    )


def test_official_rows_give_execution_accuracy(shared_data, tmp_path):
    folder = shared_data / "wikisql" / "with_rows"
    official = WikiSQL.from_path(folder)
    judged = [official.judge(e, e.target).scores for e in official.examples("test")]
    assert len(judged) == 655
    assert sum(scores.get(EXECUTION, 0.0) for scores in judged) > 640
