"""Rows of one's own in every format: the same rows, or one line that says which file and line is wrong."""

from __future__ import annotations

import json

import pytest

from experiments.errors import UserError
from experiments.tasks import rows
from experiments.tasks.rows import local_rows, remote_rows

ROWS = [
    {"text": "a red dog", "label": "yes"},
    {"text": 'two, "quoted"', "label": "007"},
    {"text": "three", "label": "None"},
    {"text": "a ° degree", "label": "NA"},
]
CSV = 'text,label\na red dog,yes\n"two, ""quoted""",007\n\nthree,None\na ° degree,NA\n'
TSV = 'text\tlabel\na red dog\tyes\ntwo, "quoted"\t007\nthree\tNone\na ° degree\tNA\n'
JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def contents(splits):
    return {split: [row for _, row in of_split] for split, of_split in splits.items()}


@pytest.mark.parametrize(("name", "text"), [("x.csv", CSV), ("x.tsv", TSV), ("x.jsonl", JSON_LINES)])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_formats_agree(tmp_path, name, text, mark, end):
    """What stands in a file is a text as it is: no 7 for 007, nothing that is none."""
    (tmp_path / name).write_bytes((mark + text.replace("\n", end)).encode())
    assert contents(local_rows(str(tmp_path / name))) == {"train": ROWS}


def test_parquet_agrees(tmp_path, monkeypatch):
    from datasets import ClassLabel, Dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Dataset.from_list(ROWS).to_parquet(tmp_path / "train.parquet")
    named = Dataset.from_list([{"text": "a", "label": 1}, {"text": "b", "label": -1}])
    named.cast_column("label", ClassLabel(names=["no", "yes"])).to_parquet(tmp_path / "dev.parquet")
    found = contents(local_rows(str(tmp_path)))
    assert found["train"] == ROWS
    assert found["dev"] == [{"text": "a", "label": "yes"}, {"text": "b", "label": None}]


def test_a_folder_has_its_splits_by_name(tmp_path):
    for name in ("train.jsonl", "validation.csv", "test.tsv"):
        text = {"jsonl": JSON_LINES, "csv": CSV, "tsv": TSV}[name.partition(".")[2]]
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "README.md").write_text("mine")
    found = local_rows(str(tmp_path))
    assert contents(found) == dict.fromkeys(("train", "dev", "test"), ROWS)
    assert [where for where, _ in found["dev"]] == [
        f"{tmp_path}/validation.csv, line {line}" for line in (2, 3, 5, 6)
    ]
    assert found["train"][1][0] == f"{tmp_path}/train.jsonl, line 2"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, r"holds no train\.jsonl \(or \.csv, \.tsv, \.parquet\); found no such file"),
        ({"dev.jsonl": JSON_LINES}, r"holds no train\.jsonl .*; found dev\.jsonl"),
        ({"train.jsonl": JSON_LINES, "train.csv": CSV}, r"holds train\.csv and train\.jsonl; leave one"),
        ({"train.csv": CSV, "dev.csv": CSV, "val.csv": CSV}, r"holds dev\.csv and val\.csv; leave one"),
        ({"train.jsonl": JSON_LINES, "dev.jsonl": ""}, r"dev\.jsonl has no row; leave the file out or fill"),
        ({"train.jsonl": JSON_LINES, "test.jsonl": "\ufeff\n\n"}, r"test\.jsonl has no row"),
        ({"train.csv": "text,label\n"}, r"train\.csv has no row"),
        ({"train.csv": ""}, r"train\.csv, line 1|train\.csv has no row"),
        ({"train.jsonl": "\n{}\nx\n"}, r"train\.jsonl, line 3 is not JSON: Expecting value"),
        ({"train.jsonl": "[1]\n"}, r"train\.jsonl, line 1 is no JSON object"),
        ({"train.jsonl": '{"a": 1, "b": 2, "a": 3}\n'}, r"train\.jsonl, line 1 .*'a' stands twice"),
        ({"train.jsonl": b'{"a": "\xff"}\n'}, r"train\.jsonl, line 1 is not JSON: save the file as UTF-8"),
        (
            {"train.csv": "a,a\n1,2\n"},
            r"train\.csv, line 1: each column needs a name of its own; found \['a",
        ),
        ({"train.csv": "a,\n1,2\n"}, r"train\.csv, line 1: each column needs a name"),
        ({"train.csv": 'a,b\n"1\n2",3\n4\n'}, r"train\.csv, line 4 has 1 fields; its header has 2"),
        (
            {"train.csv": 'a,b\n1,2\n3,"4\n5,6\n'},
            r"train\.csv, line 3 cannot be read: unexpected end",
        ),
        ({"train.csv": b"a,b\n1,\xff\n"}, r"train\.csv, line 2 is not UTF-8"),
        ({"train.parquet": b"PAR1" + bytes(300)}, r"train\.parquet cannot be read as a parquet file \("),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, caplog, files, says):
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=says) as caught:
        local_rows(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not caplog.records


def test_a_path_that_is_none(tmp_path):
    with pytest.raises(UserError, match=r"task\.path=nowhere does not exist; give a file or a folder: train"):
        local_rows("nowhere")
    (tmp_path / "data.zip").write_text("")
    with pytest.raises(UserError, match=r"data\.zip is of an unknown kind; valid are \.jsonl, \.csv, \.tsv"):
        local_rows(str(tmp_path / "data.zip"))


class Hub:
    """What `datasets.load_dataset` gives, without a network."""

    def __init__(self, monkeypatch, **splits):
        from datasets import Dataset, DatasetDict

        self.asked = []
        self.data = DatasetDict({name: Dataset.from_list(of_split) for name, of_split in splits.items()})
        monkeypatch.setattr("datasets.load_dataset", self.load)

    def load(self, *arguments, **options):
        self.asked.append((*arguments, options))
        return self.data


def test_the_hub(monkeypatch):
    from datasets import ClassLabel

    hub = Hub(monkeypatch, train=ROWS, validation=ROWS[:1], test=ROWS[1:])
    found = remote_rows("jsonl", "owner/name/part")
    assert hub.asked == [("owner/name", "part", {"revision": None})]
    assert contents(found) == {"train": ROWS, "dev": ROWS[:1], "test": ROWS[1:]}
    assert found["dev"][0][0] == "owner/name/part, validation, row 1"
    # GLUE's manner: labels are numbers with names, and those of test are hidden.
    numbers = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    hub = Hub(monkeypatch, train=numbers, validation=numbers, test=[{"text": "c", "label": -1}])
    hub.data = hub.data.cast_column("label", ClassLabel(names=["no", "yes"]))
    named = [{"text": "a", "label": "no"}, {"text": "b", "label": "yes"}]
    assert contents(remote_rows("jsonl", "owner/name")) == {"train": named, "dev": named}


@pytest.mark.parametrize(
    ("splits", "name", "says"),
    [
        (
            {"train": ROWS},
            "name",
            r"task\.hub=name is not valid; give owner/name or owner/name/",
        ),
        ({"test": ROWS}, "owner/name", r"task\.hub=owner/name has no train split; it has test"),
    ],
)
def test_what_is_wrong_on_the_hub_is_one_line(monkeypatch, splits, name, says):
    Hub(monkeypatch, **splits)
    with pytest.raises(UserError, match=says):
        remote_rows("jsonl", name)


def test_no_hub(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(UserError, match=r"owner/name cannot be fetched from the hub; .*no route") as caught:
        remote_rows("jsonl", "owner/name")
    assert "\n" not in str(caught.value)


def test_long_fields_are_read(tmp_path):
    assert rows.LONGEST_FIELD > 10**9
    (tmp_path / "x.csv").write_text(f"text,label\n{'a' * 200_000},b\n")
    [(_, row)] = local_rows(str(tmp_path / "x.csv"))["train"]
    assert len(row["text"]) == 200_000
