"""Smaller copies: PEFT loads them, and they are the best of their rank, with no direction too many."""

from __future__ import annotations

import json
import math
import re
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import lora
from analysis import AnalysisError
from analysis.checkup.resize import Size, from_full, resize
from analysis.commands import main
from analysis.geometry.dimensions import energy_rank
from analysis.reading.pairs import open_adapter
from tests.analysis.checkup.adapters import llama, orthonormal

peft = pytest.importorskip("peft")

IDS = torch.arange(12).view(2, 6)


def quietly(call, *arguments, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **settings)


@pytest.fixture
def by_peft(tiny, tmp_path):
    """`by_peft("gpt2", ...)`: a model with a random PEFT adapter, and the folder that PEFT saved it to."""

    def make(kind, folder="adapter", **settings):
        model = quietly(peft.get_peft_model, tiny(kind), peft.LoraConfig(**settings))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        quietly(model.save_pretrained, tmp_path / folder)
        return model.eval(), tmp_path / folder

    return make


def truncated(model, cut):
    """The model with each module's dW cut by a dense SVD, through PEFT's own merged weights."""
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            dW = module.get_delta_weight("default").detach().double()
            U, S, Vh = torch.linalg.svd(dW, full_matrices=False)
            k = cut(S)
            base = module.get_base_layer()
            base.weight.data += ((U[:, :k] * S[:k]) @ Vh[:k]).to(base.weight.dtype)
    return model.unload()


KINDS = {
    "fused c_attn of GPT-2": ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    "every module of GPT-2": (
        "gpt2",
        {"target_modules": ["c_attn", "c_fc", "c_proj"], "fan_in_fan_out": True},
    ),
    "split q and v": ("llama", {"target_modules": ["q_proj", "v_proj"]}),
    "rsLoRA": ("llama", {"target_modules": ["q_proj", "down_proj"], "use_rslora": True}),
    "patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "gate_proj"],
            "rank_pattern": {"gate_proj": 3},
            "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 9},
        },
    ),
    "embeddings and head": ("llama", {"target_modules": ["embed_tokens", "lm_head", "v_proj"]}),
}


@pytest.mark.parametrize("size", [{"rank": 2}, {"energy": 0.9}, {"error": 0.35}])
@pytest.mark.parametrize("name", KINDS)
def test_peft_loads_the_copy_and_its_logits_are_those_of_the_cut(by_peft, tiny, tmp_path, name, size):
    kind, settings = KINDS[name]
    model, folder = by_peft(kind, r=6, lora_alpha=5, **settings)
    made = resize(folder, tmp_path / "small", **size)
    loaded = quietly(peft.PeftModel.from_pretrained, tiny(kind), tmp_path / "small").eval()
    expected = truncated(model, Size(**size).cut)
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, expected(IDS).logits, rtol=0, atol=1e-5)
    assert {cut.rank for cut in made.cuts} != {6}
    scales = {pair.module: pair.scaling for pair in open_adapter(folder)}
    for pair in open_adapter(tmp_path / "small"):
        assert pair.scaling == pytest.approx(scales[pair.module], rel=1e-12)


def test_ranks_and_errors_are_what_they_say(by_peft, tmp_path):
    _, folder = by_peft("llama", r=6, target_modules=["q_proj", "up_proj"])
    made = resize(folder, tmp_path / "small", error=0.35)
    old, new = open_adapter(folder), {pair.module: pair for pair in open_adapter(tmp_path / "small")}
    lost = whole = 0.0
    for pair, cut in zip(old, made.cuts, strict=True):
        (factors,), (small,) = pair.factors().values(), new[pair.module].factors().values()
        dW = factors.scaling * factors.B.double() @ factors.A.double()
        left = dW - small.scaling * small.B.double() @ small.A.double()
        assert cut.error == pytest.approx(float(left.norm() / dW.norm()), rel=1e-4)
        S = torch.linalg.svdvals(dW)
        assert cut.error <= 0.35 < float(S[cut.rank - 1 :].norm() / S.norm())  # one less would not do
        lost, whole = lost + float(left.square().sum()), whole + float(dW.square().sum())
    assert made.error == pytest.approx(math.sqrt(lost / whole), rel=1e-4)
    assert f"all together: relative error {made.error:.3%}" in made.printed()


def test_a_cut_is_that_of_pefts_conversion(by_peft, tmp_path):
    model, folder = by_peft("llama", r=6, target_modules=["q_proj"])
    for rank, size in ((2, {"rank": 2}), (0.8, {"energy": 0.8})):
        _, state = quietly(peft.convert_to_lora, model, rank)
        resize(folder, tmp_path / f"small-{rank}", **size)
        for pair in open_adapter(tmp_path / f"small-{rank}"):
            (factors,) = pair.factors().values()
            A, B = (
                next(value for key, value in state.items() if pair.module in key and f"lora_{f}" in key)
                for f in "AB"
            )
            assert len(A) == pair.rank
            torch.testing.assert_close(factors.scaling * factors.B @ factors.A, B @ A, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.96, 0.99, 1.0])
def test_not_one_direction_too_many(share):
    """kohya's dynamic modes take the first direction beyond the share too."""
    values = torch.tensor([3.0, 2.0, 1.5, 0.5, 0.2], dtype=torch.float64)
    energy = (values**2).cumsum(0) / (values**2).sum()
    k = Size(energy=share).cut(values)
    assert energy[k - 1] >= share - 1e-12
    assert k == 1 or energy[k - 2] < share
    assert k == energy_rank(values, share)
    exact = Size(energy=float(energy[1])).cut(values)  # a share that two directions reach exactly
    assert exact == 2
    assert Size(error=math.sqrt(1 - float(energy[2]))).cut(values) == 3
    assert Size(rank=9).cut(values) == 5
    assert Size(error=0.0).cut(values) == 5


def test_per_projection_ranks_are_written_as_patterns(planted, tmp_path):
    pairs = {}
    for i, values in enumerate(([9.0, 0.1, 0.1], [5.0, 5.0, 0.1], [3.0, 3.0, 3.0])):
        S = torch.tensor(values, dtype=torch.float64)
        pairs[llama(i, "q")] = (orthonormal(24, 3, i), S[:, None] * orthonormal(32, 3, 9 + i).T)
    made = resize(planted(pairs, r=3, lora_alpha=6), tmp_path / "small", energy=0.99)
    assert [cut.rank for cut in made.cuts] == [1, 2, 3]
    config = json.loads((tmp_path / "small" / "adapter_config.json").read_text())
    ranks = {pair.module: (pair.rank, pair.scaling) for pair in open_adapter(tmp_path / "small")}
    assert ranks == {llama(0, "q"): (1, 2.0), llama(1, "q"): (2, 2.0), llama(2, "q"): (3, 2.0)}
    assert len(config["rank_pattern"]) == len(config["alpha_pattern"]) == 2


def test_a_head_goes_along(by_peft, tiny, tmp_path):
    model, folder = by_peft("roberta", r=4, target_modules=["query"], task_type="SEQ_CLS")
    resize(folder, tmp_path / "same", energy=1.0)
    loaded = quietly(peft.PeftModel.from_pretrained, tiny("roberta", seed=3), tmp_path / "same").eval()
    head = {key: value for key, value in loaded.state_dict().items() if "modules_to_save" in key}
    assert head
    for key, value in head.items():
        assert torch.equal(value, model.state_dict()[key])


def test_loralibs_state_dict_with_a_head_becomes_pefts(tiny, tmp_path):
    """As the authors' files of RoBERTa: factors beside the classifier, and one weight besides."""
    model = tiny("roberta", seed=3)
    generator = torch.Generator().manual_seed(0)
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("classifier.")}
    state["roberta.pooler"] = torch.zeros(2)
    query = "roberta.encoder.layer.1.attention.self.query"
    A, B = torch.randn(2, 32, generator=generator), torch.randn(32, 2, generator=generator)
    torch.save(state | {f"{query}.lora_A": A, f"{query}.lora_B": B}, tmp_path / "mnli.bin")
    made = resize(tmp_path / "mnli.bin", tmp_path / "same", energy=1.0)
    assert "left out: 1 other tensors, such as roberta.pooler" in made.printed()
    assert "alpha/r = 1 is taken" in made.printed()
    loaded = quietly(peft.PeftModel.from_pretrained, tiny("roberta", seed=3), tmp_path / "same").eval()
    model.get_submodule(query).weight.data += B @ A
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "roberta"])
def test_this_projects_files_become_pefts(tiny, random_adapter, tmp_path, kind):
    model = random_adapter(tiny(kind), targets="qv", rank={"q": 2, "v": 3}, alpha=6)
    lora.save(model, tmp_path / "a.safetensors")
    resize(tmp_path / "a.safetensors", tmp_path / "same", energy=1.0)
    loaded = quietly(peft.PeftModel.from_pretrained, tiny(kind), tmp_path / "same").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits, rtol=0, atol=1e-5)


def test_interleaved_heads_need_the_base(saved, tiny, random_adapter, tmp_path):
    model = random_adapter(tiny("gpt-neox"), targets="qv", rank=2)
    _, base = saved("gpt-neox")
    lora.save(model, tmp_path / "a.safetensors")
    with pytest.raises(AnalysisError, match="depends on its sizes; give it with --base"):
        resize(tmp_path / "a.safetensors", tmp_path / "x", rank=1)
    resize(tmp_path / "a.safetensors", tmp_path / "same", energy=1.0, base=base)
    loaded = quietly(peft.PeftModel.from_pretrained, tiny("gpt-neox"), tmp_path / "same").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt-neox"])
def test_an_adapter_of_a_fully_tuned_model(saved, tiny, tmp_path, kind):
    base_model, base = saved(kind)
    tuned = tiny(kind)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if parameter.ndim == 2 and "wte" not in name and "embed" not in name and "lm_head" not in name:
                low = torch.randn(len(parameter), 2, generator=generator)
                parameter += 0.05 * low @ torch.randn(2, parameter.shape[1], generator=generator)
    tuned.save_pretrained(tmp_path / "tuned")
    made = from_full(tmp_path / "tuned", base, tmp_path / "small", rank=2)
    assert made.error < 1e-4
    loaded = quietly(peft.PeftModel.from_pretrained, base_model, tmp_path / "small").eval()
    with torch.no_grad():
        if kind != "gpt2":  # whose position embeddings moved too
            torch.testing.assert_close(loaded(IDS).logits, tuned(IDS).logits, rtol=0, atol=1e-4)
    if kind == "gpt2":
        assert "not in the adapter: 1 other tensors that differ, such as transformer.wpe" in " ".join(
            made.notes
        )
    coarse = from_full(tmp_path / "tuned", base, tmp_path / "coarse", rank=1)
    assert 0.1 < coarse.error < 0.9
    exact = from_full(tmp_path / "tuned", base, tmp_path / "energy", energy=0.999)
    assert {cut.rank for cut in exact.cuts} == {2}


def test_a_module_of_unknown_kind_is_told(tmp_path):
    """loralib's Embedding has the names of its Linear, and PEFT's has others."""
    torch.save({"wte.lora_A": torch.ones(2, 9), "wte.lora_B": torch.ones(4, 2)}, tmp_path / "a.pt")
    note = resize(tmp_path / "a.pt", tmp_path / "small", rank=1).notes[1]
    assert note.startswith("taken for linear modules, as names of loralib do not tell: 1, such as wte;")


def test_a_whole_that_depends_on_scales_nobody_states_is_marked(planted, tmp_path):
    """One factor for all leaves a relative error what it is; several ranks need not have one."""
    V = orthonormal(32, 4, 1).T
    pairs = {llama(i, "q"): (orthonormal(24, 4, i)[:, :k], V[:k]) for i, k in enumerate((4, 2))}
    printed = resize(planted(pairs, "uneven"), tmp_path / "a", rank=1).printed()
    assert re.search(r"relative error \d+\.\d+%\?, energy kept \d+\.\d+%\?, ", printed)
    assert "the copy states the scale that was taken: alpha = r where the file stated none" in printed
    even = {module: (B[:, :2], A[:2]) for module, (B, A) in pairs.items()}
    assert "%?" not in resize(planted(even, "even"), tmp_path / "b", rank=1).printed()
    assert "?" not in resize(planted(even, "stated", r=2), tmp_path / "c", rank=1).printed()


def test_what_cannot_be_resized_is_one_line(by_peft, planted, saved, tmp_path):
    def refused(message, path, **size):
        with pytest.raises(AnalysisError, match=message):
            resize(path, tmp_path / "out", **(size or {"rank": 1}))
        assert not (tmp_path / "out").exists()

    _, folder = by_peft("llama", "dora", r=2, target_modules=["q_proj"], use_dora=True)
    refused("is DoRA, whose magnitudes", folder)
    for init in ("pissa", "olora"):  # which PEFT does again, at the copy's rank, as it loads
        _, folder = by_peft("llama", init, r=2, target_modules=["q_proj"], init_lora_weights=init)
        refused(f"init_lora_weights = '{init}' makes PEFT change W0", folder)
    path = planted({llama(0, "q"): (torch.zeros(4, 2), torch.ones(2, 8))}, "zero", r=2)
    refused("dW = 0 in every module", path)
    refused("^rank=0: give one of a rank from 1", path, rank=0)
    refused("^rank=1, energy=0.5: give one of a rank from 1", path, rank=1, energy=0.5)
    refused("give one of a rank from 1", path, energy=1.5)
    tensors = {f"lora_unet_x_0_q.lora_{word}.weight": torch.ones(2, 2) for word in ("down", "up")}
    save_file(tensors, tmp_path / "kohya.safetensors")
    refused("a file of kohya, whose names", tmp_path / "kohya.safetensors")
    _, base = saved("llama")
    with pytest.raises(AnalysisError, match="there is no dW to extract"):
        from_full(base, base, tmp_path / "out", rank=1)
    _, other = saved("gpt2", "other")
    with pytest.raises(AnalysisError, match=r"is a gpt2 model and .* a llama one"):
        from_full(other, base, tmp_path / "out", rank=1)


def test_the_command(by_peft, tmp_path, capsys):
    _, folder = by_peft("llama", r=4, target_modules=["q_proj"])
    out = tmp_path / "small"
    assert main(["resize", str(folder), "--rank", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"model\.layers\.0\.self_attn\.q_proj +4 → 1 +\d\d\.\d+%", printed)
    assert "512 → 128 parameters (25.0%)" in printed
    assert len(load_file(out / "adapter_model.safetensors")) == 4
    assert main(["resize", str(folder), "--rank", "1", "--out", str(out)]) == 1
    assert "holds an adapter already" in capsys.readouterr().err
    assert main(["resize", str(folder), "--rank", "1", "--out", str(tmp_path / "x"), "--from-full", "y"]) == 2
    assert "--from-full TUNED takes --base BASE, and no PATH" in capsys.readouterr().err


def test_kohyas_file_is_resized_with_its_base(by_peft, saved, tiny, tmp_path):
    model, folder = by_peft("llama", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    tensors = {}
    for pair in open_adapter(folder):
        A, B = pair.read()
        name = f"lora_te_{pair.module.replace('.', '_')}"
        tensors |= {f"{name}.lora_down.weight": A, f"{name}.lora_up.weight": B}
        tensors[f"{name}.alpha"] = torch.tensor(8.0)
    save_file(tensors, tmp_path / "kohya.safetensors")
    _, base = saved("llama")
    resize(tmp_path / "kohya.safetensors", tmp_path / "out", rank=2, base=base)
    loaded = quietly(peft.PeftModel.from_pretrained, tiny("llama"), tmp_path / "out").eval()
    expected = truncated(model, lambda S: 2)
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, expected(IDS).logits, atol=1e-5, rtol=1e-5)
