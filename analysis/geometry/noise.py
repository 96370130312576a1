"""How many directions of dW stand out of noise: two nulls for the spectrum of a product B A.

Both are of B (d_out, r) and A (r, d_in) with independent Gaussian entries, as of a pair that no training has
given a direction:

- an untrained pair of the same norms: ||A||_F and ||B||_F are the adapter's own. What stands out of it is
  larger than any direction that these norms give by chance; strong directions raise the norms and with them
  this bar.
- the noise floor: the scale is set by the median singular value, which up to r / 2 strong directions move
  little (Gavish and Donoho, 2014, arXiv 1305.5870), and the bar is the Marchenko-Pastur edge of the product.

The bars are the `QUANTILE` of the largest singular value in simulated pairs, which unlike the edge itself
holds at finite sizes: noise alone passes one in 1 of 100 projections. Of directions that are all signal
neither null knows: training need not leave noise, so the second counts at least what is there only while less
than half of the rank is used.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.geometry.arrays import vector

DRAWS = 300
QUANTILE = 0.99
SMALLEST_RANK = 4
"""Below it the median singular value is no measure of noise."""


class Beyond(NamedTuple):
    """How many singular values are above a bar; both NaN where the null does not apply."""

    directions: float
    bar: float


def beyond_untrained(S: Any, norm_B: float, norm_A: float, d_out: int, d_in: int, r: int) -> Beyond:
    """Singular values S of B A above those of an untrained pair of the same norms.

    Args:
        S: (k,), of B A without its scale.
        norm_B, norm_A: Frobenius norms.
        d_out, d_in, r: sizes of the pair.
    """
    values = vector(S, "S")
    if r > min(d_out, d_in) or not norm_A * norm_B > 0:
        return Beyond(math.nan, math.nan)
    bar = norm_A * norm_B * float(product_spectra(d_out, r, d_in)[:, 0].quantile(QUANTILE))
    return Beyond(float((values > bar).sum()), bar)


def beyond_noise(S: Any, d_out: int, d_in: int, r: int) -> Beyond:
    """Singular values S of B A above the largest of noise whose median is theirs."""
    values = vector(S, "S")
    if not SMALLEST_RANK <= r <= min(d_out, d_in) or len(values) < r or not float(values[0]) > 0:
        return Beyond(math.nan, math.nan)
    spectra = product_spectra(d_out, r, d_in)
    ratio = float((spectra[:, 0] / spectra.quantile(0.5, dim=1)).quantile(QUANTILE))
    bar = ratio * float(values.quantile(0.5))
    return Beyond(float((values > bar).sum()), bar)


def rounding_edge(W: Float[Tensor, "d_out d_in"], form: str) -> float | None:
    """The largest singular value that the rounding of a dequantised W makes by itself, of one draw.

    Of Q4_1, whose blocks of 32 entries of a row have 16 levels from their least to their greatest value: the
    step shows in W itself.  Errors are drawn independently and evenly over a step.  None for other formats.
    """
    if form != "Q4_1" or W.shape[1] % 32:
        return None
    blocks = W.double().reshape(-1, 32)
    step = (blocks.amax(1) - blocks.amin(1)) / 15
    generator = torch.Generator().manual_seed(0)
    errors = torch.rand(blocks.shape, generator=generator, dtype=torch.float64) - 0.5
    return float(torch.linalg.svdvals((step[:, None] * errors).reshape(W.shape))[0])


def product_edge(d_out: int, r: int, d_in: int) -> float:
    """The largest singular value of B A for large sizes, entries of variance 1 / d_out and 1 / d_in.

    The squared singular values follow the free product of two Marchenko-Pastur laws of ratios r / d_out and
    r / d_in, whose edge is min over z > 0 of (1 + z) (1 + z r / d_out) (1 + z r / d_in) / z; with one ratio 0
    it is Marchenko and Pastur's (1 + sqrt(r / d))^2.
    """
    first, second = r / d_out, r / d_in
    # The derivative's zero: 2 a b z^3 + (a + b + a b) z^2 = 1, which has one positive root.
    low, high = 0.0, 1.0 / math.sqrt(first + second)
    for _ in range(200):
        z = (low + high) / 2
        above = 2 * first * second * z**3 + (first + second + first * second) * z**2 > 1
        low, high = (low, z) if above else (z, high)
    return math.sqrt((1 + z) * (1 + first * z) * (1 + second * z) / z)


@lru_cache(maxsize=64)
def product_spectra(d_out: int, r: int, d_in: int) -> Float[Tensor, "draws r"]:
    """Singular values of B A / (||B||_F ||A||_F) for Gaussian pairs, descending, a row a draw.

    They are those of the product of the two triangular factors, drawn by Bartlett's decomposition, whose size
    does not depend on d.
    """
    generator = torch.Generator().manual_seed(0)
    spectra = []
    for count in torch.arange(DRAWS).split(max(1, 2**22 // r**2)):
        cores = [_triangular(len(count), r, d, generator) for d in (d_out, d_in)]
        spectra.append(torch.linalg.svdvals(cores[0] @ cores[1].mT))
    return torch.cat(spectra)


def _triangular(draws: int, r: int, d: int, generator: torch.Generator) -> Float[Tensor, "draws r r"]:
    """R of the QR decomposition of Gaussian matrices (d, r), each R divided by its norm."""
    L = torch.randn(draws, r, r, dtype=torch.float64, generator=generator).tril(-1)
    degrees = (d - torch.arange(r, dtype=torch.float64)).expand(draws, r)
    diagonal = torch._standard_gamma(degrees / 2, generator=generator).mul(2).sqrt()
    L = L + torch.diag_embed(diagonal)
    return L.mT / L.flatten(1).norm(dim=1)[:, None, None]
