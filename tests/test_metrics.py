"""A task with a metric that is not right or wrong, from training to table and claim, against closed forms."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import experiments.job as job
from analysis import load
from analysis.cells import Cells, Evaluation, lora_runs
from analysis.claims.accuracy import Answers, rank_1_suffices_for_qv
from analysis.claims.catalogue import decide
from analysis.reading.archive import archive
from analysis.reading.study import Study
from analysis.selection import Selection
from analysis.tables.accuracy import table6
from experiments.config import TaskConfig
from experiments.plan import PlannedRun
from experiments.store import PREDICTIONS
from experiments.tasks import TASKS, load_task
from experiments.tasks.sql import SQL
from experiments.text_objective import TextObjective
from experiments.workbench import Workbench
from tests.experiments.conftest import config, word_model
from tests.toy_metrics import toy_metrics

__all__ = ["config", "toy_metrics", "word_model"]

TEST = 300


class Wordy(SQL):
    """Text-to-SQL by the number of words alone."""

    name, metrics = "wordy", ("word_ratio", "overlap")

    @staticmethod
    def generate(split, count, seed):
        made = SQL.generate(split, count, seed)
        return [dataclasses.replace(example, gold=example.target.strip()) for example in made]


class Similar(Wordy):
    """The same by the words that are shared."""

    name, metrics = "similar", ("overlap", "word_ratio")


@pytest.fixture
def play(config, word_model, toy_metrics, monkeypatch):
    """`play("wordy")`: finished runs of seeds 0 and 1; the tiny model trains, its answers are played.

    An answer lacks up to two of the gold query's words, the same at every seed; seed 0 gives it twice.
    """
    for task in (Wordy, Similar):
        monkeypatch.setitem(TASKS._entries, task.name, task)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")

    def run(name, **changes):
        settings = TaskConfig(name, train=16, dev=8, test=TEST)
        task = load_task(settings)
        objective = TextObjective(word_model.tokenizer, task, word_model.max_length)
        golds = {
            encoded: example.gold.split()
            for split in ("dev", "test")
            for encoded, example in zip(objective.encoded(split), task.examples(split), strict=True)
        }
        outcomes = []
        for seed in (0, 1):

            def predict(model, batch, device, times=2 - seed):
                kept = [golds[encoded][: len(golds[encoded]) - sum(encoded.ids) % 3] for encoded in batch]
                return [" ".join(words * times) for words in kept]

            objective.predict = predict
            bench = Workbench(word_model, task, objective)
            monkeypatch.setattr("experiments.workbench.workbench", lambda *_, bench=bench: bench)
            planned = dataclasses.replace(config(seed=seed, steps=2, **changes), task=settings)
            outcomes.append(job.run_job(PlannedRun(planned, (f"seed={seed}",))))
            assert outcomes[-1].status == "finished", outcomes[-1].error
        return task, outcomes

    return run


def answers(outcome):
    lines = map(json.loads, (outcome.folder / PREDICTIONS).read_text().splitlines())
    return [line for line in lines if (line["split"], line["checkpoint"]) == ("test", "last")]


def only(cells):
    (row,) = cells[cells["rank"] == 2].to_dict("records")
    return row


def test_a_corpus_metric(play, tmp_path):
    """All predicted words over all gold words; two seeds far apart, so that the interval is Student's t."""
    task, outcomes = play("wordy")
    golds = [len(example.gold.split()) for example in task.examples("test")]
    ratios = []
    for outcome in outcomes:
        words = [len(line["prediction"].split()) for line in answers(outcome)]
        ratios.append(sum(words) / sum(golds))
        assert [line["score"] for line in answers(outcome)] == list(map(list, zip(words, golds, strict=True)))
        last = outcome.record["metrics"]["last"]["test"]
        assert outcome.record["metric"] == "word_ratio"
        assert last["word_ratio"] == pytest.approx(ratios[-1])
        assert last["word_ratio"] != pytest.approx(np.mean(np.divide(words, golds)), abs=1e-4)
        assert 0 < last["overlap"] < 1
    made = table6(load("test", tmp_path / "outputs"))
    row = only(made.cells)
    sd = np.std(ratios, ddof=1)
    assert row["mean"] == pytest.approx(np.mean(ratios))  # a plain number, not per cent
    assert row["seed_sd"] == pytest.approx(sd)
    assert (row["metric"], row["seeds"], row["varies"]) == ("word ratio", 2, "seeds and examples")
    assert (row["high"] - row["low"]) / 2 == pytest.approx(12.706 * sd / np.sqrt(2), rel=0.2)
    text = made.table.markdown()
    assert f"{np.mean(ratios):.2f} ±{sd:.2f}" in text
    assert "Ours: word ratio on wordy, mean ± standard deviation over 2 seeds" in text
    assert "Paper: GPT-3" not in text


def test_real_numbers(play, tmp_path):
    """A share: in per cent.  The seeds share the same words, so that only the examples vary."""
    _, outcomes = play("similar")
    scores = [line["score"] for line in answers(outcomes[0])]
    assert len({*scores}) > 10
    assert not any("correct" in line for line in answers(outcomes[0]))
    row = only(table6(load("test", tmp_path / "outputs")).cells)
    half = 100 * 1.96 * np.std(scores) / np.sqrt(TEST)
    assert row["mean"] == pytest.approx(100 * np.mean(scores))
    expected = (row["mean"] - half, row["mean"] + half)
    assert (row["low"], row["high"]) == pytest.approx(expected, abs=0.1 * half)


def test_an_archive_computes_it_anew(play, tmp_path):
    play("wordy")
    archive(Study.open("test", tmp_path / "outputs"), tmp_path / "kept", {})
    whole, kept = (
        Cells(lora_runs(load("test", tmp_path / folder)), Evaluation())["qv", 2]
        for folder in ("outputs", "kept")
    )
    assert whole.mean == kept.mean
    assert whole.outcomes.scores.shape == (2, TEST, 2)


@pytest.mark.parametrize(("name", "words"), [("wordy", "word ratio of"), ("similar", "overlap of")])
def test_claims(play, tmp_path, name, words):
    """r = 1 and r = 8 answer alike: equal within a margin of one point of a share, or of one word a word."""
    for rank in (1, 8):
        play(name, rank=rank)
    selection = Selection.of(Study.open("test", tmp_path / "outputs"))
    evidence, share = rank_1_suffices_for_qv(Answers(selection, 1.0)), name == "similar"
    assert evidence.statistic == f"{words} qv r=1 minus qv r=8{', points' if share else ''}"
    found = evidence.shown
    assert (found.value, found.wanted, found.margin, found.examples) == (0, "> -1", 1, TEST)
    assert decide({"r1-suffices-qv": evidence})["r1-suffices-qv"].verdict == "supported"
    assert evidence.note.startswith("In %: " if share else "In word ratio: ")
