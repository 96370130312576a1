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

RANDOM_INITS = ("gaussian", "kaiming")
"""Distributions of A at the start; both have variance 1 / (3 d_in), which is loralib's."""
INITS = (*RANDOM_INITS, "pissa", "olora")
"""Of the latter two A and B are made from W0, and their product at the start is taken off it."""


class Adapter(nn.Module):
    """The trained pair of one projection: dW = scaling * B A (paper, section 4.1).

    Where the pair was not zero at the start (PiSSA, OLoRA), dW = scaling * (B A - B0 A0).  DoRA trains the
    norms of the rows of W0 + dW besides (`AdaptedModule.update` has its dW).

    Attributes:
        lora_A: (r, d_in), directions of the input space.
        lora_B: (d_out, r), directions of the output space.
        start_A, start_B: A0 and B0, frozen; None where their product is zero.
        magnitude: (d_out,), DoRA's; None without it.
        alpha, scaling: scaling is the factor that is applied, alpha the number that it was made from.
    """

    start_A: Tensor | None
    start_B: Tensor | None

    def __init__(
        self,
        lora_A: Float[Tensor, "r d_in"],
        lora_B: Float[Tensor, "d_out r"],
        alpha: float,
        scaling: float,
        *,
        start: tuple[Float[Tensor, "r d_in"], Float[Tensor, "d_out r"]] | None = None,
        magnitude: Float[Tensor, " d_out"] | None = None,
    ) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(lora_A)
        self.lora_B = nn.Parameter(lora_B)
        self.register_buffer("start_A", start[0] if start else None)
        self.register_buffer("start_B", start[1] if start else None)
        self.magnitude = None if magnitude is None else nn.Parameter(magnitude)
        self.alpha = float(alpha)
        self.scaling = float(scaling)

    @property
    def rank(self) -> int:
        return self.lora_A.shape[0]

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(A, B), and (A0, -B0) where there is one: dW = scaling * the sum of their products B A."""
        trained: tuple[Tensor, Tensor] = self.lora_A, self.lora_B
        if self.start_A is None or self.start_B is None:
            return [trained]
        return [trained, (self.start_A, -self.start_B)]

    def delta(self) -> Float[Tensor, "d_out d_in"]:
        """dW, as large as W: for merging. Norms and singular vectors need only the thin factors.

        Of DoRA: what is added to W0 before its rows get their norms.
        """
        down, up = self.whole()
        return self.scaling * (up @ down)

    def whole(self) -> tuple[Float[Tensor, "rs d_in"], Float[Tensor, "d_out rs"]]:
        """`pairs` as one pair."""
        down, up = zip(*self.pairs(), strict=True)
        return torch.cat(down), torch.cat(up, dim=1)

    @torch.no_grad()
    def take(
        self,
        A: Tensor,
        B: Tensor,
        start: tuple[Tensor, Tensor] | None = None,
        magnitude: Tensor | None = None,
    ) -> None:
        """Take over values; what this adapter has not, and is given, it gets."""
        self.lora_A.copy_(A)
        self.lora_B.copy_(B)
        A0, B0 = start or (None, None)
        self.start_A = None if A0 is None else A0.to(self.lora_A)
        self.start_B = None if B0 is None else B0.to(self.lora_B)
        kept = self.magnitude
        if magnitude is None or kept is None:
            self.magnitude = None if magnitude is None else nn.Parameter(magnitude.to(self.lora_A))
        else:
            kept.copy_(magnitude)

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
        raise ValueError(f"init: {init!r} is unknown; valid are {', '.join(RANDOM_INITS)}")
    return lora_A, torch.zeros(d_out, rank, dtype=torch.float32)


def factors_of_weight(
    weight: Float[Tensor, "d_out d_in"], rank: int, init: str, scaling: float
) -> tuple[Float[Tensor, "r d_in"], Float[Tensor, "d_out r"]]:
    """A and B that are a part of W0: what PiSSA (arXiv 2404.02948) and OLoRA (2406.01775) train.

    pissa: scaling * B A = U_r S_r V_r^T, of the r largest singular values, shared evenly by A and B.
    olora: B = Q_r and A = R_r of the QR decomposition W0 = Q R, not divided by the scaling, as in PEFT.

    Returns:
        both in float32, or float64 if W0 is, on W0's device.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    if init == "pissa":
        U, S, Vh = torch.linalg.svd(weight.double(), full_matrices=False)
        root = (S[:rank] / scaling).sqrt()
        A, B = root[:, None] * Vh[:rank], U[:, :rank] * root
    else:
        Q, R = torch.linalg.qr(weight.double())
        A, B = R[:rank], Q[:, :rank]
    return A.to(dtype).contiguous(), B.to(dtype).contiguous()


def row_norms(
    weight: Float[Tensor, "d_out d_in"], down: Float[Tensor, "r d_in"], up: Float[Tensor, "d_out r"]
) -> Float[Tensor, " d_out"]:
    """Norms of the rows of W0 + up down, without forming the sum."""
    weight = weight.to(down.dtype)
    crossed = 2 * weight @ down.T + up @ (down @ down.T)
    return (weight.square().sum(1) + (up * crossed).sum(1)).clamp(min=0).sqrt()


def is_conv1d(module: nn.Module) -> bool:
    """A transformers Conv1D, known by its looks: a linear layer whose weight is stored (d_in, d_out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


class AdaptedModule(nn.Module):
    """A frozen module and the adapters of its projections: y = base(x) + sum_l scaling_l B_l A_l x.

    A fused module holds several projections (GPT-2's c_attn: q, k and v); B_l A_l x is added to the outputs
    that belong to l.  With DoRA's magnitudes m they are y = m / norm * (W0 x + ...) + bias, where norm is of
    the rows of W0 + scaling B A and has no gradient (arXiv 2402.09353, section 4.3).

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
        down, up = self.stacked(started=False)
        if x.dtype != down.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(down.dtype)  # a bf16 base: the thin products stay in the factors' own precision
        added = F.linear(F.linear(self.dropout(x), down), up)
        if any(adapter.start_A is not None for _, adapter in self.items()):
            down, up = self.stacked(trained=False)
            added = added + F.linear(F.linear(x, down), up)  # a part of W0, of which nothing is dropped
        if all(adapter.magnitude is None for _, adapter in self.items()):
            return y + added.to(y.dtype)
        bias = self.base.bias if isinstance(self.base.bias, Tensor) else 0.0
        return (self.gains().to(y.dtype) * (y - bias + added.to(y.dtype)) + bias).to(y.dtype)

    def gains(self) -> Float[Tensor, " d_out"]:
        """DoRA's factor of each of the module's outputs: magnitude over norm, and 1 of other projections."""
        gains = torch.ones_like(self.stacked()[1][:, 0])
        for letter, adapter in self.items():
            if adapter.magnitude is not None:
                gains[self.rows(letter)] = self._gains(letter, adapter, adapter.magnitude)
        return gains

    def _gains(self, letter: str, adapter: Adapter, magnitude: Tensor) -> Float[Tensor, " d_out"]:
        down, up = adapter.whole()
        with torch.no_grad():
            norms = row_norms(self.projection(letter), down, adapter.scaling * up)
        return magnitude / norms

    def projection(self, letter: str) -> Float[Tensor, "d_out d_in"]:
        """W0 of a letter, output rows first."""
        weight = self.weight.detach()
        return (weight.T if self.transposed else weight)[self.rows(letter)]

    def update(self, letter: str) -> Float[Tensor, "d_out d_in"]:
        """dW = W - W0 of a letter, as large as W; DoRA's is of full rank."""
        adapter = self.adapters[letter]
        assert isinstance(adapter, Adapter)
        if adapter.magnitude is None:
            return adapter.delta()
        weight = self.projection(letter).to(adapter.lora_A.dtype)
        gains = self._gains(letter, adapter, adapter.magnitude)
        return gains[:, None] * (weight + adapter.delta()) - weight

    def stacked(
        self, *, scaled: bool = True, trained: bool = True, started: bool = True
    ) -> tuple[Float[Tensor, "rs d_in"], Float[Tensor, "d_out rs"]]:
        """All letters as one pair: the A's stacked, and a matrix that is scaling * B in each one's block.

        Two products for the module are quicker than two for each letter added into slices of y.

        Args:
            scaled: whether the scaling is in it.
            trained, started: whether (A, B) are in it, and (A0, -B0) where there are any.
        """
        chosen = slice(0 if trained else 1, 2 if started else 1)
        pairs = [
            (adapter, letter, *pair) for letter, adapter in self.items() for pair in adapter.pairs()[chosen]
        ]
        down = torch.cat([A for _, _, A, _ in pairs])
        d_out = self.weight.shape[1 if self.transposed else 0]
        up = down.new_zeros(d_out, len(down))
        column = 0
        for adapter, letter, A, B in pairs:
            up[self.rows(letter), column : column + len(A)] = adapter.scaling * B if scaled else B
            column += len(A)
        return down, up
