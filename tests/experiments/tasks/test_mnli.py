"""Reading MultiNLI in every form it comes in; a choice is made on dev, a report on the official set."""

from __future__ import annotations

import json
import zipfile
from collections import Counter

import pytest

from experiments.embedded import nli
from experiments.errors import UserError
from experiments.tasks.mnli import FILES, MNLI


def records(split, count):
    return nli.examples(split, count, seed=0)


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "multinli_1.0"
    folder.mkdir()
    for name, split, count in ((FILES["train"], "train", 20), (FILES["matched"], "dev", 8)):
        rows = records(split, count)
        rows[3] = rows[3] | {"gold_label": "-"}
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_example():
    row = {"gold_label": "neutral", "sentence1": " A dog runs. ", "sentence2": "It barks.", "pairID": "7e"}
    [example] = MNLI.from_records({"dev": [row]}).examples("dev")
    assert example.prompt == "premise: A dog runs.\nhypothesis: It barks.\n="
    assert (example.id, example.target, example.gold) == ("7e", " neutral", "neutral")


def test_judging():
    task = MNLI.from_records({"dev": records("dev", 3)})
    example = task.examples("dev")[0]
    assert [task.judge(example, label)["accuracy"] for label in task.labels] == [
        float(label == example.gold) for label in task.labels
    ]


def test_splits_of_the_release(release):
    """The matched set is reported on; part of the training set is held out to choose on; "-" is left out."""
    task = MNLI.from_path(release, holdout=6, seed=0)
    assert {split: len(task.examples(split)) for split in task.splits} == {"train": 13, "dev": 6, "test": 7}
    ids = {split: {example.id for example in task.examples(split)} for split in task.splits}
    assert not ids["train"] & ids["dev"]
    assert MNLI.from_path(release, holdout=6, seed=0).examples("dev") == task.examples("dev")
    with pytest.raises(UserError, match="leaves no training example"):
        MNLI.from_path(release, holdout=19, seed=0)


def test_pairs_on_one_premise_stay_on_one_side(release):
    """Three hypotheses a premise, as MultiNLI has them: else dev would be seen in training."""
    rows = [{"sentence1": f"{i // 3}", "sentence2": f"{i}", "gold_label": "neutral"} for i in range(60)]
    (release / FILES["train"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = MNLI.from_path(release, holdout=9, seed=0)
    premises = {split: {one.sentences[0] for one in task.examples(split)} for split in ("train", "dev")}
    assert len(premises["dev"]) == 3
    assert not premises["train"] & premises["dev"]


def test_folder_and_archive_agree(release, tmp_path):
    archive = tmp_path / "multinli_1.0.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in release.iterdir():
            file.write(path, f"multinli_1.0/{path.name}")
    one, two = (MNLI.from_path(path, holdout=4, seed=0) for path in (release, archive))
    assert all(one.examples(split) == two.examples(split) for split in ("train", "dev", "test"))


def test_hub_rows_agree_with_the_release(release):
    def rows(split, count):
        changed = records(split, count)
        changed[3] = changed[3] | {"gold_label": "-"}
        for row in changed:
            label = MNLI.labels.index(row["gold_label"]) if row["gold_label"] != "-" else -1
            yield {
                "premise": row["sentence1"],
                "hypothesis": row["sentence2"],
                "label": label,
                "pairID": row["pairID"],
            }

    hub = {"train": list(rows("train", 20)), "validation_matched": list(rows("dev", 8))}
    ours, theirs = MNLI.from_path(release, holdout=6, seed=0), MNLI.from_hub_rows(hub, holdout=6, seed=0)
    assert all(ours.examples(split) == theirs.examples(split) for split in ("train", "dev", "test"))


def test_unknown_label_is_told():
    with pytest.raises(UserError, match="'maybe'"):
        MNLI.from_records({"dev": [records("dev", 1)[0] | {"gold_label": "maybe"}]})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sentence2": None}, "sentence2 is null; it must be a text"),
        ({"sentence1": 7}, "sentence1 is 7; it must be a text"),
        ({"gold_label": ["neutral"]}, r"gold_label is \['neutral'\]; it must be a text"),
        (
            {"gold_label": "maybe"},
            "gold_label is 'maybe'; MultiNLI's are entailment, neutral, ",
        ),
        ({"sentence1": ...}, "sentence1 is missing; a record has sentence1, sentence2, gold_label"),
    ],
)
@pytest.mark.parametrize("split", ["train", "matched"])
def test_a_broken_record_is_told_by_file_and_line(release, changes, says, split):
    path = release / FILES[split]
    lines = path.read_text().splitlines()
    row = {key: value for key, value in (json.loads(lines[4]) | changes).items() if value is not ...}
    lines[4] = json.dumps(row)
    path.write_text("\n\n" + "\n".join(lines))
    with pytest.raises(UserError, match=rf"{FILES[split]}, line 7: {says}") as caught:
        MNLI.from_path(release, holdout=2, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"premise": None}, "premise is null"),
        ({"label": 3}, "label is 3"),
        ({"label": None}, "label is null"),
    ],
)
def test_a_broken_row_of_the_hub_is_told(changes, says):
    row = {"premise": "a", "hypothesis": "b", "label": 0, "pairID": "1"}
    rows = {"train": [row, row], "validation_matched": [row, row | changes]}
    with pytest.raises(UserError, match=f"nyu-mll/multi_nli, validation_matched, row 1: {says}"):
        MNLI.from_hub_rows(rows, holdout=1, seed=0)


def test_missing_file_is_told(release):
    (release / FILES["matched"]).unlink()
    with pytest.raises(UserError, match=FILES["matched"]):
        MNLI.from_path(release, holdout=2, seed=0)


def test_official_release(shared_data):
    task = MNLI.from_path(shared_data / "mnli" / "multinli_1.0.zip", holdout=2000, seed=0)
    sizes = {split: len(task.examples(split)) for split in task.splits}
    assert sizes["train"] + sizes["dev"] == 29340
    assert 2000 <= sizes["dev"] < 2010
    assert sizes["test"] == 9815
    premises = [{e.sentences[0] for e in task.examples(split)} for split in ("train", "dev")]
    assert not premises[0] & premises[1]
    labels = Counter(example.gold for example in task.examples("test"))
    assert labels == {"entailment": 3479, "contradiction": 3213, "neutral": 3123}


def test_the_hubs_labels_are_entailment_neutral_contradiction():
    rows = [
        {"premise": f"p{label}", "hypothesis": "h", "label": label, "pairID": str(label)}
        for label in range(3)
    ]
    found = MNLI.from_hub_rows({"train": rows, "validation_matched": rows}, holdout=1, seed=0)
    assert {example.id: example.gold for example in found.examples("test")} == {
        "0": "entailment",
        "1": "neutral",
        "2": "contradiction",
    }
