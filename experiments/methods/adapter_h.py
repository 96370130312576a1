"""Adapter^H (Houlsby et al. 2019; the paper's section 5.1): adapter layers after attention and MLP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.method import METHODS, Method, train_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class AdapterH(Method):
    """2 L (2 d r + r + d) parameters.  f is GELU, as in Houlsby et al.'s code."""

    name = "adapter_h"
    label = "Adapter^H (Houlsby): two adapter layers a layer, after attention and MLP"
    learning_rate = 1e-4  # GPT-3's (paper, Table 12)
    settings = ("bottleneck",)
    added = "bottleneck"

    def words(self, config: RunConfig) -> tuple[str, ...]:
        return self.name, f"r{config.bottleneck}"

    def cost(self, config: RunConfig) -> float:
        return 1.1

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        self.add(model, config)
        return train_only(model, self.is_added)

    def add(self, model: PreTrainedModel, config: RunConfig) -> None:
        """Put the adapter layers in place."""
        from experiments.bottleneck import add_bottlenecks

        add_bottlenecks(model, config.bottleneck, place="projections", seed=config.seed, f="gelu")
