"""Top directions of W against a dense SVD, and their verification against results that are wrong."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from scipy.linalg import subspace_angles

from analysis.errors import AnalysisError
from analysis.geometry import weight_svd
from analysis.geometry.nulls import haar
from analysis.geometry.weight_svd import top_directions

K = 12


def with_spectrum(S, d_out, d_in, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (haar(len(S), d_out, generator).T * S) @ haar(len(S), d_in, generator)


SPECTRA = {
    "power law": torch.arange(1, 121, dtype=torch.float64) ** -0.5,
    "spikes over a flat bulk": torch.cat([torch.linspace(9, 5, 7), torch.linspace(1.0, 0.9, 113)]).double(),
    "equal spikes": torch.cat(
        [torch.full((6,), 3.0), torch.full((6,), 2.0), torch.full((108,), 1.0)]
    ).double(),
    "steep": 10.0 ** -torch.arange(0, 12, 0.1, dtype=torch.float64),
}


def matrices():
    for shape in ((120, 120), (120, 200), (200, 120)):
        for name, S in SPECTRA.items():
            yield pytest.param(with_spectrum(S, *shape), id=f"{name} {shape}")
        gaussian = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        yield pytest.param(gaussian, id=f"Gaussian {shape}")


@pytest.fixture
def truncated(monkeypatch):
    """The truncated method, at a size where the dense one is quick; in blocks that do not divide the rows."""
    monkeypatch.setattr(weight_svd, "DENSE_BELOW", 0)
    monkeypatch.setattr(weight_svd, "CACHED_ELEMENTS", 7 * 200)


@pytest.mark.usefixtures("truncated")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("W", matrices())
def test_the_truncated_method_agrees_with_a_dense_svd(W, dtype):
    W = W.to(dtype)
    U, S, Vh = top_directions(W, K)
    dense_U, dense_S, dense_Vh = np.linalg.svd(W.double().numpy(), full_matrices=False)
    np.testing.assert_allclose(S.numpy(), dense_S[:K], rtol=1e-10)
    # Only where a gap follows is the subspace of the top i defined.
    gaps = 1 - dense_S[1 : K + 1] / dense_S[:K]
    ends = [i for i in range(1, K + 1) if gaps[i - 1] > 1e-4]
    assert ends
    for i in ends:
        assert subspace_angles(U[:, :i].numpy(), dense_U[:, :i]).max() < 1e-6
        assert subspace_angles(Vh[:i].T.numpy(), dense_Vh[:i].T).max() < 1e-6
    np.testing.assert_allclose(
        (U.T @ W.double() @ Vh.T).numpy(), np.diag(dense_S[:K]), atol=1e-9 * dense_S[0]
    )


@pytest.mark.usefixtures("truncated")
def test_a_transposed_view_is_read_right():
    stored = with_spectrum(SPECTRA["power law"], 200, 120)
    _, S, Vh = top_directions(stored.T, K)  # GPT-2 stores W as (d_in, d_out)
    U, expected, _ = top_directions(stored, K)
    torch.testing.assert_close(S, expected)
    torch.testing.assert_close((Vh @ U).diagonal().abs(), torch.ones(K, dtype=torch.float64))


def test_small_matrices_and_many_directions_are_decomposed_whole(monkeypatch):
    monkeypatch.setattr(weight_svd, "_lanczos", None)
    W = with_spectrum(SPECTRA["power law"], 120, 200)
    assert top_directions(W, K)[0].shape == (120, K)
    monkeypatch.setattr(weight_svd, "DENSE_BELOW", 0)
    U, S, Vh = top_directions(W.numpy(), 120)
    assert isinstance(U, np.ndarray)
    np.testing.assert_allclose(U * S @ Vh, W.numpy(), atol=1e-12)


def test_directions_that_do_not_exist_are_nan():
    W = with_spectrum(SPECTRA["power law"][:3], 20, 30)
    U, S, Vh = top_directions(W, 5)
    assert U.isnan().any(0).tolist() == Vh.isnan().any(1).tolist() == [False] * 3 + [True] * 2
    assert (S == 0).tolist() == [False] * 3 + [True] * 2
    assert (S[3:] < 1e-12).all()
    nothing = top_directions(torch.zeros(600, 700), 5)
    assert [tuple(part.shape) for part in nothing] == [(600, 5), (5,), (5, 700)]
    assert all(part.isnan().all() for part in nothing)


@pytest.mark.usefixtures("truncated")
def test_a_missed_direction_is_found_out(monkeypatch):
    """A solver that overlooks the third direction returns true singular triplets, but not the top ones."""
    real, calls = scipy.sparse.linalg.svds, []

    def forgetful(operator, k, **options):
        calls.append(k)
        if len(calls) > 1:
            return real(operator, k, **options)
        parts = real(operator, k + 1, **options)
        order = np.argsort(-parts[1])
        kept = np.delete(order, 2)
        return parts[0][:, kept], parts[1][kept], parts[2][kept]

    monkeypatch.setattr(scipy.sparse.linalg, "svds", forgetful)
    W = torch.randn(200, 150, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with pytest.raises(AnalysisError, match=r"a singular value of at least .* was missed"):
        top_directions(W, K)
    assert calls == [K, 1]


@pytest.mark.usefixtures("truncated")
@pytest.mark.parametrize("side", [0, 2])
def test_inexact_directions_are_found_out(monkeypatch, side):
    real = scipy.sparse.linalg.svds

    def sloppy(operator, k, **options):
        parts = real(operator, k, **options)
        if k > 1:
            parts[side].flat[0] += 1e-6
        return parts

    monkeypatch.setattr(scipy.sparse.linalg, "svds", sloppy)
    with pytest.raises(AnalysisError, match="did not pass verification: residual"):
        top_directions(with_spectrum(SPECTRA["power law"], 120, 200), K)


@pytest.mark.usefixtures("truncated")
def test_an_iteration_that_does_not_converge_is_an_error(monkeypatch):
    def stuck(operator, k, **options):
        raise scipy.sparse.linalg.ArpackNoConvergence("no convergence (7 iterations)", [], [])

    monkeypatch.setattr(scipy.sparse.linalg, "svds", stuck)
    with pytest.raises(AnalysisError, match=r"top 12 directions did not converge .*; ask for fewer"):
        top_directions(with_spectrum(SPECTRA["power law"], 120, 200), K)


def test_impossible_requests_are_refused():
    with pytest.raises(AnalysisError, match=r"k=7: W is \(6, 9\), so k is from 1 to 6"):
        top_directions(torch.ones(6, 9), 7)
    with pytest.raises(AnalysisError, match="W: has entries that are NaN"):
        top_directions(torch.full((6, 9), torch.nan), 2)
