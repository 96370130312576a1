"""The thin SVD against numpy's dense one."""

import numpy as np
import pytest
import torch

from analysis.errors import AnalysisError
from analysis.geometry.svd import (
    GAP_THRESHOLD,
    arbitrary_directions,
    arbitrary_tops,
    delta_svd,
    relative_gaps,
    right_singular,
    thin_svd,
)

# (d_out, d_in, r): tall, wide, square, full rank, and r above a dimension.
SHAPES = [(40, 24, 4), (24, 40, 4), (16, 16, 1), (12, 30, 12), (6, 30, 9), (30, 6, 9)]


def factors(d_out, d_in, r, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((d_out, r)), generator.standard_normal((r, d_in))


@pytest.mark.parametrize("scaling", [1.0, 0.125, -2.0])
@pytest.mark.parametrize(("d_out", "d_in", "r"), SHAPES)
def test_it_is_the_svd_of_the_product(d_out, d_in, r, scaling):
    B, A = factors(d_out, d_in, r)
    U, S, Vh = thin_svd(B, A, scaling)
    k = min(d_out, d_in, r)
    assert U.shape == (d_out, k)
    assert S.shape == (k,)
    assert Vh.shape == (k, d_in)
    np.testing.assert_allclose(S, np.linalg.svd(scaling * B @ A, compute_uv=False)[:k], rtol=1e-12)
    np.testing.assert_allclose(U * S @ Vh, scaling * B @ A, atol=1e-12)
    np.testing.assert_allclose(U.T @ U, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(Vh @ Vh.T, np.eye(k), atol=1e-13)


@pytest.mark.parametrize(("r", "d"), [(4, 30), (30, 30), (9, 6)])
def test_right_singular_is_the_svd_of_a(r, d):
    A = factors(1, d, r)[1]
    S, Vh = right_singular(A)
    _, expected, rows = np.linalg.svd(A, full_matrices=False)
    np.testing.assert_allclose(S, expected, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(Vh * rows, axis=1)), 1.0, rtol=1e-12)


def test_no_matrix_of_d_out_by_d_in_is_built():
    B, A = factors(100_000, 200_000, 2)  # dW would take 160 GB
    _, S, _ = thin_svd(B, A)
    gram = (B.T @ B) @ (A @ A.T)
    np.testing.assert_allclose(np.sum(S**2), np.trace(gram), rtol=1e-12)


def test_small_singular_values_are_as_exact_as_large_ones():
    B, A = factors(50, 40, 5)
    Q, R = np.linalg.qr(B)[0], np.linalg.qr(A.T)[0].T
    expected = np.array([1.0, 1e-2, 1e-4, 1e-6, 1e-8])
    U, S, Vh = thin_svd(Q * expected, R)
    np.testing.assert_allclose(S, expected, rtol=1e-7)
    np.testing.assert_allclose(np.abs(np.sum(U * Q, axis=0)), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(Vh * R, axis=1)), 1.0, rtol=1e-12)


def test_a_change_of_basis_of_the_factors_changes_nothing():
    B, A = factors(20, 30, 4)
    mixing = np.random.default_rng(1).standard_normal((4, 4))
    U, S, Vh = thin_svd(B, A, 0.5)
    U2, S2, Vh2 = thin_svd(B @ mixing, np.linalg.solve(mixing, A), 0.5)
    np.testing.assert_allclose(S2, S, rtol=1e-10)
    for i in range(4):  # each direction, up to its sign
        np.testing.assert_allclose(np.outer(U2[:, i], Vh2[i]), np.outer(U[:, i], Vh[i]), atol=1e-9)


@pytest.mark.parametrize("zero", ["B", "A", "scaling", "product", "tiny product"])
def test_a_zero_update_has_no_directions(zero):
    B, A = factors(20, 30, 4)
    scaling = 1.0
    if zero == "B":
        B = 0 * B
    elif zero == "A":
        A = 0 * A
    elif zero == "scaling":
        scaling = 0.0
    elif zero == "product":
        B, A = np.hstack((B, B)), np.vstack((A, -A))
    else:  # zero but for rounding
        Q = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0]
        B, A = B[:, :2] @ Q[:2], Q[2:].T @ A[:2]
    svd = delta_svd(B, A, scaling)
    assert svd.rank == 0
    assert svd.U.shape == (20, svd.S.shape[0])
    assert all(torch.isnan(part).all() for part in svd[:3])
    assert all(np.isnan(part).all() for part in thin_svd(B, A, scaling))


def test_beyond_the_rank_there_are_no_directions():
    B, A = factors(20, 30, 4)
    B[:, 3] = B[:, 0] - 2 * B[:, 1]
    U, S, Vh = thin_svd(B, A)
    np.testing.assert_allclose(S[:3], np.linalg.svd(B @ A, compute_uv=False)[:3])
    np.testing.assert_allclose(U[:, :3] * S[:3] @ Vh[:3], B @ A, atol=1e-12)
    assert S[3] == 0
    assert np.isnan(U[:, 3]).all()
    assert np.isnan(Vh[3]).all()
    A[3] = A[0] + A[2]
    S, Vh = right_singular(A)
    assert (S > 0).tolist() == [True, True, True, False]
    assert np.isnan(Vh).all(axis=1).tolist() == [False, False, False, True]
    assert np.isfinite(Vh[:3]).all()
    assert all(np.isnan(part).all() for part in right_singular(0 * A))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_rank_does_not_count_rounding_errors(scale):
    B, A = factors(20, 30, 4)
    B[:, 3] = B[:, 0] - 2 * B[:, 1]
    assert delta_svd(scale * B, A).rank == 3
    assert delta_svd(B, scale * A, 1e-3).rank == 3
    assert delta_svd(scale * B[:, :3], A[:3]).rank == 3


def test_types_go_out_as_they_came_in():
    B, A = factors(6, 5, 2)
    assert all(isinstance(part, np.ndarray) and part.dtype == np.float64 for part in thin_svd(B, A))
    low = [torch.from_numpy(x).to(torch.bfloat16) for x in (B, A)]
    from_tensors = thin_svd(*low)
    assert all(isinstance(part, torch.Tensor) and part.dtype == torch.float64 for part in from_tensors)
    exact = np.linalg.svd(low[0].double().numpy() @ low[1].double().numpy(), compute_uv=False)[:2]
    np.testing.assert_allclose(from_tensors[1].numpy(), exact, rtol=1e-12)  # never in bfloat16


def test_what_does_not_fit_is_refused():
    B, A = factors(6, 5, 2)
    with pytest.raises(AnalysisError, match=r"B is \(2, 6\) and A \(2, 5\).*B \(d_out, r\)"):
        thin_svd(B.T, A)
    with pytest.raises(AnalysisError, match="B: has entries that are NaN"):
        thin_svd(np.full_like(B, np.nan), A)
    with pytest.raises(AnalysisError, match="scaling=inf"):
        thin_svd(B, A, float("inf"))


# ------------------------------------------------------------------ near-equal singular values


def test_a_gap_marks_the_top_that_ends_there_and_the_directions_on_both_sides():
    values = torch.tensor([4.0, 3.0, 3.0 * (1 - GAP_THRESHOLD / 2), 1.0, 1.0])
    assert relative_gaps(values).tolist() == pytest.approx([1 / 4, GAP_THRESHOLD / 2, 0.66499, 0], abs=1e-5)
    assert arbitrary_tops(values).tolist() == [False, True, False, True, False]
    assert arbitrary_directions(values).tolist() == [False, True, True, True, True]
    assert arbitrary_tops(values, threshold=0.3).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("values", [[2.0, 1.0, 0.0, 0.0], [torch.nan] * 3, [1.0]])
def test_what_is_not_there_is_close_to_nothing(values):
    for marks in (arbitrary_tops, arbitrary_directions):
        assert marks(torch.tensor(values)).tolist() == [False] * len(values)
