"""Each architecture's places, held against the tensors that its attention really computes with."""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers.activations import ACT2FN
from transformers.models.gemma2 import modeling_gemma2
from transformers.pytorch_utils import Conv1D

import lora
from lora.architectures import (
    _OTHER_NAMES,
    ARCHITECTURES,
    Architecture,
    Place,
    Stack,
    architecture_of,
    plain_config,
    shapes,
)
from lora.targets import LETTERS
from tests.lora.tiny_models import KINDS, forward

INVENTED = Architecture(
    name="invented",
    prefixes=("body.", ""),
    stacks=(
        Stack(
            "blocks.{}.inner",
            {
                "q": Place("query"),
                "k": Place("value_key", lambda config: slice(config.hidden_size // 2, None), transposed=True),
                "v": Place("value_key", lambda config: slice(0, config.hidden_size // 2), transposed=True),
                "o": Place("out"),
                "up": Place("wide"),
                "down": Place("narrow"),
            },
        ),
    ),
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
        self.config = SimpleNamespace(
            model_type="invented",
            num_key_value_heads=2,
            hidden_act="gelu",
            is_encoder_decoder=False,
            **settings,
        )
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
        if name.endswith(("q_norm", "k_norm")):  # Qwen3's and Gemma 3's, between x W_q^T and attention
            model.set_submodule(name, nn.Identity())
    return model


def projections_of(model):
    """[(layer, letters)] in order."""
    entry, config = architecture_of(model.config), model.config
    return [
        (layer, tuple(entry.located(layer, config)[0].places)) for layer in range(entry.layer_count(config))
    ]


def module_of(model, layer, letter):
    entry = architecture_of(model.config)
    prefix = entry.prefix(name for name, _ in model.named_modules())
    return model.get_submodule(entry.module(prefix, layer, letter, model.config))


def rows_of(model, letter):
    return architecture_of(model.config).places[letter].rows(model.config)


def applied(model, layer, letter, x):
    """x W^T + b with W from `lora.projection` and b cut by the same rows."""
    bias = module_of(model, layer, letter).bias
    y = x @ lora.projection(model, layer, letter).T
    return y if bias is None else y + bias[rows_of(model, letter)]


@torch.no_grad()
def run(model, ids, monkeypatch):
    """Inputs and outputs of every module that holds a projection, and (q, k, v, result) of each layer."""
    seen, attentions, products = {}, [], []
    kernel, product = nn.functional.scaled_dot_product_attention, torch.bmm

    def record_attention(query, key, value, *args, **kwargs):
        result = kernel(query, key, value, *args, **kwargs)
        attentions.append({"q": query, "k": key, "v": value, "result": result})
        return result

    def record_product(one, other):
        products.append((one, other, product(one, other)))
        return products[-1][-1]

    def record_module(module, args, output):
        seen.setdefault(module, (args[0], output))  # DeBERTa's act on relative positions too, after the words

    eager = modeling_gemma2.eager_attention_forward

    def record_eager(module, query, key, value, *args, **kwargs):
        result, weights = eager(module, query, key, value, *args, **kwargs)
        attentions.append({"q": query, "k": key, "v": value, "result": result.transpose(1, 2)})
        return result, weights

    monkeypatch.setattr(modeling_gemma2, "eager_attention_forward", record_eager)
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", record_attention)
    monkeypatch.setattr(torch, "bmm", record_product)
    for layer, letters in projections_of(model):
        for letter in letters:
            module_of(model, layer, letter).register_forward_hook(record_module)
    forward(model, ids)
    config = model.config
    if (
        config.model_type == "deberta-v2"
    ):  # scores, two biases of position, result; of heads one after the other
        for first in range(0, len(products), 4):
            (query, key, _), (_, value, result) = products[first], products[first + 3]
            key = key.transpose(1, 2) * (3 * key.shape[1]) ** 0.5
            parts = {"q": query, "k": key, "v": value, "result": result}
            heads = (len(ids), config.num_attention_heads)
            attentions.append({name: part.unflatten(0, heads) for name, part in parts.items()})
    if config.model_type == "opt":  # which scales q itself
        for attention in attentions:
            attention["q"] = attention["q"] * attention["q"].shape[-1] ** 0.5
    order = list(range(len(projections_of(model))))
    if config.is_encoder_decoder and config.model_type == "t5":  # each decoder layer's two in turn
        encoder, decoder = config.num_layers, config.num_decoder_layers
        turns = [encoder + layer + decoder * cross for layer in range(decoder) for cross in (0, 1)]
        order[encoder:] = turns
    assert len(attentions) == len(order)
    return seen, dict(sorted(zip(order, attentions, strict=True)))


def heads_joined(x):
    return x.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_attention_gets_x_times_the_projection(model, ids, monkeypatch, letter):
    rotary = getattr(model.config, "rope_parameters", None) and model.config.model_type != "gpt_neox"
    if rotary and letter in "qk":  # turn by position 0, that is, not at all
        ids = ids[:, :1]
    seen, attentions = run(model, ids, monkeypatch)
    for layer, attention in attentions.items():
        x, _ = seen[module_of(model, layer, letter)]
        used = attention[letter]
        heads = model.config.num_attention_heads
        groups = getattr(model.config, "num_key_value_heads", heads)
        if letter in "kv" and used.shape[1] == heads:
            used = used[:, :: heads // groups]
        torch.testing.assert_close(applied(model, layer, letter, x), heads_joined(used))
        for other in {"q", "k", "v"} - {letter}:
            wrong = applied(model, layer, other, x)
            assert wrong.shape != heads_joined(used).shape or not torch.allclose(
                wrong, heads_joined(used), atol=1e-3
            )


def test_the_output_projection_follows_attention(model, ids, monkeypatch):
    seen, attentions = run(model, ids, monkeypatch)
    for layer, attention in attentions.items():
        x, y = seen[module_of(model, layer, "o")]
        torch.testing.assert_close(x, heads_joined(attention["result"]))
        torch.testing.assert_close(applied(model, layer, "o", x), y)


def test_the_mlp_goes_up_and_down(model, ids, monkeypatch):
    """What goes down is act(x W_up^T), or act(x W_gate^T) * x W_up^T where there is a gate."""
    config = model.config
    names = ("hidden_act", "hidden_activation", "activation_function", "activation", "dense_act_fn")
    act = ACT2FN[next(getattr(config, name) for name in names if getattr(config, name, None))]
    seen, _ = run(model, ids, monkeypatch)
    for layer, letters in projections_of(model):
        if "up" not in letters:
            continue
        x, _ = seen[module_of(model, layer, "up")]
        hidden, y_down = seen[module_of(model, layer, "down")]
        up = applied(model, layer, "up", x)
        expected = act(applied(model, layer, "gate", x)) * up if "gate" in letters else act(up)
        torch.testing.assert_close(hidden, expected)
        torch.testing.assert_close(applied(model, layer, "down", hidden), y_down)
        assert x.shape[-1] == config.hidden_size == y_down.shape[-1]


def every_letter(model):
    return list(architecture_of(model.config).places)


def test_adapting_and_merging_agree(model, ids, shake):
    """B A lands in the rows that the projection names, fused or not: W of the merged model is W0 + dW."""
    before_any = forward(model.double(), ids)  # in float32 T5, which does not scale its scores, magnifies
    lora.adapt(model, every_letter(model), rank=2)
    shake(model)
    assert [(layer, tuple(letters)) for layer, letters in projections_of(model)] == [
        (layer, tuple(letter for held, letter in lora.adapters(model) if held == layer))
        for layer, _ in projections_of(model)
    ]
    before = {key: lora.projection(model, *key).clone() for key in lora.adapters(model)}
    updates = {key: adapter.delta() for key, adapter in lora.adapters(model).items()}
    adapted = forward(model, ids)
    assert not torch.allclose(adapted, before_any, atol=1e-3)
    lora.merge(model)
    torch.testing.assert_close(forward(model, ids), adapted)
    del model.lora_adaptation  # look at the merged weights
    for key, update in updates.items():
        torch.testing.assert_close(lora.projection(model, *key), before[key] + update)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_reads_a_checkpoint_without_its_model(tiny, kind, tmp_path):
    """By the names in the files, which for a ViT are not those in memory."""
    model = tiny(kind)
    model.save_pretrained(tmp_path)
    checkpoint = load_file(tmp_path / "model.safetensors")
    config = plain_config(json.loads((tmp_path / "config.json").read_text()))
    entry = architecture_of(config, checkpoint)
    assert (entry is architecture_of(config)) == (kind != "vit")
    prefix = entry.prefix(checkpoint)
    for layer, letters in projections_of(model):
        for letter in letters:
            stored = checkpoint[entry.module(prefix, layer, letter, config) + ".weight"]
            assert torch.equal(
                entry.places[letter].take(stored, config), lora.projection(model, layer, letter)
            )


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
    assert found == {(layer, letter) for layer, letters in projections_of(model) for letter in letters}


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
    assert entry.layer_count(plain) == entry.layer_count(config)
    for place in entry.places.values():
        expected, found = place.rows(config), place.rows(plain)
        assert found == expected if isinstance(expected, slice) else torch.equal(found, expected)


UNUSUAL = {
    "gpt2-backbone": {"n_inner": 24},
    "opt": {"ffn_dim": 1111},
    "gemma2": {"head_dim": 10, "num_key_value_heads": 1},
    "qwen3": {"head_dim": 2, "num_attention_heads": 6, "num_key_value_heads": 3},
    "phi3": {"intermediate_size": 37, "num_key_value_heads": 1},
    "distilbert": {"hidden_dim": 19},
    "t5": {"d_kv": 3, "d_ff": 21},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_tells_the_shapes(tiny, kind):
    model = tiny(kind, **UNUSUAL.get(kind, {}))
    for config in (model.config, plain_config(model.config.to_dict())):
        assert list(shapes(config)) == every_letter(model)
        for layer, letters in projections_of(model):
            for letter in letters:
                assert shapes(config)[letter] == tuple(lora.projection(model, layer, letter).shape)


def test_what_the_config_tells_is_what_it_says():
    """Of sizes as they are known of these models."""
    gpt2 = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12}
    assert shapes(plain_config(gpt2))["up"] == (3072, 768)
    opt = {"model_type": "opt", "hidden_size": 1024, "num_attention_heads": 16, "ffn_dim": 1111}
    assert shapes(plain_config(opt))["down"] == (1024, 1111)
    smollm2 = {"model_type": "llama", "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
    assert shapes(plain_config(smollm2 | {"intermediate_size": 1536}))["k"] == (192, 576)
    qwen3 = {"model_type": "qwen3", "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8}
    found = shapes(plain_config(qwen3 | {"head_dim": 128, "intermediate_size": 3072}))
    assert (found["q"], found["k"], found["gate"]) == ((2048, 1024), (1024, 1024), (3072, 1024))


@pytest.mark.parametrize("absent", ["num_key_value_heads", "head_dim"])
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"])
def test_what_config_json_leaves_out_is_what_transformers_takes(tiny, kind, absent):
    config = tiny(kind).config
    settings = {"model_type": config.model_type, "hidden_size": 512, "num_attention_heads": 32}
    settings |= {"intermediate_size": 40, "num_key_value_heads": 4, "head_dim": 24}
    del settings[absent]
    assert shapes(plain_config(settings)) == shapes(type(config)(**settings, pad_token_id=0))


def test_no_config_has_two_names_for_a_size(tiny):
    for kind in KINDS:
        settings = tiny(kind).config.to_dict()
        for name, others in _OTHER_NAMES.items():
            assert len(settings.keys() & {name, *others}) <= 1


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [
        ({"model_type": "bert", "hidden_size": 16}, "this bert model has no num_attention_heads"),
        ({"model_type": "opt", "hidden_size": 16, "num_attention_heads": 2}, "no intermediate_size"),
    ],
)
def test_a_config_without_a_size(settings, lacks):
    with pytest.raises(ValueError, match=lacks):
        shapes(SimpleNamespace(**settings))


def test_every_entry_is_known_by_its_name_and_has_the_letters_in_order():
    for name, entry in ARCHITECTURES.items():
        assert entry.name == name
        assert set(LETTERS) - set(entry.places) <= {"gate"}
        for stack in entry.stacks:
            assert list(stack.places) == [letter for letter in LETTERS if letter in stack.places]
    with_gate = {name for name, entry in ARCHITECTURES.items() if "gate" in entry.places}
    assert with_gate == {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "t5-gated"}


def test_every_entry_has_a_model_in_the_tests(tiny):
    assert {architecture_of(tiny(kind).config).name for kind in KINDS} == {*ARCHITECTURES}


def test_the_layers_of_t5_are_told_apart(tiny):
    config = tiny("t5").config
    entry = architecture_of(config)
    assert [entry.layer_name(layer, config) for layer in (0, 1, 2, 4, 5, 7)] == [
        "layer 0 of the encoder",
        "layer 1 of the encoder",
        "layer 0 of the decoder",
        "layer 2 of the decoder",
        "layer 0 of the cross attention",
        "layer 2 of the cross attention",
    ]
    assert entry.module("", 6, "v", config) == "decoder.block.1.layer.1.EncDecAttention.v"
    with pytest.raises(
        ValueError, match="layer 2 of the cross attention of this t5 model has no up; it has q k"
    ):
        entry.module("", 7, "up", config)
    with pytest.raises(ValueError, match="layer 8 does not exist; this model has 0 to 7"):
        lora.projection(tiny("t5"), 8, "q")
    assert architecture_of(tiny("t5-encoder").config).layer_count(tiny("t5-encoder").config) == 2


@pytest.mark.parametrize("kind", ["gpt2", "bert", "opt", "t5", "vit"])
def test_a_gate_where_there_is_none(tiny, kind):
    model = tiny(kind)
    with pytest.raises(ValueError, match=r"targets: a \S+ model has no gate; it has q k v o up down"):
        lora.adapt(model, "q,gate")
    assert not lora.adapters(model)


def test_an_unknown_architecture_is_named_with_what_was_seen():
    model = nn.ModuleDict({"decoder": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])})
    model.config = SimpleNamespace(model_type="gptq", num_hidden_layers=2)
    with pytest.raises(ValueError, match="model type 'gptq' is not in the table") as error:
        lora.adapt(model)
    assert "known are gpt2, bert, roberta, xlm-roberta, distilbert" in str(error.value)
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
