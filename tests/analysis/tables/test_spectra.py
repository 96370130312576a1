import numpy as np
import pytest

from analysis.tables import spectra
from tests.analysis.planted import LAYERS, D, delta, factors


@pytest.fixture(scope="module")
def result(planted):
    return spectra.make(planted.select())


def value(numbers, quantity, source, layer=2, weight="W_q", seed=0, **where):
    found = numbers[
        (numbers["quantity"] == quantity)
        & (numbers["source"] == source)
        & (numbers["layer"] == layer)
        & (numbers["weight"] == weight)
        & (numbers["seed"] == seed)
    ]
    for key, wanted in where.items():
        found = found[found[key] == wanted]
    assert len(found) == 1
    return found.iloc[0]["value"]


def dense(source, layer=1, letter="q", seed=0):
    if source == "full":
        return delta(layer, letter, seed).double().numpy()
    pair = factors(layer, letter, int(source.removeprefix("r = ")), seed)
    return pair.scaling * (pair.B.double() @ pair.A.double()).numpy()


@pytest.mark.parametrize("source", ["r = 8", "r = 64", "full"])
def test_effective_ranks_by_dense_decompositions(planted, result, source):
    dW, W = dense(source), planted.weights[1, "q"].numpy()
    S = np.linalg.svd(dW, compute_uv=False)
    share = S / S.sum()
    share = share[share > 1e-14]
    energy = np.cumsum(S**2) / (S**2).sum()
    before, after = np.linalg.svd(W)[0], np.linalg.svd(W + dW)[0][:, :10]
    cosines = np.abs(before.T @ after).max(0)
    expected = {
        "stable_rank": (S**2).sum() / S[0] ** 2,
        "entropy_rank": np.exp(-(share * np.log(share)).sum()),
        "energy_rank": np.argmax(energy >= 0.9) + 1,
        "intruder_dimensions": (cosines < 0.5).sum(),
    }
    for quantity, number in expected.items():
        assert value(result.numbers, quantity, source) == pytest.approx(number, rel=1e-6), quantity
    assert value(result.numbers, "singular_value", source, k=2) == pytest.approx(S[1], rel=1e-5)


def test_the_planted_direction_is_the_one_that_seeds_share(result):
    shared = result.numbers[result.numbers["quantity"] == "shared_dimension"]
    assert (shared[shared["rank"] < 64]["value"] == 1).all()
    # Two subspaces of 64 dimensions meet in any case in a space of 72.
    assert (shared[shared["rank"] == 64]["value"] == 0).all()
    assert len(shared) == 2 * LAYERS * (1 + 1 + 3)
    assert D == 72


def test_dW_of_zero_has_no_rank(result):
    assert np.isnan(value(result.numbers, "stable_rank", "r = 8", layer=LAYERS))
    assert np.isnan(value(result.numbers, "intruder_dimensions", "r = 8", layer=LAYERS))
    assert value(result.numbers, "stable_rank", "full", layer=LAYERS) > 1


def test_only_one_layers_singular_values_are_kept(result):
    found = result.numbers[result.numbers["quantity"] == "singular_value"]
    assert set(found["layer"]) == {2}
    assert result.provenance["singular_values_of_layer"] == 2


def test_texts_hold_each_projection_and_the_terminal_a_summary(result):
    assert "each projection" in result.texts[".md"]
    assert result.texts[".tex"].count(r"\toprule") == 3
    assert "Each projection: spectra.md" in result.terminal
    assert "LoRA: 7 runs; full fine-tuning: 2." in " ".join(result.terminal.split())
    assert "Dimension that two seeds share" in result.terminal


def test_one_seed_is_enough_for_all_but_the_shared_dimension(planted):
    result = spectra.make(planted.select(seeds=(1,)))
    assert not (result.numbers["quantity"] == "shared_dimension").any()
    assert "There is one seed, so no shared dimension." in result.drawings[""].caption
    assert "Dimension that two seeds share" not in result.terminal
