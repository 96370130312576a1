"""Selecting what LoRA trains, and the README of loralib run with this package."""

import io
from typing import Any

import loralib
import pytest
import torch
from torch import nn

import lora.loralib
from lora.loralib.layers import Conv1d, Embedding, Linear, MergedLinear
from lora.loralib.utils import lora_state_dict, mark_only_lora_as_trainable


class Block(nn.Module):
    """Adapted and plain layers, a buffer called bias, a module with "bias" in its name, a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = Embedding(11, 6, r=2)
        self.qkv = MergedLinear(6, 18, r=2, enable_lora=[True, False, True])
        self.conv = Conv1d(6, 6, 3, r=2, padding=1)
        self.plain_rank = Linear(6, 6, r=0)
        self.debiaser = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("bias", torch.ones(1))


FACTORS = {f"{module}.lora_{factor}" for module in ("embed", "qkv", "conv") for factor in "AB"}
BIASES = {
    "none": set(),
    "lora_only": {"qkv.bias", "conv.bias"},
    "all": {"qkv.bias", "conv.bias", "plain_rank.bias", "debiaser.bias", "norm.bias"},
}


@pytest.mark.parametrize("bias", BIASES)
def test_what_is_trained_is_what_is_saved(bias: str) -> None:
    model = Block()
    mark_only_lora_as_trainable(model, bias)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == FACTORS | BIASES[bias]
    assert set(lora_state_dict(model, bias)) == FACTORS | BIASES[bias]


def test_default_is_none() -> None:
    model = Block()
    mark_only_lora_as_trainable(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == FACTORS
    assert set(lora_state_dict(model)) == FACTORS


def test_marking_again_takes_biases_back() -> None:
    model = Block()
    mark_only_lora_as_trainable(model, "all")
    mark_only_lora_as_trainable(model, "lora_only")
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == FACTORS | BIASES["lora_only"]
    model.norm.weight.requires_grad_(True)
    mark_only_lora_as_trainable(model, "none")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == FACTORS


@pytest.mark.parametrize("bias", BIASES)
def test_a_frozen_factor_stays_frozen_as_in_loralib(bias: str) -> None:
    for package in (loralib, lora.loralib):
        layer = package.Linear(6, 6, r=2)
        layer.lora_A.requires_grad_(False)
        for mode in ("all", bias):
            package.mark_only_lora_as_trainable(layer, mode)
        assert not layer.lora_A.requires_grad
        assert layer.lora_B.requires_grad
        assert not layer.weight.requires_grad
    assert set(lora_state_dict(layer)) == {"lora_A", "lora_B"}


@pytest.mark.parametrize("function", [mark_only_lora_as_trainable, lora_state_dict])
def test_unknown_bias_names_the_choices_and_changes_nothing(function: Any) -> None:
    model = Block()
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match="bias='some' is not one of 'none', 'lora_only', 'all'"):
        function(model, bias="some")
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before


@pytest.mark.parametrize("bias", BIASES)
def test_agrees_with_loralib(bias: str) -> None:
    """On a model where loralib's three selectors are consistent."""

    def build(package: Any) -> nn.Module:
        return nn.Sequential(package.Linear(6, 6, r=2), nn.LayerNorm(6), package.Embedding(5, 6, r=2))

    theirs, ours = build(loralib), build(lora.loralib)
    loralib.mark_only_lora_as_trainable(theirs, bias=bias)
    mark_only_lora_as_trainable(ours, bias=bias)
    assert [(n, p.requires_grad) for n, p in ours.named_parameters()] == [
        (n, p.requires_grad) for n, p in theirs.named_parameters()
    ]
    assert set(lora_state_dict(ours, bias=bias)) == set(loralib.lora_state_dict(theirs, bias=bias))


def test_a_merged_model_gives_the_same_adapter() -> None:
    model = Block()
    nn.init.normal_(model.qkv.lora_B)
    before = {key: value.clone() for key, value in lora_state_dict(model, "all").items()}
    after = lora_state_dict(model.eval(), "all")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_readme_of_loralib_runs() -> None:
    """Its steps 2 to 5 and notes 2 to 4, with `import lora`."""

    class Attention(nn.Module):
        def __init__(self, adapted: bool) -> None:
            super().__init__()
            self.embed = lora.Embedding(11, 6, r=2) if adapted else nn.Embedding(11, 6)
            self.qkv_proj = (
                lora.MergedLinear(6, 18, r=2, enable_lora=[True, False, True])
                if adapted
                else nn.Linear(6, 18)
            )
            self.o_proj = lora.Linear(6, 6, r=2) if adapted else nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv_proj(self.embed(x)).chunk(3, -1)
            return self.o_proj((q @ k.mT).softmax(-1) @ v)

    def saved(state: dict[str, torch.Tensor]) -> io.BytesIO:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return file

    torch.manual_seed(0)
    x = torch.randint(11, (4, 5))
    pretrained = Attention(adapted=False)
    pretrained_file = saved(pretrained.state_dict())

    model = Attention(adapted=True)
    model.load_state_dict(torch.load(pretrained_file), strict=False)
    torch.testing.assert_close(model(x), pretrained(x))
    lora.mark_only_lora_as_trainable(model, bias="lora_only")
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.05)
    losses = []
    for _ in range(20):
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    model.eval()
    assert model.o_proj.merged
    adapter_file = saved(lora.lora_state_dict(model, bias="lora_only"))

    pretrained_file.seek(0)
    restored = Attention(adapted=True)
    restored.load_state_dict(torch.load(pretrained_file), strict=False)
    restored.load_state_dict(torch.load(adapter_file), strict=False)
    torch.testing.assert_close(restored(x), model(x), atol=1e-5, rtol=1e-5)
