"""A linear layer with a low-rank update."""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lora.layers.lowrank import LoRALayer


class OrientedLinear(LoRALayer, nn.Linear):
    """`nn.Linear` that can keep its weight as (in, out), as GPT-2's Conv1D does; base of the dense layers."""

    def __init__(self, in_features: int, out_features: int, fan_in_fan_out: bool, **kwargs: Any) -> None:
        super().__init__(in_features, out_features, **kwargs)
        self.fan_in_fan_out = fan_in_fan_out
        # Stored contiguous, not as a transposed view: safetensors and optimizers expect it.
        self.weight = nn.Parameter(self._stored(self.weight.detach()).contiguous())

    def _stored(self, matrix: Tensor) -> Tensor:
        """(out, in) -> the orientation of `weight`; and back, the transpose being its own inverse."""
        return matrix.T if self.fan_in_fan_out else matrix

    def reset_parameters(self) -> None:
        """Draw W0 and bias as `nn.Linear` does, U(±1/sqrt(in_features)), and the factors anew."""
        self.unmerge()
        bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0.0
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)
        if self.adapted:
            self.reset_lora_parameters()

    def _base(self, x: Tensor) -> Tensor:
        """The product with `weight` as it is: W0, or W if merged."""
        return F.linear(x, self._stored(self.weight), self.bias)


class Linear(OrientedLinear):
    """h = W0 x + b + (lora_alpha / r) · B A dropout(x)   (LoRA, eq. 3).

    Parameters: `weight` (out_features, in_features), or transposed with `fan_in_fan_out`, frozen if r > 0;
    `bias` (out_features,); `lora_A` (r, in_features); `lora_B` (out_features, r).

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        r: rank of the update; 0 makes a plain `nn.Linear`.
        lora_alpha: numerator of the scale alpha / r.
        lora_dropout: dropout probability on the update's input, in training only.
        fan_in_fan_out: keep `weight` as (in_features, out_features).
        merge_weights: merge in `eval()`, unmerge in `train()`.
        **kwargs: `bias`, `device`, `dtype` of `nn.Linear`.

    Raises:
        ValueError: if `r` is not an integer >= 0 or `lora_dropout` is outside [0, 1).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        r: int = 0,
        lora_alpha: float = 1,
        lora_dropout: float = 0.0,
        fan_in_fan_out: bool = False,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_features, out_features, fan_in_fan_out, **kwargs)
        self._init_lora(r, lora_alpha, lora_dropout, merge_weights)
        if r > 0:
            self._add_factors((r, in_features), (out_features, r))

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        return self._stored(b @ a)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """x (..., in_features) -> h (..., out_features)."""
        h = self._base(x)
        if self.merged or not self.adapted:
            return h
        return h + F.linear(F.linear(self.lora_dropout(x), self.lora_A), self.lora_B) * self.scaling
