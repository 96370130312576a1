"""The five bases of an adapter's directions."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

import lora
from analysis.defaults import BASES
from analysis.errors import AnalysisError
from analysis.geometry.nulls import haar
from analysis.geometry.subspaces import directions
from analysis.geometry.svd import GAP_THRESHOLD
from analysis.reading.adapters import read_adapter

D_OUT, D_IN, R = 18, 30, 4


def pair(seed=0, d_out=D_OUT, d_in=D_IN, r=R, scaling=0.5):
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(r, d_in, generator=generator)
    B = torch.randn(d_out, r, generator=generator)
    return lora.Factors(A=A, B=B, rank=r, alpha=scaling * r, scaling=scaling)


def dense(factors, initial, basis):
    A, B = factors.A.double().numpy(), factors.B.double().numpy()
    matrix = {"A": A, "A-A0": A - initial.A.double().numpy(), "B": B.T}.get(basis, factors.scaling * B @ A)
    _, S, Vh = np.linalg.svd(matrix.T if basis == "dW-left" else matrix, full_matrices=False)
    return S[:R], Vh[:R]


@pytest.mark.parametrize("basis", BASES)
def test_each_basis_is_what_a_dense_svd_gives(basis):
    found = directions(pair(), basis, initial=pair(seed=1))
    values, vectors = dense(pair(), pair(seed=1), basis)
    assert found.basis == basis
    assert found.rank == R
    assert found.vectors.shape == (R, D_OUT if basis in ("B", "dW-left") else D_IN)
    np.testing.assert_allclose(found.values.numpy(), values, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(found.vectors.numpy() * vectors, axis=1)), 1, rtol=1e-10)


def test_the_paper_s_basis_is_the_default():
    assert directions(pair()).basis == "A"


def test_before_the_first_step_only_a_has_directions():
    start = pair()
    start = lora.Factors(start.A, torch.zeros_like(start.B), R, 8.0, 2.0)
    assert directions(start, "A").rank == R
    for basis in ("dW-right", "dW-left", "B", "A-A0"):
        found = directions(start, basis, initial=start)
        assert found.rank == 0
        assert found.vectors.isnan().all()
        assert found.values.isnan().all()
        assert found.relative_gaps.isnan().all()
        assert not found.near_equal().any()


@pytest.mark.parametrize("basis", ["dW-right", "dW-left", "B"])
def test_directions_beyond_the_rank_are_missing_and_marked(basis):
    factors = pair()
    factors.B[:, 2] = factors.B[:, 0]
    found = directions(factors, basis)
    assert found.rank == 3
    assert found.vectors[:3].isfinite().all()
    assert found.vectors[3:].isnan().all()
    assert found.values[3] == 0
    assert found.relative_gaps[2] == 1


def test_movement_below_the_rounding_of_a_is_no_direction():
    start = pair()
    step = 0.01 * torch.outer(torch.randn(R), torch.randn(D_IN))  # of rank 1, then rounded to float32
    moved = lora.Factors(start.A + step, start.B, R, 8.0, 2.0)
    found = directions(moved, "A-A0", initial=start)
    assert found.rank == 1
    expected = step[0].double() / step[0].double().norm()
    assert abs(found.vectors[0] @ expected) > 1 - 1e-6


@pytest.mark.parametrize("coarser", ["A", "A0", "both"])
@pytest.mark.parametrize("reader", ["dictionary", "peft"])
def test_movement_is_judged_by_the_coarser_dtype_that_it_was_stored_in(reader, coarser, tmp_path):
    generator = torch.Generator().manual_seed(3)
    A0 = torch.randn(8, 32, generator=generator) / 6
    step = 0.3 * torch.outer(torch.randn(8, generator=generator), torch.randn(32, generator=generator))
    B = torch.randn(32, 8, generator=generator)
    low = {name: coarser in (name, "both") for name in ("A", "A0")}
    pairs = {}
    for name, A in (("A0", A0), ("A", A0 + step)):
        stored = A.bfloat16() if low[name] else A
        if reader == "dictionary":
            pairs[name] = read_adapter({(0, "q"): (stored, B)})[0, "q"]
        else:
            pairs[name] = from_peft(tmp_path / name, stored, B)
        assert pairs[name].A.dtype != torch.bfloat16  # upcast by the reader
    found = directions(pairs["A"], "A-A0", initial=pairs["A0"])
    assert found.rank == 1
    assert found.values[1:].eq(0).all()
    assert found.vectors[1:].isnan().all()


def from_peft(folder, A, B):
    """q of layer 0 of a Llama of width 32, as PEFT stores it."""
    folder.mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    tensors = {name.format("A"): A.contiguous(), name.format("B"): B}
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": len(A), "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    base = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({**base, "intermediate_size": 80}))
    return read_adapter(folder, folder)[0, "q"]


def test_gaps_tell_where_the_order_is_arbitrary():
    values = torch.tensor([4.0, 3.0, 3.0 * (1 - GAP_THRESHOLD / 2), 1.0, 1.0], dtype=torch.float64)
    A = values[:, None] * haar(5, 20, torch.Generator().manual_seed(0))
    found = directions(SimpleNamespace(A=A, B=torch.ones(3, 5), scaling=1.0))
    assert found.relative_gaps.tolist() == pytest.approx([1 / 4, GAP_THRESHOLD / 2, 0.66499, 0], abs=1e-5)
    assert found.near_equal().tolist() == [False, True, False, True]
    assert found.near_equal(threshold=0.3).tolist() == [True, True, False, True]


def test_half_a_gap_is_enough_to_exchange_two_directions():
    """What `GAP_THRESHOLD` says: a change of spectral norm just above (s_i - s_{i+1}) / 2 swaps them."""
    V = haar(2, 20, torch.Generator().manual_seed(0))
    before = torch.tensor([1.0, 0.9], dtype=torch.float64)
    change = torch.tensor([-0.051, 0.051], dtype=torch.float64)
    B = torch.ones(3, 2)
    first = directions(SimpleNamespace(A=before[:, None] * V, B=B, scaling=1.0)).vectors
    second = directions(SimpleNamespace(A=(before + change)[:, None] * V, B=B, scaling=1.0)).vectors
    assert abs(first[0] @ second[1]) == pytest.approx(1)


def test_what_is_missing_or_unknown_is_said():
    with pytest.raises(AnalysisError, match=r"basis: 'W' is unknown; valid are A, dW-right"):
        directions(pair(), "W")
    with pytest.raises(AnalysisError, match="needs the factors at step 0"):
        directions(pair(), "A-A0")
    with pytest.raises(AnalysisError, match=r"A is \(4, 30\) and A0 \(2, 30\)"):
        directions(pair(), "A-A0", initial=pair(r=2))
