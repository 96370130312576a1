"""PreEmbed (the paper's section 5.1): special tokens around the prompt, whose embeddings are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.method import METHODS, Method, train_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class PrefixEmbed(Method):
    """d (l_p + l_i) parameters."""

    name = "prefix_embed"
    label = "PreEmbed: embeddings of special tokens before and after the prompt"
    learning_rate = 5e-4  # GPT-3's (paper, Table 12)
    settings = ("l_p", "l_i")
    added = "special"

    def words(self, config: RunConfig) -> tuple[str, ...]:
        return self.name, f"p{config.l_p}", f"i{config.l_i}"

    def cost(self, config: RunConfig) -> float:
        return 1.1

    def special_tokens(self, config: RunConfig) -> tuple[int, int]:
        return config.l_p, config.l_i

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        from experiments.prefixes import add_special_tokens

        count = sum(self.special_tokens(config))
        add_special_tokens(model, count, seed=config.seed, every_layer=self.every_layer(config))
        return train_only(model, self.is_added)

    def every_layer(self, config: RunConfig) -> bool:
        """Whether activations are trained, too."""
        return False
