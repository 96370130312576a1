"""An encoder with a head: cross-entropy over the task's labels, or the squared error of a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from experiments.encoded import Encoded
from experiments.errors import UserError
from experiments.objective import Objective
from experiments.tasks import Example
from experiments.tokenizing import check_known

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ClassObjective(Objective):
    """One sentence, or two in the tokenizer's own manner; the longer is shortened where needed."""

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        inputs = [list(texts) for texts in zip(*(example.sentences for example in examples), strict=True)]
        segmented = "token_type_ids" in self.tokenizer.model_input_names
        whole = self.tokenizer(*inputs, return_token_type_ids=segmented)
        ids, segments = whole["input_ids"], whole.get("token_type_ids")
        check_known(self.tokenizer, [" ".join(example.sentences) for example in examples], ids)
        long = [index for index, one in enumerate(ids) if len(one) > self.max_length]
        if long:
            cut = self.tokenizer(
                *([texts[index] for index in long] for texts in inputs),
                truncation="longest_first",
                max_length=self.max_length,
                return_token_type_ids=segmented,
            )
            for place, index in enumerate(long):
                ids[index] = cut["input_ids"][place]
                if segments:
                    segments[index] = cut["token_type_ids"][place]
        self.truncated += len(long)
        labels = self._labels(examples)
        return [
            Encoded(tuple(one), len(one), label, tuple(numbers))
            for one, label, numbers in zip(ids, labels, segments or [()] * len(ids), strict=True)
        ]

    def _labels(self, examples: Sequence[Example]) -> list[float]:
        """What each example is to be answered with."""
        assert self.task.labels is not None
        return [self.task.labels.index(example.gold) for example in examples]

    def loss(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device, smoothing: float
    ) -> torch.Tensor:
        labels = torch.tensor([int(example.label) for example in batch], device=device)
        return F.cross_entropy(self._logits(model, batch, device), labels, label_smoothing=smoothing)

    def predict(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> list[str]:
        assert self.task.labels is not None
        return [self.task.labels[i] for i in self._logits(model, batch, device).argmax(-1).tolist()]

    def _logits(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> torch.Tensor:
        """Float32 logits (batch, labels).

        Padded on the right whatever the tokenizer's side is: positions are counted from the left.
        """
        shape = len(batch), max(len(example.ids) for example in batch)
        ids = torch.full(shape, model.config.pad_token_id or 0)
        mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
        # A model of one segment, or of none, is trained without them, whatever its tokenizer gives.
        segmented = getattr(model.config, "type_vocab_size", 0) > 1
        for row, example in enumerate(batch):
            width = len(example.ids)
            ids[row, :width] = torch.tensor(example.ids)
            mask[row, :width] = 1
            if example.segments:
                segments[row, :width] = torch.tensor(example.segments)
        inputs = {"input_ids": ids, "attention_mask": mask}
        inputs |= {"token_type_ids": segments} if segmented else {}
        return model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits.float()


class NumberObjective(ClassObjective):
    """A head of one output, trained by the mean squared error, as BERT's authors do for STS-B."""

    def _labels(self, examples: Sequence[Example]) -> list[float]:
        return [float(example.gold) for example in examples]

    def loss(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device, smoothing: float
    ) -> torch.Tensor:
        if smoothing:
            raise UserError(
                f"label_smoothing={smoothing:g} has no meaning for task={self.task.name}, whose answer is a "
                "number; leave it at 0"
            )
        golds = torch.tensor([example.label for example in batch], device=device, dtype=torch.float32)
        return F.mse_loss(self._logits(model, batch, device).squeeze(-1), golds)

    def predict(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> list[str]:
        """The numbers to the nine digits that a float32 has."""
        return [f"{value:.9g}" for value in self._logits(model, batch, device).squeeze(-1).tolist()]
