"""Table 18 of planted runs: every number can be told beforehand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from analysis.errors import AnalysisError, NotMeasuredError
from analysis.reading.archive import archive
from analysis.reading.predictions import read_predictions
from analysis.reading.study import Study
from analysis.selection import Selection
from analysis.tables.table18 import generates, make
from experiments.store import PREDICTIONS, RUN, write_jsonl
from tests.analysis.planted import STUDY

EXAMPLES = 40


def statistics(matches):
    """Of an answer of ten words of which so many match, in all four orders alike: BLEU is matches / 10."""
    return [matches] * 4 + [10] * 4 + [10, 10]


def played(root, rank, seed, matches, loss, meteor=True, task="e2e", study="toy"):
    """A finished run whose answers all match alike; METEOR's place is taken by a mean that it may lack."""
    rows = []
    for split in ("dev", "test"):
        for number in range(EXAMPLES):
            spread = number % 2  # every other answer has a word more, and one less
            scores = {
                "bleu_lc": statistics(matches + 1 - 2 * spread),
                "rouge_l": 0.5 + 0.1 * spread,
                "loss": [loss * 10 * (1 + spread), 10 * (1 + spread)],
            }
            if meteor:
                scores["cider"] = 2.0 + spread
            row = {"checkpoint": "last", "split": split, "id": str(number), "prediction": "x"}
            rows.append(row | {"score": scores["bleu_lc"]} | scores)
    values = {"bleu_lc": matches / 10, "rouge_l": 0.55, "loss": loss} | ({"cider": 2.5} if meteor else {})
    folder = root / study / f"{task}-r{rank}-seed{seed}-0000000000"
    folder.mkdir(parents=True)
    write_jsonl(folder / PREDICTIONS, rows)
    metrics = {"step": 9, "dev": values, "test": values}
    record = {
        "id": folder.name,
        "format": 1,
        "name": folder.name,
        "status": "finished",
        "config": {
            "model": {"identity": "m"},
            "task": {"name": task, "seed": 0, "num_beams": 10},
            "method": "adapter_h",
            "targets": "qv",
            "rank": {"q": rank, "v": rank},
            "alpha": 32,
            "scaling": "alpha/r",
            "seed": seed,
            "lr": 2e-4,
        },
        "model": {"name": "gpt2", "revision": None, "sha256": "s"},
        "metric": "bleu_lc",
        "metrics": {"last": metrics, "best": {**metrics, "chosen_on": "dev"}},
        **({} if meteor else {"not_measured": {"cider": "metric cider needs Java"}}),
        "parameters": {"adapter": 100 * rank, "head": 0, "bias": 0, "trainable": 100 * rank, "total": 9999},
        "timing": {"seconds": 1.0},
    }
    (folder / RUN).write_text(json.dumps(record))
    return folder


@pytest.fixture
def selected(tmp_path, monkeypatch):
    """`selected()`: of a study of ranks 1 and 4, two seeds of each; rank 4 was trained without Java.

    The runs have no adapter, which reading a study would miss: it is told that they are LoRA's afterwards.
    """
    for rank, matches, loss in ((1, 5, 1.25), (4, 7, 1.0)):
        for seed in (0, 1):
            played(tmp_path, rank, seed, matches + seed, loss, meteor=rank == 1)

    def select(**choice):
        study = Study.open("toy", tmp_path)
        for run in study.runs:
            run.record["config"]["method"] = "lora"
            run.__dict__.pop("settings", None)
        return Selection.of_tasks(study, **choice)

    return select


def rows(made, **keys):
    found = made.numbers
    for key, value in keys.items():
        found = found[found[key] == value]
    return found.iloc[0]


def test_each_rank_by_each_metric(selected):
    made = make(selected(), paper=True)
    bleu = rows(made, rank=1, metric="bleu_lc")
    # Seeds of 50 and 60; their difference leaves Student's t with one degree of freedom, up to the bounds.
    assert (bleu["mean"], bleu["seed_sd"]) == pytest.approx((55, 10 / math.sqrt(2)))
    assert (bleu["seeds"], bleu["examples"], bleu["split"], bleu["paper"]) == (2, EXAMPLES, "test", 68.72)
    assert bleu["low"] < 20 < 90 < bleu["high"]
    loss = rows(made, rank=4, metric="loss")
    assert (loss["mean"], loss["split"], loss["paper"]) == (pytest.approx(1), "dev", 1.18)
    rouge = rows(made, rank=4, metric="rouge_l")
    assert (rouge["mean"], rouge["paper"]) == pytest.approx((55, 71.86))
    half = 1.96 * 100 * 0.05 / math.sqrt(EXAMPLES)
    assert (rouge["low"], rouge["high"]) == pytest.approx((55 - half, 55 + half), abs=0.2 * half)
    assert made.numbers[(made.numbers["rank"] == 4) & (made.numbers["metric"] == "cider")].empty


def test_as_it_is_read(selected):
    text = make(selected(), paper=True).tables[0].terminal()
    assert "loss (dev)" in text
    assert "ROUGE-L (%)" in text
    assert text.count("not measured") == 1
    assert "Not measured where runs were trained (their run.json says why): CIDEr." in " ".join(text.split())
    assert "sacrebleu, 13a tokens, lower case, as mteval-v13a" in " ".join(text.split())
    assert "1.250" in text
    assert "68.72" in text
    alone = make(selected()).tables[0]
    assert "paper" not in {row.kind for group in alone.groups for row in group}
    assert {row.labels[1] for group in alone.groups for row in group if row.kind == "ours"} == {"1", "4"}


def test_an_archive_has_the_same_numbers(selected, tmp_path):
    made = make(selected())
    archive(Study.open("toy", tmp_path), tmp_path / "kept", {})
    kept = Study.open("toy", tmp_path / "kept")
    for run in kept.runs:
        run.record["config"]["method"] = "lora"
        run.__dict__.pop("settings", None)
    again = make(Selection.of_tasks(kept))
    assert made.numbers.equals(again.numbers)


def test_scores_of_the_examples_that_have_them(tmp_path):
    folder = played(tmp_path, 1, 0, 5, 1.0)
    lines = [json.loads(line) for line in (folder / PREDICTIONS).read_text().splitlines()]
    for line in lines[::2]:
        line.pop("cider")
    write_jsonl(folder / PREDICTIONS, lines)
    found = read_predictions(folder, "test", metric="cider")
    assert (len(found.ids), set(found.scores)) == (EXAMPLES // 2, {3.0})
    assert np.shape(read_predictions(folder, "dev", metric="loss").scores) == (EXAMPLES, 2)
    with pytest.raises(NotMeasuredError, match="no answer on 'test' has a score by meteor"):
        read_predictions(folder, "test", metric="meteor")


def test_a_study_without_generated_text(planted):
    selection = Selection.of_tasks(Study.open(STUDY, planted.root))
    assert not generates(selection)
    with pytest.raises(AnalysisError, match="has no LoRA run that generates text and records its loss"):
        make(selection)
