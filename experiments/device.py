"""Where a run computes, and in which precision.  torch is imported only where it is asked something."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import UserError

if TYPE_CHECKING:
    import torch

IDLE_SECONDS = 0.3
GPU_FILES = ("nvidia*", "nvhost*", "kfd", "dxg")
"""In /dev: of NVIDIA's driver and that of its boards, of AMD's, and of WSL."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def resolve_device(name: str) -> str:
    """Its name; "auto" is the first GPU, else the CPU.  Raises UserError for a device that is not here."""
    available = ["cpu"]
    if name != "cpu" and _may_have_gpu():
        import torch

        if torch.cuda.is_available():
            available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            available.append("mps")
    if name == "auto":
        return available[1] if len(available) > 1 else "cpu"
    if name not in available:
        raise UserError(
            f"device={name} is not available on this machine; valid are auto, {', '.join(available)}"
        )
    return name


def _may_have_gpu() -> bool:
    """Whether torch, whose import takes seconds, could find one: on Linux there is a device file then."""
    files = (file for name in GPU_FILES for file in Path("/dev").glob(name))
    return sys.platform != "linux" or any(files)


def resolve_precision(name: str, device: str) -> str:
    """ "auto" is bfloat16 on a GPU that has it, else float32.

    A run's numbers and its address must not depend on which CPU it is trained on, so that a CPU has to be
    asked for bfloat16; it runs on every CPU, and gains time where the CPU multiplies bfloat16 itself, with
    AMX or AVX-512 BF16 (scripts/benchmark_step.py).
    """
    if name != "auto":
        return name
    if device.startswith("cuda"):
        import torch

        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
    return "float32"


def idle_cores() -> int:
    """Cores that this process may use and that nothing else is busy on, measured for a moment; at least 1."""
    import psutil

    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    used = psutil.cpu_percent(IDLE_SECONDS, percpu=True)
    idle = sum(1 - used[core] / 100 for core in mine if core < len(used))
    quota, _, period = _cgroup("cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        idle = min(idle, int(quota) / int(period))
    return max(1, round(idle))


def use_idle_cores() -> None:
    """One thread an idle core, unless OMP_NUM_THREADS says otherwise: one on a busy core stalls the rest."""
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(min(torch.get_num_threads(), idle_cores()))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread in here, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def available_memory() -> int:
    """Bytes that can still be taken: of the machine, and of the container or Slurm job."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, taken = _cgroup("memory.max"), _cgroup("memory.current")
    return min(free, int(limit) - int(taken)) if limit.isdecimal() and taken.isdecimal() else free


def _cgroup(name: str) -> str:
    """A value of the control group that this process is in; nothing where there is none."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip()
        return (Path("/sys/fs/cgroup") / group.lstrip("/") / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


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
        import torch

        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def describe(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type} ({threads} thread{'' if threads == 1 else 's'})"


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU since the run began, else of the process since it began."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
