"""Directions and names for planted adapters."""

import torch


def orthonormal(d, k, seed=0):
    """(d, k) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64))[0]


def llama(layer, letter):
    block = "mlp" if letter in ("gate", "up", "down") else "self_attn"
    return f"model.layers.{layer}.{block}.{letter}_proj"
