"""Each architecture's places, held against the tensors that its attention really computes with."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import lora
from lora.architectures import ARCHITECTURES, Architecture, Place, architecture_of
from lora.targets import LETTERS

KINDS = {"gpt2": "gpt2", "gpt2-classifier": "gpt2", "gpt2-backbone": "gpt2"}
KINDS |= {"bert": "bert", "bert-mlm": "bert", "roberta": "roberta", "xlm-roberta": "xlm-roberta"}


def neox_rows(which):
    """GPT-NeoX keeps q, k and v of each head together: rows (head, which, channel)."""

    def rows(config):
        size = config.hidden_size // config.num_attention_heads
        order = torch.arange(3 * config.hidden_size).view(config.num_attention_heads, 3, size)
        return order[:, which].reshape(-1)

    return rows


# Not in the table yet; here to show that scattered rows and oblong matrices need an entry and nothing else.
NEW = {
    "gpt-neox": Architecture(
        name="gpt_neox",
        prefixes=("gpt_neox.", ""),
        layer="layers.{}",
        places={
            "q": Place("attention.query_key_value", neox_rows(0)),
            "k": Place("attention.query_key_value", neox_rows(1)),
            "v": Place("attention.query_key_value", neox_rows(2)),
            "o": Place("attention.dense"),
            "up": Place("mlp.dense_h_to_4h"),
            "down": Place("mlp.dense_4h_to_h"),
        },
        heads=(),
    ),
    "llama": Architecture(
        name="llama",
        prefixes=("model.", ""),
        layer="layers.{}",
        places={letter: Place(f"self_attn.{letter}_proj") for letter in "qkvo"}
        | {letter: Place(f"mlp.{letter}_proj") for letter in ("up", "down")},
        heads=(),
    ),
}


@pytest.fixture(params=[*KINDS, *NEW])
def model(request, tiny, monkeypatch):
    if request.param in NEW:
        entry = NEW[request.param]
        monkeypatch.setitem(ARCHITECTURES, entry.name, entry)
    return tiny(request.param)


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
    if model.config.model_type == "llama" and letter in "qk":  # turn by position 0, that is, not at all
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
    if model.config.model_type != "llama":  # no gate: what goes down is the activation of what went up
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
    ("kind", "prefix"), [("gpt2", "transformer."), ("gpt2-backbone", ""), ("bert-backbone", "")]
)
def test_the_table_reads_a_checkpoint_without_its_model(tiny, kind, prefix):
    model = tiny(kind)
    checkpoint, entry = model.state_dict(), architecture_of(model.config)
    assert entry.prefix(checkpoint) == prefix
    for letter, place in entry.places.items():
        W = place.take(checkpoint[entry.module(prefix, 1, letter) + ".weight"], model.config)
        assert torch.equal(W, lora.projection(model, 1, letter))


def test_every_entry_has_every_letter():
    for name, entry in ARCHITECTURES.items():
        assert entry.name == name
        assert tuple(entry.places) == LETTERS


def test_an_unknown_architecture_is_named_with_what_was_seen():
    model = nn.ModuleDict({"decoder": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])})
    model.config = SimpleNamespace(model_type="gptq", num_hidden_layers=2)
    with pytest.raises(ValueError, match="model type 'gptq' is not in the table") as error:
        lora.adapt(model)
    assert "known are gpt2, bert, roberta, xlm-roberta" in str(error.value)
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
