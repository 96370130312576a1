"""Nulls of a spectrum: closed forms, direct draws, and spectra with planted directions."""

from __future__ import annotations

import math

import pytest
import torch

from analysis.geometry.noise import (
    DRAWS,
    beyond_noise,
    beyond_untrained,
    product_edge,
    product_spectra,
    rounding_edge,
)


def pair(d_out, r, d_in, seed):
    generator = torch.Generator().manual_seed(seed)
    B = torch.randn(d_out, r, generator=generator, dtype=torch.float64)
    return B, torch.randn(r, d_in, generator=generator, dtype=torch.float64)


def counts(B, A):
    S = torch.linalg.svdvals(B @ A)[: len(A)]
    sizes = len(B), A.shape[1], len(A)
    untrained = beyond_untrained(S, float(B.norm()), float(A.norm()), *sizes)
    return untrained.directions, beyond_noise(S, *sizes).directions


@pytest.mark.parametrize("ratio", [0.01, 0.25, 1.0])
def test_with_one_wide_factor_the_edge_is_that_of_marchenko_and_pastur(ratio):
    assert product_edge(10_000, int(10_000 * ratio), 10**13) == pytest.approx(1 + math.sqrt(ratio), rel=1e-5)


def test_the_edge_is_where_large_products_end():
    B, A = pair(1500, 300, 900, seed=0)
    largest = float(torch.linalg.svdvals(B / math.sqrt(1500) @ A / math.sqrt(900))[0])
    assert largest == pytest.approx(product_edge(1500, 300, 900), rel=0.02)


def test_simulated_spectra_are_those_of_products():
    drawn = product_spectra(60, 8, 90)
    assert drawn.shape == (DRAWS, 8)
    direct = []
    for seed in range(DRAWS):
        B, A = pair(60, 8, 90, seed)
        direct.append(torch.linalg.svdvals(B @ A)[:8] / (B.norm() * A.norm()))
    direct = torch.stack(direct)
    error = (drawn.std(0).square() / DRAWS + direct.std(0).square() / DRAWS).sqrt()
    assert ((drawn.mean(0) - direct.mean(0)).abs() < 4 * error).all()
    assert torch.allclose(drawn.std(0), direct.std(0), rtol=0.2)


def test_noise_alone_passes_one_in_a_hundred():
    found = torch.tensor([counts(*pair(50, 8, 70, 1000 + seed)) for seed in range(400)])
    assert ((found > 0).sum(0) <= 12).all()  # 4 expected; the bar's own quantile is simulated too


@pytest.mark.parametrize("planted", [1, 3, 5])
def test_planted_directions_come_back(planted):
    B, A = pair(200, 16, 300, seed=planted)
    B[:, :planted] *= 8
    assert counts(B, A) == (planted, planted)


def test_where_a_null_does_not_apply_nothing_is_counted():
    S = torch.tensor([3.0, 2.0, 1.0])
    assert math.isnan(beyond_noise(S, 9, 9, 3).directions)  # of rank 3 the median is no noise
    assert math.isnan(beyond_untrained(S, 1.0, 1.0, 9, 2, 3).directions)
    zero = torch.full((4,), math.nan)
    assert math.isnan(beyond_noise(zero, 9, 9, 4).bar)
    assert math.isnan(beyond_untrained(zero, 0.0, 1.0, 9, 9, 4).bar)


@pytest.mark.parametrize("shape", [(256, 512), (512, 192)])
def test_the_edge_of_a_rounding_is_that_of_the_real_one(shape):
    """W as gguf quantises and dequantises it, against the error that it really made."""
    quants, types = pytest.importorskip("gguf.quants"), pytest.importorskip("gguf")
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(*shape, generator=generator) @ torch.diag(torch.linspace(0.2, 3, shape[1]))
    kind = types.GGMLQuantizationType.Q4_1
    rounded = torch.tensor(quants.dequantize(quants.quantize(W.numpy(), kind), kind))
    made = float(torch.linalg.svdvals((rounded - W).double())[0])
    edge = rounding_edge(rounded, "Q4_1")
    assert edge is not None
    assert made == pytest.approx(edge, rel=0.05)
    assert rounding_edge(rounded, "Q8_0") is None
    assert rounding_edge(rounded[:, :40], "Q4_1") is None
