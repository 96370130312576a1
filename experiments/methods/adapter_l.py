"""Adapter^L (Lin et al. 2020; the paper's section 5.1): one adapter layer a layer, with a LayerNorm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.adapter_h import AdapterH
from experiments.methods.method import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class AdapterL(AdapterH):
    """L (2 d r + r + d) + 2 L d parameters, the latter of the LayerNorms."""

    name = "adapter_l"
    label = "Adapter^L (Lin): an adapter layer after each layer, with a LayerNorm before it"

    def add(self, model: PreTrainedModel, config: RunConfig) -> None:
        from experiments.bottleneck import add_bottlenecks

        add_bottlenecks(model, config.bottleneck, place="layer", seed=config.seed, f="relu", norm=True)
