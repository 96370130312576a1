"""Predictions on a split, judged by the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from experiments.batches import evaluation_batches
from experiments.device import autocast
from experiments.workbench import Workbench

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EVALUATION_BATCH = 128
EVALUATION_BATCH_LARGE = 32
LARGE_MODEL = 50_000_000  # parameters


@dataclass(frozen=True)
class Evaluation:
    """`metrics` are means over the split; `predictions` has one record an example, in the split's order."""

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]


@torch.inference_mode()
def evaluate(
    model: PreTrainedModel, bench: Workbench, split: str, device: torch.device, precision: str
) -> Evaluation:
    """Greedy decoding or the likeliest label, never teacher forcing.  Leaves the model in train mode."""
    model.eval()
    encoded = bench.objective.encoded(split)
    examples = bench.task.examples(split)
    predictions = [""] * len(examples)
    lengths = [example.target_start for example in encoded]
    large = sum(parameter.numel() for parameter in model.parameters()) > LARGE_MODEL
    with autocast(device, precision):
        for batch in evaluation_batches(lengths, EVALUATION_BATCH_LARGE if large else EVALUATION_BATCH):
            answers = bench.objective.predict(model, [encoded[index] for index in batch], device)
            for index, answer in zip(batch, answers, strict=True):
                predictions[index] = answer
    model.train()
    records = []
    for example, prediction in zip(examples, predictions, strict=True):
        scores = dict(bench.task.judge(example, prediction).scores)
        correct = bool(scores[bench.task.metric])
        records.append(
            {"split": split, "id": example.id, "prediction": prediction, "correct": correct, **scores}
        )
    return Evaluation(_means(records), records)


def _means(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Each score's mean over the examples that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    values = {
        name: [record[name] for record in records if isinstance(record.get(name), float)] for name in names
    }
    return {name: sum(scores) / len(scores) for name, scores in values.items() if scores}
