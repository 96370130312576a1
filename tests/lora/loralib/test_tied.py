"""Layers that share one weight: merging one leaves the others alone, whichever they are and whenever tied."""

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import loralib
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora.loralib.layers import Embedding, Linear

EMBEDDINGS = {"plain": lambda: nn.Embedding(7, 4), "lora": lambda: Embedding(7, 4, r=2, lora_alpha=3)}
HEADS = {
    "plain": lambda: nn.Linear(4, 7, bias=False),
    "lora": lambda: Linear(4, 7, r=3, lora_alpha=2, bias=False),
}
PAIRS = [pair for pair in itertools.product(EMBEDDINGS, HEADS) if pair != ("plain", "plain")]
X = torch.tensor([[1, 4, 4], [0, 6, 2]])


class Tied(nn.Module):
    def __init__(self, embedding: str, head: str, head_gives: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = EMBEDDINGS[embedding](), HEADS[head]()
        if head_gives:
            self.embed.weight = self.head.weight
        else:
            self.head.weight = self.embed.weight
        for name, parameter in self.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))

    def expected(self) -> Tensor:
        """Equation 3 in each layer on the one W0, read from the state dict."""
        state = self.state_dict()
        w0 = state["embed.weight"]
        assert torch.equal(w0, state["head.weight"])
        table, matrix = w0, w0
        if "embed.lora_A" in state:
            table = w0 + 3 / 2 * (state["embed.lora_B"] @ state["embed.lora_A"]).T
        if "head.lora_A" in state:
            matrix = w0 + 2 / 3 * state["head.lora_B"] @ state["head.lora_A"]
        return F.linear(table[X], matrix)


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head_gives", [False, True])
def test_outputs_agree_in_both_modes_and_w0_comes_back_bit_for_bit(
    pair: tuple[str, str], head_gives: bool
) -> None:
    model = Tied(*pair, head_gives=head_gives)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model.expected()
    close(model(X), expected)
    for _ in range(3):
        close(model.eval()(X), expected)
        assert {
            name: (tensor == state[name]).all().item() for name, tensor in model.state_dict().items()
        } == dict.fromkeys(state, True)
        model.train()
        assert model.embed.weight is model.head.weight
        assert torch.equal(model.embed.weight, state["embed.weight"])
    close(model(X), expected)


@pytest.mark.parametrize("order", [("embed", "head"), ("head", "embed")])
def test_modes_may_change_one_by_one_in_any_order(pair: tuple[str, str], order: tuple[str, str]) -> None:
    model = Tied(*pair)
    w0, expected = model.state_dict()["embed.weight"].clone(), model.expected()
    for mode, name in [(False, order[0]), (False, order[1]), (True, order[0]), (True, order[1])]:
        getattr(model, name).train(mode)
        close(model(X), expected)
        assert all(torch.equal(model.state_dict()[f"{name}.weight"], w0) for name in order)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_tied_among_themselves(
    pair: tuple[str, str], merged: bool, twin_of: Callable[[Tied], Tied]
) -> None:
    model = Tied(*pair).train(not merged)
    expected = model.expected()
    twin = twin_of(model)
    nn.init.zeros_(model.train().embed.weight)
    close(twin(X), expected)
    twin.train()
    assert twin.embed.weight is twin.head.weight
    close(twin(X), expected)
    close(twin.expected(), expected)


@pytest.mark.parametrize("saved_merged", [False, True])
@pytest.mark.parametrize("loaded_merged", [False, True])
@pytest.mark.parametrize("names", ["both", "embed.weight", "head.weight"])
def test_state_dicts_load_in_every_mode(
    pair: tuple[str, str], saved_merged: bool, loaded_merged: bool, names: str
) -> None:
    source = Tied(*pair).train(not saved_merged)
    model = Tied(*pair)
    nn.init.zeros_(model.embed.weight)
    model.train(not loaded_merged)
    state = source.state_dict()
    dropped = {"both": None, "embed.weight": "head.weight", "head.weight": "embed.weight"}[names]
    state.pop(dropped, None)
    assert model.load_state_dict(state, strict=False).missing_keys == ([dropped] if dropped else [])
    close(model(X), source.expected())
    close(model.expected(), source.expected())
    assert torch.equal(model.train().embed.weight, source.train().embed.weight)
    close(model(X), source.expected())


def test_a_change_through_the_head_reaches_the_merged_embedding() -> None:
    model = Tied("lora", "plain").eval()
    other = Tied("plain", "lora").head.state_dict()["weight"] + 1
    model.head.load_state_dict({"weight": other})
    close(model(X), model.expected())
    assert torch.equal(model.train().embed.weight, other)


def test_tying_to_a_merged_layer() -> None:
    """To the layer's W is refused, as it is no parameter; the other way round works."""
    embed, head = EMBEDDINGS["lora"](), HEADS["plain"]()
    nn.init.normal_(embed.lora_A)
    delta = embed.delta_weight().detach()
    embed.eval()
    with pytest.raises(TypeError, match="cannot assign"):
        head.weight = embed.weight
    embed.weight = head.weight
    close(embed(X), (head.weight + delta)[X])
    assert embed.train().weight is head.weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_change_of_dtype_while_merged(pair: tuple[str, str], dtype: torch.dtype) -> None:
    model = Tied(*pair)
    w0 = model.embed.weight.detach().clone()
    model.eval().to(dtype).train()
    assert model.embed.weight is model.head.weight
    assert torch.equal(model.embed.weight, w0.to(dtype))


def test_a_plain_head_keeps_w0_where_loralib_changes_it() -> None:
    """The outputs of training mode are LoRA's; loralib's evaluation mode gives others."""
    ours = Tied("lora", "plain")
    theirs = copy.deepcopy(ours)
    theirs.embed = loralib.Embedding(7, 4, r=2, lora_alpha=3)
    theirs.head.weight = theirs.embed.weight
    theirs.load_state_dict(ours.state_dict())
    close(ours(X), theirs(X))
    assert (theirs.eval()(X) - ours(X)).abs().max() > 0.1
    close(ours.eval()(X), ours.expected())
