"""The analysis benchmark, small: its planted truths come out, and its files are adapter files."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import lora

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark_analysis.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_analysis", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_run_reports_every_part(benchmark, monkeypatch, capsys):
    monkeypatch.setattr("analysis.geometry.dimensions.DRAWS", 200)
    size = ["--layers", "2", "--dimension", "512", "--obvious-dimension", "128"]
    monkeypatch.setattr("sys.argv", ["benchmark_analysis.py", *size])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "W_q: " in printed
    assert "shared dimension 3.00, planted 3" in printed
    assert "shared dimension 1.00, planted 1" in printed
    assert "r = 4: 21.46, r = 64: 37.68" in printed
    for part in ("figures 3, 4, 6 and 7", "table 7, dW", "table 7, W's own", "the obvious way", "ours, d"):
        assert f"\n{part}" in printed


def test_its_adapter_files_are_those_of_lora(benchmark, tmp_path):
    benchmark.write_adapter(tmp_path / "adapter.safetensors", layers=2, d=40, rank=3, seed=1)
    file = lora.read(tmp_path / "adapter.safetensors")
    assert list(file.factors) == [(0, "q"), (0, "v"), (1, "q"), (1, "v")]
    A, B = benchmark.factors(1, "v", 40, 3, 1)
    assert torch.equal(file.factors[1, "v"].A, A)
    assert torch.equal(file.factors[1, "v"].B, B)
    assert file.factors[1, "v"].scaling == benchmark.SCALING


def test_its_weight_has_the_energy_of_the_paper_s(benchmark):
    values, W = benchmark.weight(600)
    energy = np.cumsum(values**2) / np.sum(values**2)
    assert W.norm().item() == pytest.approx(61.95, rel=1e-5)
    assert energy[3] == pytest.approx((21.67 / 61.95) ** 2, abs=0.003)
    assert energy[63] == pytest.approx((37.71 / 61.95) ** 2, abs=0.003)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(torch.linalg.svdvals(W.double()), values, rtol=1e-5)
