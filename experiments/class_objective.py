"""An encoder with a classification head: cross-entropy over the task's labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from experiments.objective import Encoded, Objective
from experiments.tasks.example import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ClassObjective(Objective):
    """Both sentences in one input, in the tokenizer's own manner; the longer is shortened where needed."""

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        assert self.task.labels is not None
        first, second = ([example.sentences[i] for example in examples] for i in (0, 1))
        whole = self.tokenizer(first, second)["input_ids"]
        cut = self.tokenizer(first, second, truncation="longest_first", max_length=self.max_length)[
            "input_ids"
        ]
        self.truncated += sum(len(ids) > self.max_length for ids in whole)
        labels = [self.task.labels.index(example.gold) for example in examples]
        return [Encoded(tuple(ids), len(ids), label) for ids, label in zip(cut, labels, strict=True)]

    def loss(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device, smoothing: float
    ) -> torch.Tensor:
        labels = torch.tensor([example.label for example in batch], device=device)
        return F.cross_entropy(self._logits(model, batch, device), labels, label_smoothing=smoothing)

    def predict(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> list[str]:
        assert self.task.labels is not None
        return [self.task.labels[i] for i in self._logits(model, batch, device).argmax(-1).tolist()]

    def _logits(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> torch.Tensor:
        """Float32 logits (batch, labels)."""
        inputs = self.tokenizer.pad(
            {"input_ids": [list(example.ids) for example in batch]}, padding=True, return_tensors="pt"
        )
        if "token_type_ids" in self.tokenizer.model_input_names:
            inputs["token_type_ids"] = self._segments(inputs["input_ids"])
        return model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits.float()

    def _segments(self, ids: torch.Tensor) -> torch.Tensor:
        """BERT's segment numbers: 1 from behind the first separator to the second, else 0."""
        separators = (ids == self.tokenizer.sep_token_id).long()
        return ((separators.cumsum(1) - separators) == 1).long()
