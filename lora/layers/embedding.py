"""An embedding table with a low-rank update."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from lora.layers.lowrank import LoRALayer


class Embedding(LoRALayer, nn.Embedding):
    """e(x) = W0[x] + (lora_alpha / r) · (B A)ᵀ[x].

    Parameters: `weight` (num_embeddings, embedding_dim), frozen if r > 0; `lora_A` (r, num_embeddings), zero
    at the start; `lora_B` (embedding_dim, r), N(0, 1) at the start. (As in loralib: A is the factor that is
    looked up, so only the columns of tokens that occur ever leave zero.)

    With r > 0:

    - the row `padding_idx` has no update and no gradient, whatever A holds;
    - `max_norm` bounds the rows of W0, when looked up and when merged, without writing to the frozen table
      (`nn.Embedding` rescales it in place); the update comes on top of the bounded row, and A is not bounded;
    - the gradient of A is dense, with `sparse=True` too: it has only r columns.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: columns of the table.
        r: rank of the update; 0 makes a plain `nn.Embedding`.
        lora_alpha: numerator of the scale alpha / r.
        merge_weights: merge in `eval()`, unmerge in `train()`.
        **kwargs: those of `nn.Embedding`.

    Raises:
        ValueError: if `r` is not an integer >= 0.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        r: int = 0,
        lora_alpha: float = 1,
        merge_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, **kwargs)
        self._init_lora(r, lora_alpha, lora_dropout=0.0, merge_weights=merge_weights)
        if r > 0:
            self._add_factors((r, num_embeddings), (embedding_dim, r))

    def reset_parameters(self) -> None:
        """Draw W0 as `nn.Embedding` does; reset the factors."""
        self.unmerge()
        super().reset_parameters()
        if self.adapted:
            self.reset_lora_parameters()

    def reset_lora_parameters(self) -> None:
        """Set A to zero and draw B from N(0, 1)."""
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    def _compose(self, a: Tensor, b: Tensor) -> Tensor:
        if self.padding_idx is not None:
            a = a.index_fill(1, torch.tensor([self.padding_idx], device=a.device), 0)
        return (b @ a).T

    def _full_weight(self, dtype: torch.dtype) -> Tensor:
        return self._bounded(self.weight.to(dtype)) + self.delta_weight(dtype)

    def _bounded(self, rows: Tensor) -> Tensor:
        """Scale down the rows whose norm is above `max_norm`."""
        if self.max_norm is None:
            return rows
        norms = torch.linalg.vector_norm(rows.detach(), self.norm_type, dim=-1, keepdim=True)
        return rows * (self.max_norm / norms.clamp_min(self.max_norm))

    def forward(self, x: Integer[Tensor, "*batch"]) -> Float[Tensor, "*batch d"]:
        """Indices x (...) -> vectors (..., embedding_dim)."""
        if not self.adapted:
            return super().forward(x)
        # Without max_norm, which would write to the table.
        rows = F.embedding(
            x,
            self.weight,
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )
        if self.merged:
            return rows
        codes = F.embedding(x, self.lora_A.T, scale_grad_by_freq=self.scale_grad_by_freq)
        if self.padding_idx is not None:
            codes = codes.masked_fill((x == self.padding_idx).unsqueeze(-1), 0)
        return self._bounded(rows) + F.linear(codes, self.lora_B) * self.scaling
