"""LoRA+PE and LoRA+PL (the paper's Appendix E): LoRA, and special tokens around the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.lora import LoRA
from experiments.methods.method import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class LoRAPrefix(LoRA):
    """LoRA's parameters, and those of PreEmbed or PreLayer."""

    name = "lora_prefix"
    label = "LoRA+PE and LoRA+PL: LoRA, and PreEmbed or PreLayer beside it (prefix=embed or layer)"
    settings = (*LoRA.settings, "l_p", "l_i", "prefix")
    added = "special"

    def words(self, config: RunConfig) -> tuple[str, ...]:
        return (*super().words(config), f"prefix_{config.prefix}", f"p{config.l_p}", f"i{config.l_i}")

    def special_tokens(self, config: RunConfig) -> tuple[int, int]:
        return config.l_p, config.l_i

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        from experiments.prefixes import add_special_tokens

        count = sum(self.special_tokens(config))
        add_special_tokens(model, count, seed=config.seed, every_layer=config.prefix == "layer")
        super().adapt(model, config)
        for name, parameter in model.named_parameters():
            if self.is_added(name):
                parameter.requires_grad_(True)
        return model

    def counts(self, model: PreTrainedModel) -> dict[str, int]:
        """As LoRA's; the special tokens are the adapter's too."""
        counts = super().counts(model)
        tokens = sum(p.numel() for name, p in model.named_parameters() if self.is_added(name))
        return {**counts, "adapter": counts["adapter"] + tokens}
