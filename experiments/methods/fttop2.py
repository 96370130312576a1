"""FT-Top2 (Li & Liang 2021; the paper's Table 3): the last two layers are fine-tuned whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.method import METHODS, Method, train_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class TopTwo(Method):
    name = "fttop2"
    label = "FT-Top2: every weight of the last two layers"
    learning_rate = 2e-5

    def cost(self, config: RunConfig) -> float:
        return 0.8

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        from lora.adapting import located

        architecture, prefix = located(model)
        stack, layers = architecture.stacks[0], model.config.num_hidden_layers
        top = tuple(f"{prefix}{stack.layer.format(layer)}." for layer in range(layers)[-2:])
        return train_only(model, lambda name: name.startswith(top))
