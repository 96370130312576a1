import hashlib
import json
from itertools import cycle

import pytest

from experiments.embedded.nli import Pair, bucket, dataset, examples, pairs
from experiments.embedded.split import SPLITS


def test_splits_share_nothing_and_repeat_themselves() -> None:
    drawn = {split: list(pairs(split, 150, seed=0)) for split in SPLITS}
    for split, drawn_pairs in drawn.items():
        assert len(set(drawn_pairs)) == 150
        assert {bucket(pair) for pair in drawn_pairs} == {split}
        assert list(pairs(split, 50, seed=0)) == drawn_pairs[:50]
        assert list(pairs(split, 50, seed=1)) != drawn_pairs[:50]


def test_the_draw_is_the_one_of_the_committed_results() -> None:
    drawn = [(pair.premise, pair.hypothesis, pair.label) for pair in pairs("train", 3, seed=0)]
    assert drawn == [
        ("nobody was found by the lawyer", "the lawyer did not find rosie", "entailment"),
        ("charlie is a cow in the school", "charlie is a cow", "entailment"),
        ("archie is exactly as strong as charlie", "charlie is exactly as strong as archie", "entailment"),
    ]


def test_repeated_sentences_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pairs("train", 2, seed=0)
    again = Pair(first.premise, first.hypothesis, first.label, "another phenomenon")
    drawn = cycle([first, first, again, second])
    monkeypatch.setattr(dataset, "sample_pair", lambda rng: next(drawn))
    assert list(pairs("train", 2, seed=0)) == [first, second]


def test_examples_have_the_layout_of_multinli() -> None:
    lines = examples("dev", 60, seed=3)
    assert [(e["sentence1"], e["sentence2"], e["gold_label"], e["genre"]) for e in lines] == [
        (p.premise, p.hypothesis, p.label, p.phenomenon) for p in pairs("dev", 60, seed=3)
    ]
    for line in lines:
        assert set(line) == {"gold_label", "sentence1", "sentence2", "genre", "pairID", "promptID"}
    assert len({line["pairID"] for line in lines}) == 60


def test_unknown_split_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'validation'.*pretrain, train, dev, test"):
        pairs("validation", 1, seed=0)


def test_every_split_and_seed_is_that_of_the_committed_results() -> None:
    """Byte for byte: the embedded model is pretrained on them, and runs are named by their hash."""
    drawn = hashlib.sha256()
    for split in SPLITS:
        for seed in (0, 1, 7):
            drawn.update(json.dumps(examples(split, 50, seed)).encode())
    assert drawn.hexdigest() == "2ebeeda505bb15f362d374c910cce015714108f484cec705a6ceba5f2495a790"
