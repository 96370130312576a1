import json
import os

import pytest
import safetensors
import safetensors.torch
import torch

import lora

KINDS = ["gpt2", "gpt2-classifier", "bert", "roberta"]
MIXED = {"targets": "qvo,up", "rank": {"q": 1, "v": 2, "o": 3, "up": 4}, "alpha": 3.0}


def saved(model, path):
    lora.save(model, path)
    with safetensors.safe_open(path, framework="pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata()  # noqa: SIM118


def rewrite(path, change):
    """Write the file at `path` again after `change(tensors, metadata)`."""
    with safetensors.safe_open(path, framework="pt") as opened:
        tensors, metadata = {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata()  # noqa: SIM118
    change(tensors, metadata)
    safetensors.torch.save_file(tensors, path, metadata=metadata)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "adapter.safetensors"


def test_the_files_layout(tiny, shake, path):
    model = shake(
        lora.adapt(tiny("gpt2-classifier"), "qo", rank={"q": 1, "o": 2}, alpha=3, scaling="alpha/sqrt(r)")
    )
    tensors, metadata = saved(model, path)
    factors = {f"layers.{layer}.{letter}.{factor}" for layer in (0, 1) for letter in "qo" for factor in "AB"}
    assert set(tensors) == factors | {"extra.score.weight"}
    assert tensors["layers.1.o.A"].shape == (2, 16)
    assert tensors["layers.1.o.B"].shape == (16, 2)
    assert torch.equal(tensors["layers.1.o.B"], lora.adapters(model)[1, "o"].lora_B)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert (metadata["format"], metadata["version"]) == ("lora-adapter", "1")
    adapter = json.loads(metadata["adapter"])
    assert adapter["architecture"] == "gpt2"
    assert adapter["targets"] == ["q", "o"]
    assert adapter["scaling"] == "alpha/sqrt(r)"
    assert list(adapter["projections"]) == ["0.q", "0.o", "1.q", "1.o"]
    assert adapter["projections"]["1.o"] == {"rank": 2, "alpha": 3.0, "scaling": pytest.approx(3 / 2**0.5)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", ["none", "lora_only", "all"])
def test_a_bare_model_gets_everything_from_the_file(tiny, ids, shake, path, kind, bias):
    model = shake(lora.adapt(tiny(kind), **MIXED, dropout=0.25, bias=bias))
    lora.save(model, path)
    other = tiny(kind)
    assert not torch.allclose(other(ids).logits, model(ids).logits)
    assert lora.load(other, path) is other
    assert torch.equal(other(ids).logits, model(ids).logits)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in other.named_parameters() if parameter.requires_grad} == trained
    assert other.lora_adaptation.dropout == 0.25
    assert lora.parameter_counts(other) == lora.parameter_counts(model)


def test_an_adapted_model_takes_values_and_scale_over(tiny, ids, shake, path):
    model = shake(lora.adapt(tiny("gpt2"), **(MIXED | {"alpha": 5.0}), scaling="alpha/sqrt(r)"))
    lora.save(model, path)
    other = lora.load(lora.adapt(tiny("gpt2"), **MIXED, seed=9), path)
    assert torch.equal(other(ids).logits, model(ids).logits)
    lora.save(other, path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_other_trained_tensors_go_along(tiny, ids, shake, path):
    model = lora.adapt(tiny("bert"))
    model.bert.embeddings.LayerNorm.weight.requires_grad_(True)
    lora.save(shake(model), path)
    other = lora.load(tiny("bert"), path)
    assert torch.equal(other(ids).logits, model(ids).logits)
    assert other.bert.embeddings.LayerNorm.weight.requires_grad


def test_what_was_trained_is_saved_from_a_model_frozen_since(tiny, path):
    model = lora.adapt(tiny("bert"), bias="lora_only").requires_grad_(False)
    tensors, _ = saved(model, path)
    name = "bert.encoder.layer.0.attention.self.query.bias"
    assert {"extra.classifier.weight", "extra.classifier.bias", f"extra.{name}"} <= set(tensors)


def test_saving_while_merged_gives_the_same_file(tiny, shake, path):
    model = shake(lora.adapt(tiny("gpt2"), **MIXED))
    lora.save(model, path)
    expected = path.read_bytes()
    with lora.merged(model):
        lora.save(model, path)
        assert path.read_bytes() == expected
        with pytest.raises(ValueError, match="is merged"):
            lora.load(model, path)


def test_reading_needs_no_model(tiny, shake, path):
    model = shake(lora.adapt(tiny("gpt2"), **MIXED, bias="all"))
    lora.save(model, path)
    file = lora.read(str(path))
    assert list(file.factors) == list(lora.adapters(model))
    for key, adapter in lora.adapters(model).items():
        pair = file.factors[key]
        assert torch.equal(pair.A, adapter.lora_A)
        assert torch.equal(pair.B, adapter.lora_B)
        assert (pair.rank, pair.alpha, pair.scaling) == (adapter.rank, adapter.alpha, adapter.scaling)
    assert file.metadata["architecture"] == "gpt2"
    assert "transformer.h.0.attn.c_attn.bias" in file.extra


def test_more_than_ten_layers_come_in_order(tiny, path):
    lora.save(lora.adapt(tiny("gpt2", n_layer=12), rank=1), path)
    assert list(lora.read(path).factors) == [(layer, letter) for layer in range(12) for letter in "qv"]


def test_bf16_models_save_float32_factors(tiny, ids, shake, path):
    model = shake(lora.adapt(tiny("bert").bfloat16()))
    tensors, _ = saved(model, path)
    assert {tensor.dtype for key, tensor in tensors.items() if key.startswith("layers")} == {torch.float32}
    other = lora.load(tiny("bert").bfloat16(), path)
    assert torch.equal(other(ids).logits, model(ids).logits)


def test_a_bare_model_has_nothing_to_save(tiny, path):
    with pytest.raises(ValueError, match="is not adapted"):
        lora.save(tiny("gpt2"), path)
    assert not path.exists()


def test_the_folder_is_made_and_holds_nothing_else(tiny, tmp_path):
    lora.save(lora.adapt(tiny("gpt2")), tmp_path / "deep" / "er" / "a.safetensors")
    assert os.listdir(tmp_path / "deep" / "er") == ["a.safetensors"]


def check_refused(path, message, act=lora.read):
    with pytest.raises(lora.AdapterFileError, match=message) as error:
        act(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, ValueError)


def test_a_file_that_is_not_there(path):
    check_refused(path, "no such file")
    check_refused(path.parent, "no such file")


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, -1])
def test_a_truncated_file(tiny, path, kept):
    lora.save(lora.adapt(tiny("gpt2")), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    check_refused(path, "not a safetensors file, or not a whole one")


def test_a_file_of_another_kind(path):
    torch.save({"weight": torch.zeros(3)}, path)
    check_refused(path, "not a safetensors file")


def test_foreign_safetensors(path):
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    check_refused(path, r"not one written by lora\.save$")
    safetensors.torch.save_file({"base_model.model.h.0.lora_A.weight": torch.zeros(3)}, path)
    check_refused(path, r"lora\.import_peft reads the folder")


def drop_b(tensors, metadata):
    del tensors["layers.0.q.B"]


def add_stray(tensors, metadata):
    tensors["layers.7.q.A"] = torch.zeros(1)


def wrong_rank(tensors, metadata):
    tensors["layers.0.q.A"] = tensors["layers.0.q.A"][:3].clone()


def not_json(tensors, metadata):
    metadata["adapter"] = "{"


def not_an_object(tensors, metadata):
    metadata["adapter"] = '"gpt2"'


def no_architecture(tensors, metadata):
    adapter = json.loads(metadata["adapter"])
    del adapter["architecture"]
    metadata["adapter"] = json.dumps(adapter)


def no_adapter(tensors, metadata):
    del metadata["adapter"]


@pytest.mark.parametrize(
    "damage", [drop_b, add_stray, wrong_rank, not_json, not_an_object, no_architecture, no_adapter]
)
def test_metadata_and_tensors_that_disagree(tiny, path, damage):
    lora.save(lora.adapt(tiny("gpt2")), path)
    rewrite(path, damage)
    check_refused(path, "metadata and the tensors of this adapter disagree")


def test_a_later_version(tiny, path):
    lora.save(lora.adapt(tiny("gpt2")), path)
    rewrite(path, lambda tensors, metadata: metadata.update(version="2"))
    check_refused(path, "version '2'; this code reads version '1'")


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("bert", {}, "an adapter of a gpt2 model; this is a bert model"),
        ("gpt2", {"n_layer": 1}, "layer 1 does not exist; this model has 0 to 0"),
        ("gpt2", {"n_embd": 32}, r"W_q of layer 0 is \(16, 16\) in the file and \(32, 32\) in this model"),
        ("gpt2-classifier", {}, r"holds no score\.weight"),
    ],
)
def test_a_file_for_another_model_leaves_this_one_alone(tiny, path, kind, changes, message):
    lora.save(lora.adapt(tiny("gpt2")), path)
    model = tiny(kind, **changes)
    check_refused(path, message, lambda path: lora.load(model, path))
    assert lora.adapters(model) == {}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_head_that_this_model_does_not_have(tiny, path):
    lora.save(lora.adapt(tiny("gpt2-classifier")), path)
    model = tiny("gpt2")
    check_refused(
        path, r"score\.weight is \(3, 16\); this model has no such", lambda path: lora.load(model, path)
    )
    wider = tiny("gpt2-classifier", num_labels=5)
    check_refused(
        path,
        r"score\.weight is \(3, 16\); this model has it as \(5, 16\)",
        lambda path: lora.load(wider, path),
    )
    assert lora.adapters(model) == lora.adapters(wider) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 4}, "W_q of layer 0 has rank 8 in the file, 4 in this model"),
        ({"targets": "q"}, "W_v of layer 0 has rank 8 in the file, none in this model"),
        ({"targets": "qkv"}, "W_k of layer 0 has rank none in the file, 8 in this model"),
        ({"bias": "all"}, r"holds no transformer\.h\.0\.ln_1\.bias"),
    ],
)
def test_a_model_adapted_otherwise(tiny, ids, shake, path, settings, message):
    lora.save(lora.adapt(tiny("gpt2")), path)
    model = shake(lora.adapt(tiny("gpt2"), **settings))
    expected = model(ids).logits
    check_refused(path, message, lambda path: lora.load(model, path))
    assert torch.equal(model(ids).logits, expected)


def test_what_was_loaded_is_saved_from_a_model_frozen_since(tiny, path):
    model = lora.adapt(tiny("bert"))
    model.bert.embeddings.LayerNorm.weight.requires_grad_(True)
    lora.save(model, path)
    other = lora.load(tiny("bert"), path).requires_grad_(False)
    lora.save(other, path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_a_restored_model_trains_apart_from_the_snapshot(tiny, shake):
    from lora.saving import restore, snapshot

    kept = snapshot(shake(lora.adapt(tiny("gpt2-classifier"))))
    tensors = [
        *kept.extra.values(),
        *(factor for pair in kept.factors.values() for factor in (pair.A, pair.B)),
    ]
    before = [tensor.clone() for tensor in tensors]
    model = restore(tiny("gpt2-classifier"), kept)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, old) for tensor, old in zip(tensors, before, strict=True))


# --- tied weights


def trained_embedding(model, shake):
    lora.adapt(model)
    model.transformer.wte.weight.requires_grad_(True)
    return shake(model)


def test_a_tied_embedding_is_saved_by_both_names(tiny, ids, shake, path):
    model = trained_embedding(tiny("gpt2"), shake)
    tensors, _ = saved(model, path)
    assert torch.equal(tensors["extra.transformer.wte.weight"], model.lm_head.weight)
    assert torch.equal(tensors["extra.lm_head.weight"], model.lm_head.weight)
    for tie in (True, False):
        other = lora.load(tiny("gpt2", tie_word_embeddings=tie), path)
        assert (other.lm_head.weight is other.transformer.wte.weight) == tie
        assert torch.equal(other(ids).logits, model(ids).logits)
        assert other.lm_head.weight.requires_grad
        lora.save(other, path.with_name("again"))
        assert path.with_name("again").read_bytes() == path.read_bytes()
        lora.load(other, path)


def test_a_table_that_was_not_tied_does_not_become_the_head(tiny, ids, shake, path):
    model = trained_embedding(tiny("gpt2", tie_word_embeddings=False), shake)
    lora.save(model, path)
    tied = tiny("gpt2")
    expected = tied(ids).logits
    check_refused(
        path,
        r"transformer\.wte\.weight and lm_head\.weight are one parameter in this model and not in the file",
        lambda path: lora.load(tied, path),
    )
    assert torch.equal(tied(ids).logits, expected)
    assert lora.adapters(tied) == {}
    tied.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # as it says
    assert torch.equal(lora.load(tied, path)(ids).logits, model(ids).logits)


def test_head_and_table_that_differ_in_the_file(tiny, shake, path):
    model = trained_embedding(tiny("gpt2", tie_word_embeddings=False), shake)
    model.lm_head.weight.requires_grad_(True)
    lora.save(shake(model), path)
    check_refused(path, "are one parameter in this model and not", lambda path: lora.load(tiny("gpt2"), path))


def test_tied_biases_go_along(tiny, ids, shake, path):
    """BERT's output bias has two names."""
    model = shake(lora.adapt(tiny("bert-mlm"), bias="all"))
    tensors, _ = saved(model, path)
    names = ("extra.cls.predictions.bias", "extra.cls.predictions.decoder.bias")
    assert torch.equal(tensors[names[0]], tensors[names[1]])
    other = lora.load(tiny("bert-mlm"), path)
    assert other.cls.predictions.bias is other.cls.predictions.decoder.bias
    assert torch.equal(other(ids).logits, model(ids).logits)
    assert lora.parameter_counts(other) == lora.parameter_counts(model)


def test_snapshots_of_tied_weights_are_copies(tiny, shake):
    from lora.saving import restore, snapshot

    model = trained_embedding(tiny("gpt2"), shake)
    kept, before = snapshot(model), model.transformer.wte.weight.detach().clone()
    shake(model, seed=8)
    assert not torch.equal(model.transformer.wte.weight, before)
    restore(model, kept)
    assert torch.equal(model.lm_head.weight, before)
    assert torch.equal(model.transformer.wte.weight, before)
