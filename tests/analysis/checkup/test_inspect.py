"""A check-up of adapters whose spectra, places and noise are known, beside PEFT's own numbers."""

from __future__ import annotations

import json
import math
import re
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import kstwo

from analysis import AnalysisError
from analysis.checkup import measures
from analysis.checkup.inspect import inspect
from analysis.checkup.measures import initial_family
from analysis.checkup.page import inspection_page
from analysis.checkup.resize import resize
from analysis.commands import main
from analysis.geometry.noise import rounding_edge
from analysis.reading.base_weights import BaseWeights
from tests.analysis.checkup.adapters import llama, orthonormal

peft = pytest.importorskip("peft")

SPECTRUM = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)


def with_spectrum(values, d_out=24, d_in=32, seed=0, mixed=True):
    """A pair whose product has these singular values; `mixed` by a matrix between the factors."""
    k = len(values)
    B, A = orthonormal(d_out, k, seed), values[:, None] * orthonormal(d_in, k, seed + 1).T
    mixing = torch.eye(k, dtype=torch.float64) + mixed * 0.3 * orthonormal(k, k, seed + 2)
    return B @ mixing, torch.linalg.solve(mixing, A)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_planted_spectrum_comes_back(planted, dtype):
    path = planted({llama(0, "q"): with_spectrum(SPECTRUM)}, dtype=dtype, r=4, lora_alpha=12)
    (seen,) = inspect(path).measured
    np.testing.assert_allclose(seen.values, 3 * SPECTRUM, rtol=1e-5)
    energy = SPECTRUM**2 / (SPECTRUM**2).sum()  # 0.753, 0.188, 0.047, 0.012
    p = SPECTRUM / SPECTRUM.sum()
    expected = {
        "norm": 3 * float(SPECTRUM.norm()),
        "sigma_1": 12.0,
        "stable_rank": float(1 / energy[0]),
        "entropy_rank": math.exp(-float((p * p.log()).sum())),
        "rank_90": 2,
        "rank_95": 3,
        "rank_99": 4,
        "numerical_rank": 4,
        "scaling": 3.0,
    }
    for name, value in expected.items():
        assert seen.row[name] == pytest.approx(value, rel=1e-5), name


def test_one_value_has_no_range_and_one_direction_no_plural(planted):
    spectra = torch.tensor([9.0, 1.0, 1e-4]), torch.tensor([9.0, 4.0, 2.0])
    pairs = {llama(layer, "q"): with_spectrum(spectra[0].double()) for layer in range(2)}
    text = " ".join(inspect(planted(pairs, r=3, lora_alpha=3)).sentences)
    assert "a projection needs 1 direction for 90 % of its energy, 1 for 95 % and 2 for 99 % (medians" in text
    assert "stable rank 1.01, entropy rank 1.38." in text
    pairs[llama(2, "q")] = with_spectrum(spectra[1].double())
    text = " ".join(inspect(planted(pairs, "ranges", r=3, lora_alpha=3)).sentences)
    assert "a projection needs 1 (1 to 2) directions for 90 % of its energy" in text


def test_directions_above_planted_noise_are_counted(planted):
    generator = torch.Generator().manual_seed(0)
    B = torch.randn(256, 16, generator=generator)
    B[:, :3] *= 6
    pairs = {llama(0, "v"): (B, torch.randn(16, 320, generator=generator))}
    (seen,) = inspect(planted(pairs, r=16)).measured
    assert (seen.row["beyond_untrained"], seen.row["beyond_noise"]) == (3, 3)


def test_where_the_energy_is_is_said_with_its_numbers(planted):
    pairs = {}
    for layer in range(6):
        for letter in "qv":
            size = (3.0 if letter == "v" else 1.0) * (2.0 if layer >= 4 else 1.0)
            pairs[llama(layer, letter)] = with_spectrum(size * SPECTRUM[:2], seed=10 * layer)
    seen = inspect(planted(pairs, r=2, lora_alpha=2))
    text = " ".join(seen.sentences)
    assert "Of ||dW||^2, 90 % is in v; 50 % would be its equal share among 2 kinds." in text
    assert "Layer for layer it is densest in the last third" in text
    assert "67 % in layers 5 to 6" in text  # 2 * 4 of 4 + 8
    assert "rank 1 keeps 80 % (relative error 45 %)" in text
    energy = seen.energy_map()
    assert energy.loc["v", 5] == pytest.approx(0.9 * 4 / 12)
    assert energy.to_numpy().sum() == pytest.approx(1)


def test_even_energy_is_not_called_otherwise(planted):
    pairs = {llama(i, letter): with_spectrum(SPECTRUM, seed=i) for i in range(3) for letter in "qv"}
    text = " ".join(inspect(planted(pairs, r=4)).sentences)
    assert "spread evenly over the 2 kinds" in text
    assert "spread evenly over the depth" in text


def test_stacks_of_layers_are_not_summed(planted):
    """Of a diffusion model down_blocks.1 and up_blocks.1 are not of one depth, or mid_block above."""
    pairs = {}
    for block, count, size in (("down_blocks", 4, 1.0), ("up_blocks", 4, 3.0)):
        for layer in range(count):
            for letter in ("to_q", "to_out.0"):
                module = f"{block}.{layer}.attentions.0.transformer_blocks.0.attn1.{letter}"
                pairs[module] = with_spectrum(size * SPECTRUM, seed=layer)
    middle = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    pairs[middle] = with_spectrum(2 * SPECTRUM)
    pairs[f"up_blocks.2.{middle.partition('.')[2]}"] = (torch.zeros(24, 4), torch.zeros(4, 32))
    seen = inspect(planted(pairs, r=4))
    text = " ".join(seen.sentences)
    assert "third" not in text
    assert "evenly over the depth" not in text
    assert "dW = 0: up_blocks.2.attentions.0.transformer_blocks.0.attn1.to_q." in text
    energy = seen.numbers.groupby("projection")["energy_share"].sum()
    whole = 8 + 7 * 9 + 4  # squares of sizes
    for block, squares in (("down_blocks.*", 4), ("up_blocks.*", 27)):
        assert energy[f"{block}.attentions.0.transformer_blocks.0.attn1.to_q"] == pytest.approx(
            squares / whole
        )
    assert "of 9 layers in 3 stacks" in seen.title()
    rows = seen.printed().partition("Energy by layer of each stack")[2].splitlines()[1:]
    starts = [row.rpartition("  ")[0].strip() for row in rows]
    assert len(set(starts)) == len(energy)
    for block in ("down_blocks", "mid_block", "up_blocks"):
        assert any(block in start for start in starts)
    assert "In words" in inspection_page(seen)


def test_numbers_that_depend_on_a_scale_nobody_states_are_marked(planted):
    seen = inspect(planted({llama(0, "q"): with_spectrum(SPECTRUM), llama(0, "v"): with_spectrum(SPECTRUM)}))
    text = seen.printed()
    assert "alpha/r = 1 is taken" in text
    table = seen.tables()[0].terminal()
    assert re.search(r"q +1 +50\.0% +4\.61\? +4\? ", table)  # shares are the same for any scale of all
    assert "1.33 " in table  # the stable rank too
    record = seen.record()
    assert "norm" in record["depends_on_unstated_scale"]
    assert "stable_rank" not in record["depends_on_unstated_scale"]
    stated = inspect(planted({llama(0, "q"): with_spectrum(SPECTRUM)}, "stated", r=4)).printed()
    assert "?" not in stated


def test_shares_depend_on_the_scale_where_ranks_differ(planted):
    pairs = {llama(0, "q"): with_spectrum(SPECTRUM), llama(0, "v"): with_spectrum(SPECTRUM[:2])}
    seen = inspect(planted(pairs))
    assert {"energy_share", "state", "kept"} <= set(seen.record()["depends_on_unstated_scale"])
    text = seen.printed()
    assert re.search(r"rank 1 keeps \d+ %\? \(relative error \d+ %\?\)", text)
    assert re.search(r"'@' is \d+ %\? of", text)
    assert "depends on scales that are not stated (?)" in inspection_page(seen)


def test_of_a_fused_module_a_copy_keeps_what_resize_keeps(planted, tmp_path):
    """q, k and v of rank 2 each, in other directions: cut as one module to rank 2, not letter by letter."""
    letters = [with_spectrum(SPECTRUM[:2], 32, 32, seed=5 * i) for i in range(3)]
    B, A = torch.block_diag(*(B for B, _ in letters)), torch.cat([A for _, A in letters])
    path = planted({"transformer.h.0.attn.c_attn": (B, A)}, r=6, lora_alpha=6)
    seen = inspect(path)
    assert [one.row["rank"] for one in seen.measured] == [2, 2, 2]
    made = resize(path, tmp_path / "small", rank=2)
    assert seen.kept(2) == pytest.approx(1 - made.error**2, rel=1e-5)
    assert seen.kept(2) < 0.7
    assert seen.kept(6) == pytest.approx(1)
    assert f"{6 * (96 + 32):,} parameters" in seen.title()


def test_an_untrained_adapter_is_called_so(tiny, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(tiny("llama"), peft.LoraConfig(r=32, target_modules=["q_proj"]))
        model.save_pretrained(tmp_path / "fresh")
    seen = inspect(tmp_path / "fresh")
    assert seen.sentences == ["dW = 0 in all 2 projections: nothing was trained, or B was reset."]
    assert set(seen.numbers["A_init"]) == {"kaiming"}
    assert seen.record()["projections"][0]["stable_rank"] is None
    assert "In words" in inspection_page(seen)


def test_dead_projections_are_named(planted):
    pairs = {llama(i, "q"): with_spectrum(SPECTRUM, seed=i) for i in range(4)}
    pairs[llama(1, "q")] = (torch.zeros(24, 4), torch.randn(4, 32))
    pairs[llama(2, "q")] = (1e-3 * pairs[llama(2, "q")][0], pairs[llama(2, "q")][1])
    text = " ".join(inspect(planted(pairs, r=4)).sentences)
    assert "dW = 0: q of layer 2." in text
    assert "Near-dead, below 1 % of the median norm: q of layer 3." in text


@pytest.mark.parametrize(
    ("draw", "family"),
    [
        (lambda r, d, g: torch.nn.init.kaiming_uniform_(torch.empty(r, d), a=5**0.5, generator=g), "kaiming"),
        (lambda r, d, g: torch.randn(r, d, generator=g) / r, "gaussian 1/r"),
        (lambda r, d, g: torch.randn(r, d, generator=g) / (3 * d) ** 0.5, "gaussian"),
        (lambda r, d, g: torch.randn(r, d, generator=g) * 0.03, None),
        (lambda r, d, g: 1.03 * (2 * torch.rand(r, d, generator=g) - 1) / d**0.5, None),
    ],
)
def test_an_initialisation_is_told_from_what_is_none(draw, family):
    generator = torch.Generator().manual_seed(0)
    found = [initial_family(draw(8, 512, generator)) for _ in range(20)]
    assert found.count(family) >= 18


def test_rounding_of_bfloat16_is_stated_where_it_limits(planted):
    values = torch.tensor([1.0, 0.5, 1e-4, 1e-5], dtype=torch.float64)
    pairs = {llama(0, "q"): with_spectrum(values, 256, 256)}
    coarse = inspect(planted(pairs, dtype=torch.bfloat16, r=4, lora_alpha=4))
    (one,) = coarse.measured
    assert one.row["below_rounding"] == 2
    B, A = pairs[llama(0, "q")]
    error = B.bfloat16().double() @ A.bfloat16().double() - B @ A
    made = float(torch.linalg.svdvals(error)[0])  # of the size that is stated
    assert one.row["rounding"] / 3 < made < 1.5 * one.row["rounding"]
    assert "2 singular values in 1 projection lie below what rounding to bfloat16" in " ".join(
        coarse.sentences
    )
    fine = inspect(planted(pairs, "fine", r=4, lora_alpha=4))
    assert fine.measured[0].row["below_rounding"] == 0


# ------------------------------------------------------------------------------------------- beside W


@pytest.fixture
def trained(saved, tmp_path):
    """A model with a PEFT adapter of strong random pairs: (peft model, adapter's folder, base's folder)."""

    def make(kind, modules, size=0.5):
        model, base = saved(kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = peft.get_peft_model(
                model,
                peft.LoraConfig(r=3, lora_alpha=6, target_modules=modules, fan_in_fan_out=kind == "gpt2"),
            )
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
            adapted.save_pretrained(tmp_path / "adapter")
        return adapted, tmp_path / "adapter", base

    return make


def test_intruders_are_those_of_peft(trained):
    """PEFT looks at the left side of the stored weight: of GPT-2's transposed one, our right side."""
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    for kind, modules, side in (("llama", ["q_proj", "up_proj"], "left"), ("gpt2", ["c_fc"], "right")):
        adapted, folder, base = trained(kind, modules)
        said = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reduce_intruder_dimension(adapted, top_k=8, logging_sink=said.append)
        expected = [int(line.rpartition(" ")[2]) if "Intruders: " in line else 0 for line in said[:-1]]
        seen = inspect(folder, base, intruders=8)
        assert sum(expected) > 0
        assert int(seen.numbers[f"intruders_{side}"].sum()) == sum(expected)


def test_beside_w_the_numbers_are_those_of_dense_matrices(trained):
    adapted, folder, base = trained("llama", ["v_proj"], size=0.05)
    seen = inspect(folder, base)
    for one in seen.measured:
        module = adapted.get_submodule(f"base_model.model.model.layers.{one.pair.layer}.self_attn.v_proj")
        W = module.base_layer.weight.detach().double()
        dW = module.get_delta_weight("default").detach().double()
        U, _, Vh = torch.linalg.svd(dW)
        row = one.row
        assert row["relative_norm"] == pytest.approx(float(dW.norm() / W.norm()), rel=1e-5)
        assert row["factor"] == pytest.approx(float(dW.norm() / (U[:, :3].T @ W @ Vh[:3].T).norm()), rel=1e-4)
        U_W, _, Vh_W = torch.linalg.svd(W)
        share = float((U_W[:, :3].T @ dW).square().sum() / dW.square().sum())
        assert row["share_left"] == pytest.approx(share, rel=1e-4)
        share = float((dW @ Vh_W[:3].T).square().sum() / dW.square().sum())
        assert row["share_right"] == pytest.approx(share, rel=1e-4)
        assert (row["chance_left"], row["chance_right"]) == (3 / len(W), 3 / W.shape[1])


def test_beside_w_what_depends_on_a_scale_nobody_states_is_marked(trained):
    """Ranges and counts of intruders too; what no factor changes is not."""
    _, folder, base = trained("llama", ["q_proj", "v_proj"])
    seen = inspect(folder, base, intruders=8)
    assert "?" not in " ".join(seen.sentences)
    (folder / "adapter_config.json").unlink()
    seen = inspect(folder, base, intruders=8)
    text = " ".join(seen.sentences)
    assert re.search(r"dW is [\d.]+ %\? of W .*\(median; [\d.]+ %\? to [\d.]+ %\?\)", text)
    assert re.search(r": \d+\? on the left and \d+\? on the right of 4 projections; \d+\? and \d+\? of", text)
    assert re.search(r"amplifies them [\d.]+\?-fold, where random directions would give [\d.]+\?", text)
    assert re.search(r"[\d.]+ % of dW's energy is in W's top left directions \(chance", text)
    assert {"intruders_left", "arbitrary_right", "factor"} <= set(seen.record()["depends_on_unstated_scale"])
    assert not {"lift", "kept", "share_left"} & set(seen.record()["depends_on_unstated_scale"])


def test_an_adapter_of_another_model_is_one_line(trained, saved):
    _, folder, _ = trained("llama", ["q_proj"])
    _, other = saved("llama", "other", hidden_size=64)
    with pytest.raises(AnalysisError, match="of a model of width 32; the base model has width 64"):
        inspect(folder, other)


@pytest.mark.parametrize(("value", "told"), [(0.0, "is zero"), (math.nan, "has entries that are NaN")])
def test_a_broken_weight_of_the_base_is_named(trained, saved, value, told):
    _, folder, _ = trained("llama", ["q_proj"])
    _, base = saved("llama", "broken")
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.self_attn.q_proj.weight"] *= value
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AnalysisError, match=f"broken: W_q of layer 2 {told}"):
        inspect(folder, base)


def test_factors_whose_product_is_beyond_float64(planted):
    B, A = torch.full((4, 2), 1e200, dtype=torch.float64), torch.full((2, 4), 1e200, dtype=torch.float64)
    path = planted({"x": (B, A)}, dtype=torch.float64, r=2)
    with pytest.raises(AnalysisError, match="beyond float64"):
        inspect(path)


# ---------------------------------------------------------------------------------------- the command


def test_the_command_writes_every_form(planted, tmp_path, capsys):
    pairs = {llama(i, letter): with_spectrum(SPECTRUM, seed=i) for i in range(3) for letter in ("q", "gate")}
    path = planted(pairs, r=4)
    files = [tmp_path / name for name in ("a.json", "a.csv", "a.html")]
    options = [word for file in files for word in (f"--{file.suffix[1:]}", str(file))]
    assert main(["inspect", str(path), *options]) == 0
    printed = capsys.readouterr().out
    assert "6 projections (q, gate of 3 layers), r = 4" in printed
    record = json.loads(files[0].read_text())
    assert len(record["projections"]) == 6
    assert record["projections"][0]["singular_values"][0] == pytest.approx(8.0, rel=1e-5)  # alpha 8
    assert files[1].read_text().count("\n") == 7
    page = files[2].read_text()
    assert page.index("<img") < page.index("In words") < page.index("In numbers")
    assert "http" not in page.replace("http-equiv", "")


def test_a_file_that_cannot_be_written_is_named(planted, tmp_path, capsys):
    path = planted({"x": with_spectrum(SPECTRUM)}, r=4)
    assert main(["inspect", str(path), "--json", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} cannot be written: Is a directory\n"


def test_what_is_no_adapter_is_one_line(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 1
    assert re.fullmatch(r"error: .*a folder with no adapter of its own.*\n", capsys.readouterr().err)


# ------------------------------------------------------------------------------------------- DoRA


@pytest.mark.parametrize(("kind", "modules"), [("llama", ["v_proj", "down_proj"]), ("gpt2", ["c_attn"])])
def test_doras_update_is_that_of_pefts_merged_weight(kind, modules, saved, tmp_path):
    model, base = saved(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = peft.LoraConfig(r=3, lora_alpha=6, target_modules=modules, use_dora=True)
        adapted = peft.get_peft_model(model, settings)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
                if "magnitude" in name:
                    parameter.mul_(1 + 0.2 * torch.rand(parameter.shape, generator=generator))
        adapted.save_pretrained(tmp_path / "adapter")
        seen = inspect(tmp_path / "adapter", base, intruders=4)
        merged = BaseWeights.open(saved_to(adapted.merge_and_unload(), tmp_path / "merged"))
    before = BaseWeights.open(base)
    for one in seen.measured:
        place = one.pair.layer, one.label
        W = before.projection(*place).double()
        dW = merged.projection(*place).double() - W
        S = torch.linalg.svdvals(dW)
        assert one.row["norm"] == pytest.approx(float(dW.norm()), rel=1e-4)
        np.testing.assert_allclose(one.values, S.numpy(), atol=1e-5)
        assert one.row["relative_norm"] == pytest.approx(float(dW.norm() / W.norm()), rel=1e-4)
        assert one.row["rank_99"] > 3  # more than the pair can
        U, S, Vh = torch.linalg.svd(dW)
        factor = float(S[:3].norm() / (U[:, :3].T @ W @ Vh[:3].T).norm())
        assert one.row["factor"] == pytest.approx(factor, rel=1e-3)
        cosines = (torch.linalg.svd(W).U.T @ torch.linalg.svd(W + dW).U[:, :4]).abs().amax(0)
        assert one.row["intruders_left"] == int((cosines < 0.5).sum())
    text = " ".join(seen.adapter.notes)
    assert "with W they are of dW = W' - W0, which has full rank" in text
    bare = inspect(tmp_path / "adapter")
    assert bare.measured[0].row["rank_99"] <= 3
    assert "(of DoRA, B A alone)" in bare.sentences[0]
    assert "||s B A||" in bare.printed()
    assert "the numbers are of s B A, not of dW" in bare.printed()
    assert "s B A" not in seen.tables()[0].terminal()
    for one in (bare, seen):
        assert "resize cuts no DoRA" in " ".join(one.sentences)
        assert "a copy cut to" not in " ".join(one.sentences)
    assert "In words" in inspection_page(seen)
    assert seen.record()["projections"][0]["beyond_noise"] is None


def saved_to(model, folder):
    model.save_pretrained(folder)
    return folder


def test_an_untrained_dora_has_no_update(saved, tmp_path):
    model, base = saved("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = peft.LoraConfig(r=3, target_modules=["q_proj"], use_dora=True)
        peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    numbers = inspect(tmp_path / "adapter", base).numbers
    assert float(numbers["relative_norm"].max()) < 1e-6


# ------------------------------------------------------------------------------------ as they are stored


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["kaiming", "gaussian 1/r", "gaussian"])
def test_rounding_neither_makes_nor_hides_an_initialisation(kind, dtype):
    """As many are told from one as of the same entries unrounded, whether they moved or not."""
    generator = torch.Generator().manual_seed(0)
    r, d = 16, 2048
    counts = {"rounded": 0, "fine": 0, "moved": 0, "fine, moved": 0}
    for _ in range(40):
        noise = torch.randn(r, d, generator=generator)
        A = {
            "kaiming": (2 * torch.rand(r, d, generator=generator) - 1) / d**0.5,
            "gaussian 1/r": noise / r,
            "gaussian": noise / (3 * d) ** 0.5,
        }[kind]
        moved = A + 0.03 * A.std()  # a shift that training may make
        moved = moved.clamp(-(d**-0.5), d**-0.5) if kind == "kaiming" else moved
        counts["fine"] += initial_family(A) == kind
        counts["rounded"] += initial_family(A.to(dtype), dtype) == kind
        counts["fine, moved"] += initial_family(moved) == kind
        counts["moved"] += initial_family(moved.to(dtype), dtype) == kind
    assert counts["rounded"] >= 38
    assert abs(counts["rounded"] - counts["fine"]) <= 1
    assert abs(counts["moved"] - counts["fine, moved"]) <= 3


@pytest.mark.parametrize("size", [1000, 20_000, 32_768])
def test_at_the_critical_distance_the_p_value_is_the_level(size):
    distance = measures._critical_distance(size)
    assert kstwo.sf(distance, size) == pytest.approx(measures.LEVEL, rel=1e-6)


def test_coarse_entries_of_an_initialisation_pass_where_the_smooth_law_rejects_them():
    """With few significant digits rounding alone is more than the test allows."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.float8_e4m3fn
    found = []
    for _ in range(20):
        A = (torch.randn(16, 2048, generator=generator) / 16).to(coarse).float()
        found.append((initial_family(A, coarse), initial_family(A)))
    assert [with_dtype for with_dtype, _ in found].count("gaussian 1/r") >= 18
    assert [without for _, without in found].count("gaussian 1/r") == 0


def test_beside_dequantised_weights_it_is_said(trained):
    _, folder, base = trained("llama", ["q_proj"])
    assert "dequantised" not in " ".join(inspect(folder, base).sentences)
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"dequantised_from": "Q4_1"}))
    seen = inspect(folder, base)
    assert "W was dequantised from Q4_1" in (text := " ".join(seen.sentences))
    W = BaseWeights.open(base)
    counts = []
    for layer in (0, 1):
        weight = W.projection(layer, "q").double()
        counts.append(int((torch.linalg.svdvals(weight) < rounding_edge(weight, "Q4_1")).sum()))
    assert seen.numbers["weight_below_rounding"].tolist() == counts
    assert "Below the largest that it makes by itself lie" in text


def test_modules_without_a_letter_stand_beside_the_weight_of_their_name(saved, tmp_path):
    """A head, and an embedding, whose dW is the transpose of what is stored; against dense matrices."""
    model, base = saved("llama")
    generator = torch.Generator().manual_seed(3)
    vocabulary, d = model.lm_head.weight.shape
    tensors, dense = {}, {}
    for module, (d_out, d_in), names in (
        ("lm_head", (vocabulary, d), ("lora_A.weight", "lora_B.weight")),
        ("model.embed_tokens", (d, vocabulary), ("lora_embedding_A", "lora_embedding_B")),
        ("model.other", (5, 7), ("lora_A.weight", "lora_B.weight")),
        ("model.layers.0.self_attn.q_proj", (d, d), ("lora_A.weight", "lora_B.weight")),
    ):
        A = torch.randn(2, d_in, generator=generator)
        B = torch.randn(d_out, 2, generator=generator)
        dense[module] = B.double() @ A.double()
        tensors |= {f"base_model.model.{module}.{name}": one for name, one in zip(names, (A, B), strict=True)}
    (tmp_path / "adapter").mkdir()
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["lm_head"]}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    seen = inspect(tmp_path / "adapter", base)
    rows = seen.numbers.set_index("module")
    q = model.model.layers[0].self_attn.q_proj
    weights = {
        "model.layers.0.self_attn.q_proj": q.weight.detach().double(),
        "lm_head": model.lm_head.weight.detach().double(),
        "model.embed_tokens": model.model.embed_tokens.weight.detach().double().T,
    }
    for module, W in weights.items():
        dW = dense[module]
        U, _, Vh = torch.linalg.svd(dW, full_matrices=False)
        factor = dW.norm() / (U[:, :2].T @ W @ Vh[:2].T).norm()
        assert rows.loc[module, "relative_norm"] == pytest.approx(float(dW.norm() / W.norm()), rel=1e-6)
        assert rows.loc[module, "factor"] == pytest.approx(float(factor), rel=1e-5)
    assert math.isnan(rows.loc["model.other", "relative_norm"])
    told = " ".join(seen.sentences)
    assert "Beside W stand 3 of 4 projections; of the others the base has no W of that name" in told
    assert "size: model.other." in told
