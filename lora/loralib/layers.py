"""LoRA versions of torch's layers, drop-in for loralib's: same names, arguments and parameters.

Each is a subclass of the torch layer it stands for, so a checkpoint of the base model loads by its own keys
(`strict=False`), and an adapter after it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, SupportsIndex, TypeVar, cast

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

Layer = TypeVar("Layer", bound="LowRankLayer")


class LoRALayer:
    """The options of a LoRA layer, as loralib's base class of this name holds them.

    No torch module: a layer of one's own inherits from a torch layer and from this, calls both constructors,
    and brings factors, forward and merging itself. The layers of this module are `LowRankLayer`s.

    Args:
        r: rank of the update; 0 for none.
        lora_alpha: numerator of the scale alpha / r.
        lora_dropout: dropout probability on the update's input, in training only.
        merge_weights: merge in `eval()`, unmerge in `train()`.

    Attributes:
        scaling: lora_alpha / r; 0.0 if r is 0.
        lora_dropout: what is applied to the update's input: an `nn.Dropout`, or nothing.
        merged: whether the layer's `weight` holds W = W0 + dW rather than W0.

    Raises:
        ValueError: if `r` is not an integer >= 0 or `lora_dropout` is outside [0, 1).
    """

    lora_dropout: Callable[[Tensor], Tensor]
    merged: bool

    def __init__(self, r: SupportsIndex, lora_alpha: float, lora_dropout: float, merge_weights: bool) -> None:
        if not hasattr(r, "__index__") or operator.index(r) < 0:
            raise ValueError(f"r={r!r} is not a rank: give 0 (no update) or a positive integer")
        if not 0 <= lora_dropout < 1:
            raise ValueError(f"lora_dropout={lora_dropout!r} is not a probability in [0, 1)")
        self.r = operator.index(r)  # NumPy's integers too
        self.lora_alpha = lora_alpha
        self.scaling = lora_alpha / self.r if self.r > 0 else 0.0
        self.lora_dropout = nn.Dropout(lora_dropout) if lora_dropout > 0 else _unchanged
        self.merged = False
        self.merge_weights = merge_weights


def _unchanged(x: Tensor) -> Tensor:
    """In place of dropout: a function of the module and no lambda, so that a layer pickles."""
    return x


class LowRankLayer(LoRALayer, nn.Module):
    """Mixin that adds a low-rank update to a torch layer with a `weight` (LoRA, section 4.1, eq. 3).

        W = W0 + scaling · B A,    scaling = lora_alpha / r

    W0 (`weight`) is frozen; `lora_A` and `lora_B` are trained. Inherit from it before the torch layer. With
    `r=0` there are no factors, `scaling` is 0.0 and the layer is the plain torch layer, its weight trainable.

    With `merge_weights`, `eval()` merges (`weight` becomes W) and `train()` unmerges, as in loralib;
    `merge()` and `unmerge()` do it by hand. While merged:

    - `weight` is W, a plain tensor, kept in the non-persistent buffer `merged_weight`; what is written to it
      is lost with it. The parameter of that name still holds W0, untouched: `named_parameters()`,
      `state_dict()` and every module that it is tied to have W0, and unmerging gives it back bit for bit.
    - `load_state_dict` loads W0 and factors, then merges anew. W is also formed anew, at its next use, after
      the parameter was replaced, or changed in place through a module that it is tied to.
    - Factors receive no gradient, and changing them in place has no effect before the next merge.
    - Tying another module's weight to this one (`head.weight = layer.weight`) is torch's TypeError, as W is
      no parameter: tie in training mode.
    """

    lora_A: nn.Parameter
    lora_B: nn.Parameter
    merged_weight: Tensor | None
    _merged_state: tuple[int, int] | None = None

    def _init_lora(
        self, r: SupportsIndex, lora_alpha: float, lora_dropout: float, merge_weights: bool
    ) -> None:
        """Set the options; to be called once the torch layer is built, before `_add_factors`.

        Raises:
            ValueError: as `LoRALayer`.
        """
        LoRALayer.__init__(self, r, lora_alpha, lora_dropout, merge_weights)
        self.register_buffer("merged_weight", None, persistent=False)

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
    def weight(self) -> Tensor:
        """W if merged, else W0: (out, in) or as the torch layer stores it."""
        if not self.merged:
            return self._base_weight()
        if self._weight_state() not in (None, self._merged_state):
            self.unmerge()
            self.merge()
        return cast("Tensor", self.merged_weight)

    @weight.setter
    def weight(self, value: Tensor) -> None:
        # A parameter is registered by torch, under this name; what comes here is a replica's plain tensor.
        self.__dict__["weight"] = value

    def _base_weight(self) -> Tensor:
        weight = self.__dict__["weight"] if "weight" in self.__dict__ else super().__getattr__("weight")
        return cast("Tensor", weight)

    def _weight_state(self) -> tuple[int, int] | None:
        """Changes when the parameter is replaced or written to; None in a DataParallel replica."""
        parameter = self._parameters.get("weight")
        if parameter is None:
            return None
        return id(parameter), 0 if parameter.is_inference() else parameter._version

    @property
    def merged(self) -> bool:
        """Whether `weight` is W rather than W0.

        To be assigned by code that merges by hand, as loralib's layers do. True says that the weight now
        holds W: W0 becomes W - scaling · B A, to rounding. False is `unmerge()`.
        """
        return self._buffers.get("merged_weight") is not None

    @merged.setter
    def merged(self, value: bool) -> None:
        if not value:
            self.unmerge()
        elif self.adapted and not self.merged:
            with _exact(self.weight):
                full = self.weight.detach().clone()
                dtype = torch.promote_types(full.dtype, torch.float32)
                self.weight.copy_(full.to(dtype) - self.delta_weight(dtype))
            self._set_merged(full)

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
        with _exact(self.weight):
            full = self._full_weight(torch.promote_types(dtype, torch.float32)).to(dtype)
            bad = full.numel() - int(full.isfinite().sum())
        if bad:
            raise ValueError(
                f"{type(self).__name__} was not merged: {bad} of {full.numel()} weights of "
                f"W0 + {self.scaling:g}·BA would be infinite or NaN in {dtype}; "
                "check the factors or use a wider dtype"
            )
        self._set_merged(full)

    def _set_merged(self, full: Tensor) -> None:
        self.merged_weight = full
        self._merged_state = self._weight_state()

    def unmerge(self) -> None:
        """Put W0 back; nothing if not merged."""
        if self.merged:
            self.merged_weight = None

    def train(self: Layer, mode: bool = True) -> Layer:
        """Set the mode as torch does and, with `merge_weights`, unmerge (train) or merge (eval)."""
        super().train(mode)
        if self.merge_weights:
            if mode:
                self.unmerge()
            else:
                self.merge()
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        merged = self.merged
        self.unmerge()
        super()._load_from_state_dict(state_dict, prefix, *args)
        if merged:
            self.merge()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, r={self.r}, lora_alpha={self.lora_alpha:g}, merged={self.merged}"


@contextmanager
def _exact(weight: Tensor) -> Iterator[None]:
    """Outside the caller's inference_mode or autocast block: what is formed here outlives it."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(weight.device.type, enabled=False),
    ):
        yield


class OrientedLinear(LowRankLayer, nn.Linear):
    """`nn.Linear` that can keep its weight as (in, out), as GPT-2's Conv1D does; base of the dense layers."""

    def __init__(self, in_features: int, out_features: int, fan_in_fan_out: bool, **kwargs: Any) -> None:
        nn.Linear.__init__(self, in_features, out_features, **kwargs)
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
        r: SupportsIndex = 0,
        lora_alpha: float = 1,
        lora_dropout: float = 0.0,
        fan_in_fan_out: bool = False,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_features, out_features, fan_in_fan_out, **kwargs)
        self._init_lora(r, lora_alpha, lora_dropout, merge_weights)
        if self.r > 0:
            self._add_factors((self.r, in_features), (out_features, self.r))

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        return self._stored(b @ a)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """x (..., in_features) -> h (..., out_features)."""
        h = self._base(x)
        if self.merged or not self.adapted:
            return h
        return h + F.linear(F.linear(self.lora_dropout(x), self.lora_A), self.lora_B) * self.scaling


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
        r: SupportsIndex = 0,
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
        if self.r > 0 and enabled:
            self._add_factors((enabled * self.r, in_features), (enabled * self._rows, self.r))

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


class Embedding(LowRankLayer, nn.Embedding):
    """e(x) = W0[x] + (lora_alpha / r) · (B A)ᵀ[x].

    Parameters: `weight` (num_embeddings, embedding_dim), frozen if r > 0; `lora_A` (r, num_embeddings), zero
    at the start; `lora_B` (embedding_dim, r), N(0, 1) at the start. (As in loralib: A is the factor that is
    looked up, so only the columns of tokens that occur ever leave zero.)

    With r > 0:

    - the row `padding_idx` has no update and no gradient, whatever A holds;
    - `max_norm` bounds the rows of W0, when looked up and when merged, without writing to the frozen table
      (`nn.Embedding` rescales it in place); the update comes on top of the bounded row, and A is not bounded;
    - the gradient of A is dense, with `sparse=True` too: it has only r columns.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: columns of the table.
        r: rank of the update; 0 makes a plain `nn.Embedding`.
        lora_alpha: numerator of the scale alpha / r.
        merge_weights: merge in `eval()`, unmerge in `train()`.
        **kwargs: those of `nn.Embedding`.

    Raises:
        ValueError: if `r` is not an integer >= 0.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        r: SupportsIndex = 0,
        lora_alpha: float = 1,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        nn.Embedding.__init__(self, num_embeddings, embedding_dim, **kwargs)
        self._init_lora(r, lora_alpha, lora_dropout=0.0, merge_weights=merge_weights)
        if self.r > 0:
            self._add_factors((self.r, num_embeddings), (embedding_dim, self.r))

    def reset_parameters(self) -> None:
        """Draw W0 as `nn.Embedding` does; reset the factors."""
        self.unmerge()
        super().reset_parameters()
        if self.adapted:
            self.reset_lora_parameters()

    def reset_lora_parameters(self) -> None:
        """Set A to zero and draw B from N(0, 1)."""
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        if self.padding_idx is not None:
            a = a.index_fill(1, torch.tensor([self.padding_idx], device=a.device), 0)
        return (b @ a).T

    def _full_weight(self, dtype: torch.dtype) -> Tensor:
        return self._bounded(self.weight.to(dtype)) + self.delta_weight(dtype)

    def _bounded(self, rows: Tensor) -> Tensor:
        """Scale down the rows whose norm is above `max_norm`."""
        if self.max_norm is None:
            return rows
        norms = torch.linalg.vector_norm(rows.detach(), self.norm_type, dim=-1, keepdim=True)
        return rows * (self.max_norm / norms.clamp_min(self.max_norm))

    def forward(self, x: Integer[Tensor, "*batch"]) -> Float[Tensor, "*batch d"]:
        """Indices x (...) -> vectors (..., embedding_dim)."""
        if not self.adapted:
            return super().forward(x)
        # Without max_norm, which would write to the table.
        rows = F.embedding(
            x,
            self.weight,
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )
        if self.merged:
            return rows
        codes = F.embedding(x, self.lora_A.T, scale_grad_by_freq=self.scale_grad_by_freq)
        if self.padding_idx is not None:
            codes = codes.masked_fill((x == self.padding_idx).unsqueeze(-1), 0)
        return self._bounded(rows) + F.linear(codes, self.lora_B) * self.scaling


class ConvLoRA(LowRankLayer, _ConvNd):
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
        conv_module: nn.Conv1d, nn.Conv2d or nn.Conv3d; the classes of these names here are without it.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: one size for all axes, or a tuple.
        r: rank parameter of the update, see above; 0 makes a plain convolution.
        lora_alpha: numerator of the scale alpha / r.
        lora_dropout: dropout probability on the update's input, in training only.
        merge_weights: merge in `eval()`, unmerge in `train()`.
        **kwargs: `stride`, `padding`, `dilation`, `groups`, `bias`, `padding_mode`, `device`, `dtype`.

    Raises:
        ValueError: if `conv_module` is another class, `r` is not an integer >= 0, or `lora_dropout` is
            outside [0, 1).
    """

    def __init__(
        self,
        conv_module: type[_ConvNd],
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        r: SupportsIndex = 0,
        lora_alpha: float = 1,
        lora_dropout: float = 0.0,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        if not issubclass(conv_module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            raise ValueError(f"conv_module={conv_module!r} is not one of nn.Conv1d, nn.Conv2d, nn.Conv3d")
        if not isinstance(self, conv_module):
            self.__class__ = _with_convolution(type(self), conv_module)  # type: ignore[arg-type]
        conv_module.__init__(self, in_channels, out_channels, kernel_size, **kwargs)  # type: ignore[arg-type]
        self._init_lora(r, lora_alpha, lora_dropout, merge_weights)
        if self.r > 0:
            half = len(self.kernel_size) // 2
            p, q = math.prod(self.kernel_size[:half]), math.prod(self.kernel_size[half:])
            self._add_factors((self.r * p, in_channels * q), (out_channels // self.groups * p, self.r * p))

    @property
    def conv(self) -> _ConvNd:
        """The convolution without the update, on this layer's own parameters; loralib's wrapped layer.

        Its weight is W0, or W if merged, as `weight` is.
        """
        convolution = object.__new__(_bare(type(self)))  # type: ignore[arg-type]
        object.__setattr__(convolution, "__dict__", self.__dict__)
        return convolution

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "conv":
            raise AttributeError(
                "conv is this layer's own convolution and cannot be replaced: load the other one's state dict"
            )
        super().__setattr__(name, value)

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
        if not (isinstance(self.lora_dropout, nn.Dropout) and self.lora_dropout.training):
            # Both convolutions read the same input: one, with the sum of their kernels.
            return self._conv_forward(x, self.weight + self.delta_weight(), self.bias)
        update = self._conv_forward(self.lora_dropout(x), self.delta_weight(), None)
        return self._conv_forward(x, self.weight, self.bias) + update


class _Bare(ConvLoRA):
    """The convolution of a layer, without the update."""

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        metadata: Any,
        strict: bool,
        missing: list[str],
        *args: Any,
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *args)
        missing[:] = [key for key in missing if "lora_" not in key]

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, self.bias)


@cache
def _bare(layer: type) -> type[ConvLoRA]:
    return type(layer.__name__, (_Bare, layer), {})


@cache
def _with_convolution(layer: type, convolution: type) -> type[ConvLoRA]:
    """The class of `layer` on `convolution`: Conv2d, where they are ConvLoRA and nn.Conv2d."""
    ready = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
    if layer is ConvLoRA and convolution in ready:
        return ready[convolution]
    return type(layer.__name__, (layer, convolution), {})


class Conv1d(ConvLoRA, nn.Conv1d):
    """`nn.Conv1d` with a low-rank update: A (r, in k), B (out / groups, r); see `ConvLoRA`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(nn.Conv1d, *args, **kwargs)


class Conv2d(ConvLoRA, nn.Conv2d):
    """`nn.Conv2d` with a low-rank update: A (r k, in l), B (out / groups k, r k); see `ConvLoRA`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(nn.Conv2d, *args, **kwargs)


class Conv3d(ConvLoRA, nn.Conv3d):
    """`nn.Conv3d` with a low-rank update: A (r k, in l m), B (out / groups k, r k); see `ConvLoRA`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(nn.Conv3d, *args, **kwargs)
