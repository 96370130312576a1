import numpy as np
import pytest

from analysis.needs import MissingRunsError
from analysis.tables import table7
from tests.analysis.planted import LAYERS, D, factors


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
    first = result.terminal.splitlines()[2]
    assert [words.strip() for words in first.split("   ") if words.strip()][-6:] == [
        "dW, r = 4", "W, r = 4", "random, r = 4", "dW, r = 64", "W, r = 64", "random, r = 64",
    ]  # fmt: skip
    for text in (result.terminal, result.texts[".md"], result.texts[".tex"]):
        flat = " ".join(text.split())
        assert "0.32" in flat
        assert "21.67" in flat
        assert "dW includes the scale (alpha/r" in flat
        assert "AF of B A leaves it out" in flat
    assert r"\toprule" in result.texts[".tex"]


def test_dW_of_zero_has_no_factor(planted):
    numbers = table7.make(planted.select(layer=LAYERS - 1)).numbers
    assert value(numbers, "delta_norm", 8) == 0
    assert np.isnan(value(numbers, "factor", 8))
    assert np.isnan(value(numbers, "lift_delta", 8))
    assert value(numbers, "projected_norm_weight", 8) > 0


def test_a_study_without_runs_of_these_targets_is_told_the_papers_ranks(planted):
    with pytest.raises(MissingRunsError, match=r"k r=4 seed=0; k r=64 seed=0"):
        table7.make(planted.select(targets="k"))
