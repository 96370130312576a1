import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.geometry.dimensions import shared_dimension
from analysis.geometry.svd import right_singular
from analysis.reading.needs import MissingRunsError
from analysis.reading.study import Study
from analysis.selection import Selection
from analysis.tables import spectra
from tests.analysis.planted import LAYERS, STUDY, D, delta, factors, write_base, write_run


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
    assert shared[shared["rank"] == 64]["value"].isna().all()
    assert len(shared) == 2 * LAYERS * (1 + 1 + 3)
    assert D == 72


def test_where_subspaces_must_meet_the_shared_dimension_is_not_defined(result):
    table = result.printed()[result.printed().index("Dimension that two seeds share") :]
    assert table.splitlines()[4].split() == ["1", "1.00", "1.00", "1.00", "1.00", "–", "–"]
    assert "not defined where dW = 0 or twice the rank exceeds d" in result.drawings[""].caption
    panel = result.drawings[""].figure.axes[2]
    assert [text.get_text() for text in panel.texts] == ["$r = 64$: not defined"]


def test_different_layers_share_what_they_share_by_training_alike(planted, result):
    elsewhere = result.numbers[result.numbers["quantity"] == "shared_dimension_other_layer"]
    found = elsewhere[(elsewhere["rank"] == 8) & (elsewhere["weight"] == "W_v")].set_index("layer")["value"]
    for layer in range(LAYERS):
        one, other = right(layer, "v", 8, 0), right((layer + 1) % LAYERS, "v", 8, 1)
        assert found[layer + 1] == shared_dimension(one, other)
    lines = [
        line.split("  ") for line in result.printed().splitlines() if line.startswith("different layers")
    ]
    assert len(lines) == 1
    assert [cell.strip() for cell in lines[0] if cell.strip()][1:][-1] == "–"  # r = 64


def right(layer, letter, rank, seed):
    return right_singular(factors(layer, letter, rank, seed).A)[1]


def test_dW_of_zero_has_no_rank(result):
    assert np.isnan(value(result.numbers, "stable_rank", "r = 8", layer=LAYERS))
    assert np.isnan(value(result.numbers, "intruder_dimensions", "r = 8", layer=LAYERS))
    assert value(result.numbers, "stable_rank", "full", layer=LAYERS) > 1


def test_means_say_of_how_many_layers_they_are(result):
    """In the last layer LoRA's dW is 0."""
    summary = result.printed()[: result.printed().index("Dimension that two seeds share")]
    (small,) = (line for line in summary.splitlines() if line.startswith("W_q     r = 8"))
    assert small.count("(8 of 10)") == 4
    (full,) = (line for line in summary.splitlines() if line.startswith("W_q     full"))
    assert "of 10)" not in full
    assert "only n of the m numbers behind a cell are defined" in " ".join(summary.split())


def test_near_equal_singular_values_are_marked(planted, result):
    found = result.numbers[
        (result.numbers["quantity"] == "singular_value")
        & (result.numbers["source"] == "full")
        & (result.numbers["weight"] == "W_q")
        & (result.numbers["seed"] == 0)
    ]
    S = np.linalg.svd(dense("full"), compute_uv=False)
    close = np.append(1 - S[1:] / S[:-1] < 0.01, False)
    assert found["arbitrary"].tolist() == (close | np.roll(close, 1)).astype(int).tolist()
    assert 0 < found["arbitrary"].sum() < D
    intruders = result.numbers[result.numbers["quantity"] == "intruder_dimensions"]
    assert (intruders["arbitrary"].fillna(0) <= intruders["value"].fillna(0)).all()
    counted, arbitrary = int(intruders["value"].sum()), int(intruders["arbitrary"].sum())
    W, dW = planted.weights[1, "q"].numpy(), dense("full")
    before, (after, S, _) = np.linalg.svd(W)[0], np.linalg.svd(W + dW)
    lonely = np.abs(before.T @ after[:, :10]).max(0) < 0.5
    close = np.append(1 - S[1:] / S[:-1] < 0.01, False)
    marked = (lonely & (close | np.roll(close, 1))[:10]).sum()
    row = intruders[(intruders["source"] == "full") & (intruders["layer"] == 2)]
    assert row[(row["weight"] == "W_q") & (row["seed"] == 0)]["arbitrary"].item() == marked
    assert arbitrary > 0
    assert f"of all {counted} counted, {arbitrary} belong to singular values" in " ".join(
        result.printed().split()
    )


def test_w0_is_decomposed_once_for_all_runs(planted, monkeypatch):
    from analysis.geometry import dimensions as library

    decomposed = []
    whole = library.left_vectors
    monkeypatch.setattr(library, "left_vectors", lambda W: decomposed.append(W) or whole(W))
    spectra.make(planted.select())
    assert len(decomposed) == 2 * LAYERS


def test_full_fine_tuning_of_another_model_is_not_compared(planted, tmp_path):
    write_base(tmp_path / "other", name="other")
    for seed in (0, 1):
        write_run(tmp_path, planted.base, 8, seed)
    write_run(tmp_path, tmp_path / "other", None, 0)
    with pytest.raises(AnalysisError, match="the runs are of different models"):
        spectra.make(Selection.of(Study.open(STUDY, tmp_path)))


def test_full_fine_tuning_of_two_learning_rates_is_not_pooled(planted, tmp_path):
    """Where dev does not tell them apart; of fewer seeds one is no candidate, and its runs are left out."""
    for seed in (0, 1):
        write_run(tmp_path, planted.base, 8, seed)
        write_run(tmp_path, planted.base, None, seed, lr=1e-3)
    write_run(tmp_path, planted.base, None, 0, lr=1e-5)
    tuned = spectra.make(Selection.of(Study.open(STUDY, tmp_path)))
    told = "(seed 0, 1), lr 0.001 (LoRA 0.02), the best on dev of the learning rates 1e-05, 0.001."
    assert told in tuned.drawings[""].caption
    write_run(tmp_path, planted.base, None, 1, lr=1e-5)
    study = Study.open(STUDY, tmp_path)
    with pytest.raises(AnalysisError, match=r"differ in lr .*--choose full\.lr=1e-05"):
        spectra.make(Selection.of(study))
    chosen = spectra.make(Selection.of(study, choice={"lr": 0.02, "full.lr": 1e-3}))
    full = chosen.numbers[chosen.numbers["source"] == "full"]
    assert sorted(full["seed"].unique()) == [0, 1]
    assert "Full fine-tuning: 2 runs (seed 0, 1), lr 0.001 (LoRA 0.02)." in chosen.drawings[""].caption


def test_seeds_that_were_chosen_are_not_left_out_in_silence(planted):
    with pytest.raises(MissingRunsError, match=r"lacks 3 runs: qv r=4 seed=5"):
        spectra.make(planted.select(seeds=(0, 5)))


def test_only_one_layers_singular_values_are_kept(result):
    found = result.numbers[result.numbers["quantity"] == "singular_value"]
    assert set(found["layer"]) == {2}
    assert result.provenance["singular_values_of_layer"] == 2


def test_texts_hold_each_projection_and_the_terminal_a_summary(result):
    assert "each projection" in result.documents()[".md"]
    assert result.documents()[".tex"].count(r"\toprule") == 3
    assert "each projection: spectra.md" in result.printed()
    assert "LoRA: 7 runs. Full fine-tuning: 2 runs (seed 0, 1)." in " ".join(result.printed().split())
    assert "Dimension that two seeds share" in result.printed()


def test_one_seed_is_enough_for_all_but_the_shared_dimension(planted):
    result = spectra.make(planted.select(seeds=(1,)))
    assert not (result.numbers["quantity"] == "shared_dimension").any()
    assert "There is one seed, so no shared dimension." in result.drawings[""].caption
    assert "Dimension that two seeds share" not in result.printed()
