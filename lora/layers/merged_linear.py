"""A linear layer that stacks several projections, each with its own low-rank update or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lora.layers.linear import OrientedLinear


class MergedLinear(OrientedLinear):
    """n projections stacked along the output, such as a fused q, k, v; `enable_lora[i]` says if i is updated.

        h_i = W0_i x + b_i + (lora_alpha / r) · B_i A_i dropout(x)      for every enabled slice i

    Every enabled slice has a pair of rank r of its own. With m enabled slices, of out_features / n rows each:
    `weight` (out_features, in_features), or transposed with `fan_in_fan_out`; `bias` (out_features,);
    `lora_A` (m r, in_features), the A_i stacked; `lora_B` (m out_features / n, r), the B_i stacked. With no
    slice enabled (the default) or r = 0 the layer is a plain `nn.Linear`.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output, over all slices.
        r: rank of each slice's update.
        lora_alpha: numerator of the scale alpha / r.
        lora_dropout: dropout probability on the update's input, in training only.
        enable_lora: one truth value a slice; [True, False, True] adapts q and v of a fused q, k, v.
        fan_in_fan_out: keep `weight` as (in_features, out_features).
        merge_weights: merge in `eval()`, unmerge in `train()`.
        **kwargs: `bias`, `device`, `dtype` of `nn.Linear`.

    Raises:
        ValueError: if the number of slices does not divide `out_features`, `r` is not an integer >= 0, or
            `lora_dropout` is outside [0, 1).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        r: int = 0,
        lora_alpha: float = 1,
        lora_dropout: float = 0.0,
        enable_lora: Sequence[bool] = (False,),
        fan_in_fan_out: bool = False,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        if not enable_lora or out_features % len(enable_lora):
            raise ValueError(
                f"enable_lora={list(enable_lora)} makes {len(enable_lora)} slices, which do not divide "
                f"out_features={out_features}: give one truth value for each equal slice of the output"
            )
        super().__init__(in_features, out_features, fan_in_fan_out, **kwargs)
        self._init_lora(r, lora_alpha, lora_dropout, merge_weights)
        self.enable_lora = [bool(enabled) for enabled in enable_lora]
        enabled = sum(self.enable_lora)
        if r > 0 and enabled:
            rows = out_features // len(enable_lora)
            self._add_factors((enabled * r, in_features), (enabled * rows, r))

    def _all_slices(self, enabled: Tensor, dim: int) -> Tensor:
        """Put zeros for the slices without an update: axis `dim` grows from the m enabled ones to all n."""
        updates = iter(enabled.unbind(dim))
        zero = torch.zeros_like(enabled.select(dim, 0))
        return torch.stack([next(updates) if on else zero for on in self.enable_lora], dim)

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        products = b.unflatten(0, (-1, self._rows)) @ a.unflatten(0, (-1, self.r))
        return self._stored(self._all_slices(products, 0).flatten(0, 1))

    @property
    def _rows(self) -> int:
        """Output rows of one slice."""
        return self.out_features // len(self.enable_lora)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """x (..., in_features) -> h (..., out_features)."""
        h = self._base(x)
        if self.merged or not self.adapted:
            return h
        codes = F.linear(self.lora_dropout(x), self.lora_A).unflatten(-1, (-1, self.r))
        updates = torch.einsum("...mr,mor->...mo", codes, self.lora_B.unflatten(0, (-1, self._rows)))
        return h + self._all_slices(updates, -2).flatten(-2) * self.scaling
