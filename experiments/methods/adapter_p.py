"""Adapter^P (Pfeiffer et al. 2021; the paper's section 5.1): one adapter layer a layer, after the MLP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.adapter_h import AdapterH
from experiments.methods.method import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class AdapterP(AdapterH):
    """L (2 d r + r + d) parameters."""

    name = "adapter_p"
    label = "Adapter^P (Pfeiffer): an adapter layer a layer, after the MLP"

    def add(self, model: PreTrainedModel, config: RunConfig) -> None:
        from experiments.bottleneck import add_bottlenecks

        add_bottlenecks(model, config.bottleneck, place="last norm", seed=config.seed, f="relu")
