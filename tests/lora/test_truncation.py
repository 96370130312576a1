"""Truncated pairs against the singular value decomposition of the whole product."""

from __future__ import annotations

import pytest
import torch

from lora import truncate


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 20, generator=generator), torch.randn(14, 6, generator=generator)


@pytest.mark.parametrize("keep", [1, 3, 6, 9])
def test_by_dw_it_is_the_best_pair_of_its_rank(pair, keep):
    A, B = pair
    U, S, Vh = torch.linalg.svd(B.double() @ A.double())
    k = min(keep, 6)
    small_A, small_B = truncate(A, B, keep)
    assert small_A.shape == (k, 20)
    assert small_B.shape == (14, k)
    best = (U[:, :k] * S[:k]) @ Vh[:k]
    torch.testing.assert_close(small_B @ small_A, best)
    lost = torch.linalg.matrix_norm(B.double() @ A.double() - small_B @ small_A)
    torch.testing.assert_close(lost, S[k:6].square().sum().sqrt(), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("keep", [1, 3, 6])
def test_by_a_it_is_what_reads_the_top_directions_of_a(pair, keep):
    A, B = pair
    V = torch.linalg.svd(A.double()).Vh[:keep]
    small_A, small_B = truncate(A, B, keep, by="A")
    torch.testing.assert_close(small_B @ small_A, B.double() @ A.double() @ V.T @ V)


def test_the_two_orders_differ_and_a_planted_one_comes_back():
    """A reads e1 strongly and e2 weakly; B answers e2 so strongly that dW's top direction is e2."""
    A = torch.zeros(2, 5)
    A[0, 0], A[1, 1] = 2.0, 1.0
    B = torch.zeros(4, 2)
    B[0, 0], B[1, 1] = 1.0, 10.0
    by_dw, by_a = truncate(A, B, 1), truncate(A, B, 1, by="A")
    wanted = torch.zeros(4, 5, dtype=torch.float64)
    wanted[1, 1] = 10.0
    torch.testing.assert_close(by_dw[1] @ by_dw[0], wanted)
    wanted.zero_()[0, 0] = 2.0
    torch.testing.assert_close(by_a[1] @ by_a[0], wanted)


def test_an_adapter_that_never_moved_stays_zero(pair):
    A, B = pair
    small_A, small_B = truncate(A, torch.zeros_like(B), 2)
    assert not (small_B @ small_A).any()


@pytest.mark.parametrize(
    ("keep", "by", "error"), [(0, "dW", "keep=0 is not valid"), (1, "B", "valid are dW, A")]
)
def test_wrong_values(pair, keep, by, error):
    with pytest.raises(ValueError, match=error):
        truncate(*pair, keep, by)
    with pytest.raises(ValueError, match="needs"):
        truncate(pair[0], pair[1].T, 1)
