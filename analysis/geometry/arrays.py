"""Matrices as they come in (tensors, numpy arrays, nested lists), as float64 tensors, and back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.errors import AnalysisError

BLOCK_ELEMENTS = 2**22
"""Elements of a large matrix that are held in float64 at a time: 32 MiB."""

_SHARED = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))  # torch takes these as they are


def matrix(x: Any, name: str, *, finite: bool = True) -> Tensor:
    """A 2-D float64 tensor on x's device, for a tensor, a numpy array or a nested list of numbers.

    Args:
        name: what `x` is called, for errors.
        finite: refuse NaN and infinite entries.

    Raises:
        AnalysisError: x is not a matrix of real numbers, is empty, or is not finite.
    """
    tensor = _tensor(x, name, dimensions=2).to(torch.float64)
    if finite:
        _check_finite(tensor, name)
    return tensor


def vector(x: Any, name: str) -> Tensor:
    """As `matrix`, for one dimension; NaN is let through, since a zero matrix has singular values of NaN."""
    return _tensor(x, name, dimensions=1).to(torch.float64)


def weight(x: Any, name: str) -> Tensor:
    """As `matrix`, but in x's own floating dtype and without a copy: for a matrix as large as W.

    `row_blocks` then converts it, and checks that it is finite, a block at a time.
    """
    tensor = _tensor(x, name, dimensions=2)
    return tensor if tensor.is_floating_point() else tensor.to(torch.float64)


def row_blocks(W: Tensor, name: str = "W") -> Iterator[tuple[slice, Tensor]]:
    """The rows of `W`, one block after the other: which rows, and the block in float64.

    Raises:
        AnalysisError: a block is not finite.
    """
    rows = max(1, BLOCK_ELEMENTS // W.shape[1])
    for start in range(0, W.shape[0], rows):
        block = W[start : start + rows].to(torch.float64)
        _check_finite(block, name)
        yield slice(start, start + len(block)), block


def weight_norm(W: Any) -> float:
    """||W||_F, summed in float64.

    Raises:
        AnalysisError: W is no finite matrix.
    """
    return math.sqrt(sum(float(block.square().sum()) for _, block in row_blocks(weight(W, "W"))))


def like(given: Any, result: Tensor) -> Any:
    """`result` as a numpy array where `given` was one, else as it is."""
    return result.cpu().numpy() if isinstance(given, np.ndarray) else result


def _check_finite(tensor: Tensor, name: str) -> None:
    if not torch.isfinite(tensor).all():
        raise AnalysisError(f"{name}: has entries that are NaN or infinite; give finite numbers")


def _tensor(x: Any, name: str, dimensions: int) -> Tensor:
    if isinstance(x, Tensor):
        tensor = x.detach()
    elif isinstance(x, np.ndarray) and x.dtype in _SHARED and min(x.strides, default=0) >= 0:
        with warnings.catch_warnings():  # a read-only array, such as a memory map, is never written to
            warnings.filterwarnings("ignore", message=".*not writable")
            tensor = torch.from_numpy(x)
    else:
        try:
            tensor = torch.from_numpy(np.array(x, dtype=np.float64, order="C"))
        except (TypeError, ValueError):
            what = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
            raise AnalysisError(f"{name}: {what} is no array of real numbers") from None
    if tensor.is_complex():
        raise AnalysisError(f"{name}: is complex; give real numbers")
    if tensor.ndim != dimensions or tensor.numel() == 0:
        wanted = {1: "a vector", 2: "a matrix"}[dimensions]
        raise AnalysisError(f"{name}: has shape {tuple(tensor.shape)}; give {wanted} with at least one entry")
    return tensor
