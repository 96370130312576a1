"""Convolutions with a low-rank update."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lora.layers.lowrank import LoRALayer


class ConvLoRA(LoRALayer, _ConvNd):
    """h = conv(x; W0) + b + conv(dropout(x); dW),   dW = (lora_alpha / r) · reshape(B A).

    The kernel's axes are split between the two factors: the leading half (rounded down) goes with the
    outputs, the rest with the inputs. With p the product of the leading kernel sizes and q of the others:

        lora_A (r p, in_channels q)      lora_B (out_channels / groups p, r p)

    and B A, which has as many entries as `weight` (out_channels, in_channels / groups, *kernel_size), is read
    in row-major order:

        Conv1d, k:           A (r, in k)            B (out / groups, r)            rank of B A: r
        Conv2d, (k, l):      A (r k, in l)          B (out / groups k, r k)        rank of B A: r k
        Conv3d, (k, l, m):   A (r k, in l m)        B (out / groups k, r k)        rank of B A: r k

    With a square kernel Conv2d's factors are loralib's, whatever the groups: outputs and gradients agree.
    As there, the rank of B A is r k while the scale stays alpha / r. Conv1d and Conv3d are loralib's for
    kernel size 1; for any other, loralib's shapes do not fit the weight.

    The layer is the convolution, not a wrapper around one: a pretrained layer's `weight` and `bias` load as
    they are. loralib's checkpoints load too: `conv.weight` and `conv.bias` are read as `weight` and `bias`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: one size for all axes, or a tuple.
        r: rank parameter of the update, see above; 0 makes a plain convolution.
        lora_alpha: numerator of the scale alpha / r.
        lora_dropout: dropout probability on the update's input, in training only.
        merge_weights: merge in `eval()`, unmerge in `train()`.
        **kwargs: `stride`, `padding`, `dilation`, `groups`, `bias`, `padding_mode`, `device`, `dtype`.

    Raises:
        ValueError: if `r` is not an integer >= 0 or `lora_dropout` is outside [0, 1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        r: int = 0,
        lora_alpha: float = 1,
        lora_dropout: float = 0.0,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        # Next in line is the class of nn.Conv1d, 2d or 3d, which takes an int as well.
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)  # type: ignore[arg-type]
        self._init_lora(r, lora_alpha, lora_dropout, merge_weights)
        if r > 0:
            half = len(self.kernel_size) // 2
            p, q = math.prod(self.kernel_size[:half]), math.prod(self.kernel_size[half:])
            self._add_factors((r * p, in_channels * q), (out_channels // self.groups * p, r * p))

    def reset_parameters(self) -> None:
        """Draw W0 and bias as torch does; reset the factors."""
        self.unmerge()
        super().reset_parameters()
        if self.adapted:
            self.reset_lora_parameters()

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        return (b @ a).view(self.weight.shape)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("weight", "bias"):
            if (loralib_key := f"{prefix}conv.{name}") in state_dict:
                state_dict[f"{prefix}{name}"] = state_dict.pop(loralib_key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, in_channels, *space) -> h (batch, out_channels, *space')."""
        if self.merged or not self.adapted:
            return self._conv_forward(x, self.weight, self.bias)
        if isinstance(self.lora_dropout, nn.Identity) or not self.lora_dropout.training:
            # Both convolutions read the same input: one, with the sum of their kernels.
            return self._conv_forward(x, self.weight + self.delta_weight(), self.bias)
        update = self._conv_forward(self.lora_dropout(x), self.delta_weight(), None)
        return self._conv_forward(x, self.weight, self.bias) + update


class Conv1d(ConvLoRA, nn.Conv1d):
    """`nn.Conv1d` with a low-rank update: A (r, in k), B (out / groups, r); see `ConvLoRA`."""


class Conv2d(ConvLoRA, nn.Conv2d):
    """`nn.Conv2d` with a low-rank update: A (r k, in l), B (out / groups k, r k); see `ConvLoRA`."""


class Conv3d(ConvLoRA, nn.Conv3d):
    """`nn.Conv3d` with a low-rank update: A (r k, in l m), B (out / groups k, r k); see `ConvLoRA`."""
