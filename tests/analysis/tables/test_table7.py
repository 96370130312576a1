import dataclasses

import numpy as np
import pytest
import torch

import tests.analysis.planted
from analysis.errors import AnalysisError
from analysis.geometry.amplification import null_projected_norm, random_projected_norms
from analysis.reading.needs import MissingRunsError
from analysis.reading.study import Study
from analysis.selection import Selection
from analysis.tables import table7
from analysis.tables.numbers import interval
from analysis.tables.table7 import draws
from tests.analysis.planted import LAYERS, STUDY, D, factors, write_base, write_run


def value(numbers, quantity, rank, seed=0, weight="W_q", k=None):
    found = numbers[
        (numbers["quantity"] == quantity)
        & (numbers["rank"] == rank)
        & (numbers["seed"] == seed)
        & (numbers["weight"] == weight)
    ]
    found = found[found["k"].isna() if k is None else found["k"] == k]
    assert len(found) == 1
    return found.iloc[0]["value"]


@pytest.fixture(scope="module")
def result(planted):
    return table7.make(planted.select())


@pytest.mark.parametrize("rank", [4, 64])
def test_numbers_by_dense_decompositions(planted, result, rank):
    W = planted.weights[1, "q"].numpy()
    pair = factors(1, "q", rank, 0)
    raw = (pair.B.double() @ pair.A.double()).numpy()
    dW = 8 / rank * raw
    U, S, Vh = np.linalg.svd(dW)
    core = U[:, :rank].T @ W @ Vh[:rank].T
    own = np.linalg.svd(W, compute_uv=False)
    null = rank * np.linalg.norm(W) / D
    expected = {
        "scaling": 8 / rank,
        "weight_norm": np.linalg.norm(W),
        "delta_norm": np.linalg.norm(dW),
        "delta_norm_raw": np.linalg.norm(raw),
        "projected_norm_delta": np.linalg.norm(core),
        "projected_norm_weight": np.sqrt((own[:rank] ** 2).sum()),
        "null_projected_norm": null,
        "lift_delta": np.linalg.norm(core) / null,
        "factor": np.linalg.norm(dW) / np.linalg.norm(core),
        "factor_raw": np.linalg.norm(raw) / np.linalg.norm(core),
        "null_factor": np.linalg.norm(dW) / null,
    }
    for quantity, number in expected.items():
        assert value(result.numbers, quantity, rank) == pytest.approx(number, rel=1e-6), quantity
    random = value(result.numbers, "projected_norm_random", rank)
    spread = value(result.numbers, "projected_norm_random_sd", rank)
    assert abs(random - null) < 5 * spread / np.sqrt(20) + 0.05 * null
    assert value(result.numbers, "gain", rank, k=1) == pytest.approx(S[0] / abs(core[0, 0]), rel=1e-6)
    top = np.linalg.norm(S[:2]) / np.linalg.norm(core[:2, :2])
    assert value(result.numbers, "factor_top_k", rank, k=2) == pytest.approx(top, rel=1e-6)


def test_every_rank_seed_and_weight_is_there(result):
    assert set(result.numbers["layer"]) == {2}, "from 1, where W and dW were read from the layer 1 from 0"
    single = result.numbers[result.numbers["k"].isna() & (result.numbers["quantity"] == "factor")]
    found = sorted(single[["weight", "rank", "seed"]].itertuples(index=False, name=None))
    expected = [(f"W_{w}", r, s) for w in "qv" for r in (4, 8, 64) for s in (0, 1)]
    assert found == sorted([*expected, ("W_q", 64, 2), ("W_v", 64, 2)])


def test_the_papers_numbers_stand_where_the_layout_coincides(result):
    paper = result.numbers.dropna(subset="paper")
    assert set(paper["weight"]) == {"W_q"}
    assert set(paper["rank"]) == {4, 64}
    found = {(row.rank, row.quantity): row.paper for row in paper.itertuples()}
    assert found[4, "projected_norm_delta"] == 0.32
    assert found[64, "projected_norm_weight"] == 37.71
    assert found[4, "null_projected_norm"] == 0.0202
    assert found[64, "lift_delta"] == 5.9


def test_texts_are_in_the_papers_layout_and_state_the_scale(result):
    first = result.printed().splitlines()[2]
    assert [words.strip() for words in first.split("   ") if words.strip()][-6:] == [
        "dW, r = 4", "W, r = 4", "random, r = 4", "dW, r = 64", "W, r = 64", "random, r = 64",
    ]  # fmt: skip
    for text in (result.printed(), result.documents()[".md"], result.documents()[".tex"]):
        flat = " ".join(text.split())
        assert "0.32" in flat
        assert "21.67" in flat
        assert "dW includes the scale (alpha/r" in flat
        assert "AF of B A leaves it out" in flat
    assert r"\toprule" in result.documents()[".tex"]


def test_dW_of_zero_has_no_factor(planted):
    result = table7.make(planted.select(layer=LAYERS - 1))
    numbers = result.numbers
    assert value(numbers, "delta_norm", 8) == 0
    assert value(numbers, "numerical_rank", 8) == 0
    for quantity in ("factor", "lift_delta", "projected_norm_weight", "projected_norm_random", "lift_weight"):
        assert np.isnan(value(numbers, quantity, 8)), quantity
    assert "W_q at r = 8, seed 0 (numerical rank 0)" in " ".join(result.printed().split())


def damaged(monkeypatch, root, base, change):
    """A study of r = 8, seed 0 whose factors are as `change` makes them, and seed 1 as planted."""
    whole = tests.analysis.planted.factors
    with monkeypatch.context() as patch:
        patch.setattr("tests.analysis.planted.factors", lambda *key: change(whole(*key)))
        write_run(root, base, 8, 0)
    write_run(root, base, 8, 1)
    return Selection.of(Study.open(STUDY, root))


def half(pair):
    B = pair.B.clone()
    B[:, pair.rank // 2 :] = 0
    return dataclasses.replace(pair, B=B)


def test_a_rank_deficient_dW_is_compared_at_its_own_rank(planted, monkeypatch, tmp_path):
    """Else W's own top 8 would stand beside the null of 4."""
    result = table7.make(damaged(monkeypatch, tmp_path, planted.base, half))
    W = planted.weights[1, "q"].numpy()
    own = np.linalg.svd(W, compute_uv=False)
    for seed, rank in ((0, 4), (1, 8)):
        null = rank * np.linalg.norm(W) / D
        expected = np.sqrt((own[:rank] ** 2).sum())
        assert value(result.numbers, "numerical_rank", 8, seed) == rank
        assert value(result.numbers, "null_projected_norm", 8, seed) == pytest.approx(null)
        assert value(result.numbers, "projected_norm_weight", 8, seed) == pytest.approx(expected)
        assert value(result.numbers, "lift_weight", 8, seed) == pytest.approx(expected / null)
        assert value(result.numbers, "lift_random", 8, seed) == pytest.approx(1, abs=0.1)
    text = " ".join(result.printed().split())
    assert "Rank-deficient dW: W_q at r = 8, seed 0 (numerical rank 4); W_v at r = 8, seed 0" in text
    assert "(12 of 16)" in text  # of the gains


@pytest.mark.parametrize("rank", [4, 64])
def test_random_is_the_root_mean_square_of_the_draws_and_its_range_stands_beside_the_lift(
    planted, result, rank
):
    """As the null is: the mean of the norms is below it, the more so the fewer directions."""
    W = planted.weights[1, "q"]
    norms = random_projected_norms(W, rank, draws(rank))
    null = null_projected_norm(float(W.norm()), W.shape, rank)
    assert draws(rank) == {4: 10_000, 64: 4000}[rank]
    assert value(result.numbers, "projected_norm_random", rank) == pytest.approx(norms.square().mean() ** 0.5)
    assert value(result.numbers, "lift_random", rank) == pytest.approx(1, abs=0.1)
    low, high = (value(result.numbers, f"lift_random_q{q}", rank) for q in ("05", "95"))
    assert [low, high] == pytest.approx([float(norms.quantile(q)) / null for q in (0.05, 0.95)])
    assert low < 1 < high
    for table in ("Table 7,", "Amplification factors"):
        text = result.printed()[result.printed().index(table) :]
        assert interval(low, high) in text
    assert "root mean square of 10000 (r = 4) and 4000 (r = 64) draws" in " ".join(result.printed().split())


def near_equal(pair):
    """Singular values 2 and 3 of dW, from 1, nearly equal."""
    U, S, V = torch.linalg.svd(pair.scaling * pair.B.double() @ pair.A.double(), full_matrices=False)
    rank = pair.rank
    S[2] = 0.999 * S[1]
    B, A = (U[:, :rank] * S[:rank]).float().contiguous(), V[:rank].float().contiguous()
    return dataclasses.replace(pair, B=B / pair.scaling, A=A)


def test_what_near_equal_singular_values_leave_open_is_marked(planted, monkeypatch, tmp_path):
    result = table7.make(damaged(monkeypatch, tmp_path, planted.base, near_equal))
    found = result.numbers[(result.numbers["weight"] == "W_q") & (result.numbers["seed"] == 0)]
    marked = {
        quantity: found[(found["quantity"] == quantity) & (found["arbitrary"] == 1)]["k"].tolist()
        for quantity in ("gain", "factor_top_k")
    }
    assert {2, 3} <= set(marked["gain"])
    assert 2 in marked["factor_top_k"]
    assert 1 not in marked["gain"]
    gains = result.numbers[result.numbers["quantity"] == "gain"]
    text = " ".join(result.printed().split())
    assert f"{gains['arbitrary'].sum()} of {len(gains)} at r = 8 (all weights and seeds" in text
    assert found[found["quantity"] == "factor"]["arbitrary"].isna().all()


def test_seeds_that_were_chosen_are_not_left_out_in_silence(planted):
    with pytest.raises(MissingRunsError, match=r"lacks 3 runs: qv r=4 seed=5"):
        table7.make(planted.select(seeds=(0, 5)))


def test_ranks_of_two_models_are_not_put_in_one_table(planted, tmp_path):
    """Each would be held against the W0 of the first."""
    write_base(tmp_path / "other", name="other")
    write_run(tmp_path, planted.base, 4, 0)
    write_run(tmp_path, tmp_path / "other", 8, 0)
    with pytest.raises(AnalysisError, match="the runs are of different models"):
        table7.make(Selection.of(Study.open(STUDY, tmp_path)))


def test_a_study_without_runs_of_these_targets_is_told_the_papers_ranks(planted):
    with pytest.raises(MissingRunsError, match=r"k r=4 seed=0; k r=64 seed=0"):
        table7.make(planted.select(targets="k"))
