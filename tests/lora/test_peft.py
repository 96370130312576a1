"""Adapters in both directions between this package and peft, by the logits of the same tiny models."""

import copy
import json
import warnings

import pytest
import safetensors.torch
import torch

import lora
from lora.architectures import architecture_of
from tests.lora.tiny_models import KINDS, forward

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers', of names that peft uses

RANKS = {"q": 1, "k": 2, "v": 3, "o": 4, "gate": 3, "up": 5, "down": 6}
EVERY = {"rank": RANKS, "alpha": 3.0}  # of the letters that the model has
CHOICES = {
    "default": {},
    "every letter at its own rank": EVERY,
    "rslora": EVERY | {"scaling": "alpha/sqrt(r)"},
    "one scale for all": EVERY | {"scaling": "1/r", "rank": dict.fromkeys(RANKS, 2)},
    "o alone": {"targets": "o", "rank": 2},
    "down alone": {"targets": "down", "rank": 2},
    "o and down": {"targets": "o,down", "rank": {"o": 1, "down": 3}},
    "k alone": {"targets": "k", "rank": 3},
    "biases": {"targets": "qo", "rank": 2, "bias": "lora_only"},
    "all biases": {"targets": "qv", "rank": 2, "bias": "all"},
}


@torch.no_grad()
def outputs(model, ids):
    return forward(model, ids)


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def config_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def tensors_of(folder):
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def change(folder, **settings):
    (folder / "adapter_config.json").write_text(json.dumps(config_of(folder) | settings))


@pytest.fixture
def exported(tiny, shake, tmp_path):
    """An exported adapter's folder."""

    def build(kind="gpt2", **settings):
        lora.export_peft(shake(lora.adapt(tiny(kind), **settings)), tmp_path)
        return tmp_path

    return build


def trained_by_peft(base, folder, seed=3, **settings):
    """What peft saves for a random adapter of its own, with B nonzero, and its outputs."""
    model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return model


def chosen(model, choice):
    """The settings of a choice, of the letters that the model has."""
    settings = CHOICES[choice]
    if "targets" in settings or not settings:
        return settings
    letters = list(architecture_of(model.config).places)
    return settings | {"targets": letters, "rank": {letter: settings["rank"][letter] for letter in letters}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choice", CHOICES)
def test_export_and_import_give_the_same_outputs(tiny, ids, shake, tmp_path, kind, choice):
    base = tiny(kind)
    model = shake(lora.adapt(tiny(kind), **chosen(base, choice)))
    expected = outputs(model, ids)
    assert (expected - outputs(base, ids)).abs().max() > 1e-3
    lora.export_peft(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns of keys that it misses or does not know
        loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    close(outputs(loaded, ids), expected)
    assert lora.import_peft(base, tmp_path) is base
    close(outputs(base, ids), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("bias", ["none", "lora_only", "all"])
def test_adapters_of_pefts_own_making(tiny, ids, tmp_path, kind, rslora, bias):
    base = tiny(kind)
    places = architecture_of(base.config).places
    attention, o, down = places["q"].module.split(".")[-1], places["o"].module, places["down"].module
    loaded = trained_by_peft(
        base,
        tmp_path,
        r=4,
        lora_alpha=6,
        target_modules=[attention, down],  # BERT's down is the end of its o's name
        rank_pattern={o: 1, down: 2},
        alpha_pattern={f"1.{down}": 5},
        fan_in_fan_out=kind.startswith("gpt2"),
        modules_to_save={"gpt2-classifier": ["score"], "bert": ["classifier"]}.get(kind),
        use_rslora=rslora,
        bias=bias,
    )
    expected = outputs(loaded, ids)
    assert (expected - outputs(base, ids)).abs().max() > 1e-3
    lora.import_peft(base, tmp_path)
    close(outputs(base, ids), expected)
    lora.export_peft(base, tmp_path / "again")  # and back
    again = peft.PeftModel.from_pretrained(tiny(kind), tmp_path / "again").eval()
    close(outputs(again, ids), expected)


@pytest.mark.parametrize(
    "patterns",
    [
        {"attention.output.dense": 3, "output.dense": 30},  # the first that matches wins
        {"output.dense": 30, "attention.output.dense": 3},
        {"utput.dense": 50, "attention.output": 70, "output.den": 90},  # none is the whole end of a path
        {r"layer\.1\..*": 30, "query": 3},
    ],
)
def test_alpha_patterns_match_as_in_peft(tiny, ids, tmp_path, patterns):
    """In the order of the file: PEFT sorts them when it saves, whatever the order in training was."""
    base, modules = tiny("bert"), ["query", "output.dense"]
    trained_by_peft(base, tmp_path, r=2, lora_alpha=6, target_modules=modules)
    change(tmp_path, alpha_pattern=patterns)
    assert list(config_of(tmp_path)["alpha_pattern"]) == list(patterns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of patterns that match nothing
        loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    expected = outputs(loaded, ids)
    close(outputs(lora.import_peft(base, tmp_path), ids), expected)


@pytest.mark.parametrize("rslora", [False, True])
def test_alpha_is_the_number_that_peft_was_given(tiny, tmp_path, rslora):
    trained_by_peft(tiny("bert"), tmp_path, r=4, lora_alpha=6, target_modules=["query"], use_rslora=rslora)
    for adapter in lora.adapters(lora.import_peft(tiny("bert"), tmp_path)).values():
        assert (adapter.alpha, adapter.scaling) == (6.0, 3.0 if rslora else 1.5)


# --- tied weights and saved modules

ENSURED = {"ensure_weight_tying": True}
SAVED_MODULES = [
    *[
        ("gpt2", modules, more)
        for more in ({}, ENSURED)
        for modules in (["wte"], ["lm_head"], ["wte", "lm_head"])
    ],
    *[
        ("bert-mlm", [module], more)
        for module in ("word_embeddings", "decoder", "cls")
        for more in ({}, {"bias": "all"}, ENSURED)
    ],
    ("llama", ["embed_tokens"], {}),
    ("llama-tied", ["embed_tokens"], {}),
    ("llama-tied", ["lm_head"], {}),
    *[
        (kind, ["classifier"], more)
        for kind in ("bert", "roberta")
        for more in ({}, {"bias": "all"}, {"bias": "lora_only"}, {"task_type": "SEQ_CLS"})
    ],
    ("roberta", ["out_proj"], {}),
    ("bert", ["pooler", "word_embeddings"], {}),
    ("gpt2-classifier", None, {"task_type": "SEQ_CLS"}),
    ("gpt2-classifier", ["wte", "score"], {}),
]


def tiny_of(tiny, kind):
    return tiny("llama", tie_word_embeddings=True) if kind == "llama-tied" else tiny(kind)


def saved_modules(base, kind, folder, modules, **settings):
    family = kind.partition("-")[0]
    target = {"gpt2": "c_attn", "llama": "q_proj"}.get(family, "query")
    settings |= {"target_modules": [target], "modules_to_save": modules, "fan_in_fan_out": family == "gpt2"}
    return trained_by_peft(base, folder, r=2, **settings)


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft warns of tied weights
@pytest.mark.parametrize(("kind", "modules", "more"), SAVED_MODULES)
def test_saved_modules_have_pefts_logits(tiny, ids, tmp_path, kind, modules, more):
    base = tiny_of(tiny, kind)
    expected = outputs(saved_modules(base, kind, tmp_path / "peft", modules, **more), ids)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "peft").eval()
    close(outputs(again, ids), expected)
    model = copy.deepcopy(base)
    model.config = base.config  # as of two models built from one config
    lora.import_peft(model, tmp_path / "peft")
    assert base.config.to_dict() == tiny_of(tiny, kind).config.to_dict(), "another model's config was changed"
    close(outputs(model, ids), expected)
    close(outputs(lora.import_peft(model, tmp_path / "peft"), ids), expected)  # once more, into the same
    with lora.merged(model):
        close(outputs(model, ids), expected)
        model.save_pretrained(tmp_path / "merged")  # and as a checkpoint of transformers
    close(outputs(type(model).from_pretrained(tmp_path / "merged").eval(), ids), expected)
    close(outputs(base, ids), outputs(tiny_of(tiny, kind), ids))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("module", ["wte", "lm_head"])
def test_an_untied_module_is_saved_and_loaded_as_such(tiny, ids, tmp_path, module):
    expected = outputs(saved_modules(tiny("gpt2"), "gpt2", tmp_path, [module]), ids)
    model = lora.import_peft(tiny("gpt2"), tmp_path)
    assert not model.config.tie_word_embeddings
    model.tie_weights()
    assert model.lm_head.weight is not model.transformer.wte.weight
    assert model.get_parameter(f"{'transformer.' * (module == 'wte')}{module}.weight").requires_grad
    lora.save(model, tmp_path / "adapter.safetensors")
    with pytest.raises(lora.AdapterFileError, match="are one parameter in this model and not in the file"):
        lora.load(tiny("gpt2"), tmp_path / "adapter.safetensors")
    other = lora.remove(lora.import_peft(tiny("gpt2"), tmp_path))
    assert all(parameter.requires_grad for parameter in other.parameters())
    close(outputs(lora.load(other, tmp_path / "adapter.safetensors"), ids), expected)


def test_equal_values_of_a_tied_parameter_leave_it_tied(tiny, ids, tmp_path):
    base = tiny("bert-mlm")
    expected = outputs(trained_by_peft(base, tmp_path, target_modules=["query"], bias="all"), ids)
    assert "base_model.model.cls.predictions.decoder.bias" in tensors_of(tmp_path)
    lora.import_peft(base, tmp_path)
    assert base.cls.predictions.bias is base.cls.predictions.decoder.bias
    assert base.config.tie_word_embeddings
    close(outputs(base, ids), expected)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("bias", ["none", "all"])
def test_a_head_under_its_name_in_a_live_model(tiny, ids, tmp_path, kind, bias):
    """`classifier.modules_to_save.default.*`, as a trainer's own state dict has it."""
    base = tiny(kind)
    expected = outputs(saved_modules(base, kind, tmp_path, ["classifier"], bias=bias), ids)
    tensors = {
        key.replace(".classifier.", ".classifier.modules_to_save.default."): value
        for key, value in tensors_of(tmp_path).items()
        if ".modules_to_save." not in key and ".original_module." not in key
    }
    assert any(".classifier.modules_to_save.default." in key for key in tensors)
    assert not any(".classifier.weight" in key for key in tensors)
    stale = {
        f"base_model.model.classifier.original_module.{leaf}": torch.ones(3) for leaf in ("bias", "weight")
    }
    safetensors.torch.save_file(tensors | stale, tmp_path / "adapter_model.safetensors")
    close(outputs(lora.import_peft(base, tmp_path), ids), expected)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2-classifier"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_head_that_the_file_lacks(tiny, tmp_path, kind, listed):
    """PEFT stops with a KeyError; listed or not, it wraps the head of a task that it knows."""
    saved_modules(tiny(kind), kind, tmp_path, None, task_type="SEQ_CLS")
    head = {"gpt2-classifier": "score"}.get(kind, "classifier")
    tensors = {key: value for key, value in tensors_of(tmp_path).items() if f".{head}." not in key}
    safetensors.torch.save_file(tensors, tmp_path / "adapter_model.safetensors")
    change(tmp_path, modules_to_save=[head] if listed else None, task_type=None if listed else "SEQ_CLS")
    with pytest.raises(KeyError):
        peft.PeftModel.from_pretrained(tiny(kind), tmp_path)
    check_refused(tiny(kind), tmp_path, rf"says that {head} was trained and saved, and .* has no {head}\.")


def test_a_listed_embedding_that_the_file_lacks(tiny, tmp_path):
    trained_by_peft(tiny("gpt2"), tmp_path, target_modules=["c_attn"], fan_in_fan_out=True)
    change(tmp_path, modules_to_save=["wte"])
    check_refused(tiny("gpt2"), tmp_path, r"says that transformer\.wte was trained and saved, and .* has no")


def test_an_adapter_without_a_head_leaves_the_models_own(tiny, ids, tmp_path):
    base = tiny("bert")
    expected = outputs(trained_by_peft(base, tmp_path, target_modules=["query"]), ids)
    close(outputs(lora.import_peft(base, tmp_path), ids), expected)


# --- what a file holds


def test_q_and_v_become_one_pair_of_the_fused_module(tiny, shake, tmp_path):
    model = shake(lora.adapt(tiny("gpt2"), "qv", rank={"q": 2, "v": 3}, scaling="1/r"))
    lora.export_peft(model, tmp_path, "some/model")
    q, v = lora.adapters(model)[1, "q"], lora.adapters(model)[1, "v"]
    A = tensors_of(tmp_path)["base_model.model.transformer.h.1.attn.c_attn.lora_A.weight"]
    B = tensors_of(tmp_path)["base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"]
    assert torch.equal(A, torch.cat([q.lora_A, v.lora_A]))
    expected = torch.zeros(48, 5)
    expected[:16, :2], expected[32:, 2:] = q.lora_B / 2, v.lora_B / 3
    torch.testing.assert_close(B, expected)
    config = config_of(tmp_path)
    assert (config["r"], config["lora_alpha"]) == (5, 5)
    assert config["target_modules"] == r"transformer\.h\.\d+\.attn\.c_attn"
    assert config["fan_in_fan_out"] is True
    assert config["task_type"] == "CAUSAL_LM"
    assert config["base_model_name_or_path"] == "some/model"


def test_factors_and_scale_come_back_as_they_were(tiny, shake, tmp_path):
    """Letters of one scale are not folded, so that training can go on in either library."""
    model = shake(lora.adapt(tiny("gpt2"), "qvo", rank=4, alpha=8))
    lora.export_peft(model, tmp_path)
    assert (config_of(tmp_path)["r"], config_of(tmp_path)["lora_alpha"]) == (8, 16)
    imported = lora.adapters(lora.import_peft(tiny("gpt2"), tmp_path))
    for key, adapter in lora.adapters(model).items():
        assert torch.equal(imported[key].lora_A, adapter.lora_A)
        assert torch.equal(imported[key].lora_B, adapter.lora_B)
        assert (imported[key].alpha, imported[key].scaling) == (8.0, 2.0)
    assert list(imported) == list(lora.adapters(model))


def test_o_and_down_are_not_confused(tiny, shake, tmp_path):
    for kind, other in [("gpt2", "mlp.c_proj"), ("bert", "encoder.layer.0.output.dense")]:
        base = tiny(kind)
        lora.export_peft(shake(lora.adapt(tiny(kind), "o", rank=1)), tmp_path)
        loaded = peft.PeftModel.from_pretrained(base, tmp_path)
        adapted = {
            name for name, module in loaded.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)
        }
        assert len(adapted) == 2
        assert not any(name.endswith(other) for name in adapted)


def test_a_coupled_adapter_gives_each_letter_a_copy_of_a(tiny, tmp_path):
    trained_by_peft(tiny("gpt2"), tmp_path, r=3, target_modules=["c_attn"], fan_in_fan_out=True)
    adapters = lora.adapters(lora.import_peft(tiny("gpt2"), tmp_path))
    assert list(adapters) == [(layer, letter) for layer in (0, 1) for letter in "qkv"]
    for layer in (0, 1):
        A = tensors_of(tmp_path)[f"base_model.model.transformer.h.{layer}.attn.c_attn.lora_A.weight"]
        assert all(torch.equal(adapters[layer, letter].lora_A, A) for letter in "qkv")


def test_an_untrained_adapter_keeps_every_letter(tiny, tmp_path):
    model = peft.get_peft_model(tiny("gpt2"), peft.LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True))
    model.save_pretrained(tmp_path)
    imported = lora.import_peft(tiny("gpt2"), tmp_path)
    assert {letter for _, letter in lora.adapters(imported)} == {"q", "k", "v"}


def test_a_choice_of_layers(tiny, ids, tmp_path):
    base = tiny("bert")
    loaded = trained_by_peft(
        base, tmp_path, target_modules=["query"], layers_to_transform=[1], layers_pattern="layer"
    )
    lora.import_peft(base, tmp_path)
    assert list(lora.adapters(base)) == [(1, "q")]
    close(outputs(base, ids), outputs(loaded, ids))
    lora.export_peft(base, tmp_path / "again")
    assert (
        config_of(tmp_path / "again")["target_modules"] == r"bert\.encoder\.layer\.1\.attention\.self\.query"
    )
    again = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "again").eval()
    close(outputs(again, ids), outputs(loaded, ids))


@pytest.mark.parametrize(
    ("kind", "task_type", "modules"),
    [
        ("gpt2", "CAUSAL_LM", None),
        ("gpt2-classifier", "SEQ_CLS", ["score"]),
        ("roberta", "SEQ_CLS", ["classifier"]),
        ("gpt2-backbone", None, None),
    ],
)
def test_the_head_and_the_task(exported, kind, task_type, modules):
    config = config_of(exported(kind))
    assert (config["task_type"], config["modules_to_save"]) == (task_type, modules)


def test_exporting_while_merged_gives_the_same_files(tiny, shake, tmp_path):
    model = shake(lora.adapt(tiny("gpt2")))
    lora.export_peft(model, tmp_path / "one")
    lora.export_peft(lora.merge(model), tmp_path / "two")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_dropout_goes_along(exported, tiny):
    folder = exported(dropout=0.25)
    assert config_of(folder)["lora_dropout"] == 0.25
    assert lora.import_peft(tiny("gpt2"), folder).lora_adaptation.dropout == 0.25


def test_peft_has_no_place_for_a_layer_norm(tiny, tmp_path):
    model = lora.adapt(tiny("bert"))
    model.bert.embeddings.LayerNorm.weight.requires_grad_(True)
    with pytest.raises(ValueError, match=r"embeddings\.LayerNorm\.weight is trained too"):
        lora.export_peft(model, tmp_path)
    assert not list(tmp_path.iterdir())


def check_refused(model, folder, message):
    before = list(model.state_dict())
    with pytest.raises(lora.AdapterFileError, match=message) as error:
        lora.import_peft(model, folder)
    assert "\n" not in str(error.value)
    assert list(model.state_dict()) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "uses use_dora = True, which is not supported"),
        ({"lora_bias": True}, "uses lora_bias"),
        ({"target_parameters": ["w"]}, "uses target_parameters"),
        ({"layer_replication": [[0, 1]]}, "uses layer_replication"),
        ({"trainable_token_indices": [1]}, "uses trainable_token_indices"),
        ({"a_feature_of_next_year": 1}, "uses a_feature_of_next_year = 1"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4' changes W0"),
        ({"peft_type": "LOHA"}, "type 'LOHA'; only 'LORA'"),
    ],
)
def test_features_that_are_not_supported_are_named(exported, tiny, settings, message):
    folder = exported()
    change(folder, **settings)
    check_refused(tiny("gpt2"), folder, message)


def test_what_peft_itself_writes_for_dora_and_for_embeddings(tiny, tmp_path):
    trained_by_peft(tiny("bert"), tmp_path, target_modules=["query"], use_dora=True)
    check_refused(tiny("bert"), tmp_path, "use_dora")
    change(tmp_path, use_dora=False)
    check_refused(tiny("bert"), tmp_path, "lora_magnitude_vector, which is not supported")
    trained_by_peft(tiny("bert"), tmp_path, target_modules=["word_embeddings"])
    check_refused(tiny("bert"), tmp_path, "lora_embedding_A, which is not supported")


def test_modules_that_hold_no_projection(tiny, tmp_path):
    trained_by_peft(tiny("bert"), tmp_path, target_modules=["pooler.dense"])
    check_refused(
        tiny("bert"), tmp_path, r"adapts bert\.pooler\.dense, which holds none of q k v o gate up down"
    )


def test_an_adapter_for_another_model(exported, tiny):
    folder = exported()
    check_refused(tiny("bert"), folder, r"adapts transformer\.h\.0\.attn\.c_attn, which holds none")
    check_refused(
        tiny("gpt2", n_embd=32), folder, r"c_attn is \(48, 16\) in the file and \(96, 32\) in this model"
    )


def test_files_that_are_missing_or_broken(exported, tiny, tmp_path):
    model = tiny("gpt2")
    check_refused(model, tmp_path / "nowhere", r"adapter_config\.json: cannot be read \(No such file")
    folder = exported()
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-3])
    check_refused(model, folder, r"adapter_model\.safetensors: not a safetensors file, or not a whole one")
    weights.unlink()
    check_refused(model, folder, r"adapter_model\.safetensors: no such file$")
    (folder / "adapter_model.bin").write_bytes(b"")
    check_refused(model, folder, r"adapter_model\.bin: not a file of tensors alone, or not a whole one")
    (folder / "adapter_config.json").write_text("{")
    check_refused(model, folder, r"adapter_config\.json: not a JSON file, or not a whole one")
    (folder / "adapter_config.json").write_text("[]")
    check_refused(model, folder, "type None; only 'LORA'")


def test_half_a_pair(exported, tiny):
    folder = exported()
    tensors = tensors_of(folder)
    del tensors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    check_refused(
        tiny("gpt2"), folder, r"holds .*h\.0\.attn\.c_attn\.lora_A\.weight without the B of its pair"
    )


def test_no_pair_at_all(exported, tiny):
    folder = exported()
    safetensors.torch.save_file({"base_model.model.x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    check_refused(tiny("gpt2"), folder, "holds no pair of low-rank factors")


def test_reading_needs_no_model(tiny, tmp_path):
    modules = ["c_attn", "mlp.c_proj"]
    trained_by_peft(tiny("gpt2"), tmp_path, r=3, lora_alpha=6, target_modules=modules, fan_in_fan_out=True)
    file, tensors = lora.read_peft(tmp_path), tensors_of(tmp_path)
    layers = [f"transformer.h.{layer}" for layer in (0, 1)]
    assert set(file.shapes) == {
        f"{layer}.{module}" for layer in layers for module in ("attn.c_attn", "mlp.c_proj")
    }
    assert file.shapes["transformer.h.1.attn.c_attn"] == (48, 16)
    assert file.shapes["transformer.h.1.mlp.c_proj"] == (16, 64)
    assert set(file.ranks.values()) == {3}
    assert file.settings["lora_alpha"] == 6
    path, rows = "transformer.h.1.attn.c_attn", {"q": slice(0, 16), "v": slice(32, 48)}
    found = file.factors(path, rows)
    B = tensors[f"base_model.model.{path}.lora_B.weight"]
    assert list(found) == ["q", "v"]
    assert torch.equal(found["v"].B, B[32:])
    assert torch.equal(found["v"].A, tensors[f"base_model.model.{path}.lora_A.weight"])
    assert (found["v"].rank, found["v"].alpha, found["v"].scaling) == (3, 6.0, 2.0)


def test_letters_that_share_a_module_have_ranks_of_their_own(tiny, shake, tmp_path):
    lora.export_peft(shake(lora.adapt(tiny("gpt2"), "qv", rank={"q": 2, "v": 3})), tmp_path)
    file, rows = (
        lora.read_peft(tmp_path),
        {letter: slice(16 * i, 16 * i + 16) for i, letter in enumerate("qkv")},
    )
    assert file.ranks["transformer.h.0.attn.c_attn"] == 5
    found = file.factors("transformer.h.0.attn.c_attn", rows)
    assert {letter: pair.rank for letter, pair in found.items()} == {"q": 2, "v": 3}


def test_a_pickled_adapter_of_peft(tiny, tmp_path):
    trained_by_peft(tiny("bert"), tmp_path, r=3, target_modules=["query"])
    whole = lora.adapters(lora.import_peft(tiny("bert"), tmp_path))
    torch.save(tensors_of(tmp_path), tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    for key, adapter in lora.adapters(lora.import_peft(tiny("bert"), tmp_path)).items():
        assert torch.equal(adapter.delta(), whole[key].delta())


def test_a_zero_column_of_b_stays(tiny, tmp_path):
    """The rank that the file states is the rank: only letters that share a module are told apart by zeros."""
    trained_by_peft(tiny("bert"), tmp_path, r=3, target_modules=["query"])
    tensors = tensors_of(tmp_path)
    for key, tensor in tensors.items():
        if ".lora_B." in key:
            tensor[:, 1] = 0
    safetensors.torch.save_file(tensors, tmp_path / "adapter_model.safetensors")
    assert {pair.rank for pair in lora.adapters(lora.import_peft(tiny("bert"), tmp_path)).values()} == {3}


def test_reading_opens_no_tensor_before_it_is_asked_for(exported, monkeypatch):
    folder, opened = exported(), []
    whole = lora.peft.open_tensors

    class Spy:
        def __init__(self, *args, **kwargs):
            self.file = whole(*args, **kwargs)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def get_tensor(self, key):
            opened.append(key)
            return self.file.get_tensor(key)

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(lora.peft, "open_tensors", Spy)
    file = lora.read_peft(folder)
    assert opened == []
    module = "transformer.h.1.attn.c_attn"
    file.factors(module, {"q": slice(0, 16)})
    assert opened == [f"base_model.model.{module}.lora_{factor}.weight" for factor in "AB"]
