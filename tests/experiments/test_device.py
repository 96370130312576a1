"""Where a run computes: what is here, and nothing else."""

from __future__ import annotations

import pytest
import torch

from experiments.device import (
    autocast,
    describe,
    keep_freed_memory,
    one_thread,
    peak_memory,
    resolve_device,
    resolve_precision,
)
from experiments.errors import UserError

CPU = torch.device("cpu")


def test_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto").partition(":")[0] in ("cpu", "cuda", "mps")
    with pytest.raises(UserError, match=r"device=tpu is not available on this machine; valid are auto, cpu"):
        resolve_device("tpu")


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_precision_of_a_cpu_is_the_same_on_every_machine(has_bfloat16, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    assert resolve_precision("auto", "cpu") == "float32"
    assert resolve_precision("float32", "cpu") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_precision_of_a_gpu(has_bfloat16, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert resolve_precision("auto", "cuda") == expected
    assert resolve_precision("float32", "cuda:1") == "float32"
    assert resolve_precision("auto", "mps") == "float32"


def test_autocast_follows_the_precision():
    a = torch.ones(4, 4)
    with autocast(CPU, "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (a @ a).dtype == torch.float32


def test_memory_is_counted_in_bytes():
    keep_freed_memory()
    assert 50e6 < peak_memory(CPU) < 100e9
    assert describe(CPU).startswith("cpu (")


@pytest.mark.parametrize(("told", "inside"), [(None, 1), ("2", 2)])
def test_one_thread_unless_omp_num_threads_says_otherwise(monkeypatch, told, inside) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 2
