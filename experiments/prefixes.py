"""Special tokens before and after a prompt, with trained embeddings or activations (paper, section 5.1).

A special token is an id above the vocabulary: an objective puts it into the input, and a table here tells
what it stands for.  Everything that counts or hides tokens (positions, masks, caches) takes it for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from experiments.errors import UserError
from lora.adapting import located

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "special"
"""What is added is called so, in the embeddings and in the layers."""


class Places:
    """Which of the tokens of the latest input are special: what the layers know of it."""

    def __init__(self) -> None:
        self.number: Tensor | None = None
        """(batch, time): the special token's number, from 0; negative for others."""


class Embeddings(nn.Module):
    """Token embeddings that know special tokens, too.

    Attributes:
        base: those of the vocabulary.
        special: (tokens, d), trained.
        places: told at each input where they are.
    """

    def __init__(self, base: nn.Embedding, special: Float[Tensor, "tokens d"]) -> None:
        super().__init__()
        self.base = base
        self.special = nn.Parameter(special)
        self.places = Places()

    @property
    def weight(self) -> Tensor:
        """The vocabulary's, which an output layer may share."""
        return self.base.weight

    def forward(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d"]:
        number = ids - self.base.num_embeddings
        self.places.number = number
        ordinary: Tensor = self.base(ids.masked_fill(number >= 0, 0))
        return _put(ordinary, self.special, number)


class Activations(nn.Module):
    """What stands after a layer in the place of each special token.

    Attributes:
        special: (tokens, d), trained.
    """

    def __init__(self, special: Float[Tensor, "tokens d"], places: Places) -> None:
        super().__init__()
        self.special = nn.Parameter(special)
        self.places = places

    def forward(self, hidden: Float[Tensor, "batch time d"]) -> Float[Tensor, "batch time d"]:
        assert self.places.number is not None
        return _put(hidden, self.special, self.places.number)


def _put(
    ordinary: Float[Tensor, "batch time d"],
    special: Float[Tensor, "tokens d"],
    number: Int[Tensor, "batch time"],
) -> Float[Tensor, "batch time d"]:
    values = F.embedding(number.clamp(min=0), special).to(ordinary.dtype)
    return torch.where((number >= 0).unsqueeze(-1), values, ordinary)


def special_ids(model: PreTrainedModel, before: int, after: int) -> tuple[range, range]:
    """The ids of the special tokens before and after a prompt: those above the model's vocabulary."""
    first = model.get_input_embeddings().weight.shape[0]
    return range(first, first + before), range(first + before, first + before + after)


def add_special_tokens(model: PreTrainedModel, count: int, *, seed: int, every_layer: bool) -> None:
    """Let a model know `count` special tokens, in place.

    Their embeddings, count * d parameters, start as those of random tokens of the vocabulary; with
    `every_layer` their activations after each layer but the last are parameters too, L * count * d in all
    (the last layer's reach nothing but the prediction of the token that follows).  These start as what the
    model makes of the embeddings.

    Raises:
        UserError: there are none.
    """
    if not count:
        raise UserError("l_p=0 and l_i=0 leave nothing to train; give one of them, or another method")
    base = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(base.num_embeddings, (count,), generator=generator)
    embeddings = Embeddings(base, base.weight.detach()[chosen.to(base.weight.device)].clone())
    model.set_input_embeddings(embeddings)
    if every_layer:
        _add_activations(model, embeddings, count)


@torch.no_grad()
def _add_activations(model: PreTrainedModel, embeddings: Embeddings, count: int) -> None:
    architecture, prefix = located(model)
    stack = architecture.stacks[0]
    layers = [
        model.get_submodule(f"{prefix}{stack.layer.format(layer)}")
        for layer in range(stack.count(model.config) - 1)
    ]
    made: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *call: made.append(_hidden(call[-1])[0])) for layer in layers]
    training = model.training
    ids, _ = special_ids(model, count, 0)
    model.eval().base_model(input_ids=torch.tensor([[*ids]], device=embeddings.special.device))
    model.train(training)
    for hook in hooks:
        hook.remove()
    for layer, hidden in zip(layers, made, strict=True):
        layer.add_module(NAME, Activations(hidden.detach().clone(), embeddings.places))
        layer.register_forward_hook(_replaced)


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _replaced(layer: nn.Module, inputs: Any, output: Any) -> Any:
    """A forward hook: the layer's output, with the trained activations in the special tokens' places."""
    hidden = layer.get_submodule(NAME)(_hidden(output))
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
