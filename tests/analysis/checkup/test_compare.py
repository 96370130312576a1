"""Adapters that share known subspaces, copies in disguise, merges, and pairs that cannot be compared."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import subspace_angles

import lora
from analysis import AnalysisError
from analysis.checkup.compare import compare
from analysis.checkup.page import comparison_page
from analysis.checkup.resize import resize
from analysis.commands import main
from tests.analysis.checkup.adapters import llama, orthonormal


def drawn(seed, r=4, d_out=48, d_in=64):
    generator = torch.Generator().manual_seed(seed)
    B = torch.randn(d_out, r, generator=generator, dtype=torch.float64)
    return B, torch.randn(r, d_in, generator=generator, dtype=torch.float64)


def places():
    return [llama(layer, letter) for layer in range(3) for letter in "qv"]


@pytest.fixture
def one(planted):
    return {module: drawn(i) for i, module in enumerate(places())}


def test_planted_shared_directions_come_back(planted):
    """Two of four input directions are the same, no output direction is."""
    pairs, others = {}, {}
    for i, module in enumerate(places()):
        V = orthonormal(64, 6, seed=i).T
        B, _ = drawn(i)
        C, _ = drawn(100 + i)
        pairs[module], others[module] = (B, V[:4]), (C, V[[0, 1, 4, 5]])
    seen = compare([planted(pairs, "one", r=4), planted(others, "other", r=4)])
    assert set(seen.numbers["shared_right"]) == {2.0}
    assert seen.numbers["shared_left"].sum() <= 1  # by chance one in a hundred
    np.testing.assert_allclose(seen.numbers["phi_right"], 0.5, atol=1e-6)
    assert set(seen.numbers["phi_right_chance"]) == {4 / 64}


def test_phi_and_cosine_are_those_of_dense_matrices(planted, one):
    other = {module: drawn(50 + i, r=3) for i, module in enumerate(places())}
    seen = compare([planted(one, "one", r=4, lora_alpha=8), planted(other, "other", r=3, lora_alpha=1)])
    for found, module in zip(seen.compared, places(), strict=True):
        dW, dW_other = (scale * B @ A for scale, (B, A) in ((2, one[module]), (1 / 3, other[module])))
        cosine = float((dW * dW_other).sum() / dW.norm() / dW_other.norm())
        assert found.row["cosine"] == pytest.approx(cosine, rel=1e-4)
        assert found.row["norm_ratio"] == pytest.approx(float(dW_other.norm() / dW.norm()), rel=1e-5)
        bases = [torch.linalg.svd(m, full_matrices=False)[2][:k].T for m, k in ((dW, 4), (dW_other, 2))]
        angles = subspace_angles(*(basis.numpy() for basis in bases))
        assert found.right[3, 1] == pytest.approx(float((np.cos(angles) ** 2).mean()), rel=1e-4)
    assert "within ±" in " ".join(seen.sentences)


def test_unrelated_adapters_are_called_nothing(planted, one):
    other = {module: drawn(50 + i) for i, module in enumerate(places())}
    seen = compare([planted(one, "one", r=4), planted(other, "other", r=4)])
    assert set(seen.numbers["relation"]) == {""}
    assert (seen.numbers["cosine"].abs() < 5 * seen.numbers["cosine_chance"]).all()
    assert set(seen.numbers["shared_right"]) == {0.0}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bits_neither_hide_a_copy_nor_make_one(planted, one, dtype):
    other = {module: drawn(50 + i) for i, module in enumerate(places())}
    paths = [
        planted(one, "one", r=4),
        planted(one, "coarse", dtype, r=4),
        planted(other, "other", dtype, r=4),
    ]
    assert set(compare(paths[:2]).numbers["relation"]) == {"same dW: the same factors"}
    assert set(compare(paths[1:]).numbers["relation"]) == {""}


ROTATION = orthonormal(4, 4, seed=9)
PERMUTATION = torch.eye(4, dtype=torch.float64)[[2, 0, 3, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("change", "relation", "ratio"),
    [
        (lambda B, A: (B, A), "same dW: the same factors", 1),
        (lambda B, A: (B @ PERMUTATION.T, PERMUTATION @ A), "same dW: permuted factors", 1),
        (lambda B, A: (B @ ROTATION.T, ROTATION @ A), "same dW: rotated factors", 1),
        (lambda B, A: (-1.5 * B, A), "same dW at another scale: the same factors", -1.5),
        (lambda B, A: (3 * B @ ROTATION.T, ROTATION @ A), "same dW at another scale: rotated factors", 3),
    ],
)
def test_copies_are_recognised(planted, one, change, relation, ratio, dtype):
    other = {module: change(*pair) for module, pair in one.items()}
    paths = [planted(one, "one", r=4), planted(other, "other", dtype=dtype, r=4)]
    seen = compare(paths)
    assert set(seen.numbers["relation"]) == {relation}
    np.testing.assert_allclose(seen.numbers["ratio"], ratio, rtol=1e-5 if dtype == torch.float32 else 1e-2)
    scale = f", {ratio:.4g} times as large in other" if ratio != 1 else ""
    if dtype == torch.float32:
        assert seen.sentences == [f"one and other: {relation}{scale} in 6 of 6 shared projections."]


def test_another_alpha_or_a_factor_folded_into_b(planted, one):
    paths = [planted(one, "one", r=4, lora_alpha=4), planted(one, "two", r=4, lora_alpha=8)]
    assert "2 times as large in two" in compare(paths).sentences[0]
    folded = {module: (2 * B, A) for module, (B, A) in one.items()}
    paths = [planted(folded, "folded", r=4, lora_alpha=4), paths[1]]
    assert compare(paths).sentences[0].startswith("folded and two: same dW: the same factors")


def test_the_same_seed_is_recognised(planted):
    """A moved a little from one beginning; B from 0, elsewhere in each."""
    first, second, third = {}, {}, {}
    for i, module in enumerate(places()):
        _, A = drawn(i)
        first[module] = (drawn(10 + i)[0], A + 0.3 * drawn(20 + i)[1])
        second[module] = (drawn(30 + i)[0], A + 0.3 * drawn(40 + i)[1])
        third[module] = (drawn(50 + i)[0], drawn(60 + i)[1])
    seen = compare([planted(pairs, f"a{n}", r=4) for n, pairs in enumerate((first, second, third))])
    relations = seen.numbers.groupby(["first", "second"])["relation"].agg(set).to_dict()
    assert relations == {(0, 1): {"same initialisation"}, (0, 2): {""}, (1, 2): {""}}
    assert (
        "a0 and a1: same initialisation in 6 of 6 shared projections (A of the two has cosine 0.9"
        in " ".join(seen.sentences)
    )


@pytest.mark.parametrize("shared", [1, 2])
def test_aligned_leading_directions_are_no_shared_start(planted, tmp_path, shared):
    """Two that learnt the same top directions, cut by an SVD, which puts these into the same rows of A."""
    paths = []
    for n in range(2):
        pairs = {}
        for i, module in enumerate(places()):
            common, own = orthonormal(64, 2, seed=i), orthonormal(64, 4, seed=50 + 10 * n + i)
            V = torch.linalg.qr(torch.cat([common[:, :shared], own], 1))[0][:, :4].T
            values = torch.tensor([8.0, 6.0, 1.0, 0.5], dtype=torch.float64)
            U = orthonormal(48, 4, seed=200 + 10 * n + i)
            mixing = drawn(20 * n + i, 4, 4, 4)[0]
            pairs[module] = (U * values @ mixing, torch.linalg.solve(mixing, V))
        whole = planted(pairs, f"whole{n}", r=4)
        for rank in (1, 2, 4):
            resize(whole, tmp_path / f"cut{n}-{rank}", rank=rank)
        paths.append(whole)
    for rank in (1, 2, 4):
        seen = compare([tmp_path / f"cut{n}-{rank}" for n in range(2)])
        assert seen.numbers["A_cosine"].abs().max() > 0.4
        assert set(seen.numbers["relation"]) == {""}
    assert set(compare(paths).numbers["relation"]) == {""}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_aligned_row_of_unordered_factors_is_no_shared_start(planted, dtype):
    first, second = {}, {}
    for i, module in enumerate(places()):
        _, A = drawn(i)
        other = drawn(60 + i)[1]
        A[0] *= 3
        other[0] = A[0]
        first[module], second[module] = (drawn(10 + i)[0], A), (drawn(30 + i)[0], other)
    seen = compare([planted(pairs, name, dtype, r=4) for name, pairs in (("a", first), ("b", second))])
    assert seen.numbers["A_cosine"].min() > 0.6
    assert set(seen.numbers["relation"]) == {""}


def test_a_merge_is_recognised(planted, one):
    other = {module: drawn(50 + i) for i, module in enumerate(places())}
    merged = {
        module: (torch.cat([0.25 * B, 2 * other[module][0]], 1), torch.cat([A, other[module][1]]))
        for module, (B, A) in one.items()
    }
    paths = [planted(one, "one", r=4), planted(other, "two", r=4), planted(merged, "sum", r=8, lora_alpha=16)]
    seen = compare(paths)
    (told,) = [sentence for sentence in seen.sentences if "merge" in sentence and sentence.startswith("sum")]
    assert told.startswith("sum is a merge: dW = 0.25 one + 2 two")
    assert "Cosine of dW over what all share" in seen.printed()
    expected = sum(float((B @ A).square().sum()) * 4 for B, A in one.values())  # alpha 8, r 4
    assert seen.inner[0, 0] == pytest.approx(expected, rel=1e-5)


def combined(parts):
    """The sum of weight * dW over [(weight, pairs), ...], as pairs."""
    return {
        module: (
            torch.cat([weight * pairs[module][0] for weight, pairs in parts], 1),
            torch.cat([pairs[module][1] for _, pairs in parts]),
        )
        for module in places()
    }


def merges(planted, **adapters):
    paths = [planted(pairs, name, r=len(next(iter(pairs.values()))[1])) for name, pairs in adapters.items()]
    return [s for s in compare(paths).sentences if "merge" in s or "dependent" in s]


def test_one_dependence_is_told_once(planted, one):
    """Signs + + - - leave open which of the four was made of the rest."""
    two, three = ({module: drawn(n + i) for i, module in enumerate(places())} for n in (50, 70))
    # The scale is 8 / r: the weights of the sums, whose rank is 12, come out the smaller.
    (told,) = merges(planted, sum=combined([(3, one), (3, two)]), one=one, two=two)
    assert told.startswith("sum is a merge: dW = 1.5 one + 1.5 two, in the projections that all share")
    mixed = combined([(3, one), (3, two), (-3, three)])
    (told,) = merges(planted, mixed=mixed, a=one, b=two, c=three)
    assert told == (
        "mixed, a, b, c are linearly dependent in the projections that all share: dW of mixed = 1 a + 1 b - "
        "1 c. Which of them was made of the others this does not tell."
    )


def test_two_merges_of_the_same_sources_are_both_told(planted, one):
    two = {module: drawn(50 + i) for i, module in enumerate(places())}
    found = merges(
        planted, one=one, m=combined([(1, one), (1, two)]), n=combined([(0.5, one), (4, two)]), two=two
    )
    assert [told.partition(",")[0] for told in found] == [
        "m is a merge: dW = 0.5 one + 0.5 two",
        "n is a merge: dW = 0.25 one + 2 two",
    ]


def test_copies_make_no_merge(planted, one):
    """Neither a copy nor one at another scale has a part in a sum beside its first."""
    two = {module: drawn(50 + i) for i, module in enumerate(places())}
    scaled = {module: (-3 * B @ ROTATION.T, ROTATION @ A) for module, (B, A) in one.items()}
    assert not merges(planted, one=one, scaled=scaled, two=two)
    total = combined([(2, one), (2, two)])
    (told,) = merges(planted, first=one, again=one, second=scaled, other=two, sum=total)
    assert told.startswith("sum is a merge: dW = 1 first + 1 other,")


def test_numbers_that_depend_on_a_scale_nobody_states_are_marked(planted, one):
    """Cosines of one projection are the same for any scale; a sum of several for one that serves all."""
    half = {module: (0.5 * B, A) for module, (B, A) in one.items()}
    two = {module: drawn(50 + i) for i, module in enumerate(places())}
    paths = [planted(one, "bare"), planted(half, "half", r=4, lora_alpha=4), planted(two, "two", r=4)]
    seen = compare(paths)
    assert seen.sentences[0] == (
        "bare and half: same dW at another scale?: the same factors, 0.5? times as large in half in 6 of 6 "
        "shared projections."
    )
    matrix, norm = seen.tables()[0].terminal(), math.sqrt(seen.inner[0, 0])
    assert re.search(rf"bare +{norm:.3g}\?\* +1\.000 ", matrix)
    assert re.search(rf"half +1\.000 +{norm / 2:.3g}\* ", matrix)
    assert seen.record()["depends_on_unstated_scale"] == ["norm_ratio", "relation", "ratio", "inner_products"]
    assert seen.numbers["scale_stated"].tolist() == [False] * 12 + [True] * 6
    assert compare(paths[1:]).record()["depends_on_unstated_scale"] == []
    uneven = planted({llama(0, "q"): drawn(0), llama(0, "v"): drawn(1, r=2)}, "uneven")
    matrix = compare([uneven, paths[1], paths[2]]).tables()[0].terminal()
    assert re.search(r"uneven +\d+\?\* +-?0\.\d+\? +-?0\.\d+\?", matrix)
    assert re.search(r"two +-?0\.\d+\? +-?0\.\d+ +\d+\*", matrix)
    sum_ = combined([(2, one), (2, two)])
    (told,) = merges(planted, bare2=sum_, a=one, b=two)
    assert "1 a + 1 b" in told
    seen = compare([paths[0], paths[2], planted(sum_, "sum", r=8, lora_alpha=8)])
    assert "dW = 2? bare + 1? two" in " ".join(seen.sentences)


def test_a_fused_module_beside_split_projections(tiny, random_adapter, tmp_path):
    """PEFT's c_attn with q and v stacked, against this project's file of q, k and v apart."""
    model = random_adapter(tiny("gpt2"), targets="qv", rank=2)
    lora.export_peft(model, tmp_path / "fused")
    lora.save(model, tmp_path / "split.safetensors")
    seen = compare([tmp_path / "fused", tmp_path / "split.safetensors"])
    assert set(seen.numbers["projection"]) == {"q", "v"}
    assert all(relation.startswith("same dW:") for relation in seen.numbers["relation"])


def test_no_movement_has_no_direction(planted, one):
    still = {module: (0 * B, A) for module, (B, A) in one.items()}
    seen = compare([planted(one, "one", r=4), planted(still, "still", r=4)])
    assert seen.numbers["cosine"].isna().all()
    assert all(math.isnan(value) for value in seen.numbers["shared_right"])
    assert json.dumps(seen.record(), allow_nan=False)
    assert "In words" in comparison_page(seen)
    assert seen.sentences[1:] == ["one and still: dW = 0 in one or both in 6 of 6 shared projections."]


def test_still_projections_do_not_count_among_the_compared(planted, one):
    other = {module: (B * (i > 1), A) for i, (module, (B, A)) in enumerate(one.items())}
    other[places()[2]] = drawn(70)
    seen = compare([planted(one, "one", r=4), planted(other, "other", r=4)])
    words = " ".join(seen.sentences)
    assert "dW = 0 in one or both in 2 of 6 shared projections" in words
    assert "in 4 shared projections" in words


def test_what_cannot_be_compared_is_one_line(planted, one, tiny, random_adapter, tmp_path):
    def refused(first, second, message):
        with pytest.raises(AnalysisError, match=message):
            compare([first, second])

    path = planted(one, "one", r=4)
    lora.save(random_adapter(tiny("gpt2")), tmp_path / "gpt2.safetensors")
    refused(path, tmp_path / "gpt2.safetensors", "is of a llama or .* model and .* of a gpt2 one")
    wide = planted({module: drawn(0, d_in=80) for module in one}, "wide", r=4)
    refused(path, wide, r"dW of q of layer 1 is \(48, 64\) in .* and \(48, 80\) in .*wide")
    elsewhere = planted({llama(7, "k"): drawn(0)}, "elsewhere", r=4)
    refused(
        path,
        elsewhere,
        "no projection in common: the one adapts such as .* of layer 1, the other k of layer 8",
    )
    name = "lora_unet_model_layers_0_self_attn_q_proj"
    tensors = {f"{name}.lora_down.weight": torch.ones(4, 64), f"{name}.lora_up.weight": torch.ones(48, 4)}
    save_file(tensors, tmp_path / "kohya.safetensors")
    refused(path, tmp_path / "kohya.safetensors", "only beside the base model")
    with pytest.raises(AnalysisError, match="two adapters or more"):
        compare([path])


def test_the_command(planted, one, tmp_path, capsys):
    paths = [str(planted(pairs, name, r=4)) for name, pairs in (("one", one), ("two", one))]
    files = [tmp_path / name for name in ("a.json", "a.csv", "a.html")]
    options = [word for file in files for word in (f"--{file.suffix[1:]}", str(file))]
    assert main(["compare", *paths, *options]) == 0
    assert "one and two: same dW: the same factors in 6 of 6" in capsys.readouterr().out
    record = json.loads(files[0].read_text())
    first = record["projections"][0]
    d = 64
    assert np.shape(first["phi_right"]) == np.shape(first["phi_right_chance"]) == (4, 4)
    assert first["phi_right_chance"][1] == pytest.approx([2 / d, 2 / d, 3 / d, 4 / d], abs=1e-5)
    assert files[1].read_text().count("\n") == 7
    assert files[2].read_text().count("<img") == 2
