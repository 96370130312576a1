"""PreLayer (the paper's section 5.1): special tokens whose activations after each layer are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods.method import METHODS
from experiments.methods.prefix_embed import PrefixEmbed

if TYPE_CHECKING:
    from experiments.config import RunConfig


@METHODS.register
class PrefixLayer(PrefixEmbed):
    """L d (l_p + l_i) parameters: the embeddings, and what stands after all layers but the last."""

    name = "prefix_layer"
    label = "PreLayer: as PreEmbed, and what stands after each layer in their places"
    learning_rate = 1e-4  # GPT-3's (paper, Table 12)

    def every_layer(self, config: RunConfig) -> bool:
        return True
