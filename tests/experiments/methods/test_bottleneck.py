"""Adapter layers: where they stand, what they compute, and how many parameters that takes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from experiments.bottleneck import Bottleneck
from experiments.methods import lookup
from tests.lora.tiny_models import forward, tiny_model

KINDS = ("gpt2", "bert", "roberta", "distilbert", "deberta-v2", "llama", "gemma2", "gpt-neox", "opt")
METHODS = ("adapter_h", "adapter_l", "adapter_p")
IDS = torch.arange(3, 21).view(2, 9)


def adapted(config, kind, name, rank=3, random=True):
    """A tiny model with adapter layers, of random weights unless they are to be those of the start."""
    model = lookup(name).prepare(tiny_model(kind), config(method=name, bottleneck=rank)).eval()
    layers = [module for module in model.modules() if isinstance(module, Bottleneck)]
    generator = torch.Generator().manual_seed(1)
    for layer in layers if random else ():
        for parameter in layer.parameters():
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model, layers


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_count_is_the_paper_s_formula(config, kind, name):
    """L_adapter (2 d r + r + d) + 2 L_norm d (section 5.1)."""
    model, _ = adapted(config, kind, name, rank=3)
    d, layers = model.config.hidden_size, model.config.num_hidden_layers
    places = 2 * layers if name == "adapter_h" else layers
    norms = layers if name == "adapter_l" else 0
    counts = lookup(name).counts(model)
    assert counts["adapter"] == places * (2 * d * 3 + 3 + d) + 2 * norms * d
    assert counts["trainable"] == counts["adapter"] + counts["head"]
    assert counts["bias"] == 0


@pytest.mark.parametrize(
    ("d", "layers", "rank", "norm", "millions"),
    [
        (12288, 2 * 96, 1, False, 7.1),  # GPT-3, Adapter^H (Table 4)
        (12288, 2 * 96, 8, False, 40.1),
        (1024, 24, 6, True, 0.37),  # GPT-2 medium, Adapter^L (Table 3)
        (1024, 24, 224, True, 11.09),
        (1024, 24, 16, False, 0.8),  # RoBERTa large, Adapter^P and Adapter^H (Table 2)
        (1024, 2 * 24, 8, False, 0.8),
    ],
)
def test_the_paper_s_sizes(d, layers, rank, norm, millions):
    one = Bottleneck(d, rank, seed=0, place="", f="relu", norm=norm)
    count = layers * sum(parameter.numel() for parameter in one.parameters())
    assert round(count / 1e6, 2 if millions in (0.37, 11.09) else 1) == millions


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_until_the_first_step(config, kind, name):
    base = lookup("full").prepare(tiny_model(kind), config(method="full"))  # with the same task head
    model, layers = adapted(config, kind, name, random=False)
    torch.testing.assert_close(forward(model, IDS), forward(base, IDS), atol=1e-5, rtol=1e-5)
    assert all(layer.down.weight.any() for layer in layers)
    assert not torch.equal(layers[0].down.weight, layers[1].down.weight)


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_of_gpt2_computes_what_the_papers_say(config, name):
    model, found = adapted(config, "gpt2", name)
    block = model.transformer.h[0]
    x = torch.randn(2, 5, 16)
    mlp = _bare(block.mlp.c_proj)
    heads = block.attn(block.ln_1(x))[0]
    if name == "adapter_h":
        first, second = found[0], found[1]
        without = _heads_written(block, x)
        middle = x + without + _bottleneck(first, without, F.gelu)
        made = mlp(block.mlp.act(block.mlp.c_fc(block.ln_2(middle))))
        expected = middle + made + _bottleneck(second, made, F.gelu)
    else:
        middle = x + heads
        whole = middle + block.mlp(block.ln_2(middle))
        one = found[0]
        seen = F.layer_norm(whole, (16,), one.norm.weight, one.norm.bias) if name == "adapter_l" else whole
        expected = whole + _bottleneck(one, seen, F.relu)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_of_bert_computes_what_the_papers_say(config, name):
    """Its norms come after the sums: Adapter^P's input is normed, and its output goes into the sum."""
    model, found = adapted(config, "bert", name)
    layer = model.bert.encoder.layer[1]
    own = found[2:4] if name == "adapter_h" else found[1:2]
    x = torch.randn(2, 5, 16)
    heads = layer.attention.self(x)[0]
    attention, output = layer.attention.output, layer.output
    made = _bare(attention.dense)(heads)
    if name == "adapter_h":
        made = made + _bottleneck(own[0], made, F.gelu)
    middle = attention.LayerNorm(made + x)
    made = _bare(output.dense)(layer.intermediate(middle))
    if name == "adapter_h":
        made = made + _bottleneck(own[1], made, F.gelu)
    norm = output.LayerNorm
    expected = norm.forward(made + middle)
    if name == "adapter_p":
        expected = norm.forward(made + middle + _bottleneck(own[0], expected, F.relu))
    elif name == "adapter_l":
        normed = F.layer_norm(expected, (16,), own[0].norm.weight, own[0].norm.bias)
        expected = expected + _bottleneck(own[0], normed, F.relu)
    torch.testing.assert_close(layer(x), expected)


def _bare(module):
    """The module without the adapter layer after it."""
    return module.forward


def _bottleneck(layer, x, f):
    return f(x @ layer.down.weight.T + layer.down.bias) @ layer.up.weight.T + layer.up.bias


def _heads_written(block, x):
    """What W_o gives: its input is seen by a hook."""
    seen = []
    hook = block.attn.c_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block.attn(block.ln_1(x))
    hook.remove()
    return _bare(block.attn.c_proj)(seen[0])
