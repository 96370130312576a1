"""Every example has its own prediction, made in evaluation mode; a mean is over those that have the score."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments import evaluation
from experiments.errors import UserError
from experiments.evaluation import evaluate, metric_values, outcome

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 4, 100])
def test_each_prediction_belongs_to_its_example(bench, monkeypatch, size):
    """Whatever the batches, which are of similar lengths and not in the split's order."""
    desk = bench("sql", dev=20)
    encoded, modes, sizes = desk.objective.encoded("dev"), [], []

    def predict(model, batch, device):
        modes.append(model.training)
        sizes.append(len(batch))
        return [str(encoded.index(example)) for example in batch]

    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", size)
    monkeypatch.setattr(desk.objective, "predict", predict)
    desk.base.model.train()
    found = evaluate(desk.base.model, desk, "dev", CPU, "float32")
    assert [(r["id"], r["prediction"]) for r in found.predictions] == [
        (example.id, str(number)) for number, example in enumerate(desk.task.examples("dev"))
    ]
    assert max(sizes) == min(size, 20)
    assert set(modes) == {False}
    assert desk.base.model.training
    desk.base.model.eval()


def test_a_score_is_averaged_over_the_examples_that_have_it(bench, monkeypatch):
    """Tables without rows have no execution accuracy; logical form counts for every example."""
    desk = bench("sql", dev=4)
    scores = [(1.0, None), (0.0, None), (0.0, 1.0), (0.0, 0.0)]
    answers = dict(zip([example.id for example in desk.task.examples("dev")], scores, strict=True))

    def judge_all(examples, predictions):
        judged = [answers[example.id] for example in examples]
        return [
            {"logical_form_accuracy": exact} | ({} if executed is None else {"execution_accuracy": executed})
            for exact, executed in judged
        ]

    monkeypatch.setattr(desk.task, "judge_all", judge_all)
    monkeypatch.setattr(desk.objective, "predict", lambda model, batch, device: ["x"] * len(batch))
    found = evaluate(desk.base.model, desk, "dev", CPU, "float32")
    desk.base.model.eval()
    assert found.metrics == {"logical_form_accuracy": 0.25, "execution_accuracy": 0.5}
    assert [record["correct"] for record in found.predictions] == [True, False, False, False]
    assert [record.get("execution_accuracy") for record in found.predictions] == [None, None, 1.0, 0.0]


def test_a_line_says_whether_an_answer_is_correct_or_its_score(toy_metrics):
    assert outcome({"accuracy": 1.0}, "accuracy") == {"correct": True, "accuracy": 1.0}
    assert outcome({"overlap": 0.25}, "overlap") == {"score": 0.25, "overlap": 0.25}
    counts = (2.0, 4.0)
    assert outcome({"word_ratio": counts}, "word_ratio") == {"score": counts, "word_ratio": counts}
    for scores, main in (
        ({}, "accuracy"),
        ({"accuracy": 0.5}, "accuracy"),
        ({"overlap": float("nan")}, "overlap"),
        ({"word_ratio": ()}, "word_ratio"),
    ):
        with pytest.raises(UserError, match=f"metric {main} gives an example the score .*; it must give"):
            outcome(scores, main)


def test_a_corpus_metric_is_not_the_mean_of_its_examples(toy_metrics):
    judged = [{"word_ratio": (1, 4), "overlap": -0.5}, {"word_ratio": (3, 2), "overlap": 2.0}]
    assert metric_values(judged) == {"word_ratio": 4 / 6, "overlap": 0.75}
    with pytest.raises(UserError, match="metric word_ratio is nan"), np.errstate(invalid="ignore"):
        metric_values([{"word_ratio": (0, 0)}])
