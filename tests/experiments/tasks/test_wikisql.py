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


def test_two_tables_of_one_id_are_refused():
    with pytest.raises(UserError, match="dev: two tables have the id 't'"):
        WikiSQL.from_records({"dev": ([question()], [TABLE, TABLE | {"header": ["a", "b"]}])})


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
    scores = desk.judge(desk.examples("dev")[0], prediction)
    assert scores == {LOGICAL_FORM: logical, EXECUTION: execution}


def test_without_rows_there_is_no_execution_accuracy():
    desk = WikiSQL.from_records({"dev": ([question()], [TABLE | {"rows": []}])})
    assert desk.judge(desk.examples("dev")[0], "SELECT Player FROM table") == {LOGICAL_FORM: 1.0}


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
    (release / "dev.jsonl").write_text("\n{broken\n")
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


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("train.jsonl", {"question": None}, "question is null; it must be a text"),
        ("train.jsonl", {"sql": ...}, "sql is missing; a record has table_id, question, sql"),
        ("train.jsonl", {"sql": {"sel": 0, "agg": 0}}, "conds is missing; a record has sel, agg, conds"),
        ("train.jsonl", {"sql": {"sel": None, "agg": 0, "conds": []}}, "sel is null; it must be an integer"),
        (
            "train.jsonl",
            {"sql": {"sel": 0, "agg": 0, "conds": [[0, 0, None]]}},
            r"the condition \[0, 0, None\]",
        ),
        ("train.jsonl", {"sql": {"sel": 0, "agg": 0, "conds": [[0, 0]]}}, r"the condition \[0, 0\] is not"),
        ("dev.tables.jsonl", {"header": None}, "header is null; it must be a list"),
        ("dev.tables.jsonl", {"header": ["a", None]}, "header has a column without a name"),
        ("dev.tables.jsonl", {"types": ["text"] * 99}, "types and each row have as many entries as header"),
        ("dev.tables.jsonl", {"rows": [["x"] * 99]}, "types and each row have as many entries as header"),
        ("dev.tables.jsonl", {"rows": [None]}, "types and each row have as many entries as header"),
    ],
)
def test_a_broken_record_is_told_by_file_and_line(release, file, changes, says):
    lines = (release / file).read_text().splitlines()
    row = {key: value for key, value in (json.loads(lines[-1]) | changes).items() if value is not ...}
    (release / file).write_text("\n".join([*lines, "", json.dumps(row)]))
    with pytest.raises(UserError, match=rf"{file}, line {len(lines) + 2}: {says}") as caught:
        WikiSQL.from_path(release)
    assert "\n" not in str(caught.value)


def test_a_broken_row_of_the_hub_is_told():
    table = {"header": ["a"], "types": ["text"], "rows": []}
    conds = {"column_index": [0], "operator_index": [0], "condition": ["x"]}
    row = {"question": "q", "table": table, "sql": {"sel": 0, "agg": 0, "conds": conds}}
    for broken, says in (
        (row | {"question": None}, "question is null"),
        (row | {"table": None}, "not in the layout of Salesforce/wikisql"),
        (row | {"sql": row["sql"] | {"conds": conds | {"condition": []}}}, "not in the layout"),
    ):
        with pytest.raises(UserError, match=f"Salesforce/wikisql, train, row 1: .*{says}"):
            WikiSQL.from_hub_rows({"train": [row, broken]})


def archives(folder, tmp_path):
    """The release packed as zip, tar and tar.bz2, each whole."""
    import tarfile
    import zipfile

    paths = {name: tmp_path / f"data.{name}" for name in ("zip", "tar", "tar.bz2", "tar.xz", "tar.gz")}
    with zipfile.ZipFile(paths["zip"], "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"data/{path.name}")
    for name, mode in (("tar", "w"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz"), ("tar.gz", "w:gz")):
        with tarfile.open(paths[name], mode) as archive:
            archive.add(folder, "data")
    return paths


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.bz2", "tar.xz", "tar.gz"])
@pytest.mark.parametrize("damage", ["half", "start", "flipped", "empty"])
def test_a_damaged_archive_is_one_line(release, tmp_path, kind, damage):
    path = archives(release, tmp_path)[kind]
    assert WikiSQL.from_path(path).splits
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        if kind == "tar":
            content[0:40] = b"\xff" * 40
        else:
            content[len(content) // 3] ^= 0xFF
    cut = {"half": len(content) // 2, "start": 20, "empty": 0}.get(damage, len(content))
    path.write_bytes(content[:cut])
    with pytest.raises(UserError, match=r"cannot be read as a .* it is damaged|not JSON") as caught:
        WikiSQL.from_path(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_encrypted_archive_is_one_line(release, tmp_path):
    path = archives(release, tmp_path)["zip"]
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption in each header
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 4)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"encrypted \(.*password required.*unpack it") as caught:
        WikiSQL.from_path(path)
    assert "\n" not in str(caught.value)


def test_every_official_gold_query_reads_back(shared_data):
    """All 80,654 of them: columns with keywords in their names, repeated headers, values with operators."""
    official = WikiSQL.from_path(shared_data / "wikisql" / "data.tar.bz2")
    sizes = {split: len(official.examples(split)) for split in official.splits}
    assert sizes == {"train": 56355, "dev": 8421, "test": 15878}
    for split in official.splits:
        for example in official.examples(split):
            assert official.judge(example, example.target)[LOGICAL_FORM] == 1.0, example
    first = official.examples("train")[0]
    assert first.prompt == prompt(first.gold.header, "Tell me what the notes are for South Australia")
    assert to_text(first.gold.query, first.gold.header) == (
        "SELECT notes FROM table WHERE current slogan = SOUTH AUSTRALIA"
    )


def test_official_rows_give_execution_accuracy(shared_data, tmp_path):
    folder = shared_data / "wikisql" / "with_rows"
    official = WikiSQL.from_path(folder)
    judged = [official.judge(e, e.target) for e in official.examples("test")]
    assert len(judged) == 655
    assert sum(scores.get(EXECUTION, 0.0) for scores in judged) > 640


def test_the_hubs_validation_split_is_dev():
    conds = {"column_index": [], "operator_index": [], "condition": []}
    rows = {
        split: [{"question": split, "table": TABLE, "sql": {"sel": 0, "agg": 0, "conds": conds}}]
        for split in ("train", "validation", "test")
    }
    found = WikiSQL.from_hub_rows(rows)
    questions = {split: found.examples(split)[0].sentences[1] for split in found.splits}
    assert questions == {"train": "train", "dev": "validation", "test": "test"}
