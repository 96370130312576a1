"""The closed-form nulls against simulated Haar subspaces, at sizes where every term of the formulas shows."""

import numpy as np
import pytest
import torch
from scipy import stats

from analysis.errors import AnalysisError
from analysis.geometry.nulls import empirical_null, haar, phi_null, phi_quantile, z_scores
from analysis.geometry.similarity import phi_grid

DRAWS = 6000


def simulated(n1, n2, d, draws=DRAWS, seed=0):
    """(draws, n1, n2): phi between random subspaces, by batched QR."""
    generator = torch.Generator().manual_seed(seed)
    V1, V2 = (
        torch.linalg.qr(torch.randn(draws, d, n, dtype=torch.float64, generator=generator))[0]
        for n in (n1, n2)
    )
    overlap = (V1.mT @ V2).square().cumsum(1).cumsum(2)
    smaller = np.minimum.outer(np.arange(1, n1 + 1), np.arange(1, n2 + 1))
    return overlap.numpy() / smaller


@pytest.fixture(scope="module")
def draws():
    return simulated(4, 7, 9)  # i + j > d in some cells, where the subspaces must meet


def test_the_mean_of_random_subspaces_is_the_closed_form(draws):
    null = phi_null(4, 7, 9)
    error = null.std.numpy() / np.sqrt(DRAWS)
    assert (np.abs(draws.mean(0) - null.mean.numpy()) < 5 * error + 1e-12).all()
    assert null.mean[1, 4] == pytest.approx(5 / 9)


def test_the_variance_of_random_subspaces_is_the_closed_form(draws):
    expected = phi_null(4, 7, 9).std.numpy() ** 2
    fourth = np.mean((draws - draws.mean(0)) ** 4, axis=0)
    error = np.sqrt((fourth - expected**2) / DRAWS)
    assert (np.abs(draws.var(0) - expected) < 5 * error + 1e-12).all()


def test_at_gpt_3_s_size_chance_is_small_and_at_ours_it_is_not():
    assert phi_null(8, 64, 12288).mean[-1, -1] == pytest.approx(0.0052, abs=1e-4)
    assert phi_null(8, 64, 768).mean[-1, -1] == pytest.approx(0.083, abs=1e-3)
    assert phi_null(8, 64, 256).mean[-1, -1] == 0.25


def test_a_whole_space_leaves_nothing_to_chance():
    null = phi_null(5, 5, 5)
    assert null.mean[:, -1].tolist() == [1.0] * 5
    assert null.std[:, -1].tolist() == [0.0] * 5
    assert phi_null(1, 1, 1).std.item() == 0
    with pytest.raises(AnalysisError, match="n1=6, n2=2, d=5"):
        phi_null(6, 2, 5)


@pytest.mark.parametrize("j", [1, 3, 8])
def test_a_line_against_a_subspace_is_exactly_beta(j, draws):
    q = np.array([0.01, 0.5, 0.99])
    exact = stats.beta(j / 2, (9 - j) / 2)
    np.testing.assert_allclose(phi_quantile(1, j, 9, q), exact.ppf(q), rtol=1e-12)
    np.testing.assert_allclose(phi_quantile(j, 1, 9, q), exact.ppf(q), rtol=1e-12)
    if j <= 7:
        assert stats.kstest(draws[:, 0, j - 1], exact.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("i", "j", "d"), [(2, 3, 9), (4, 4, 9), (4, 7, 9), (3, 6, 7), (8, 16, 64)])
def test_the_matched_beta_has_the_null_s_mean_variance_and_nearly_its_quantiles(i, j, d):
    q = (np.arange(4000) + 0.5) / 4000
    values = phi_quantile(i, j, d, q)
    null = phi_null(i, j, d)
    assert values.mean() == pytest.approx(null.mean[-1, -1].item(), rel=1e-3)
    assert values.std() == pytest.approx(null.std[-1, -1].item(), rel=2e-2)
    sample = simulated(i, j, d, draws=4000, seed=1)[:, -1, -1]
    for probability in (0.05, 0.5, 0.95, 0.99):
        share = np.mean(sample <= phi_quantile(i, j, d, probability))
        assert share == pytest.approx(probability, abs=0.02)


def test_quantiles_take_grids_and_end_at_what_phi_can_be():
    i, j = np.arange(1, 6)[:, None], np.arange(1, 8)
    grid = phi_quantile(i, j, 7, 0.99)
    assert grid.shape == (5, 7)
    assert np.isfinite(grid).all()
    np.testing.assert_allclose(grid[:, -1], 1)
    assert phi_quantile(5, 4, 7, 0.0) == pytest.approx((5 + 4 - 7) / 4)
    assert phi_quantile(5, 4, 7, 1.0) == pytest.approx(1)
    assert phi_quantile(1, 1, 1, 0.5) == 1


@pytest.mark.parametrize(("i", "j", "q"), [(0, 1, 0.5), (1, 10, 0.5), (1, 1, 1.5), (1, 1, float("nan"))])
def test_impossible_quantiles_are_refused(i, j, q):
    with pytest.raises(AnalysisError):
        phi_quantile(i, j, 9, q)


def test_z_scores_of_random_subspaces_are_standard(draws):
    scores = np.stack([z_scores(grid, 9) for grid in draws[:500]])
    assert np.abs(scores.mean(0)).max() < 5 / np.sqrt(500)
    np.testing.assert_allclose(scores.std(0), 1, atol=0.25)


def test_z_scores_keep_what_is_missing_missing():
    grid = torch.tensor([[0.5, torch.nan], [0.1, 0.2]])
    scores = z_scores(grid, 2)
    assert scores.isnan().tolist() == [[False, True], [True, True]]  # in R^2 a plane is everything
    assert scores[0, 0] == pytest.approx(0)
    assert isinstance(z_scores(grid.numpy(), 8), np.ndarray)


def test_haar_subspaces_prefer_no_direction():
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(6, 6, dtype=torch.float64)
    for _ in range(3000):
        V = haar(2, 6, generator)
        total += V.T @ V
    torch.testing.assert_close(V @ V.T, torch.eye(2, dtype=torch.float64))
    assert (total / 3000 - torch.eye(6) * 2 / 6).abs().max() < 0.03


def layers(count, n, d, common=0, seed=0):
    """Bases whose first `common` directions are the same in every layer."""
    generator = torch.Generator().manual_seed(seed)
    frame = haar(d, d, generator)
    for _ in range(count):
        own = haar(n - common, d - common, generator) @ frame[common:]
        yield torch.cat([frame[:common], own])


def test_the_empirical_null_is_free_of_what_a_layer_shares_with_itself():
    first = list(layers(12, 3, 20))
    null = empirical_null(first, first)  # paired with itself, phi would be 1 everywhere
    assert null.pairs == 12 * 11
    torch.testing.assert_close(null.mean, phi_null(3, 3, 20).mean, atol=0.03, rtol=0)
    torch.testing.assert_close(null.std, phi_null(3, 3, 20).std, atol=0.03, rtol=0)


def test_the_empirical_null_has_what_all_layers_share():
    first = list(layers(6, 3, 20, common=1))
    null = empirical_null(first, first)
    assert null.mean[0, 0] == pytest.approx(1)
    assert null.std[0, 0] == pytest.approx(0, abs=1e-12)
    assert null.mean[0, 0] > 5 * phi_null(3, 3, 20).mean[0, 0]


def test_the_empirical_null_is_over_the_pairs_of_different_layers():
    first, second = list(layers(4, 2, 9)), list(layers(4, 3, 9, seed=1))
    grids = torch.stack([phi_grid(first[a], second[b]) for a in range(4) for b in range(4) if a != b])
    null = empirical_null(first, second)
    torch.testing.assert_close(null.mean, grids.mean(0))
    torch.testing.assert_close(null.std, grids.std(0))
    some = empirical_null(first, second, pairs=5)
    assert some.pairs == 5
    torch.testing.assert_close(some.mean, empirical_null(first, second, pairs=5).mean)


def test_missing_directions_are_left_out_of_the_empirical_null():
    first = list(layers(3, 2, 9))
    first[0][1] = torch.nan
    null = empirical_null(first, first)
    complete = torch.stack([phi_grid(first[a], first[b])[1, 1] for a, b in ((1, 2), (2, 1))])
    assert null.mean[1, 1] == pytest.approx(complete.mean().item())
    for rows in first:
        rows[1] = torch.nan
    empty = empirical_null(first, first)
    assert empty.mean[0].isnan().tolist() == [False, True]
    assert empty.std[1].isnan().all()


def test_lists_that_make_no_null_are_refused():
    first = list(layers(3, 2, 9))
    with pytest.raises(AnalysisError, match="3 and 2 layers"):
        empirical_null(first, first[:2])
    with pytest.raises(AnalysisError, match=r"differ in shape: \(2, 9\), \(3, 9\)"):
        empirical_null([*first[:2], haar(3, 9, torch.Generator())], first)
