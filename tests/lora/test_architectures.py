"""Each architecture's places, held against the tensors that its attention really computes with."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.pytorch_utils import Conv1D

import lora
from lora.architectures import ARCHITECTURES, Architecture, Place, architecture_of, plain_config, shapes
from lora.targets import LETTERS

KINDS = {"gpt2": "gpt2", "gpt2-classifier": "gpt2", "gpt2-backbone": "gpt2"}
KINDS |= {"bert": "bert", "bert-mlm": "bert", "roberta": "roberta", "xlm-roberta": "xlm-roberta"}
KINDS |= {"gpt-neox": "gpt_neox"}
ROTARY = {name: name for name in ("llama", "mistral", "qwen2", "qwen3")}
KINDS |= ROTARY

INVENTED = Architecture(
    name="invented",
    prefixes=("body.", ""),
    layer="blocks.{}.inner",
    places={
        "q": Place("query"),
        "k": Place("value_key", lambda config: slice(config.hidden_size // 2, None), transposed=True),
        "v": Place("value_key", lambda config: slice(0, config.hidden_size // 2), transposed=True),
        "o": Place("out"),
        "up": Place("wide"),
        "down": Place("narrow"),
    },
    heads=(),
)
"""Of no real model: to show that a new architecture needs this entry and nothing else."""


class Block(nn.Module):
    """Values before keys in one weight stored (d_in, d_out), and two query heads to each of theirs."""

    def __init__(self, d):
        super().__init__()
        self.query, self.value_key, self.out = nn.Linear(d, d), Conv1D(d, d), nn.Linear(d, d)
        self.wide, self.narrow = nn.Linear(d, 3 * d), nn.Linear(3 * d, d)
        nn.init.normal_(self.value_key.bias)

    def forward(self, x):
        def heads(y, count):
            return y.unflatten(2, (count, -1)).transpose(1, 2)

        v, k = self.value_key(x).chunk(2, dim=-1)
        query, key, value = heads(self.query(x), 4), heads(k, 2), heads(v, 2)
        attended = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return F.layer_norm(x + self.narrow(F.gelu(self.wide(x))), (x.shape[-1],))


class Invented(nn.Module):
    def __init__(self):
        super().__init__()
        settings = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
        self.config = SimpleNamespace(model_type="invented", num_key_value_heads=2, **settings)
        blocks = [nn.ModuleDict({"inner": Block(16)}) for _ in range(2)]
        self.body = nn.ModuleDict({"embed": nn.Embedding(31, 16), "blocks": nn.ModuleList(blocks)})

    def forward(self, ids):
        x = self.body["embed"](ids)
        for block in self.body["blocks"]:
            x = block["inner"](x)
        return (x,)


@pytest.fixture(params=[*KINDS, "invented"])
def model(request, tiny, monkeypatch):
    if request.param == "invented":
        monkeypatch.setitem(ARCHITECTURES, "invented", INVENTED)
        torch.manual_seed(0)
        return Invented()
    model = tiny(request.param)
    for name, _ in list(model.named_modules()):
        if name.endswith(("q_norm", "k_norm")):  # Qwen3's, between x W_q^T and attention
            model.set_submodule(name, nn.Identity())
    return model


def module_of(model, layer, letter):
    entry = ARCHITECTURES[model.config.model_type]
    prefix = entry.prefix(name for name, _ in model.named_modules())
    return model.get_submodule(entry.module(prefix, layer, letter))


def applied(model, layer, letter, x):
    """x W^T + b with W from `lora.projection` and b cut by the same rows."""
    bias = module_of(model, layer, letter).bias
    rows = ARCHITECTURES[model.config.model_type].places[letter].rows(model.config)
    y = x @ lora.projection(model, layer, letter).T
    return y if bias is None else y + bias[rows]


@torch.no_grad()
def run(model, ids, monkeypatch):
    """Inputs and outputs of every module that holds a projection, and (q, k, v, result) of each attention."""
    seen, attentions = {}, []
    kernel = nn.functional.scaled_dot_product_attention

    def record_attention(query, key, value, *args, **kwargs):
        result = kernel(query, key, value, *args, **kwargs)
        attentions.append({"q": query, "k": key, "v": value, "result": result})
        return result

    def record_module(module, args, output):
        seen[module] = (args[0], output)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", record_attention)
    for layer in range(2):
        for letter in LETTERS:
            module_of(model, layer, letter).register_forward_hook(record_module)
    model(ids)
    assert len(attentions) == 2
    return seen, attentions


def heads_joined(x):
    return x.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_attention_gets_x_times_the_projection(model, ids, monkeypatch, layer, letter):
    if model.config.model_type in ROTARY and letter in "qk":  # turn by position 0, that is, not at all
        ids = ids[:, :1]
    seen, attentions = run(model, ids, monkeypatch)
    x, _ = seen[module_of(model, layer, letter)]
    used = attentions[layer][letter]
    repeated = model.config.num_attention_heads // getattr(
        model.config, "num_key_value_heads", model.config.num_attention_heads
    )
    if letter in "kv" and used.shape[1] == model.config.num_attention_heads:
        used = used[:, ::repeated]
    torch.testing.assert_close(applied(model, layer, letter, x), heads_joined(used))
    for other in {"q", "k", "v"} - {letter}:
        wrong = applied(model, layer, other, x)
        assert wrong.shape != heads_joined(used).shape or not torch.allclose(
            wrong, heads_joined(used), atol=1e-3
        )


@pytest.mark.parametrize("layer", [0, 1])
def test_the_output_projection_follows_attention(model, ids, monkeypatch, layer):
    seen, attentions = run(model, ids, monkeypatch)
    x, y = seen[module_of(model, layer, "o")]
    torch.testing.assert_close(x, heads_joined(attentions[layer]["result"]))
    torch.testing.assert_close(applied(model, layer, "o", x), y)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_mlp_goes_up_and_down(model, ids, monkeypatch, layer):
    seen, _ = run(model, ids, monkeypatch)
    x, y = seen[module_of(model, layer, "up")]
    torch.testing.assert_close(applied(model, layer, "up", x), y)
    hidden, y_down = seen[module_of(model, layer, "down")]
    torch.testing.assert_close(applied(model, layer, "down", hidden), y_down)
    if model.config.model_type not in ROTARY:  # no gate: what goes down is the activation of what went up
        torch.testing.assert_close(hidden, nn.functional.gelu(y), atol=2e-3, rtol=1e-2)
    assert x.shape[-1] == model.config.hidden_size == y_down.shape[-1]


def test_adapting_and_merging_agree(model, ids, shake):
    """B A lands in the rows that the projection names, fused or not: W of the merged model is W0 + dW."""
    lora.adapt(model, "qkvo,up,down", rank=2)
    shake(model)
    before = {key: lora.projection(model, *key).clone() for key in lora.adapters(model)}
    updates = {key: adapter.delta() for key, adapter in lora.adapters(model).items()}
    adapted = model(ids)[0]
    lora.merge(model)
    torch.testing.assert_close(model(ids)[0], adapted, atol=1e-5, rtol=1e-5)
    del model.lora_adaptation  # look at the merged weights
    for key, update in updates.items():
        torch.testing.assert_close(lora.projection(model, *key), before[key] + update)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("gpt2", "transformer."),
        ("gpt2-backbone", ""),
        ("bert-backbone", ""),
        ("gpt-neox", "gpt_neox."),
        ("qwen3", "model."),
    ],
)
def test_the_table_reads_a_checkpoint_without_its_model(tiny, kind, prefix):
    model = tiny(kind)
    checkpoint, entry = model.state_dict(), architecture_of(model.config)
    assert entry.prefix(checkpoint) == prefix
    for letter, place in entry.places.items():
        W = place.take(checkpoint[entry.module(prefix, 1, letter) + ".weight"], model.config)
        assert torch.equal(W, lora.projection(model, 1, letter))


def test_modules_are_known_by_their_names_alone(model):
    entry, found = architecture_of(model.config), set()
    for name, module in model.named_modules():
        held = entry.held(name, model.config)
        if held is None:
            continue
        layer, rows = held
        for letter, own in rows.items():
            assert module_of(model, layer, letter) is module
            W = lora.projection(model, layer, letter)
            stored = module.weight.T if entry.places[letter].transposed else module.weight
            assert torch.equal(stored[own], W)
            found.add((layer, letter))
    assert found == {(layer, letter) for layer in range(2) for letter in LETTERS}


@pytest.mark.parametrize("name", ["h.1.attn.c_attn", "transformer.h.1.attn.c_attn"])
def test_a_name_is_known_under_every_prefix(tiny, name):
    layer, rows = ARCHITECTURES["gpt2"].held(name, tiny("gpt2").config)
    assert (layer, list(rows)) == (1, ["q", "k", "v"])


@pytest.mark.parametrize(
    "name",
    ["h.1.attn", "h.1.ln_1", "h.x.attn.c_attn", "other.h.1.attn.c_attn", "hx1.attn.c_attn", "score", ""],
)
def test_a_name_that_holds_no_projection(tiny, name):
    assert ARCHITECTURES["gpt2"].held(name, tiny("gpt2").config) is None


@pytest.mark.parametrize("kind", KINDS)
def test_config_json_serves_as_config(tiny, kind):
    config = tiny(kind).config
    plain, entry = plain_config(config.to_dict()), architecture_of(config)
    assert architecture_of(plain) is entry
    assert plain.num_hidden_layers == 2
    for place in entry.places.values():
        expected, found = place.rows(config), place.rows(plain)
        assert found == expected if isinstance(expected, slice) else torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_tells_the_shapes(tiny, kind):
    changes = {"n_inner": 24} if kind == "gpt2-backbone" else {}
    model = tiny(kind, **changes)
    expected = {letter: tuple(lora.projection(model, 1, letter).shape) for letter in LETTERS}
    for config in (model.config, plain_config(model.config.to_dict())):
        assert shapes(config) == expected


def test_a_config_without_a_size():
    with pytest.raises(ValueError, match="the config of this bert model has no num_attention_heads"):
        shapes(SimpleNamespace(model_type="bert", hidden_size=16))


def test_every_entry_has_every_letter():
    for name, entry in ARCHITECTURES.items():
        assert entry.name == name
        assert tuple(entry.places) == LETTERS


def test_an_unknown_architecture_is_named_with_what_was_seen():
    model = nn.ModuleDict({"decoder": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])})
    model.config = SimpleNamespace(model_type="gptq", num_hidden_layers=2)
    with pytest.raises(ValueError, match="model type 'gptq' is not in the table") as error:
        lora.adapt(model)
    assert "known are gpt2, bert, roberta, xlm-roberta, gpt_neox, llama" in str(error.value)
    assert "seen are decoder.{}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_without_a_config():
    with pytest.raises(ValueError, match=r"a model without config\.model_type"):
        lora.adapt(nn.Linear(3, 3))


def test_a_model_whose_layers_are_elsewhere(tiny):
    inner = tiny("gpt2")
    model = nn.ModuleDict({"wrapped": inner})
    model.config = inner.config
    with pytest.raises(ValueError, match=r"this gpt2 model has no transformer\.h\.\{\} or h\.\{\}"):
        lora.adapt(model)
