"""What spares a process that trains some work, and changes none of its numbers."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KERNELS = 2048


def tune() -> None:
    """To be called before the first product of matrices."""
    _keep_freed_memory()
    _keep_kernels()


def _keep_freed_memory() -> None:
    """Let glibc keep what a training step frees, instead of asking the system for the same pages each time.

    Elsewhere than on glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _keep_kernels() -> None:
    """Let oneDNN keep the kernels it compiles, one for each shape of a product.

    Batches of many lengths and a generation that grows by a token a time have some 1,300 shapes in a run of
    the embedded model, and oneDNN keeps 1,024, so that it would compile them again and again.  Each takes 100
    to 200 KB: those of every rank of a study would take gigabytes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))


@contextlib.contextmanager
def long_lived_objects() -> Iterator[None]:
    """Keep the garbage collector off what exists now: tens of thousands of examples that outlive the run."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
