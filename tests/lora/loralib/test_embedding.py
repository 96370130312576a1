from typing import Any

import loralib
import pytest
import torch
from torch import Tensor, nn

from lora.loralib.layers import Embedding


def trained(**kwargs: Any) -> Embedding:
    torch.manual_seed(0)
    layer = Embedding(7, 4, r=2, lora_alpha=3, **kwargs)
    nn.init.normal_(layer.lora_A)
    return layer


@pytest.fixture
def x() -> Tensor:
    return torch.tensor([[1, 4, 4], [0, 6, 2]])


def test_forward_is_a_row_of_w0_plus_scaled_ba(x: Tensor) -> None:
    layer = trained().double()
    w0, a, b = (t.detach().numpy() for t in (layer.weight, layer.lora_A, layer.lora_B))
    expected = torch.from_numpy((w0 + 1.5 * (b @ a).T)[x.numpy()])
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


@pytest.mark.parametrize("scale_grad_by_freq", [False, True])
def test_agrees_with_loralib(x: Tensor, scale_grad_by_freq: bool) -> None:
    ours = trained(scale_grad_by_freq=scale_grad_by_freq)
    theirs = loralib.Embedding(7, 4, r=2, lora_alpha=3, scale_grad_by_freq=scale_grad_by_freq)
    theirs.load_state_dict(ours.state_dict())
    results = []
    for layer in (ours, theirs):
        out = layer(x)
        out.square().mean().backward()
        results.append((out, layer.lora_A.grad, layer.lora_B.grad))
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-6, rtol=1e-6)


def test_a_starts_at_zero_and_b_normal() -> None:
    torch.manual_seed(0)
    layer = Embedding(3, 500, r=20)
    assert not layer.lora_A.any()
    assert abs(layer.lora_B.std() - 1) < 0.03


def test_merging_transposes_the_product() -> None:
    """A square table, where a missing transpose raises no error."""
    torch.manual_seed(0)
    layer = Embedding(5, 5, r=2)
    nn.init.normal_(layer.lora_A)
    x = torch.arange(5)
    out = layer(x)
    torch.testing.assert_close(layer.eval()(x), out)


@pytest.mark.parametrize("padding_idx", [4, -3])
def test_the_padding_row_has_no_update_and_no_gradient(x: Tensor, padding_idx: int) -> None:
    layer = trained(padding_idx=padding_idx)
    assert layer.lora_A[:, 4].all()
    assert not layer.delta_weight()[4].any()
    assert layer.delta_weight()[[0, 1, 2, 3, 5, 6]].all()
    out = layer(x)
    assert not out[x == 4].any()
    out.square().mean().backward()
    assert layer.lora_A.grad is not None
    assert not layer.lora_A.grad[:, 4].any()
    assert layer.lora_A.grad[:, 1].all()
    torch.testing.assert_close(layer.eval()(x), out)


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
def test_max_norm_bounds_the_base_rows_and_writes_to_nothing(x: Tensor, norm_type: float) -> None:
    layer = trained(max_norm=0.5, norm_type=norm_type)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    plain = nn.Embedding(7, 4, max_norm=0.5, norm_type=norm_type)
    plain.load_state_dict({"weight": layer.weight})
    delta = layer.delta_weight()[x]
    out = layer(x)
    torch.testing.assert_close(out, plain(x) + delta, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(layer.eval()(x), out, atol=1e-6, rtol=1e-6)
    layer.train()
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())


def test_max_norm_leaves_short_and_zero_rows_alone() -> None:
    layer = Embedding(2, 3, r=1, max_norm=2.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0, 0], [1, 0, 1]]))
    assert torch.equal(layer(torch.arange(2)), layer.weight)


def test_sparse_table_trains_with_dense_factors(x: Tensor) -> None:
    layer = trained(sparse=True)
    layer(x).sum().backward()
    assert layer.lora_A.grad is not None
    assert layer.lora_A.grad.layout == torch.strided


def test_a_given_table_is_kept() -> None:
    table = torch.randn(7, 4)
    assert torch.equal(Embedding(7, 4, r=2, _weight=table.clone()).weight, table)
    assert torch.equal(Embedding.from_pretrained(table.clone()).weight, table)
