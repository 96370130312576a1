"""Adapters as PEFT, loralib, kohya, diffusers and mlx-lm write them, and files that lie."""

from __future__ import annotations

import json
import re
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import lora
from analysis import AnalysisError
from analysis.checkup.compare import compare
from analysis.checkup.resize import resize
from analysis.reading.adapters import read_adapter
from analysis.reading.pairs import open_adapter

peft = pytest.importorskip("peft")
loralib = pytest.importorskip("loralib")


def check_refused(path, message, base=None):
    with pytest.raises(AnalysisError, match=message) as error:
        [pair.read() for pair in open_adapter(path, base)]
    assert "\n" not in str(error.value)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 7 * shape[0] + shape[-1]))


def deltas(adapter):
    """dW of every letter or label, as the reader has it, by layer."""
    found = {}
    for pair in adapter.pairs:
        for name, factors in pair.factors().items():
            found[pair.layer, name] = factors.scaling * factors.B.double() @ factors.A.double()
    return found


def same(found, expected):
    assert set(found) == set(expected)
    for key, dW in expected.items():
        torch.testing.assert_close(found[key], dW.double(), rtol=1e-5, atol=1e-6)


@pytest.fixture
def by_peft(tiny, tmp_path):
    """`by_peft("gpt2", target_modules=...)`: the folder that PEFT saves, and its own dW by module."""

    def save(kind, safe=True, folder="adapter", **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(tiny(kind), peft.LoraConfig(**settings))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name and "magnitude" not in name:
                    parameter.copy_(0.1 * draw(*parameter.shape, seed=len(name)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save_pretrained(tmp_path / folder, safe_serialization=safe)
        own = {}
        for name, module in model.named_modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                dW = module.get_delta_weight("default").detach()
                own[name.removeprefix("base_model.model.")] = dW.T if module.fan_in_fan_out else dW
        return tmp_path / folder, own

    return save


# ------------------------------------------------------------------------------------------------ PEFT


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("lone", [True, False])
def test_gpt2s_fused_module_without_its_base(by_peft, safe, lone):
    folder, own = by_peft(
        "gpt2", safe, r=3, lora_alpha=7, target_modules=["c_attn"], use_rslora=True, fan_in_fan_out=True
    )
    path = next(folder.glob("adapter_model.*")) if lone else folder
    adapter = open_adapter(path)
    assert (adapter.format, adapter.architectures, adapter.inferred) == ("PEFT", ("gpt2",), True)
    expected = {}
    for layer in (0, 1):
        parts = own[f"transformer.h.{layer}.attn.c_attn"].chunk(3)
        expected |= {(layer, letter): part for letter, part in zip("qkv", parts, strict=True)}
    same(deltas(adapter), expected)
    assert all(pair.stated for pair in adapter.pairs)


def test_patterns_and_modules_of_a_llama(by_peft):
    folder, own = by_peft(
        "llama",
        r=2,
        lora_alpha=3,
        target_modules=["q_proj", "gate_proj", "down_proj"],
        rank_pattern={"gate_proj": 4},
        alpha_pattern={r"layers\.1\.self_attn\.q_proj": 9},
        modules_to_save=["lm_head"],
    )
    adapter = open_adapter(folder)
    names = {"self_attn.q_proj": "q", "mlp.gate_proj": "gate", "mlp.down_proj": "down"}
    expected = {}
    for path, dW in own.items():
        _, _, layer, module = path.split(".", 3)
        expected[int(layer), names[module]] = dW
    same(deltas(adapter), expected)
    assert {"llama", "mistral", "qwen2"} <= set(adapter.architectures)
    assert adapter.extra == ("base_model.model.lm_head.weight",)


def test_heads_taken_apart_with_the_base_alone(by_peft, tiny, tmp_path):
    folder, own = by_peft("gpt-neox", r=2, target_modules=["query_key_value"])
    assert {name for _, name in deltas(open_adapter(folder))} == {"attention.query_key_value"}
    tiny("gpt-neox").save_pretrained(tmp_path / "base")
    adapter = open_adapter(folder, tmp_path / "base")
    assert not adapter.inferred
    expected = {}
    for path, dW in own.items():
        heads = dW.view(4, 3, 8, 32)
        for i, letter in enumerate("qkv"):
            expected[int(path.split(".")[2]), letter] = heads[:, i].reshape(32, 32)
    same(deltas(adapter), expected)


def test_embeddings_heads_biases_and_dora_are_read(by_peft):
    folder, own = by_peft("llama", r=2, target_modules=["embed_tokens", "lm_head", "v_proj"])
    found = deltas(open_adapter(folder))
    torch.testing.assert_close(found[None, "lm_head"], own["lm_head"].double())
    torch.testing.assert_close(found[None, "model.embed_tokens"], own["model.embed_tokens"].T.double())
    folder, _ = by_peft("llama", folder="dora", r=2, target_modules=["v_proj"], use_dora=True)
    assert all(pair.dora for pair in open_adapter(folder).pairs)
    folder, _ = by_peft("bert", folder="bias", r=2, target_modules=["query"], lora_bias=True)
    adapter = open_adapter(folder)
    assert [key.endswith("lora_B.bias") for key in adapter.extra] == [True, True]
    assert [name for _, name in deltas(adapter)] == ["q", "q"]


def test_convolutions(tmp_path):
    A, B = draw(2, 3, 3, 3), draw(8, 2, 1, 1)
    save_file({"conv.lora_A.weight": A, "conv.lora_B.weight": B}, tmp_path / "a.safetensors")
    expected = torch.einsum("or,rikl->oikl", B[:, :, 0, 0], A).flatten(1)
    same(deltas(open_adapter(tmp_path / "a.safetensors")), {(None, "conv"): expected})


def test_folders_around_an_adapter(by_peft, tmp_path):
    by_peft("bert", folder="out/checkpoint-10", r=2, target_modules=["query"])
    assert len(open_adapter(tmp_path / "out").pairs) == 2
    by_peft("bert", folder="out/checkpoint-20", r=2, target_modules=["query"])
    check_refused(tmp_path / "out", "several in it; give one of them: checkpoint-10, checkpoint-20")
    assert len(open_adapter(tmp_path / "out" / "checkpoint-20").pairs) == 2


def test_two_towers_share_no_letters(tmp_path):
    names = [f"language_model.model.layers.{i}.self_attn.q_proj" for i in (0, 1)]
    names += ["vision_tower.layers.0.self_attn.q_proj"]
    tensors = {f"{name}.lora_A.weight": draw(2, 8, seed=i) for i, name in enumerate(names)}
    tensors |= {f"{name}.lora_B.weight": draw(8, 2, seed=i) for i, name in enumerate(names)}
    save_file(tensors, tmp_path / "a.safetensors")
    found = {pair.module: tuple(pair.letters) for pair in open_adapter(tmp_path / "a.safetensors").pairs}
    assert found == dict(zip(names, [("q",), ("q",), ()], strict=True))


def test_an_encoder_that_no_architecture_names_has_no_letters(tmp_path):
    """CLIP's text model, whose modules are called as a Llama's within text_model.encoder."""
    names = [f"text_model.encoder.layers.{i}.self_attn.{name}_proj" for i in (0, 1) for name in "qkv"]
    tensors = {f"{name}.lora_A.weight": draw(2, 8, seed=i) for i, name in enumerate(names)}
    tensors |= {f"{name}.lora_B.weight": draw(8, 2, seed=i) for i, name in enumerate(names)}
    save_file(tensors, tmp_path / "a.safetensors")
    adapter = open_adapter(tmp_path / "a.safetensors")
    assert not adapter.architectures
    assert {pair.label for pair in adapter.pairs} == {f"self_attn.{name}_proj" for name in "qkv"}


# --------------------------------------------------------------------------------------- other writers


@pytest.mark.parametrize("kind", ["plain", "nested", "old"])
def test_loralibs_state_dict(tmp_path, kind):
    model = torch.nn.ModuleDict({"up": loralib.Linear(6, 10, r=2, lora_alpha=8)})
    with torch.no_grad():
        model["up"].lora_B.copy_(draw(10, 2))
    state = loralib.lora_state_dict(model)
    state = {"model": state, "step": 3} if kind == "nested" else state
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=kind != "old")
    adapter = open_adapter(tmp_path / "a.pt")
    same(deltas(adapter), {(None, "up"): (model["up"].lora_B @ model["up"].lora_A).detach()})
    assert (adapter.format, adapter.pairs[0].stated, adapter.pairs[0].scaling) == ("loralib", False, 1.0)


@pytest.mark.parametrize("enabled", ["qv", "qkv"])
def test_loralibs_stacked_factors(tmp_path, enabled):
    layer = loralib.MergedLinear(8, 24, r=2, enable_lora=[letter in enabled for letter in "qkv"])
    with torch.no_grad():
        layer.lora_B.copy_(draw(*layer.lora_B.shape))
    expected = layer.merge_AB().detach() / 1.0  # (d_out, d_in); the scale is applied elsewhere
    prefix = "transformer.h.0.attn.c_attn"
    torch.save({f"{prefix}.lora_A": layer.lora_A, f"{prefix}.lora_B": layer.lora_B}, tmp_path / "a.bin")
    adapter = open_adapter(tmp_path / "a.bin")
    parts = dict(zip("qkv", expected.chunk(3), strict=True))
    same(deltas(adapter), {(0, letter): parts[letter] for letter in enabled})
    assert {pair.rank for pair in adapter.pairs[0].factors().values()} == {2}
    (note,) = [note for note in adapter.notes if "MergedLinear" in note]
    parts = {"qv": "two parts in three: taken for q and v", "qkv": "three parts, q, k and v"}[enabled]
    assert parts in note
    assert f"A has {len(enabled)} times the rows that B has columns" in note


@pytest.mark.parametrize(
    ("A", "B"), [((8, 64), (64, 4)), ((12, 64), (63, 4)), ((12, 64), (96, 4)), ((16, 64), (256, 4))]
)
def test_ranks_that_differ_are_no_stacked_factors(tmp_path, A, B):
    """Only what a MergedLinear of q, k and v can be is one: as many square parts as A has times B's rank."""
    prefix = "layers.0.fc"
    torch.save({f"{prefix}.lora_A": draw(*A), f"{prefix}.lora_B": draw(*B)}, tmp_path / "a.pt")
    check_refused(
        tmp_path / "a.pt",
        rf"{prefix}: lora_A .* has rank {A[0]} and lora_B .* rank {B[1]}, and they are no MergedLinear's",
    )


def test_kohyas_file(tmp_path):
    name = "lora_unet_down_blocks_0_attentions_0_proj_in"
    A, B = draw(4, 6), draw(5, 4)
    tensors = {f"{name}.lora_down.weight": A, f"{name}.lora_up.weight": B, f"{name}.alpha": torch.tensor(2.0)}
    save_file(tensors, tmp_path / "a.safetensors")
    adapter = open_adapter(tmp_path / "a.safetensors")
    assert (adapter.format, adapter.pairs[0].module, adapter.pairs[0].stated) == ("kohya", name, True)
    same(deltas(adapter), {(0, "attentions_0_proj_in"): 0.5 * B @ A})


@pytest.mark.parametrize("between", [".", "_"])
def test_layers_of_several_stacks_keep_their_names_apart(tmp_path, between):
    names = ["down_blocks.0.attn.to_q", "down_blocks.1.attn.to_q", "mid_block.to_v", "up_blocks.0.attn.to_k"]
    names = [name.replace(".", between) for name in names]
    save_file(
        {f"{name}.lora_{factor}.weight": draw(4, 4) for name in names for factor in "AB"},
        tmp_path / "a.safetensors",
    )
    adapter = open_adapter(tmp_path / "a.safetensors")
    down, up = (
        f"{block}.*.attn.{letter}" for block, letter in (("down_blocks", "to_q"), ("up_blocks", "to_k"))
    )
    assert [(pair.layer, pair.label) for pair in adapter] == [
        (0, down.replace(".", between)),
        (1, down.replace(".", between)),
        (None, names[2]),
        (0, up.replace(".", between)),
    ]
    assert adapter.stacks == ("down_blocks", "up_blocks")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int64])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_scale_of_any_dtype(tmp_path, dtype, shape):
    tensors = {
        "x.lora_down.weight": draw(4, 6),
        "x.lora_up.weight": draw(5, 4),
        "x.alpha": torch.full(shape, 2.0).to(dtype),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        assert open_adapter(tmp_path / name).pairs[0].scaling == 0.5


@pytest.mark.parametrize("value", [torch.tensor([2.0, 3.0]), torch.tensor(2j)])
def test_a_scale_that_is_not_one_number(tmp_path, value):
    tensors = {"x.lora_down.weight": draw(4, 6), "x.lora_up.weight": draw(5, 4), "x.alpha": value}
    save_file(tensors, tmp_path / "a.safetensors")
    check_refused(tmp_path / "a.safetensors", r"x\.alpha is .*; one real number is expected")


def test_a_scale_that_is_no_number(tmp_path):
    tensors = {
        "x.lora_down.weight": draw(4, 6),
        "x.lora_up.weight": draw(5, 4),
        "x.alpha": torch.tensor(float("nan")),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    check_refused(tmp_path / "a.safetensors", "states a scale of nan for x, which is no finite number")


@pytest.mark.parametrize("between", [".lora.", "_lora."])
def test_diffusers_files(tmp_path, between):
    name, A, B = "unet.mid_block.attentions.0.to_q", draw(4, 6), draw(5, 4)
    told = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {}, "text_encoder.lora_alpha": 1}
    for metadata, scaling in ((None, None), ({"lora_adapter_metadata": json.dumps(told)}, 2.0)):
        tensors = {f"{name}{between}down.weight": A, f"{name}{between}up.weight": B}
        save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors", metadata)
        (pair,) = (adapter := open_adapter(tmp_path)).pairs
        assert (adapter.format, pair.module, pair.stated) == ("diffusers", name, scaling is not None)
        torch.testing.assert_close(pair.factors()["to_q"].B, B)
        assert pair.scaling == (scaling or 1.0)


@pytest.mark.parametrize(
    ("parameters", "scaling"),
    [({"rank": 4, "scale": 20.0}, 20.0), ({"rank": 4, "alpha": 2, "scale": 10.0}, 5.0), ({}, None)],
)
def test_mlx_files(tmp_path, parameters, scaling):
    A, B = draw(4, 8), draw(6, 4)
    name = "model.layers.3.self_attn.v_proj"
    tensors = {f"{name}.lora_a": A.T.contiguous(), f"{name}.lora_b": B.T.contiguous()}
    save_file(tensors, tmp_path / "adapters.safetensors")
    config = {"fine_tune_type": "lora", "lora_parameters": parameters}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    adapter = open_adapter(tmp_path)
    assert (adapter.format, adapter.pairs[0].stated) == ("mlx-lm", scaling is not None)
    same(deltas(adapter), {(3, "v"): (scaling or 1.0) * B @ A})


def test_plain_names(tmp_path):
    A, B = draw(4, 8), draw(6, 4)
    save_file({"net.mixer.A": A, "net.mixer.B": B}, tmp_path / "a.safetensors")
    adapter = open_adapter(tmp_path / "a.safetensors")
    same(deltas(adapter), {(None, "net.mixer"): B @ A})
    assert not adapter.pairs[0].stated


def test_a_run_of_this_project(make_run, outputs):
    folder = make_run(rank=4)
    adapter = open_adapter(folder.path if hasattr(folder, "path") else next((outputs / "ranks").iterdir()))
    assert adapter.format == "this project"
    expected = read_adapter(adapter.path)
    same(deltas(adapter), {key: f.scaling * f.B @ f.A for key, f in expected.items()})


# --------------------------------------------------------------------------------------- files that lie


def test_factors_that_are_no_pair(by_peft, tmp_path):
    folder, _ = by_peft("bert", r=2, target_modules=["query"])
    path = folder / "adapter_model.safetensors"
    whole = load_file(path)
    A, B = (
        f"base_model.model.bert.encoder.layer.0.attention.self.query.lora_{factor}.weight" for factor in "AB"
    )

    def damaged(message, **changes):
        tensors = whole | {{"A": A, "B": B}[name]: value for name, value in changes.items()}
        save_file({key: value for key, value in tensors.items() if value is not None}, path)
        check_refused(folder, message)

    damaged("without the B of its pair; it is not whole", B=None)
    damaged("without the A of its pair", A=None)
    damaged(
        r"query: lora_A \(3, 32\) has rank 3 and lora_B \(32, 2\) rank 2; they do not", A=torch.zeros(3, 32)
    )
    damaged(r"lora_A \(2,\)", A=torch.zeros(2))
    damaged(r"lora_A \(0, 32\)", A=torch.zeros(0, 32), B=torch.zeros(32, 0))
    damaged("lora_A.weight has entries that are NaN or infinite", A=whole[A].fill_(float("nan")))
    damaged("lora_B.weight is torch.int64; factors are floating point", B=whole[B].long(), A=draw(2, 32))
    damaged("query is of rank 3 in the tensors, and of rank 2 in the config", A=draw(3, 32), B=draw(32, 3))
    path.write_bytes(path.read_bytes()[:-9])
    check_refused(folder, "not a safetensors file, or not a whole one")
    path.unlink()
    check_refused(folder, "has adapter_config.json, and no adapter_model.safetensors")
    check_refused(tmp_path / "nowhere.bin", "no such file")


def test_exchanged_factors_are_told(tmp_path):
    """A square module's pair is one either way round, of rank d."""
    tensors = {"x.lora_A.weight": draw(32, 2), "x.lora_B.weight": draw(2, 32)}
    save_file(tensors, tmp_path / "a.safetensors")
    assert "x is of rank 32, and dW is only 2 x 2" in open_adapter(tmp_path / "a.safetensors").notes[1]
    save_file({name: value.T.contiguous() for name, value in tensors.items()}, tmp_path / "b.safetensors")
    assert not any("exchanged" in note for note in open_adapter(tmp_path / "b.safetensors").notes)


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 other tensor lies beside the pairs, x0: "), (2, "2 other tensors lie beside")]
)
def test_one_of_a_thing_is_not_several(tmp_path, count, told):
    tensors = {f"q.lora_{f}.weight": draw(4, 4) for f in "AB"} | {f"x{i}": draw(2, 2) for i in range(count)}
    save_file(tensors, tmp_path / "a.safetensors")
    assert any(note.startswith(told) for note in open_adapter(tmp_path / "a.safetensors").notes)


def test_a_scale_that_the_config_has_as_text(by_peft):
    folder, _ = by_peft("bert", r=2, target_modules=["query"])
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": "eight"}))
    check_refused(folder, "its config states lora_alpha = 'eight' for .*query; give a number, such as 16")


def test_dora_without_magnitudes_is_not_whole(by_peft):
    folder, _ = by_peft("llama", r=2, target_modules=["q_proj"], use_dora=True)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({key: value for key, value in tensors.items() if "magnitude" not in key}, path)
    check_refused(folder, "its config says DoRA, and it holds no magnitudes")


def test_one_projection_under_two_names(tmp_path):
    names = [f"{start}layers.0.self_attn.q_proj" for start in ("model.", "")]
    tensors = {f"{name}.lora_{f}.weight": draw(4, 4, seed=len(name)) for name in names for f in "AB"}
    save_file(tensors, tmp_path / "a.safetensors")
    check_refused(tmp_path / "a.safetensors", "which are both q of layer 1; save one alone")


class Harmful:
    def __reduce__(self):
        return (print, ("this must not be printed",))


def test_pickles_that_hold_more_than_tensors(tmp_path, capsys):
    torch.save({"x.lora_A": torch.zeros(1, 2), "x.lora_B": Harmful()}, tmp_path / "a.pt")
    check_refused(tmp_path / "a.pt", "not a file of tensors alone, or not a whole one.*print")
    assert "must not" not in capsys.readouterr().out
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: len(data) // 2])
    check_refused(tmp_path / "a.pt", "not a whole one")
    torch.save([torch.zeros(2)], tmp_path / "b.pt")
    check_refused(tmp_path / "b.pt", "holds no tensors by name")


def test_a_name_that_only_ends_like_another_method(tmp_path):
    save_file({f"soft_moe.lora_{f}.weight": torch.ones(2, 2) for f in "AB"}, tmp_path / "a.safetensors")
    assert [pair.module for pair in open_adapter(tmp_path / "a.safetensors")] == ["soft_moe"]


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred"])
def test_names_that_cannot_be_printed(tmp_path, name):
    save_file({f"{name}.lora_{f}.weight": torch.ones(2, 2) for f in "AB"}, tmp_path / "a.safetensors")
    check_refused(tmp_path / "a.safetensors", "with characters that cannot be printed")


def test_methods_that_are_no_pairs(tmp_path):
    save_file({"x.hada_w1_a": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    check_refused(tmp_path / "a.safetensors", r"its tensors are hada_w1_a \(x\.hada_w1_a\), which is no pair")
    (tmp_path / "ia3").mkdir()
    save_file({"x.ia3_l": torch.zeros(2, 2)}, tmp_path / "ia3" / "adapter_model.safetensors")
    (tmp_path / "ia3" / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    check_refused(tmp_path / "ia3", "a PEFT adapter of type 'IA3'")
    tensors = {f"x.lora_{f}.{name}.weight": torch.zeros(2, 2) for f in "AB" for name in ("one", "two")}
    save_file(tensors, tmp_path / "a.safetensors")
    check_refused(tmp_path / "a.safetensors", "twice, .*it holds the adapters one, two; save one alone")


def test_an_exported_adapter_is_read_as_it_was(tiny, random_adapter, tmp_path):
    model = random_adapter(tiny("gpt2"), targets="qv", rank=2, alpha=6)
    lora.export_peft(model, tmp_path / "adapter")
    same(
        deltas(open_adapter(tmp_path / "adapter")),
        {k: a.delta().detach() for k, a in lora.adapters(model).items()},
    )


# ------------------------------------------------------------------------------- names with underscores


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("start", ["lora_te_", "lora_unet_model_", ""])
def test_the_base_tells_which_underscores_of_kohya_are_dots(kind, start, by_peft, saved, tmp_path):
    modules = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn", "c_fc"]}[kind]
    folder, _ = by_peft(kind, r=2, lora_alpha=6, target_modules=modules)
    expected = deltas(open_adapter(folder))
    tensors = {}
    for pair in open_adapter(folder):
        A, B = pair.read()
        name = start + pair.module.replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": A, f"{name}.lora_up.weight": B}
        tensors[f"{name}.alpha"] = torch.tensor(6.0)
    file = tmp_path / "kohya.safetensors"
    save_file(tensors, file)
    assert not any(pair.letters for pair in open_adapter(file))
    _, base = saved(kind)
    adapter = open_adapter(file, base)
    assert (adapter.format, adapter.inferred) == ("kohya", False)
    assert {pair.module for pair in adapter} == {pair.module for pair in open_adapter(folder)}
    same(deltas(adapter), expected)


def test_two_names_of_one_module(saved, tmp_path):
    tensors = {}
    for start in ("lora_te_", "lora_te2_"):
        name = f"{start}model_layers_0_self_attn_q_proj"
        tensors |= {f"{name}.lora_{word}.weight": torch.ones(32, 32) for word in ("down", "up")}
    save_file(tensors, tmp_path / "kohya.safetensors")
    check_refused(tmp_path / "kohya.safetensors", "which are both|both model.layers.0", saved("llama")[1])


# --------------------------------------------------------------------------------------- truncated runs


def test_a_truncated_run_says_what_it_is_cut_from(make_run, outputs):
    make_run(rank=4, seed=1)
    make_run(rank=2)
    make_run(rank=4)
    make_run(rank=4, method="truncated", keep=2)
    folders = {folder.name: folder for folder in (outputs / "ranks").iterdir()}
    [cut] = [folder for name, folder in folders.items() if "-top2-" in name]
    [whole] = [folder for name, folder in folders.items() if re.search("-r4-lr.*seed0", name)]
    adapter = open_adapter(cut)
    same(deltas(adapter), deltas(open_adapter(whole)))
    [note] = adapter.notes
    assert f"it evaluates {whole.name} cut to its top 2 directions by dW" in note
    assert note.startswith(f"{cut.name} has no adapter of its own")
    assert not open_adapter(whole).notes
    for refused in (
        lambda: compare([cut, whole]),
        lambda: resize(cut, outputs / "small", rank=1),
    ):
        with pytest.raises(AnalysisError, match=f"truncated run has no adapter of its own .*{whole.name}"):
            refused()
    assert len(compare([whole, whole]).compared)
    whole.rename(outputs / "elsewhere")
    check_refused(cut, "a truncated run.*its top 2 directions by dW, and no run of the same settings")
