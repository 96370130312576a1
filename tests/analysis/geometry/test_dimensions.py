"""Effective ranks in closed form, planted intruders, and the shared dimension's calibration."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import subspace_angles

from analysis.errors import AnalysisError
from analysis.geometry import dimensions
from analysis.geometry.dimensions import (
    energy_rank,
    entropy_rank,
    intruder_dimensions,
    left_cosines,
    left_vectors,
    participation_ratio,
    shared_dimension,
    stable_rank,
)
from analysis.geometry.nulls import haar

RANKS = (stable_rank, entropy_rank, participation_ratio, energy_rank)


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr(dimensions, "DRAWS", 500)
    dimensions._largest_squared_cosines.cache_clear()
    yield
    dimensions._largest_squared_cosines.cache_clear()


def test_two_values_in_closed_form():
    S = [2.0, 1.0]
    assert stable_rank(S) == pytest.approx(5 / 4)
    assert participation_ratio(S) == pytest.approx(25 / 17)
    assert entropy_rank(S) == pytest.approx(math.exp(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)))
    assert energy_rank(S, 0.8) == 1  # 4 of 5, exactly reached
    assert energy_rank(S, 0.81) == 2


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor])
def test_a_flat_spectrum_uses_every_direction_and_a_single_value_one(kind):
    assert [rank(kind([3.0] * 10)) for rank in RANKS] == pytest.approx([10, 10, 10, 9])
    assert [rank(kind([3.0, 0.0, 0.0])) for rank in RANKS] == pytest.approx([1, 1, 1, 1])
    assert energy_rank(kind([3.0] * 10), 1.0) == 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20), st.floats(1e-6, 1e6))
def test_effective_ranks_are_from_1_to_k_and_ignore_order_and_scale(values, scale):
    for rank in RANKS:
        found = rank(values)
        assert 1 - 1e-9 <= found <= len(values) + 1e-9
        assert rank(sorted(values)) == pytest.approx(found)
        assert rank([scale * value for value in values]) == pytest.approx(found)
    assert stable_rank(values) <= participation_ratio(values) * (1 + 1e-9)


def test_no_update_has_no_rank():
    for rank in RANKS:
        assert math.isnan(rank([0.0, 0.0]))
        assert math.isnan(rank(torch.full((3,), torch.nan)))


def test_what_is_no_spectrum_is_refused():
    with pytest.raises(AnalysisError, match=r"S: has shape \(2, 2\)"):
        stable_rank(torch.ones(2, 2))
    with pytest.raises(AnalysisError, match=r"share=1\.5"):
        energy_rank([1.0], 1.5)


@pytest.mark.parametrize(("d_out", "d_in"), [(30, 30), (30, 50), (50, 30)])
def test_planted_intruders_are_counted(d_out, d_in):
    generator = torch.Generator().manual_seed(0)
    U, V = haar(30, d_out, generator), haar(30, d_in, generator)
    S = torch.linspace(10, 1, 30, dtype=torch.float64)
    W0 = U.T @ (S[:, None] * V)
    amplified = U[3:5].T @ V[3:5]
    assert intruder_dimensions(W0, 20 * amplified) == 0
    strangers = U[10:26].T @ torch.linalg.qr(torch.randn(16, 2, dtype=torch.float64, generator=generator))[0]
    dW = 200 * strangers @ haar(2, 16, generator) @ V[10:26]
    assert intruder_dimensions(W0, dW, threshold=0.9) == 2
    cosines = left_cosines(W0, dW).cosines
    assert (cosines < 0.9).tolist() == [True] * 2 + [False] * 8
    assert intruder_dimensions(W0, dW, k=1, threshold=0.9) == 1
    assert intruder_dimensions(W0, dW, threshold=0.0) == 0


def test_a_turn_by_a_known_angle_gives_its_cosine():
    W0 = np.diag([5.0, 4.0, 3.0, 0.02, 0.01])
    turned = np.zeros(5)
    turned[[3, 4]] = np.cos(0.3), np.sin(0.3)
    dW = 100 * np.outer(turned, np.eye(5)[4])
    cosines = left_cosines(W0, dW, k=4).cosines
    assert cosines.numpy() == pytest.approx([np.cos(0.3), 1, 1, 1], abs=1e-3)
    assert left_cosines(W0, 0 * W0, k=5).cosines.numpy() == pytest.approx(np.ones(5))
    assert intruder_dimensions(W0, 0 * W0, k=5) == 0


def test_vectors_of_near_equal_singular_values_are_marked():
    W0 = np.diag([5.0, 4.0, 3.99, 2.0, 1.0])
    found = left_cosines(W0, 0 * W0, k=3)
    assert found.arbitrary.tolist() == [False, True, True]
    assert left_cosines(W0, np.diag([0, 0, 0, 1.99, 0]), k=3).arbitrary.tolist() == [False] + [True] * 2
    # The last of the top k is near-equal to the first that is left out.
    assert left_cosines(W0, 0 * W0, k=2).arbitrary.tolist() == [False, True]


def test_w0_is_decomposed_once_for_many_updates(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    W0 = torch.randn(12, 8, dtype=torch.float64, generator=generator)
    before = left_vectors(W0)
    plain = left_cosines(W0, 3 * W0.flip(0), k=4)
    monkeypatch.setattr(dimensions, "left_vectors", None)
    torch.testing.assert_close(left_cosines(W0, 3 * W0.flip(0), 4, before), plain)


def test_intruders_of_what_does_not_fit_are_refused():
    with pytest.raises(AnalysisError, match=r"W0 is \(3, 4\) and dW \(4, 3\)"):
        intruder_dimensions(torch.ones(3, 4), torch.ones(4, 3))
    with pytest.raises(AnalysisError, match="k=10"):
        intruder_dimensions(torch.ones(3, 4), torch.ones(3, 4))


@pytest.mark.parametrize(("n1", "n2", "d"), [(1, 1, 12), (1, 5, 12), (5, 1, 12)])
def test_the_null_of_a_line_is_exactly_beta(n1, n2, d):
    sample = dimensions._largest_squared_cosines(min(n1, n2), max(n1, n2), d)
    larger = max(n1, n2)
    assert stats.kstest(sample, stats.beta(larger / 2, (d - larger) / 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("small", "large", "d"), [(3, 3, 12), (3, 6, 12), (6, 6, 12)])
def test_the_null_is_that_of_the_principal_angles_of_random_subspaces(small, large, d):
    generator = torch.Generator().manual_seed(1)
    drawn = []
    for _ in range(500):
        angles = subspace_angles(haar(small, d, generator).T.numpy(), haar(large, d, generator).T.numpy())
        drawn.append(np.cos(angles.min()) ** 2)
    assert stats.ks_2samp(drawn, dimensions._largest_squared_cosines(small, large, d)).pvalue > 1e-3


def test_planted_common_directions_are_counted_whatever_their_order_and_basis():
    generator = torch.Generator().manual_seed(0)
    frame = haar(100, 100, generator)
    for common in (0, 1, 3):
        V1 = torch.cat([frame[:common], frame[10 : 18 - common]])
        V2 = torch.cat([frame[30 : 36 - common], frame[:common]])
        turn = haar(8, 8, generator)
        assert shared_dimension(V1, V2) == common
        assert shared_dimension(turn @ V1, -V2.flip(0)) == common
        assert shared_dimension(V2, V1) == common


def test_unrelated_subspaces_share_nothing_as_often_as_the_quantile_says():
    generator = torch.Generator().manual_seed(2)
    shared = [shared_dimension(haar(4, 40, generator), haar(6, 40, generator), 0.9) for _ in range(600)]
    false_positives = np.mean(np.array(shared) > 0)
    assert false_positives == pytest.approx(0.1, abs=0.05)


def test_a_weakly_shared_direction_counts_only_beyond_chance():
    generator = torch.Generator().manual_seed(3)
    frame = haar(60, 60, generator)
    threshold = np.quantile(dimensions._largest_squared_cosines(4, 4, 60), 0.99)
    for squared_cosine, count in ((threshold + 0.01, 1), (threshold - 0.01, 0)):
        leaning = squared_cosine**0.5 * frame[0] + (1 - squared_cosine) ** 0.5 * frame[20]
        assert shared_dimension(frame[:4], torch.stack([leaning, *frame[30:33]])) == count


def test_subspaces_that_must_meet_have_no_shared_dimension():
    frame = haar(6, 6, torch.Generator().manual_seed(0))
    assert math.isnan(shared_dimension(frame[:4], frame[2:]))
    assert math.isnan(shared_dimension(frame[:4], frame[:4]))
    assert shared_dimension(frame[:3], frame[3:]) == 0


def test_missing_directions_are_left_out():
    frame = haar(20, 20, torch.Generator().manual_seed(0))
    V = frame[:3].clone()
    V[1:] = torch.nan
    assert shared_dimension(V, frame[:3]) == 1
    assert math.isnan(shared_dimension(torch.full_like(V, torch.nan), V))


def test_bases_that_cannot_be_compared_are_refused():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(AnalysisError, match="spaces of 10 and 12 dimensions"):
        shared_dimension(haar(2, 10, generator), haar(2, 12, generator))
    with pytest.raises(AnalysisError, match="quantile=1"):
        shared_dimension(haar(2, 10, generator), haar(2, 10, generator), 1)
