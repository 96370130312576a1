"""Full fine-tuning: every weight is trained; dW of the target projections is kept for the analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lora
from experiments.methods.method import METHODS, Method

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class Full(Method):
    name = "full"
    label = "full fine-tuning: every weight; dW of the targets is kept"
    learning_rate = 2e-5
    settings = ("targets",)
    file_format = "lora-delta"

    def cost(self, config: RunConfig) -> float:
        return 1.4

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        return model.requires_grad_(True)

    def tensors(
        self, model: PreTrainedModel, base: PreTrainedModel, config: RunConfig
    ) -> dict[str, torch.Tensor]:
        """dW (d_out, d_in) of each target projection, in float32: not the weights, which are far more."""
        return {
            f"layers.{layer}.{letter}.dW": (
                _weight(model, layer, letter) - _weight(base, layer, letter)
            ).contiguous()
            for layer in range(model.config.num_hidden_layers)
            for letter in config.targets
        }


def _weight(model: PreTrainedModel, layer: int, letter: str) -> torch.Tensor:
    return lora.projection(model, layer, letter).detach().cpu().float()
