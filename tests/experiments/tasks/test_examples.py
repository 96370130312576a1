"""Examples on disk are those that were loaded: the same splits, draws and addresses."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass

import pytest

from experiments import cache
from experiments.identity import content_identity
from experiments.parts import TaskConfig
from experiments.tasks import load_task, task_identity
from experiments.tasks.examples import Example, StoredExamples, write_examples
from experiments.tasks.jsonl import JSONL
from experiments.tasks.mnli import MNLI
from experiments.tasks.task import _examples_hash
from experiments.tasks.wikisql import WikiSQL

WORDS = ["a", "dog", "äöü", "\u2028", "\n", "'", '"', "𝄞"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Everything is worth a file."""
    monkeypatch.setattr(cache, "WORTHWHILE", 1)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def unknown_contents():
    """Paths are hashed anew, as in a new process."""
    content_identity.cache_clear()
    _examples_hash.cache_clear()


def lines(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def mnli(folder, first="dog"):
    rng = random.Random(0)
    labels = MNLI.labels

    def row(number):
        sentences = [" ".join([first, *rng.choices(WORDS, k=4)]) for _ in range(2)]
        return dict(zip(("sentence1", "sentence2"), sentences, strict=True)) | {
            "gold_label": labels[number % 3],
            "pairID": f"{number}e",
        }

    folder.mkdir(exist_ok=True)
    lines(folder / "multinli_1.0_train.jsonl", map(row, range(40)))
    lines(folder / "multinli_1.0_dev_matched.jsonl", map(row, range(7)))
    return TaskConfig("mnli", path=str(folder), holdout=9)


def wikisql(folder):
    folder.mkdir(exist_ok=True)
    table = {"id": "t", "header": ["club", "points", "äöü"], "types": ["text", "real", "text"]}
    table["rows"] = [["x", 1.5, "y"], ["z", 2, "w"]]
    values = ["x", 3, 2.5, "2.50", ""]
    for split, count in {"train": 12, "dev": 5}.items():
        questions = [
            {
                "table_id": "t",
                "question": f"how {i}?",
                "sql": {"sel": i % 3, "agg": i % 6, "conds": [[1, i % 3, values[i % 5]]] * (i % 2)},
            }
            for i in range(count)
        ]
        lines(folder / f"{split}.jsonl", questions)
        lines(folder / f"{split}.tables.jsonl", [table])
    return TaskConfig("wikisql", path=str(folder))


def labelled(folder):
    folder.mkdir(exist_ok=True)
    rows = [{"text": f"t {i}", "label": "yes" if i % 3 else "no"} for i in range(30)]
    lines(folder / "train.jsonl", rows)
    return TaskConfig("jsonl", path=str(folder))


def texts(folder):
    folder.mkdir(exist_ok=True)
    lines(folder / "train.jsonl", [{"prompt": f"p {i}", "target": f"t {i}"} for i in range(30)])
    return TaskConfig("jsonl", path=str(folder), metric="token_f1")


def everything(task):
    examples = {split: [*task.examples(split)] for split in task.splits}
    return examples, task.labels, task.metrics


@pytest.mark.parametrize(
    ("build", "kind"), [(mnli, MNLI), (wikisql, WikiSQL), (labelled, JSONL), (texts, JSONL)]
)
def test_they_are_those_that_were_loaded(build, kind, kept, tmp_path, monkeypatch):
    config = build(tmp_path / "data")
    expected = everything(kind.load(config))
    with monkeypatch.context() as patched:
        patched.setattr(cache, "WORTHWHILE", 10**9)
        address = task_identity(config)
        _examples_hash.cache_clear()
    assert not [*kept.glob("examples-*")]
    first = load_task(config)
    monkeypatch.setattr(kind, "load", None)  # it is not called again
    again = load_task(config)
    for task in (first, again):
        assert all(isinstance(task.examples(split), StoredExamples) for split in task.splits)
        assert everything(task) == expected
    assert task_identity(config) == address
    assert first.examples("train")[1:3] == expected[0]["train"][1:3]
    assert first.examples("train")[-1] == expected[0]["train"][-1]


def test_a_draw_is_the_same(kept, tmp_path):
    config = mnli(tmp_path / "data")
    some = TaskConfig("mnli", path=config.path, holdout=9, train=11, dev=2, seed=3)
    drawn = load_task(some)
    assert isinstance(drawn.examples("train"), StoredExamples)
    assert everything(drawn) == everything(MNLI.load(some).drawn(some))
    contents = {drawn.content("train"), load_task(config).content("train")}
    assert len(contents) == 2
    assert load_task(some).content("train") in contents


def test_what_changed_is_read_anew(kept, tmp_path):
    config = mnli(tmp_path / "data")
    before = everything(load_task(config))
    mnli(tmp_path / "data", first="cat")
    content_identity.cache_clear()
    after = everything(load_task(config))
    assert after != before
    assert after == everything(MNLI.load(config))
    other = TaskConfig("mnli", path=config.path, holdout=3)
    assert len(load_task(other).examples("dev")) < len(after[0]["dev"])
    assert len([*kept.glob("examples-*")]) == 3


def test_a_folder_that_moved_is_the_same_data(kept, tmp_path):
    config = mnli(tmp_path / "data")
    load_task(config)
    shutil.move(tmp_path / "data", tmp_path / "moved")
    load_task(TaskConfig("mnli", path=str(tmp_path / "moved"), holdout=9))
    assert len([*kept.glob("examples-*")]) == 1


def test_a_damaged_file_is_written_anew(kept, tmp_path):
    config = mnli(tmp_path / "data")
    before = everything(load_task(config))
    [file] = kept.glob("examples-*/train.jsonl")
    file.write_bytes(file.read_bytes().replace(b"entailment", b"neutralxxx", 1))
    assert everything(load_task(config)) == before


def test_small_data_and_generated_data_are_not_kept(kept, tmp_path, monkeypatch):
    load_task(TaskConfig("nli", train=12, dev=6, test=2))
    monkeypatch.setattr(cache, "WORTHWHILE", 32)
    load_task(mnli(tmp_path / "data"))
    assert not [*kept.glob("examples-*")]


@dataclass(frozen=True)
class Odd:
    value: int


@pytest.mark.parametrize("gold", [Odd(1), ("a", "b"), {1: 2}, float("nan")])
def test_gold_answers_that_json_would_change_are_refused(gold, tmp_path):
    def same(value):
        return value

    with pytest.raises(TypeError):
        write_examples(tmp_path / "x.jsonl", [Example("0", "p", "t", (), gold)], same, same)


def test_a_task_with_such_answers_is_loaded_each_time(kept, tmp_path, monkeypatch):
    config = wikisql(tmp_path / "data")
    monkeypatch.setattr(WikiSQL, "pack", staticmethod(lambda gold: gold))
    monkeypatch.setattr(WikiSQL, "unpack", staticmethod(lambda packed: packed))
    assert everything(load_task(config)) == everything(WikiSQL.load(config))
    assert not [*kept.glob("examples-*")]
