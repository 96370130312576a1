"""BitFit (the paper's bias-only baseline): all bias vectors, and a new task head, are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.methods.method import METHODS, Method, train_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class Bias(Method):
    name = "bias"
    label = "BitFit: the biases alone, and a new task head"
    learning_rate = 1e-3

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        if not any(name.endswith("bias") for name, _ in model.named_parameters()):
            raise UserError(
                f"method=bias trains biases, and a {model.config.model_type} model has none; use method=lora"
            )
        return train_only(model, lambda name: name.endswith("bias"))
