"""Predictions on a split, judged by the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from experiments.batches import evaluation_batches
from experiments.device import autocast
from experiments.errors import UserError
from experiments.metrics import Score, metric
from experiments.objective import Objective
from experiments.workbench import Workbench

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EVALUATION_BATCH = 128
EVALUATION_BATCH_LARGE = 32
LARGE_MODEL = 50_000_000  # parameters


@dataclass(frozen=True)
class Evaluation:
    """`metrics` are over the split; `predictions` has one record an example, in its order."""

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]


@torch.inference_mode()
def evaluate(
    model: PreTrainedModel, bench: Workbench, split: str, device: torch.device, precision: str
) -> Evaluation:
    """Generated text or the likeliest label; the loss of the references beside it where the task records it.

    Leaves the model in train mode.
    """
    model.eval()
    encoded = bench.objective.encoded(split)
    examples = bench.task.examples(split)
    predictions = [""] * len(examples)
    lengths = encoded.target_starts.tolist()
    large = sum(parameter.numel() for parameter in model.parameters()) > LARGE_MODEL
    size = EVALUATION_BATCH_LARGE if large else EVALUATION_BATCH
    losses: list[tuple[float, ...]] = []
    with autocast(device, precision):
        for batch in evaluation_batches(lengths, max(1, size // bench.task.decoding.num_beams)):
            answers = bench.objective.predict(model, [encoded[index] for index in batch], device)
            for index, answer in zip(batch, answers, strict=True):
                predictions[index] = answer
        if bench.task.records_loss:
            losses = _losses(model, bench.objective, split, device, size)
    model.train()
    judged = bench.task.judge_all(examples, predictions)
    for scores, loss in zip(judged, losses, strict=False):
        scores["loss"] = loss
    records = [
        {"split": split, "id": example.id, "prediction": prediction, **outcome(scores, bench.task.metric)}
        for example, prediction, scores in zip(examples, predictions, judged, strict=True)
    ]
    return Evaluation(metric_values(judged), records)


def _losses(
    model: PreTrainedModel, objective: Objective, split: str, device: torch.device, size: int
) -> list[tuple[float, ...]]:
    """Of each example the sums over its references that `experiments.metrics.loss` is made of."""
    owners, targets = zip(
        *((index, one) for index, several in enumerate(objective.references(split)) for one in several),
        strict=True,
    )
    totals = np.zeros((owners[-1] + 1, 2))
    for batch in evaluation_batches([len(one.ids) for one in targets], size):
        found = objective.losses(model, [targets[index] for index in batch], device)
        for index, (loss, tokens) in zip(batch, found, strict=True):
            totals[owners[index]] += loss, tokens
    return [tuple(row) for row in totals.tolist()]


def outcome(scores: Mapping[str, Score], main: str) -> dict[str, Any]:
    """What a line of predictions.jsonl says of one answer: whether it is correct, or its score; all scores.

    Raises:
        UserError: the metric that counts gives no score, or one that it may not.
    """
    score, binary = scores.get(main), metric(main).binary
    numbers = np.asarray([] if score is None else score, dtype=float)
    if not numbers.size or not np.isfinite(numbers).all() or (binary and score not in (0, 1)):
        allowed = "0 or 1" if binary else "finite numbers"
        raise UserError(f"metric {main} gives an example the score {score}; it must give {allowed}")
    return {**({"correct": bool(score)} if binary else {"score": score}), **scores}


def metric_values(judged: Sequence[Mapping[str, Score]]) -> dict[str, float]:
    """Each metric over the examples that have its score.

    Raises:
        UserError: one is not a finite number.
    """
    found: dict[str, list[Score]] = {}
    for scores in judged:
        for name, score in scores.items():
            found.setdefault(name, []).append(score)
    values = {name: metric(name).value(scores) for name, scores in found.items()}
    for name, value in values.items():
        if not np.isfinite(value):
            raise UserError(f"metric {name} is {value} on these predictions; it must be a finite number")
    return values
