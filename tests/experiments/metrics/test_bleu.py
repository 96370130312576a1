"""BLEU from stored statistics against sacrebleu, which counts and computes by itself."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import run
from experiments.dry_run import ASKED_OFFLINE, OFFLINE
from experiments.errors import AbsentError, UserError
from experiments.job import SWEEP
from experiments.metrics import References, metric

WORDS = ["the", "a", "red", "blue", "dog", "cat", "sleeps", ",", "on", "under", "mat", "."]


def sentences(seed, count=30):
    generator = np.random.default_rng(seed)
    golds = [" ".join(generator.choice(WORDS, generator.integers(4, 12))) for _ in range(count)]
    predictions = []
    for gold in golds:
        words = [w if generator.random() < 0.8 else str(generator.choice(WORDS)) for w in gold.split()]
        predictions.append(" ".join(words[: generator.integers(1, len(words) + 1)]))
    return predictions, golds


def test_against_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    predictions, golds = sentences(0)
    scores = np.array([metric("bleu").score(p, g) for p, g in zip(predictions, golds, strict=True)])
    assert scores.shape == (30, 10)
    expected = sacrebleu.corpus_bleu(predictions, [golds]).score / 100
    assert 0.1 < expected < 0.9
    assert metric("bleu").value(scores) == pytest.approx(expected)
    generator = np.random.default_rng(1)
    # Few examples at a time, so that some orders have no match and are smoothed, or no n-gram at all.
    draws = generator.integers(0, 30, (60, 2))
    expected = [
        sacrebleu.corpus_bleu([predictions[i] for i in d], [[golds[i] for i in d]]).score / 100 for d in draws
    ]
    assert min(expected) < 0.1
    assert metric("bleu").of_totals(scores[draws].sum(1)) == pytest.approx(expected)


def test_several_references_in_lower_case_against_sacrebleu(capfd):
    sacrebleu = pytest.importorskip("sacrebleu")
    (predictions, golds), (_, others) = sentences(0), sentences(1)
    predictions = [text.title() for text in predictions]
    pairs = [References(pair) for pair in zip(golds, others, strict=True)]
    for name, lowercase in (("bleu", False), ("bleu_lc", True)):
        expected = sacrebleu.corpus_bleu(predictions, [golds, others], lowercase=lowercase).score / 100
        assert metric(name).value(metric(name).scores(predictions, pairs)) == pytest.approx(expected)
    assert expected > 0.1
    assert capfd.readouterr().err == ""  # sacrebleu warns of sentences without four-grams, unless told


def test_parts_have_scores_of_their_own_examples():
    pytest.importorskip("sacrebleu")
    golds = [References(("a b c d",), "seen"), References(("e f g h",), "unseen"), "i j k l"]
    found = {name: metric(name).scores(["a b c d"] * 3, golds) for name in ("bleu_lc_seen", "bleu_lc_unseen")}
    assert [[score is not None for score in scores] for scores in found.values()] == [
        [True, False, False],
        [False, True, False],
    ]
    assert metric("bleu_lc_seen").value(found["bleu_lc_seen"][:1]) == pytest.approx(1)
    assert metric("bleu_lc_unseen").value(found["bleu_lc_unseen"][1:2]) == 0


@pytest.mark.parametrize(
    ("matches", "grams", "found", "wanted", "value"),
    [
        ((4, 3, 2, 1), (4, 3, 2, 1), 4, 4, 1),
        ((4, 3, 2, 1), (4, 3, 2, 1), 4, 6, np.exp(1 - 6 / 4)),  # brevity
        ((4, 3, 2, 1), (5, 4, 3, 2), 5, 4, (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ((2, 1, 0, 0), (4, 3, 2, 1), 4, 4, (2 / 4 * 1 / 3 * 1 / 2 / 2 * 1 / 4) ** 0.25),  # smoothed
        ((0, 0, 0, 0), (4, 3, 2, 1), 4, 4, 0),
        ((2, 1, 0, 0), (2, 1, 0, 0), 2, 2, 0),  # no four-grams
        ((0, 0, 0, 0), (0, 0, 0, 0), 0, 4, 0),
    ],
)
def test_closed_forms(matches, grams, found, wanted, value):
    totals = np.array([*matches, *grams, found, wanted], dtype=float)
    assert metric("bleu").of_totals(totals) == pytest.approx(value)


def test_its_absence_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"^metric bleu needs sacrebleu, .* pip install -e '\.\[nlg\]'$"):
        metric("bleu").require()


def test_a_package_that_is_not_installed_is_no_fault_of_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in (SWEEP, OFFLINE, ASKED_OFFLINE):  # which run.main sets: undone behind the test
        monkeypatch.setenv(name, "0")
    with pytest.raises(AbsentError, match="bleu needs sacrebleu, which is not installed"):
        metric("bleu").require()
    words = ["run.py", "task=jsonl", f"task.path={tmp_path}", "task.metric=bleu", f"root={tmp_path}"]
    for more in ([], ["--dry-run"], ["-m", "rank=1,2"]):
        monkeypatch.setattr("sys.argv", [*words, *more])
        assert run.main() == 1
        assert "needs sacrebleu" in capsys.readouterr().err
