"""Adapters read without a model, held against the models that they were saved from, and against peft."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch

import lora
from analysis import read_adapter, read_deltas
from analysis.reading import adapters, pairs
from analysis.reading.base_weights import BaseWeights
from tests.analysis.conftest import check_refused

peft = pytest.importorskip("peft")

MIXED = {
    "targets": "qvo,up",
    "rank": {"q": 1, "v": 2, "o": 3, "up": 4},
    "alpha": 3.0,
    "scaling": "alpha/sqrt(r)",
}


def equal(pair, adapter):
    assert torch.equal(pair.A, adapter.lora_A)
    assert torch.equal(pair.B, adapter.lora_B)
    assert (pair.rank, pair.alpha, pair.scaling) == (adapter.rank, adapter.alpha, adapter.scaling)


@pytest.fixture
def spied(monkeypatch):
    """The names of the tensors that are read, as they are read."""
    read = []
    whole = pairs.open_tensors

    class Spy:
        def __init__(self, path, framework="pt"):
            self.file = whole(path, framework)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def get_tensor(self, name):
            read.append(name)
            return self.file.get_tensor(name)

        def __getattr__(self, name):
            return getattr(self.file, name)

    for module in (adapters, pairs):
        monkeypatch.setattr(module, "open_tensors", Spy)
    return read


# ---------------------------------------------------------------------------------- this project's files


@pytest.mark.parametrize("kind", ["gpt2", "roberta", "gpt-neox", "llama"])
def test_a_file_of_lora_save(tiny, random_adapter, tmp_path, kind):
    model = random_adapter(tiny(kind), **MIXED)
    lora.save(model, tmp_path / "a.safetensors")
    adapter, expected = read_adapter(tmp_path / "a.safetensors"), lora.adapters(model)
    assert list(adapter) == list(expected)
    assert len(adapter) == 8
    for key, pair in adapter.items():
        equal(pair, expected[key])
        assert adapter.shape(*key) == tuple(lora.projection(model, *key).shape)
        assert adapter.ranks[key] == pair.rank
    assert adapter.architecture == model.config.model_type
    assert (adapter.layers, adapter.letters, adapter.left_out) == ((0, 1), ("q", "v", "o", "up"), ())
    assert adapter.source == str(tmp_path / "a.safetensors")


def test_one_projection_is_read_at_a_time(tiny, random_adapter, tmp_path, spied):
    model = random_adapter(tiny("gpt2", n_layer=12), targets="qv", rank=2)
    lora.save(model, tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors")
    assert list(adapter) == [(layer, letter) for layer in range(12) for letter in "qv"]
    assert (11, "v") in adapter
    assert (11, "k") not in adapter
    assert adapter.shape(11, "v") == (32, 32)
    assert spied == []
    equal(adapter[11, "v"], lora.adapters(model)[11, "v"])
    assert spied == ["layers.11.v.A", "layers.11.v.B"]


def test_what_an_adapter_does_not_hold(tiny, tmp_path):
    lora.save(lora.adapt(tiny("gpt2"), "qv"), tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors")
    for act in (lambda: adapter[0, "k"], lambda: adapter[2, "q"], lambda: adapter.shape(0, "o")):
        with pytest.raises(KeyError, match="it has q v of 2 layers"):
            act()
    assert adapter.get((0, "k")) is None


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file(tiny, tmp_path, kept):
    path = tmp_path / "a.safetensors"
    lora.save(lora.adapt(tiny("gpt2")), path)
    path.write_bytes(path.read_bytes()[:kept])
    check_refused(lambda: read_adapter(path), "not a safetensors file, or not a whole one")


def test_files_that_are_no_adapters(tiny, tmp_path):
    path = tmp_path / "a.safetensors"
    check_refused(lambda: read_adapter(path), "no such file")
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    check_refused(
        lambda: read_adapter(path), "holds no pair of low-rank factors.*its tensors are such as weight"
    )
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, {"format": "lora-adapter", "version": "9"})
    check_refused(lambda: read_adapter(path), r"not an adapter file of version 1; give a file of lora\.save")
    (tmp_path / "empty").mkdir()
    check_refused(lambda: read_adapter(tmp_path / "empty"), "no adapter of its own, and none in it")


@pytest.mark.parametrize("damage", ["B", "rank", "projections", "json"])
def test_metadata_and_tensors_that_disagree(tiny, tmp_path, damage):
    path = tmp_path / "a.safetensors"
    lora.save(lora.adapt(tiny("gpt2")), path)
    with safetensors.safe_open(path, framework="pt") as opened:
        tensors, metadata = {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata()  # noqa: SIM118
    if damage == "B":
        del tensors["layers.0.q.B"]
    elif damage == "rank":
        tensors["layers.0.q.A"] = tensors["layers.0.q.A"][:3].clone()
    elif damage == "projections":
        metadata["adapter"] = "{}"
    else:
        metadata["adapter"] = "{"
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    check_refused(lambda: read_adapter(path), "the metadata and the tensors disagree")


# ---------------------------------------------------------------------------------- peft's folders


def trained_by_peft(model, folder, **settings):
    """What peft saves for an adapter of its own with B nonzero, and its dW (d_out, d_in) by module path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers', of names that peft uses
        adapted = peft.get_peft_model(model, peft.LoraConfig(**settings))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    adapted.save_pretrained(folder)
    deltas = {}
    for name, module in adapted.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            dW = module.get_delta_weight("default").detach()
            path = name.removeprefix("base_model.model.")
            deltas[path] = dW.T if module.fan_in_fan_out else dW
    return deltas


def thirds(dW):
    """GPT-2's c_attn: q above k above v."""
    return dict(zip("qkv", dW.chunk(3), strict=True))


def by_head(dW):
    """GPT-NeoX's query_key_value: q, k and v of the first head, then of the second, ..."""
    return {letter: dW.view(4, 3, 8, -1)[:, i].reshape(32, -1) for i, letter in enumerate("qkv")}


PEFT = {
    "gpt2": (["c_attn", "attn.c_proj"], {"attn.c_attn": thirds, "attn.c_proj": "o"}),
    "roberta": (
        ["query", "value", "output.dense"],
        {
            "attention.self.query": "q",
            "attention.self.value": "v",
            "attention.output.dense": "o",
            "output.dense": "down",
        },
    ),
    "gpt-neox": (
        ["query_key_value", "dense_h_to_4h"],
        {"attention.query_key_value": by_head, "mlp.dense_h_to_4h": "up"},
    ),
    "llama": (
        ["q_proj", "k_proj", "v_proj", "o_proj"],
        {f"self_attn.{letter}_proj": letter for letter in "qkvo"},
    ),
}


@pytest.mark.parametrize("kind", PEFT)
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("given", ["config", "folder", "weights"])
def test_dw_of_each_letter_is_that_of_peft(saved, tmp_path, kind, rslora, given):
    model, base = saved(kind)
    modules, letters = PEFT[kind]
    deltas = trained_by_peft(
        model,
        tmp_path / "adapter",
        r=3,
        lora_alpha=5,
        target_modules=modules,
        use_rslora=rslora,
        rank_pattern={modules[-1]: 2},
        alpha_pattern={modules[0]: 7},
        fan_in_fan_out=kind == "gpt2",
    )
    if given == "config":  # the adapter names its base, and only config.json is read
        for weights in base.glob("*.safetensors"):
            weights.unlink()
        config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        (tmp_path / "adapter" / "adapter_config.json").write_text(
            json.dumps(config | {"base_model_name_or_path": str(base)})
        )
        adapter = read_adapter(tmp_path / "adapter")
    else:
        adapter = read_adapter(tmp_path / "adapter", base if given == "folder" else BaseWeights.open(base))
    expected = {}
    for path, dW in deltas.items():
        layer = int(next(word for word in path.split(".") if word.isdecimal()))
        cut = letters[path.partition(f".{layer}.")[2]]
        for letter, part in ({cut: dW} if isinstance(cut, str) else cut(dW)).items():
            expected[layer, letter] = part
    assert set(adapter) == set(expected)
    assert len(expected) == {"gpt2": 8, "roberta": 8, "gpt-neox": 8, "llama": 8}[kind]
    for key, pair in adapter.items():
        torch.testing.assert_close(pair.scaling * pair.B @ pair.A, expected[key])
        assert adapter.shape(*key) == tuple(expected[key].shape)
        assert adapter.ranks[key] == pair.rank == len(pair.A)
    assert adapter.architecture == model.config.model_type
    assert adapter.left_out == ()


@pytest.mark.parametrize("kind", ["gpt2", "gpt-neox", "llama"])
def test_an_exported_adapter_comes_back_letter_by_letter(saved, random_adapter, tmp_path, kind):
    model, base = saved(kind)
    lora.export_peft(
        random_adapter(model, targets="qv", rank={"q": 2, "v": 3}, alpha=6), tmp_path / "adapter"
    )
    adapter = read_adapter(tmp_path / "adapter", base)
    assert list(adapter) == [(0, "q"), (0, "v"), (1, "q"), (1, "v")]
    assert adapter.ranks == {
        (layer, letter): rank for layer in (0, 1) for letter, rank in (("q", 2), ("v", 3))
    }
    for key, trained in lora.adapters(model).items():
        pair = adapter[key]
        torch.testing.assert_close(pair.scaling * pair.B @ pair.A, trained.delta().detach())


def test_modules_without_a_letter_are_left_out_and_named(saved, tmp_path):
    model, base = saved("llama")
    modules = ["q_proj", "gate_proj", "lm_head"]
    deltas = trained_by_peft(model, tmp_path / "adapter", r=2, target_modules=modules)
    adapter = read_adapter(tmp_path / "adapter", base)
    assert list(adapter) == [(0, "q"), (0, "gate"), (1, "q"), (1, "gate")]
    assert list(adapter.left_out) == [path for path in deltas if path.endswith("lm_head")] == ["lm_head"]


def test_an_adapter_of_some_layers(saved, tmp_path):
    model, base = saved("roberta")
    trained_by_peft(
        model, tmp_path / "adapter", target_modules=["query"], layers_to_transform=[1], layers_pattern="layer"
    )
    assert list(read_adapter(tmp_path / "adapter", base)) == [(1, "q")]


def test_an_adapter_of_the_backbone_goes_with_the_task_models_weights(saved, tmp_path):
    model, _ = saved("gpt2-backbone", "backbone")
    trained_by_peft(model, tmp_path / "adapter", target_modules=["c_attn"], fan_in_fan_out=True)
    _, base = saved("gpt2")
    assert len(read_adapter(tmp_path / "adapter", BaseWeights.open(base))) == 6


def test_a_base_that_cannot_be_had_or_does_not_fit(saved, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model, base = saved("gpt2")
    lora.export_peft(lora.adapt(model), tmp_path / "adapter", "org/named")
    folder = tmp_path / "adapter"
    check_refused(lambda: read_adapter(folder, "org/model"), "org/model: .*not in the local cache")
    assert list(read_adapter(folder)) == [(layer, letter) for layer in (0, 1) for letter in "qkv"]
    _, wider = saved("gpt2", "wider", n_embd=64)
    check_refused(
        lambda: read_adapter(folder, wider), r"c_attn is \(96, 32\), of a model of width 32.*width 64"
    )
    _, bert = saved("bert", "bert")
    check_refused(lambda: read_adapter(folder, bert), "adapts no projection of a bert model")
    _, short = saved("gpt2", "short", n_layer=1)
    check_refused(lambda: read_adapter(folder, BaseWeights.open(short)), "layer 1 does not exist")
    (folder / "adapter_model.safetensors").unlink()
    check_refused(lambda: read_adapter(folder, base), r"has adapter_config\.json, and no adapter_model")


def test_features_of_peft_that_are_not_plain_lora(saved, tmp_path):
    model, base = saved("bert")
    trained_by_peft(model, tmp_path / "adapter", target_modules=["query"], use_dora=True)
    check_refused(lambda: read_adapter(tmp_path / "adapter", base), "query is DoRA, whose dW is more than")


def test_a_native_adapter_of_another_model(saved, tmp_path):
    model, _ = saved("gpt2")
    lora.save(lora.adapt(model), tmp_path / "a.safetensors")
    path = tmp_path / "a.safetensors"
    bert = BaseWeights.open(saved("bert", "bert")[1])
    check_refused(lambda: read_adapter(path, bert), "an adapter of a gpt2 model; .* is a bert model")
    wider = BaseWeights.open(saved("gpt2", "wider", n_embd=64)[1])
    check_refused(lambda: read_adapter(path, wider), r"dW_q of layer 0 is \(32, 32\); W of .* is \(64, 64\)")


# ---------------------------------------------------------------------------------- arrays in memory


def test_arrays_of_any_kind():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 5)), rng.standard_normal((3, 2))
    given = {
        "layers.10.v": (A.astype(np.float32), B.tolist(), 0.5),
        (2, "q"): (torch.tensor(A).bfloat16(), B),
        "layers.2.up": [A, B],
    }
    adapter = read_adapter(given)
    assert list(adapter) == [(2, "q"), (2, "up"), (10, "v")]
    assert (adapter.shape(10, "v"), adapter.ranks[10, "v"]) == ((3, 5), 2)
    pair = adapter[10, "v"]
    assert (pair.A.dtype, pair.B.dtype) == (torch.float64, torch.float64)
    np.testing.assert_allclose(pair.scaling * pair.B @ pair.A, 0.5 * B @ A, rtol=1e-6)
    assert (pair.rank, pair.alpha, pair.scaling) == (2, 1.0, 0.5)
    assert adapter[2, "q"].scaling == 1.0
    assert [adapter[key].stored for key in adapter] == [torch.bfloat16, torch.float64, torch.float32]
    assert adapter.architecture is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "is empty"),
        ({"h.0.q": 1}, "'h.0.q' names no projection; give"),
        ({(0, "w"): 1}, "names no projection"),
        ({(-1, "q"): 1}, "names no projection"),
        ({(0, "q"): np.zeros((2, 3))}, r"is a ndarray; give \(A, B\)"),
        ({(0, "q"): (np.zeros((2, 3)),)}, r"is a tuple; give \(A, B\)"),
        ({(0, "q"): (np.zeros((2, 3)), np.zeros((3, 4)))}, r"A \(2, 3\) and B \(3, 4\); give \(r, d_in\)"),
        ({(0, "q"): (np.zeros(3), np.zeros((3, 2)))}, r"A \(3,\)"),
        ({(0, "q"): ([[1, 2], [3]], [[1]])}, r"A \(\)"),
        (
            {
                (0, "q"): (np.zeros((1, 3)), np.zeros((3, 1))),
                "layers.0.q": (np.zeros((1, 3)), np.zeros((3, 1))),
            },
            "is given twice",
        ),
    ],
)
def test_arrays_that_are_no_adapter(given, message):
    check_refused(lambda: read_adapter(given), message)


def test_factors_that_are_swapped_are_refused_unless_the_base_says_otherwise(saved):
    A, B = np.zeros((4, 32)), np.zeros((32, 4))
    check_refused(
        lambda: read_adapter({(0, "q"): (B, A)}),
        r"A \(32, 4\) and B \(4, 32\).*\(B, A\) swapped; give \(A, B\)",
    )
    base = BaseWeights.open(saved("llama")[1])
    check_refused(lambda: read_adapter({(0, "q"): (B, A)}, base), r"dW_q of layer 0 is \(4, 4\)")
    wide = {
        (0, "v"): (np.zeros((20, 32)), np.zeros((16, 20)))
    }  # W_v is (16, 32): a rank above 16 is odd, not wrong
    check_refused(lambda: read_adapter(wide), "swapped")
    assert read_adapter(wide, base).ranks[0, "v"] == 20


def test_arrays_with_entries_that_are_not_finite():
    adapter = read_adapter({(0, "q"): ([[float("nan"), 1.0]], [[1.0]])})
    check_refused(lambda: adapter[0, "q"], r"A of layers\.0\.q")


def test_arrays_are_compared_with_the_base(saved):
    base = BaseWeights.open(saved("llama")[1])
    good = (np.zeros((2, 32)), np.zeros((16, 2)))
    assert len(read_adapter({(0, "v"): good}, base)) == 1
    check_refused(lambda: read_adapter({(0, "q"): good}, base), r"dW_q of layer 0 is \(16, 32\); W of")


# ---------------------------------------------------------------------------------- full fine-tuning


def test_deltas(tmp_path, spied):
    path = tmp_path / "delta.safetensors"
    tensors = {
        f"layers.{i}.{letter}.dW": torch.randn(4, 3 + i) for i in (10, 2) for letter in ("v", "up", "q")
    }
    safetensors.torch.save_file(tensors, path, metadata={"format": "lora-delta", "version": "1"})
    deltas = read_deltas(path)
    assert list(deltas) == [(i, letter) for i in (2, 10) for letter in ("q", "v", "up")]
    assert deltas.shape(10, "up") == (4, 13)
    assert spied == []
    for (layer, letter), dW in deltas.items():
        assert torch.equal(dW, tensors[f"layers.{layer}.{letter}.dW"])
    assert len(spied) == 6


def test_files_that_are_no_deltas(tmp_path):
    path = tmp_path / "delta.safetensors"
    check_refused(lambda: read_deltas(path), "no such file")
    safetensors.torch.save_file({"h.0.bias": torch.zeros(2)}, path, metadata={"format": "lora-bias"})
    check_refused(
        lambda: read_deltas(path), "of format 'lora-bias', not 'lora-delta'; only runs with method=full"
    )
    safetensors.torch.save_file({"h.0.bias": torch.zeros(2)}, path, metadata={"format": "lora-delta"})
    check_refused(lambda: read_deltas(path), r"holds h\.0\.bias of shape \(2,\)")
    path.write_bytes(path.read_bytes()[:-1])
    check_refused(lambda: read_deltas(path), "not a whole one")
