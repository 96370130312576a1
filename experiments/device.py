"""Where a run computes, and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

import torch

from experiments.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def resolve_device(name: str) -> torch.device:
    """ "auto" is the first GPU, else the CPU.  Raises UserError for a device that is not here."""
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return torch.device(available[1] if len(available) > 1 else "cpu")
    if name not in available:
        raise UserError(f"device={name} is not here; available are auto, {', '.join(available)}")
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """ "auto" is bfloat16 on a GPU that has it, else float32.

    A run's numbers and its address must not depend on which CPU it is trained on, so that a CPU has to be
    asked for bfloat16; it runs on every CPU, and gains time where the CPU multiplies bfloat16 itself, with
    AMX or AVX-512 BF16 (scripts/benchmark_step.py).
    """
    if name != "auto":
        return name
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float32"


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees, instead of asking the system for the same pages each time.

    scripts/benchmark_step.py --no-keep-freed-memory shows the difference.  Elsewhere than on glibc this does
    nothing.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """Matrix products in bfloat16 where the run's precision says so; parameters stay float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type} ({threads} thread{'' if threads == 1 else 's'})"


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU since the run began, else of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
