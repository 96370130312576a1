"""One adapted projection, and the module that puts one or several of them beside a frozen weight."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lora.targets import LETTERS

INITS = ("gaussian", "kaiming")
"""Distributions of A at the start; both have variance 1 / (3 d_in), which is loralib's."""


class Adapter(nn.Module):
    """The trained pair of one projection: dW = scaling * B A (paper, section 4.1).

    Attributes:
        lora_A: (r, d_in), directions of the input space.
        lora_B: (d_out, r), directions of the output space.
        alpha, scaling: scaling is the factor that is applied, alpha the number that it was made from.
    """

    def __init__(
        self,
        lora_A: Float[Tensor, "r d_in"],
        lora_B: Float[Tensor, "d_out r"],
        alpha: float,
        scaling: float,
    ) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(lora_A)
        self.lora_B = nn.Parameter(lora_B)
        self.alpha = float(alpha)
        self.scaling = float(scaling)

    @property
    def rank(self) -> int:
        return self.lora_A.shape[0]

    def delta(self) -> Float[Tensor, "d_out d_in"]:
        """dW, as large as W: for merging. Norms and singular vectors need only the thin factors."""
        return self.scaling * (self.lora_B @ self.lora_A)

    def extra_repr(self) -> str:
        d_in, d_out = self.lora_A.shape[1], self.lora_B.shape[0]
        return f"d_in={d_in}, d_out={d_out}, rank={self.rank}, scaling={self.scaling:g}"


def initial_factors(
    shape: tuple[int, int], rank: int, init: str, *, seed: int, layer: int, letter: str
) -> tuple[Float[Tensor, "r d_in"], Float[Tensor, "d_out r"]]:
    """A random and B zero, in float32 on the CPU, so that dW = 0 at the start.

    A depends on (seed, layer, letter, rank) alone: not on the global generator, nor on what else is adapted.
    Were the generator shared by ranks, the rows of the r=8 matrix would be the first rows of the r=64 one,
    and their subspaces would agree before any training.

    Args:
        shape: (d_out, d_in) of W.
        init: "gaussian", N(0, 1 / (3 d_in)), or "kaiming", U(-1 / sqrt(d_in), 1 / sqrt(d_in)).

    Raises:
        ValueError: unknown `init`.
    """
    d_out, d_in = shape
    key = hashlib.sha256(f"{seed}/{layer}/{letter}/{rank}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
    lora_A = torch.empty(rank, d_in, dtype=torch.float32)
    if init == "gaussian":
        lora_A.normal_(0.0, 1 / math.sqrt(3 * d_in), generator=generator)
    elif init == "kaiming":
        lora_A.uniform_(-1 / math.sqrt(d_in), 1 / math.sqrt(d_in), generator=generator)
    else:
        raise ValueError(f"init: {init!r} is unknown; valid are {', '.join(INITS)}")
    return lora_A, torch.zeros(d_out, rank, dtype=torch.float32)


def is_conv1d(module: nn.Module) -> bool:
    """A transformers Conv1D, known by its looks: a linear layer whose weight is stored (d_in, d_out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


class AdaptedModule(nn.Module):
    """A frozen module and the adapters of its projections: y = base(x) + sum_l scaling_l B_l A_l x.

    A fused module holds several projections (GPT-2's c_attn: q, k and v); B_l A_l x is added to the outputs
    that belong to l.

    Attributes:
        base: the original module, unchanged, with weight (d_out, d_in), or (d_in, d_out) in a Conv1D.
        adapters: letter -> Adapter, in the order q k v o gate up down.
        layer: number of the layer, from 0.
    """

    def __init__(
        self,
        base: nn.Module,
        adapters: Mapping[str, Adapter],
        rows: Mapping[str, slice | Tensor],
        *,
        layer: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict({letter: adapters[letter] for letter in LETTERS if letter in adapters})
        self.layer = layer
        self.dropout = nn.Dropout(dropout)
        for letter in self.adapters:
            where = rows[letter]
            if isinstance(where, Tensor):  # follows the module to its device
                self.register_buffer(f"rows_{letter}", where, persistent=False)
            else:
                setattr(self, f"rows_{letter}", where)
        self.train(base.training)

    @property
    def transposed(self) -> bool:
        """The base's weight is stored (d_in, d_out)."""
        return is_conv1d(self.base)

    @property
    def weight(self) -> nn.Parameter:
        """The base's weight, as it is stored."""
        return cast("nn.Parameter", self.base.weight)

    def items(self) -> Iterable[tuple[str, Adapter]]:
        """(letter, Adapter), in the order q k v o gate up down."""
        return cast("Iterable[tuple[str, Adapter]]", self.adapters.items())

    def rows(self, letter: str) -> slice | Tensor:
        """Which of the base module's outputs are this projection's."""
        return getattr(self, f"rows_{letter}")

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        y = self.base(x)
        down, up = self.stacked()
        if x.dtype != down.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(down.dtype)  # a bf16 base: the thin products stay in the factors' own precision
        return y + F.linear(F.linear(self.dropout(x), down), up).to(y.dtype)

    def stacked(self, *, scaled: bool = True) -> tuple[Float[Tensor, "rs d_in"], Float[Tensor, "d_out rs"]]:
        """All letters as one pair: the A's stacked, and a matrix that is scaling * B in each one's block.

        Two products for the module are quicker than two for each letter added into slices of y.
        """
        down = torch.cat([adapter.lora_A for _, adapter in self.items()])
        d_out = self.weight.shape[1 if self.transposed else 0]
        up = down.new_zeros(d_out, len(down))
        column = 0
        for letter, adapter in self.items():
            lora_B = adapter.scaling * adapter.lora_B if scaled else adapter.lora_B
            up[self.rows(letter), column : column + adapter.rank] = lora_B
            column += adapter.rank
        return down, up
