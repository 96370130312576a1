"""The script that counts which gold queries come back from their text."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from experiments.embedded import sql
from experiments.tasks.wikisql import WikiSQL
from scripts import wikisql_round_trip


@pytest.fixture
def release(tmp_path):
    for split in ("train", "dev"):
        questions, tables = sql.examples(split, 4, seed=0)
        for name, records in ((f"{split}.jsonl", questions), (f"{split}.tables.jsonl", tables)):
            (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def run(monkeypatch, path):
    monkeypatch.setattr(sys, "argv", ["wikisql_round_trip.py", str(path)])
    return wikisql_round_trip.main()


def test_counts(release, monkeypatch, capsys):
    assert run(monkeypatch, release) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train  4 queries, 4 come back, 4 to the letter",
        "dev    4 queries, 4 come back, 4 to the letter",
        "all    8 queries, 8 come back, 8 to the letter",
    ]


def test_what_does_not_come_back_is_listed_with_the_reason(release, monkeypatch, capsys):
    task = WikiSQL.from_path(release)
    examples = task._splits["dev"]
    examples[1] = dataclasses.replace(examples[1], target=" SELECT nothing FROM table")
    examples[2] = dataclasses.replace(examples[2], target=examples[3].target)
    monkeypatch.setattr(WikiSQL, "from_path", lambda path: task)
    monkeypatch.setattr(wikisql_round_trip.WikiSQL, "from_path", lambda path: task)
    assert run(monkeypatch, release) == 1
    out = capsys.readouterr().out
    assert "dev 1: not a query over the columns" in out
    assert "\ndev 2: " in out
    assert out.endswith("all    8 queries, 6 come back, 6 to the letter\n")


def test_what_is_no_release_is_told(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path / "none") == 2
    assert "error: task.path=" in capsys.readouterr().err
