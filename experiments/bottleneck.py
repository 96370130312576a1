"""Adapter layers (Houlsby et al. 2019): a narrow network whose output is added to its own input."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lora.adapting import located

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "bottleneck"
"""What an adapter layer is called in the module that it follows."""
F = Literal["relu", "gelu"]
Place = Literal["projections", "layer", "last norm"]
_LAST_NORMS = ("output.LayerNorm", "output_layer_norm")
"""Of the layers that end in a norm: BERT's, RoBERTa's and DeBERTa's; DistilBERT's."""


class Bottleneck(nn.Module):
    """x -> W_up f(W_down LN(x) + b_down) + b_up: what is added, not the sum.

    2 d r + r + d parameters (paper, section 5.1), and 2 d where it has a LayerNorm of its own.  W_up and the
    biases are zero at the start, so that nothing changes until the first step.

    Args:
        width: d, of the model.
        rank: r, between the two layers.
        seed: of W_down, N(0, 1 / (3 d)).
        place: what else W_down depends on, a module's path.
        f: "relu" or "gelu".
        norm: whether LN is there.
    """

    def __init__(self, width: int, rank: int, *, seed: int, place: str, f: F, norm: bool) -> None:
        super().__init__()
        key = hashlib.sha256(f"{seed}/{place}/{rank}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        self.f = nn.GELU() if f == "gelu" else nn.ReLU()
        with torch.no_grad():
            self.down.weight.normal_(0.0, 1 / math.sqrt(3 * width), generator=generator)
            for parameter in (self.down.bias, self.up.weight, self.up.bias):
                parameter.zero_()

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return self.up(self.f(self.down(self.norm(x))))


def add_bottlenecks(
    model: PreTrainedModel, rank: int, *, place: Place, seed: int, f: F, norm: bool = False
) -> None:
    """Put adapter layers into each layer of a model, in place; the names of its own modules stay.

    Args:
        rank: r.
        place: "projections", after W_o and the MLP's last matrix, before what they are added to; "layer",
            after the whole layer; "last norm", before the norm that ends a layer, of whose output it makes
            what it adds to the norm's input; after the layer where no norm ends it.
        seed, f, norm: as in `Bottleneck`.
    """
    architecture, prefix = located(model)
    stack, config = architecture.stacks[0], model.config
    for layer in range(stack.count(config)):
        whole = f"{prefix}{stack.layer.format(layer)}"
        found = {"layer": [whole], "last norm": [whole]}.get(place)
        if found is None:
            found = [architecture.module(prefix, layer, letter, config) for letter in ("o", "down")]
        last = _last_norm(model, whole) if place == "last norm" else None
        for path in [last] if last else found:
            module = model.get_submodule(path)
            weight = next(module.parameters())
            added = Bottleneck(config.hidden_size, rank, seed=seed, place=path, f=f, norm=norm)
            module.add_module(NAME, added.to(weight.device))
            module.register_forward_hook(_before_norm if last else _after)


def _last_norm(model: nn.Module, layer: str) -> str | None:
    paths = {name for name, _ in model.get_submodule(layer).named_modules()}
    return next((f"{layer}.{norm}" for norm in _LAST_NORMS if norm in paths), None)


def _after(module: nn.Module, inputs: Any, output: Any) -> Any:
    """A forward hook: the output, and what the adapter layer makes of it."""
    hidden = output[0] if isinstance(output, tuple) else output
    changed = hidden + module.get_submodule(NAME)(hidden)
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _before_norm(norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """A forward hook: the norm of its input and what the adapter layer makes of its output."""
    normed: Tensor = norm.forward(inputs[0] + norm.get_submodule(NAME)(output))
    return normed
