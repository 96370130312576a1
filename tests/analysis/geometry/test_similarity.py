"""phi against scipy's principal angles, its invariances, and untrained adapters against the null."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

import lora
from analysis.errors import AnalysisError
from analysis.geometry.nulls import haar, phi_null, z_scores
from analysis.geometry.similarity import phi, phi_grid
from analysis.geometry.subspaces import directions


def gaussian(r, d, seed=0):
    return np.random.default_rng(seed).standard_normal((r, d))


def orthonormal(n, d, seed=0):
    return haar(n, d, torch.Generator().manual_seed(seed))


def oracle(A1, A2):
    """Mean squared cosine of the principal angles, cell by cell."""
    V1, V2 = (np.linalg.svd(A, full_matrices=False)[2] for A in (A1, A2))
    grid = np.empty((len(V1), len(V2)))
    for i in range(len(V1)):
        for j in range(len(V2)):
            grid[i, j] = np.mean(np.cos(subspace_angles(V1[: i + 1].T, V2[: j + 1].T)) ** 2)
    return grid


@pytest.mark.parametrize(("r1", "r2", "d"), [(3, 7, 20), (7, 3, 20), (5, 5, 6), (1, 4, 4), (8, 2, 5)])
def test_every_cell_is_the_mean_squared_cosine_of_the_principal_angles(r1, r2, d):
    A1 = gaussian(r1, d)
    A2 = gaussian(r2, d, seed=1)
    A2[0] += 3 * A1[0]  # something in common
    np.testing.assert_allclose(phi(A1, A2), oracle(A1, A2), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(6, 12), st.integers(0, 2**31))
def test_phi_is_between_0_and_1_and_swaps_with_its_arguments(r1, r2, d, seed):
    A1, A2 = gaussian(r1, d, seed), gaussian(r2, d, seed + 1)
    grid = phi(A1, A2)
    assert grid.shape == (r1, r2)
    assert (grid >= 0).all()
    assert (grid <= 1).all()
    np.testing.assert_allclose(phi(A2, A1), grid.T, atol=1e-12)


def test_a_matrix_is_wholly_similar_to_itself():
    A = gaussian(6, 40)
    grid = phi(A, A)
    np.testing.assert_allclose(np.diag(grid), 1, atol=1e-12)
    np.testing.assert_allclose(grid, 1, atol=1e-12)  # the top i lie within the top j
    assert grid.max() <= 1


def test_orthogonal_directions_have_nothing_in_common():
    V = orthonormal(8, 20)
    np.testing.assert_allclose(phi(V[:3], V[3:]), 0, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, np.pi / 2])
def test_a_known_angle_gives_its_squared_cosine(angle):
    V = orthonormal(4, 20)
    first = torch.stack([3 * V[0], V[1]])
    turned = torch.cos(torch.tensor(angle)) * V[0] + torch.sin(torch.tensor(angle)) * V[2]
    second = torch.stack([3 * turned, V[3]])
    cosine = np.cos(angle) ** 2
    np.testing.assert_allclose(phi(first, second), [[cosine, cosine], [cosine, cosine / 2]], atol=1e-7)


@pytest.mark.parametrize(("d_out", "d_in"), [(30, 20), (12, 40)])
def test_the_whole_row_space_of_dw_is_that_of_a(d_out, d_in):
    """phi_A(r, r') == phi_dW-right(r, r'), and likewise B and dW-left; inside, the order differs."""
    one, other = (
        lora.Factors(
            torch.tensor(gaussian(r, d_in, s)), torch.tensor(gaussian(d_out, r, s + 10)), r, 8.0, 8 / r
        )
        for r, s in ((4, 0), (7, 1))
    )
    for plain, product in (("A", "dW-right"), ("B", "dW-left")):
        from_factor = phi_grid(directions(one, plain).vectors, directions(other, plain).vectors)
        from_product = phi_grid(directions(one, product).vectors, directions(other, product).vectors)
        assert from_factor[-1, -1].item() == pytest.approx(from_product[-1, -1].item(), abs=1e-10)
        assert (from_factor - from_product).abs().max() > 1e-2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_what_must_not_matter_does_not(seed):
    A1, A2 = gaussian(4, 15, seed), gaussian(6, 15, seed + 1)
    generator = np.random.default_rng(seed + 2)
    rotation = np.linalg.qr(generator.standard_normal((15, 15)))[0]
    mixing = np.linalg.qr(generator.standard_normal((4, 4)))[0]
    grid = phi(A1, A2)
    np.testing.assert_allclose(
        phi(mixing @ A1, A2), grid, atol=1e-9
    )  # A's rows are no directions of their own
    np.testing.assert_allclose(phi(-3 * A1, A2), grid, atol=1e-9)
    np.testing.assert_allclose(phi(A1 @ rotation, A2 @ rotation), grid, atol=1e-9)
    V1, V2 = (np.linalg.svd(A, full_matrices=False)[2] for A in (A1, A2))
    signs = generator.choice([-1.0, 1.0], size=(4, 1))
    np.testing.assert_allclose(phi_grid(signs * V1, V2), grid, atol=1e-9)


def test_equal_singular_values_leave_the_cells_at_their_ends_alone():
    V, other = orthonormal(4, 20), orthonormal(5, 20, seed=1)
    turn = torch.linalg.qr(
        torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    )[0]
    turned = torch.cat([V[:1], turn @ V[1:3], V[3:]])  # as good a basis if s_2 = s_3
    before, after = phi_grid(V, other), phi_grid(turned, other)
    same = (before - after).abs().amax(1) < 1e-12
    assert same.tolist() == [True, False, True, True]
    A = torch.tensor([3.0, 2.0, 2.0, 1.0])[:, None] * V
    found = directions(lora.Factors(A, torch.ones(6, 4), 4, 4.0, 1.0))
    assert found.near_equal().tolist() == [False, True, False]  # i = 2, the row that changed


def test_a_change_of_basis_of_the_factors_keeps_dw_s_directions_and_a_s_span():
    B, A, mixing = (torch.tensor(gaussian(*shape, 3)) for shape in ((9, 4), (4, 15), (4, 4)))
    other = orthonormal(5, 15)
    before = lora.Factors(A, B, 4, 4.0, 1.0)
    after = lora.Factors(torch.linalg.solve(mixing, A), B @ mixing, 4, 4.0, 1.0)
    by_basis = {
        basis: [phi_grid(directions(pair, basis).vectors, other) for pair in (before, after)]
        for basis in ("dW-right", "A")
    }
    torch.testing.assert_close(*by_basis["dW-right"], atol=1e-9, rtol=0)
    first, second = by_basis["A"]
    torch.testing.assert_close(first[-1], second[-1], atol=1e-9, rtol=0)
    assert (first - second).abs().max() > 1e-2


def test_directions_that_do_not_exist_give_nan_and_no_others():
    A1, A2 = gaussian(4, 12), gaussian(5, 12, seed=1)
    A1[3] = A1[0] + A1[1]
    grid = phi(A1, A2)
    np.testing.assert_allclose(grid[:3], oracle(A1, A2)[:3], atol=1e-10)
    assert np.isnan(grid[3]).all()
    assert np.isnan(phi(np.zeros((2, 12)), A2)).all()


def test_numpy_comes_back_where_numpy_went_in():
    A = gaussian(2, 6)
    assert isinstance(phi(A, A), np.ndarray)
    assert isinstance(phi(torch.tensor(A), A), torch.Tensor)
    assert phi(torch.tensor(A, dtype=torch.float32), A).dtype == torch.float64


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(AnalysisError, match="spaces of 10 and 12 dimensions"):
        phi(gaussian(2, 10), gaussian(2, 12))
    with pytest.raises(AnalysisError, match="V1: has rows that are not of length 1"):
        phi_grid(2 * orthonormal(2, 10), orthonormal(2, 10))
    V = orthonormal(1, 10)
    with pytest.raises(AnalysisError, match="V1: has rows that are not orthogonal"):
        phi_grid(torch.cat([V, V]), torch.cat([V, V]))
    leaning = orthonormal(3, 20)
    leaning[1] = (leaning[0] + leaning[1]) / 2**0.5  # of length 1, and phi stays below 1
    with pytest.raises(AnalysisError, match="V2: has rows that are not orthogonal"):
        phi_grid(orthonormal(3, 20, seed=1), leaning)
    with pytest.raises(AnalysisError, match="A2: has entries that are NaN"):
        phi(gaussian(2, 10), np.full((2, 10), np.nan))


def test_orthonormal_but_for_single_precision_is_orthonormal():
    rows = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    V = torch.linalg.svd(rows, full_matrices=False).Vh
    assert phi_grid(V, orthonormal(8, 4096)).shape == (64, 8)


def test_untrained_adapters_of_one_seed_sit_on_the_null():
    """Ranks 8 and 64 of the same seed must not share their initial rows (they do if A is drawn naively)."""
    import transformers

    config = transformers.GPT2Config(n_embd=128, n_layer=4, n_head=2, vocab_size=11, n_positions=8)
    model = transformers.GPT2Model(config)
    held = {}
    for rank in (8, 64):
        lora.adapt(model, targets="qv", rank=rank, seed=0)
        held[rank] = {key: adapter.lora_A.detach().clone() for key, adapter in lora.adapters(model).items()}
        lora.remove(model)
    scores = torch.stack([z_scores(phi(A, held[64][key]), d=128) for key, A in held[8].items()])
    assert scores.shape == (8, 8, 64)
    assert scores.isfinite().all()
    assert scores.mean(0).abs().max() < 5 / 8**0.5
    assert abs(scores[:, -1, -1].mean()) < 3 / 8**0.5

    contaminated = phi(held[64][0, "q"][:8], held[64][0, "q"])
    assert contaminated[-1, -1] == pytest.approx(1)
    assert z_scores(contaminated, d=128)[-1, -1] > 10
    assert phi_null(8, 64, 128).mean[-1, -1] == 0.5
