"""Table 7's quantities: planted updates with known answers, the nulls by simulation, the paper's numbers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from analysis.errors import AnalysisError
from analysis.geometry import arrays
from analysis.geometry.amplification import (
    _random_norms,
    amplification,
    null_projected_norm,
    null_squared_norm_sd,
    own_projected_norms,
    projected,
    projected_norm,
    random_projected_norms,
)
from analysis.geometry.arrays import weight_norm
from analysis.geometry.nulls import haar
from analysis.tables.table7 import draws

SHAPES = [(40, 40), (16, 40), (40, 16)]  # grouped-query attention's W_k and W_v are not square


def weight(d_out, d_in, seed=0):
    """W with a steep known spectrum: W, U (d_out, n), S (n,), V (d_in, n)."""
    generator = torch.Generator().manual_seed(seed)
    n = min(d_out, d_in)
    U, V = haar(n, d_out, generator).T, haar(n, d_in, generator).T
    S = torch.arange(1, n + 1, dtype=torch.float64) ** -0.7
    return (U * S) @ V.T, U, S, V


def planted(d_out, d_in, scaling=0.25, seed=0):
    """A dW that amplifies W's directions 2, 5, 9 (from 0) by 40, 30 and 10, in factors of a mixed basis."""
    W, U, S, V = weight(d_out, d_in, seed)
    chosen = [2, 5, 9]
    gains = torch.tensor([40.0, 30.0, 10.0], dtype=torch.float64)
    mixing = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    B = (U[:, chosen] * (gains * S[chosen] / scaling)) @ mixing
    A = torch.linalg.solve(mixing, V[:, chosen].T)
    return W, B, A, gains, S[chosen]


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
def test_planted_gains_are_recovered(d_out, d_in):
    W, B, A, gains, strengths = planted(d_out, d_in)
    found = amplification(W, B, A, scaling=0.25)
    sigma = gains * strengths
    assert found.rank == 3
    assert found.scaling == 0.25
    assert found.weight_norm == pytest.approx(W.norm().item())
    assert found.delta_norm == pytest.approx(sigma.norm().item())
    assert found.projected_norm == pytest.approx(strengths.norm().item())
    assert found.factor == pytest.approx((sigma.norm() / strengths.norm()).item())
    torch.testing.assert_close(found.gains, gains)
    expected = sigma.square().cumsum(0).sqrt() / strengths.square().cumsum(0).sqrt()
    torch.testing.assert_close(found.factor_top_k, expected)
    null = 3 * W.norm().item() / math.sqrt(d_out * d_in)
    assert found.null_projected_norm == pytest.approx(null)
    assert found.null_factor == pytest.approx(found.delta_norm / null)
    assert found.lift == pytest.approx(found.projected_norm / null)


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
def test_it_is_what_a_dense_svd_gives(d_out, d_in):
    W = weight(d_out, d_in)[0].numpy()
    generator = np.random.default_rng(0)
    B, A = generator.standard_normal((d_out, 4)), generator.standard_normal((4, d_in))
    found = amplification(W, B, A, 2.0)
    U, S, Vh = np.linalg.svd(2 * B @ A)
    core = U[:, :4].T @ W @ Vh[:4].T
    assert found.projected_norm == pytest.approx(np.linalg.norm(core))
    assert found.projected_norm > 1.2 * np.linalg.norm(np.diag(core))  # the whole matrix, not its diagonal
    assert found.factor == pytest.approx(np.linalg.norm(S[:4]) / np.linalg.norm(core))
    assert isinstance(found.gains, np.ndarray)
    np.testing.assert_allclose(found.gains, S[:4] / np.abs(np.diag(core)))
    top_k = [np.linalg.norm(S[:k]) / np.linalg.norm(core[:k, :k]) for k in range(1, 5)]
    np.testing.assert_allclose(found.factor_top_k, top_k)
    assert found.factor_top_k[-1] == pytest.approx(found.factor)


def test_scaling_moves_the_factor_and_not_the_projection():
    W, B, A, _, _ = planted(20, 30)
    one, four = amplification(W, B, A, 1.0), amplification(W, B, A, 4.0)
    for name in ("delta_norm", "factor", "null_factor"):
        assert getattr(four, name) == pytest.approx(4 * getattr(one, name))
    for name in ("projected_norm", "null_projected_norm", "lift", "weight_norm", "rank"):
        assert getattr(four, name) == pytest.approx(getattr(one, name))
    torch.testing.assert_close(four.gains, 4 * one.gains)
    torch.testing.assert_close(four.factor_top_k, 4 * one.factor_top_k)


def test_signs_and_the_basis_of_the_factors_do_not_matter():
    W, B, A, _, _ = planted(20, 30)
    mixing = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    one = amplification(W, B, A)
    for other in (
        amplification(W, -B, A),
        amplification(-W, B, A),
        amplification(W, B @ mixing, torch.linalg.solve(mixing, A)),
    ):
        assert other.factor == pytest.approx(one.factor)
        assert other.lift == pytest.approx(one.lift)
        torch.testing.assert_close(other.gains, one.gains)


def test_an_update_that_never_moved_has_no_factor():
    W, B, A, _, _ = planted(20, 30)
    found = amplification(W, torch.zeros_like(B), A)
    assert (found.rank, found.delta_norm) == (0, 0.0)
    assert found.weight_norm == pytest.approx(W.norm().item())
    for name in ("projected_norm", "factor", "null_projected_norm", "null_factor", "lift"):
        assert math.isnan(getattr(found, name))
    assert found.gains.shape == found.factor_top_k.shape == (3,)
    assert found.gains.isnan().all()
    assert found.factor_top_k.isnan().all()


def test_a_rank_deficient_update_is_measured_at_its_own_rank():
    W, B, A, _, _ = planted(20, 30)
    found = amplification(W, torch.cat([B, B[:, :1]], 1), torch.cat([A, A[:1]]))
    compressed = amplification(W, B * torch.tensor([2.0, 1, 1]), A)
    assert found.rank == 3
    assert found.factor == pytest.approx(compressed.factor)
    assert found.lift == pytest.approx(compressed.lift)
    torch.testing.assert_close(found.gains[:3], compressed.gains)
    assert found.gains[3:].isnan().all()
    assert found.factor_top_k.isnan().tolist() == [False, False, False, True]


def test_directions_of_near_equal_singular_values_are_marked():
    W = weight(20, 30)[0]
    U, V = haar(4, 20, torch.Generator().manual_seed(1)), haar(4, 30, torch.Generator().manual_seed(2))
    B = U.T * torch.tensor([5.0, 3.0, 2.99, 1.0])
    found = amplification(W, B, V)
    assert found.arbitrary_gains.tolist() == [False, True, True, False]
    assert found.arbitrary_top_k.tolist() == [False, True, False, False]
    # What is marked is arbitrary: another basis of the span of directions 2 and 3 moves it and nothing else.
    angle = 0.7
    turn = torch.eye(4, dtype=torch.float64)
    turn[1:3, 1:3] = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    other = amplification(W, (U.T @ turn) * torch.tensor([5.0, 3.0, 2.99, 1.0]), turn.T @ V)
    moved = ((other.gains / found.gains - 1).abs() > 0.02).tolist()
    assert moved == found.arbitrary_gains.tolist()
    moved = ((other.factor_top_k / found.factor_top_k - 1).abs() > 0.01).tolist()
    assert moved == found.arbitrary_top_k.tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_w_is_read_in_blocks_and_upcast(dtype, monkeypatch):
    W = weight(23, 30)[0].to(dtype)
    U, V = haar(3, 23, torch.Generator().manual_seed(1)).T, haar(5, 30, torch.Generator().manual_seed(2)).T
    expected = U.T @ W.double() @ V
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", 7 * 30)
    torch.testing.assert_close(projected(W, U, V), expected, rtol=1e-13, atol=1e-13)
    assert projected_norm(W, U, V) == pytest.approx(expected.norm().item(), rel=1e-13)
    assert weight_norm(W) == pytest.approx(W.double().norm().item(), rel=1e-13)


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
def test_random_directions_agree_with_the_closed_form(d_out, d_in):
    W = weight(d_out, d_in)[0]
    squares = random_projected_norms(W, 3, draws=3000).square()
    expected = null_projected_norm(W.norm().item(), W.shape, 3) ** 2
    assert squares.mean().item() == pytest.approx(expected, abs=5 * squares.std().item() / math.sqrt(3000))
    assert squares.std() / math.sqrt(3000) < 0.05 * expected  # so that the line above says something


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
def test_random_norms_are_those_of_projections_onto_haar_subspaces(d_out, d_in):
    """The same distribution, by another route: QR of Gaussian matrices, and W itself."""
    W = weight(d_out, d_in)[0]
    generator = torch.Generator().manual_seed(7)
    direct = [projected_norm(W, haar(3, d_out, generator).T, haar(3, d_in, generator).T) for _ in range(3000)]
    drawn = random_projected_norms(W, 3, draws=3000)
    assert ks_2samp(drawn.numpy(), direct).pvalue > 0.01
    S = torch.linalg.svdvals(W)
    _random_norms.cache_clear()
    torch.testing.assert_close(random_projected_norms(W, 3, draws=3000, S=S), drawn)


def test_draws_are_fresh_however_many_are_held_at_once(monkeypatch):
    monkeypatch.setattr("analysis.geometry.amplification.DRAWN_ELEMENTS", 7 * 2 * 32)
    assert len(random_projected_norms(weight(12, 20)[0], 2, draws=40).unique()) == 40


def test_kept_draws_are_those_that_were_asked_for():
    W = weight(12, 20)[0]
    first = random_projected_norms(W, 2, draws=40)
    kept = first.clone()
    first.zero_()  # it is the caller's own
    assert torch.equal(random_projected_norms(W, 2, draws=40), kept)
    for other in (
        random_projected_norms(W, 2, draws=40, seed=1),
        random_projected_norms(W, 3, draws=40),
        random_projected_norms(2 * W, 2, draws=40),
        random_projected_norms(W.T, 2, draws=40),
    ):
        assert not torch.isclose(other, kept).any()


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
@pytest.mark.parametrize("rank", [1, 4])
def test_random_norms_vary_as_the_closed_form_says(d_out, d_in, rank):
    W = weight(d_out, d_in)[0]
    S = torch.linalg.svdvals(W)
    squares = random_projected_norms(W, rank, draws=60_000).square()
    exact = null_squared_norm_sd(S, W.shape, rank)
    kurtosis = (((squares - squares.mean()) / squares.std()) ** 4).mean().item()
    error = 0.5 * math.sqrt((kurtosis - 1) / len(squares))  # of a standard deviation, relative
    assert squares.std().item() == pytest.approx(exact, rel=5 * error)
    assert error < 0.02


def test_the_whole_space_leaves_nothing_to_chance():
    W = weight(20, 20)[0]
    S = torch.linalg.svdvals(W)
    assert null_squared_norm_sd(S, W.shape, 20) == pytest.approx(0, abs=1e-6 * float(W.norm()) ** 2)
    assert random_projected_norms(W, 20, draws=3).tolist() == pytest.approx([float(W.norm())] * 3)


def test_the_draws_of_table_7_give_the_digits_that_are_printed():
    """Chance's 5 and 95 % in a model of width 256, against a long simulation with another seed."""
    values = 0.98 ** torch.arange(256, dtype=torch.float64)
    W = torch.diag(values)
    for rank, tolerance in ((4, 0.01), (64, 0.0015)):
        null = null_projected_norm(float(values.norm()), W.shape, rank)
        few = random_projected_norms(W, rank, draws(rank), S=values) / null
        many = random_projected_norms(W, rank, 3 * draws(rank), seed=1, S=values) / null
        for q in (0.05, 0.95):
            assert float(few.quantile(q)) == pytest.approx(float(many.quantile(q)), abs=tolerance)


def test_an_update_in_random_directions_has_the_null_s_factor_and_no_lift():
    W = weight(60, 50)[0]
    generator = torch.Generator().manual_seed(3)
    found = [amplification(W, haar(8, 60, generator).T, haar(8, 50, generator)) for _ in range(40)]
    assert np.mean([one.lift**2 for one in found]) == pytest.approx(1, abs=0.06)
    assert np.median([one.factor / one.null_factor for one in found]) == pytest.approx(1, abs=0.1)


def test_the_paper_s_random_column_is_the_closed_form():
    """Table 7: 0.02 and 0.33 from ||W|| = 61.95, d = 12288.  A draw at r = 64 varies by 1 %."""
    assert round(null_projected_norm(61.95, (12288, 12288), 4), 2) == 0.02
    assert null_projected_norm(61.95, (12288, 12288), 64) == pytest.approx(0.33, abs=0.005 + 0.0035)
    assert 6.91 / null_projected_norm(61.95, (12288, 12288), 4) == pytest.approx(342.7, abs=0.1)
    assert 3.57 / null_projected_norm(61.95, (12288, 12288), 64) == pytest.approx(11.1, abs=0.1)


def test_the_null_of_unequal_ranks_and_a_matrix_that_is_not_square():
    assert null_projected_norm(3.0, (9, 16), 2, 8) == pytest.approx(3.0 * 4 / 12)
    with pytest.raises(AnalysisError, match=r"ranks 10 and 10: W is \(9, 16\)"):
        null_projected_norm(3.0, (9, 16), 10)


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
def test_w_s_own_directions_give_the_largest_projection(d_out, d_in):
    W, U, S, V = weight(d_out, d_in)
    own = own_projected_norms(S)
    for r in (1, 4, 12):
        assert own[r - 1].item() == pytest.approx(projected_norm(W, U[:, :r], V[:, :r]))
        assert (random_projected_norms(W, r, draws=20) < own[r - 1]).all()
    assert own[-1].item() == pytest.approx(W.norm().item())
    assert isinstance(own_projected_norms(S.numpy()), np.ndarray)


def test_what_does_not_fit_is_refused():
    W, B, A, _, _ = planted(20, 30)
    with pytest.raises(AnalysisError, match=r"W is \(30, 20\).*20 \(output\) and 30 \(input\).*transpose it"):
        amplification(W.T, B, A)
    with pytest.raises(AnalysisError, match="W: is zero"):
        amplification(torch.zeros_like(W), B, A)
    broken = W.clone()
    broken[3, 3] = torch.nan
    with pytest.raises(AnalysisError, match="W: has entries that are NaN"):
        amplification(broken, B, A)
    with pytest.raises(AnalysisError, match=r"rank=21, draws=1000: W is \(20, 30\)"):
        random_projected_norms(W, 21)
    with pytest.raises(AnalysisError, match="draws=0"):
        random_projected_norms(W, 2, draws=0)
