"""No training: the base model as it is, for the first row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.method import METHODS, Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class Untrained(Method):
    name = "none"
    label = "no training: the base model as it is"
    learning_rate = 1.0  # unused, but a learning rate is a number above 0
    trains = False

    def cost(self, config: RunConfig) -> float:
        return 0.1

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        return model.requires_grad_(False)
