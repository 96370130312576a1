"""GLUE in its official layouts and the hub's, its quirks, what is said of bad rows, and the real files."""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter

import pytest

from experiments.errors import UserError
from experiments.parts import TaskConfig
from experiments.tasks import TASKS, load_task, task_identity
from experiments.tasks.glue import GLUE, HUB_ID, HUB_REVISION
from experiments.tasks.mnli import MNLI
from tests.experiments.tasks.glue_release import write_glue

NAMES = ("cola", "sst2", "mrpc", "qqp", "qnli", "rte", "stsb")


@pytest.fixture
def glue(tmp_path):
    return write_glue(tmp_path / "glue_data")


def load(name, path, **settings):
    return load_task(TaskConfig(name, path=str(path), **settings))


def test_all_but_mnli_are_registered():
    assert tuple(sorted(NAMES)) == tuple(name for name, one in TASKS.items() if issubclass(one, GLUE))


@pytest.mark.parametrize("name", NAMES)
def test_the_dev_set_is_judged_and_a_part_of_train_is_held_out(glue, name):
    task = load(name, glue)
    assert {split: len(task.examples(split)) for split in task.splits} == {"train": 36, "dev": 4, "test": 12}
    assert {len(example.sentences) for example in task.examples("test")} == {len(task.texts)}
    assert {s: len(load(name, glue, holdout=10).examples(s)) for s in ("train", "dev")} == {
        "train": 30,
        "dev": 10,
    }
    answers = ["4.7" if task.bounds else task.labels[1]] * 12
    judged = [task.judge(*pair) for pair in zip(task.examples("test"), answers, strict=True)]
    assert {tuple(scores) for scores in judged} == {task.metrics}


def test_texts_and_labels_of_each(glue):
    """The release's second row has the label 1, which is the hub's second."""
    found = {name: load(name, glue).examples("test")[1] for name in NAMES}
    assert {name: example.gold for name, example in found.items()} == {
        "cola": "acceptable",
        "sst2": "positive",
        "mrpc": "equivalent",
        "qqp": "duplicate",
        "qnli": "not_entailment",
        "rte": "not_entailment",
        "stsb": 0.1,
    }
    lines = {
        name: (glue / TASKS[name].folder / "dev.tsv").read_text(encoding="utf-8-sig").splitlines()
        for name in NAMES
    }
    fields = {name: lines[name][1 if name == "cola" else 2].split("\t") for name in NAMES}
    for name, places in {"cola": [3], "sst2": [0], "mrpc": [3, 4], "qqp": [3, 4], "stsb": [7, 8]}.items():
        assert found[name].sentences == tuple(fields[name][place] for place in places)
    one, two = found["qnli"].sentences
    assert found["qnli"].prompt == f"question: {one}\nsentence: {two}\n="
    assert found["qnli"].target == " not_entailment"
    assert (found["stsb"].target, load("stsb", glue).examples("test")[9].target) == (" 0.0", " 0.8")


def test_folder_of_all_or_of_one_and_archives_are_the_same_data(glue, tmp_path):
    with tarfile.open(tmp_path / "glue.tar.xz", "w:xz") as archive:
        archive.add(glue, "glue")
    with zipfile.ZipFile(tmp_path / "RTE.zip", "w") as archive:
        for split in ("train", "dev"):
            archive.write(glue / f"RTE/{split}.tsv", f"RTE/{split}.tsv")
    paths = (glue, glue / "RTE", tmp_path / "glue.tar.xz", tmp_path / "RTE.zip")
    assert len({task_identity(TaskConfig("rte", path=str(path))) for path in paths}) == 1
    assert task_identity(TaskConfig("rte", path=str(glue), seed=1)) != task_identity(
        TaskConfig("rte", path=str(glue))
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_hub_s_rows_are_the_same_examples(glue, name, monkeypatch):
    ours, asked = load(name, glue), []

    def hub(where, configuration, revision):
        asked.append((where, configuration, revision))

        def rows(split):
            task = TASKS[name].from_path(glue, TaskConfig(name, holdout=1))
            examples = task.examples("test")
            if split == "train":
                examples = sorted(
                    [*task.examples("train"), *task.examples("dev")], key=lambda one: int(one.id)
                )
            for index, example in enumerate(examples):
                label = task.labels.index(example.gold) if task.labels else example.gold + 1e-7  # a float32
                yield {**dict(zip(task.texts, example.sentences, strict=True)), "label": label, "idx": index}

        return {"train": list(rows("train")), "validation": list(rows("validation")), "test": []}

    monkeypatch.setattr("datasets.load_dataset", hub)
    theirs = load_task(TaskConfig(name))
    assert asked == [(HUB_ID, name, HUB_REVISION)]
    assert all(list(ours.examples(split)) == list(theirs.examples(split)) for split in ours.splits)
    assert task_identity(TaskConfig(name)) == task_identity(TaskConfig(name, path=str(glue)))


def test_a_hidden_label_of_the_hub_is_told():
    row = {"sentence1": "a", "sentence2": "b", "label": -1}
    rows = {"train": [row], "validation": [row]}
    with pytest.raises(UserError, match="nyu-mll/glue rte, train, row 0: label is '-1'; rte's are 0, 1"):
        TASKS["rte"].from_hub_rows(rows, TaskConfig("rte"))
    with pytest.raises(UserError, match="train, row 0: label is null; it must be a number"):
        TASKS["stsb"].from_hub_rows({"train": [row | {"label": None}]}, TaskConfig("stsb"))


def test_quotes_and_odd_line_marks_are_text(glue):
    """What Python's csv would join over lines, and what str.splitlines would cut."""
    text = '"one" said\u2028 that " 5\x0b6 \x85 feet'
    lines = (glue / "SST-2/dev.tsv").read_text().splitlines()
    lines[3:5] = [f"{text}\t1", '"\t0']
    (glue / "SST-2/dev.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    examples = load("sst2", glue).examples("test")
    assert len(examples) == 12
    assert [example.sentences for example in examples[2:4]] == [(text,), ('"',)]


def test_rows_of_qqp_with_too_few_fields_are_left_out_and_counted(glue, capsys):
    path = glue / "QQP/train.tsv"
    lines = path.read_text().splitlines()
    lines[4:4] = ["7\t7\t7\ta dog", "runs\tthe cat\t1"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = load("qqp", glue)
    assert len(task.examples("train")) + len(task.examples("dev")) == 40
    assert task.skipped == {"QQP/train.tsv": 2}
    told = capsys.readouterr().err
    assert "2 rows of 42, from" in told
    assert "QQP/train.tsv, line 5, on" in told


@pytest.mark.parametrize(
    ("name", "file", "line", "says"),
    [
        ("rte", "RTE/train.tsv", "7\ta\tb", "has 3 fields; it needs sentence1, sentence2, label"),
        ("rte", "RTE/dev.tsv", "7\ta\tb\tmaybe", "label is 'maybe'; rte's are entailment, not_entailment"),
        ("rte", "RTE/dev.tsv", "7\ta\tb\t0", "label is '0'; rte's are entailment, not_entailment"),
        ("sst2", "SST-2/dev.tsv", "a\tpositive", "label is 'positive'; sst2's are 0, 1"),
        ("cola", "CoLA/train.tsv", "gj04\t2\t\ta", "label is '2'; cola's are 0, 1"),
        ("qqp", "QQP/dev.tsv", "1\t1\t1\ta\tb\tyes", "label is 'yes'; qqp's are 0, 1"),
        (
            "stsb",
            "STS-B/dev.tsv",
            "\t".join("0123456ab") + "\t5.2",
            "score is '5.2'; stsb's lie between 0 and 5",
        ),
        (
            "stsb",
            "STS-B/dev.tsv",
            "\t".join("0123456ab") + "\tnan",
            "score is 'nan'; stsb's lie between 0 and 5",
        ),
        ("stsb", "STS-B/dev.tsv", "\t".join("0123456ab") + "\thigh", "score is 'high'"),
        ("mnli", "MNLI/dev_mismatched.tsv", "0\tx", "sentence1 is missing"),
    ],
)
def test_a_bad_row_is_told_by_file_and_line(glue, name, file, line, says):
    lines = (glue / file).read_text().splitlines()
    lines[3] = line
    (glue / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"{file}, line 4.*{says}") as caught:
        load(name, glue, **({"holdout": 5} if name == "mnli" else {}))
    assert "\n" not in str(caught.value)


def test_what_is_no_release_is_told(glue, tmp_path):
    (glue / "RTE/dev.tsv").write_bytes((glue / "SST-2/dev.tsv").read_bytes())
    with pytest.raises(
        UserError, match=r"RTE/dev.tsv.* line 1 has no column sentence1; it has sentence, label"
    ):
        load("rte", glue)
    (glue / "RTE/dev.tsv").unlink()
    with pytest.raises(UserError, match=r"holds no RTE/dev.tsv; give GLUE's folder, that of RTE in it, or"):
        load("rte", glue)
    (glue / "CoLA/dev.tsv").write_text("")
    with pytest.raises(UserError, match=r"holds a CoLA/dev.tsv without a row"):
        load("cola", glue)
    (glue / "SST-2/dev.tsv").write_bytes(b"sentence\tlabel\na\xff\t1\n")
    with pytest.raises(UserError, match=r"SST-2/dev.tsv, line 2 is not UTF-8 \(byte 0xff"):
        load("sst2", glue)
    (tmp_path / "two").mkdir()
    write_glue(tmp_path / "two/one")
    write_glue(tmp_path / "two/other")
    with pytest.raises(UserError, match=r"more than one QNLI/dev.tsv"):
        load("qnli", tmp_path / "two")
    with tarfile.open(tmp_path / "glue.tar", "w") as archive:
        archive.add(glue, "glue")
    content = (tmp_path / "glue.tar").read_bytes()
    (tmp_path / "glue.tar").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="it is damaged, not whole or encrypted"):
        load("qnli", tmp_path / "glue.tar")


def test_a_cut_file_is_told(glue):
    """Its last row is short: of QQP alone such rows are known, and left out."""
    path = glue / "QNLI/train.tsv"
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(UserError, match=r"QNLI/train.tsv, line 41"):
        load("qnli", glue)


def test_mnli_of_glue_is_that_of_its_own_release(glue):
    task = load("mnli", glue, holdout=5)
    assert {split: len(task.examples(split)) for split in task.splits} == {
        "train": 35,
        "dev": 5,
        "test": 12,
        "mismatched": 12,
    }
    assert task.examples("test")[1].gold == "neutral"
    rows = [
        dict(zip(lines[0].split("\t"), line.split("\t"), strict=True))
        for lines in [(glue / "MNLI/dev_matched.tsv").read_text().splitlines()]
        for line in lines[1:]
    ]
    assert MNLI.from_records({"test": rows}).examples("test") == task.examples("test")


OFFICIAL = {
    "cola": (8551, 1043, {"acceptable": 721, "unacceptable": 322}),
    "sst2": (67349, 872, {"positive": 444, "negative": 428}),
    "rte": (2490, 277, {"entailment": 146, "not_entailment": 131}),
    "stsb": (5749, 1500, None),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files(shared_data, name):
    task = load(name, shared_data / "glue" / "glue.tar.xz")
    train, dev, labels = OFFICIAL[name]
    assert len(task.examples("train")) + len(task.examples("dev")) == train
    assert len(task.examples("test")) == dev
    golds = [example.gold for example in task.examples("test")]
    if labels:
        assert Counter(golds) == labels
    else:
        assert (min(golds), max(golds)) == (0.0, 5.0)
        assert sum(golds) / dev == pytest.approx(2.3639, abs=1e-4)
    assert not task.skipped
    assert all(
        text.strip() for split in task.splits for one in task.examples(split) for text in one.sentences
    )


def test_official_layout_of_qqp(shared_data):
    task = load("qqp", shared_data / "hub_layouts" / "glue_dummy_qqp_1.0.0_08e4a20.zip", holdout=1)
    assert {split: len(task.examples(split)) for split in task.splits} == {"train": 2, "dev": 1, "test": 2}
    first = task.examples("test")[0]
    assert first.sentences[0] == "Why are African-Americans so beautiful?"
    assert first.gold == "not_duplicate"
