"""Every example has its own prediction, made in evaluation mode; a mean is over those that have the score."""

from __future__ import annotations

import pytest
import torch

from experiments import evaluation
from experiments.evaluation import evaluate
from experiments.tasks import Judgement

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

    def judge(example, prediction):
        exact, executed = answers[example.id]
        more = {} if executed is None else {"execution_accuracy": executed}
        return Judgement({"logical_form_accuracy": exact} | more)

    monkeypatch.setattr(desk.task, "judge", judge)
    monkeypatch.setattr(desk.objective, "predict", lambda model, batch, device: ["x"] * len(batch))
    found = evaluate(desk.base.model, desk, "dev", CPU, "float32")
    desk.base.model.eval()
    assert found.metrics == {"logical_form_accuracy": 0.25, "execution_accuracy": 0.5}
    assert [record["correct"] for record in found.predictions] == [True, False, False, False]
    assert [record.get("execution_accuracy") for record in found.predictions] == [None, None, 1.0, 0.0]
