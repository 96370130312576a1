"""What every LoRA layer shares: rank, scale, dropout, and a merge that is undone exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

L = TypeVar("L", bound="LoRALayer")


class LoRALayer(nn.Module):
    """Mixin that adds a low-rank update to a torch layer with a `weight` (LoRA, section 4.1, eq. 3).

        W = W0 + scaling · B A,    scaling = lora_alpha / r

    W0 (`weight`) is frozen; `lora_A` and `lora_B` are trained. Inherit from it before the torch layer. With
    `r=0` there are no factors, `scaling` is 0.0 and the layer is the plain torch layer, its weight trainable.

    With `merge_weights`, `eval()` merges (`weight` becomes W) and `train()` unmerges, as in loralib;
    `merge()` and `unmerge()` do it by hand. While merged:

    - W0 is kept in the non-persistent buffer `base_weight` and follows `.to()`. Unmerging puts that very
      tensor back, so W0 returns bit for bit in every dtype, even if the factors have changed since.
    - `state_dict()` holds W0 under `weight`; `load_state_dict` loads W0 and factors, then merges anew.
    - Factors receive no gradient, and changing them in place has no effect before the next merge.
    - A module that shares the Parameter `weight` (a tied output layer) sees W too; of two tied LoRA layers
      merge only one.
    """

    weight: Tensor
    lora_A: nn.Parameter
    lora_B: nn.Parameter
    base_weight: Tensor | None
    r: int
    lora_alpha: float
    scaling: float
    lora_dropout: nn.Module
    merge_weights: bool

    def _init_lora(self, r: int, lora_alpha: float, lora_dropout: float, merge_weights: bool) -> None:
        """Set the options; to be called once the torch layer is built, before `_add_factors`.

        Raises:
            ValueError: if `r` is not an integer >= 0 or `lora_dropout` is outside [0, 1).
        """
        if not isinstance(r, int) or r < 0:
            raise ValueError(f"r={r!r} is not a rank: give 0 (no update) or a positive integer")
        if not 0 <= lora_dropout < 1:
            raise ValueError(f"lora_dropout={lora_dropout!r} is not a probability in [0, 1)")
        self.r = r
        self.lora_alpha = lora_alpha
        self.scaling = lora_alpha / r if r > 0 else 0.0
        # Modules, not lambdas: a layer must pickle.
        self.lora_dropout = nn.Dropout(lora_dropout) if lora_dropout > 0 else nn.Identity()
        self.merge_weights = merge_weights
        self.register_buffer("base_weight", None, persistent=False)

    def _add_factors(self, shape_a: Sequence[int], shape_b: Sequence[int]) -> None:
        """Create A and B in W0's dtype and on its device, and freeze W0."""
        self.lora_A = nn.Parameter(self.weight.new_empty(shape_a))
        self.lora_B = nn.Parameter(self.weight.new_empty(shape_b))
        self.weight.requires_grad_(False)
        self.reset_lora_parameters()

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        """B A, in the shape in which the layer stores its weight."""
        raise NotImplementedError

    # torch's constructors call reset_parameters before `_init_lora`: these must answer even then.
    @property
    def adapted(self) -> bool:
        """Whether the layer has factors."""
        return hasattr(self, "lora_A")  # not by `_parameters`, empty in a DataParallel replica

    @property
    def merged(self) -> bool:
        """Whether `weight` holds W rather than W0."""
        return self._buffers.get("base_weight") is not None

    def reset_lora_parameters(self) -> None:
        """Draw A from N(0, 1/(3 fan_in)) and set B to zero, so that the update starts at zero (section 4.1).

        The variance is that of loralib's uniform, `kaiming_uniform_(a=sqrt(5))`, on the same shape.
        """
        nn.init.normal_(self.lora_A, std=1 / math.sqrt(3 * self.lora_A.shape[1]))
        nn.init.zeros_(self.lora_B)

    def delta_weight(self, dtype: torch.dtype | None = None) -> Tensor:
        """scaling · B A in the shape of `weight`, in `dtype` (default: the factors'); differentiable."""
        if not self.adapted:
            return torch.zeros_like(self.weight, dtype=dtype)
        return self._compose(self.lora_A.to(dtype=dtype), self.lora_B.to(dtype=dtype)) * self.scaling

    def _full_weight(self, dtype: torch.dtype) -> Tensor:
        """W, for merging."""
        return self.weight.to(dtype) + self.delta_weight(dtype)

    def merge(self) -> None:
        """Put W in place of W0, computed in at least float32 and rounded once; nothing if already merged.

        Raises:
            ValueError: if W would not be finite in the weight's dtype; the layer is then left as it was.
        """
        if self.merged or not self.adapted:
            return
        dtype = self.weight.dtype
        # The merged weight outlives the caller's inference_mode or autocast block, and must not depend on it.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(self.weight.device.type, enabled=False),
        ):
            full = self._full_weight(torch.promote_types(dtype, torch.float32)).to(dtype)
            bad = full.numel() - int(full.isfinite().sum())
        if bad:
            raise ValueError(
                f"{type(self).__name__} was not merged: {bad} of {full.numel()} weights of "
                f"W0 + {self.scaling:g}·BA would be infinite or NaN in {dtype}; "
                "check the factors or use a wider dtype"
            )
        self.base_weight = self._swap_weight(full)

    def unmerge(self) -> None:
        """Put W0 back; nothing if not merged."""
        if (base := self._buffers.get("base_weight")) is not None:
            self._swap_weight(base)
            self.base_weight = None

    def _swap_weight(self, new: Tensor) -> Tensor:
        """Give `weight` the storage of `new` and return the old one.

        Swapping, not copying: state dicts handed out earlier, or loaded with `assign=True`, keep W0.
        """
        old = self.weight.data
        self.weight.data = new
        # Autograd does not see a swap; this makes a backward pass through the other weight an error.
        torch.autograd.graph.increment_version(self.weight)
        return old

    def train(self: L, mode: bool = True) -> L:
        """Set the mode as torch does and, with `merge_weights`, unmerge (train) or merge (eval)."""
        super().train(mode)
        if self.merge_weights:
            if mode:
                self.unmerge()
            else:
                self.merge()
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.merged:
            destination[f"{prefix}weight"] = self.base_weight

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        merged = self.merged
        self.unmerge()
        super()._load_from_state_dict(state_dict, prefix, *args)
        if merged:
            self.merge()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, r={self.r}, lora_alpha={self.lora_alpha:g}, merged={self.merged}"
