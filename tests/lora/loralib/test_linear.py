import loralib
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lora.loralib.layers import Linear


@settings(deadline=None)  # the first call warms torch up
@given(
    d_in=st.integers(1, 9),
    d_out=st.integers(1, 9),
    r=st.integers(1, 10),
    alpha=st.floats(0.1, 64),
    fan_in_fan_out=st.booleans(),
    batch=st.lists(st.integers(0, 3), max_size=2),
    seed=st.integers(0, 2**16),
)
def test_forward_is_w0_plus_scaled_ba(d_in, d_out, r, alpha, fan_in_fan_out, batch, seed) -> None:
    """Equation 3 written out in numpy, for the layer unmerged and merged."""
    torch.manual_seed(seed)
    layer = Linear(d_in, d_out, r=r, lora_alpha=alpha, fan_in_fan_out=fan_in_fan_out, dtype=torch.float64)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(*batch, d_in, dtype=torch.float64)
    w, a, b, bias = (t.detach().numpy() for t in (layer.weight, layer.lora_A, layer.lora_B, layer.bias))
    w0 = w.T.copy() if fan_in_fan_out else w.copy()
    expected = torch.from_numpy(x.numpy() @ (w0 + alpha / r * (b @ a)).T + bias)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


def pair(fan_in_fan_out: bool, dropout: float = 0.0) -> tuple[Linear, nn.Module]:
    torch.manual_seed(0)
    options = {"r": 3, "lora_alpha": 5, "lora_dropout": dropout, "fan_in_fan_out": fan_in_fan_out}
    theirs = loralib.Linear(7, 5, **options)
    nn.init.normal_(theirs.lora_B)
    ours = Linear(7, 5, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("fan_in_fan_out", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_agrees_with_loralib(fan_in_fan_out: bool, dropout: float) -> None:
    layers = pair(fan_in_fan_out, dropout)
    results = []
    for layer in layers:
        x = torch.randn(4, 7, generator=torch.Generator().manual_seed(1)).requires_grad_()
        torch.manual_seed(2)  # the same dropout mask
        out = layer(x)
        out.square().mean().backward()
        results.append((out, x.grad, layer.lora_A.grad, layer.lora_B.grad, layer.bias.grad))
        assert layer.weight.grad is None
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)
    x = torch.randn(4, 7)
    for layer in layers:
        layer.eval()
    torch.testing.assert_close(layers[0].weight, layers[1].weight, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(layers[0](x), layers[1](x), atol=1e-6, rtol=1e-6)


def test_fan_in_fan_out_weight_is_stored_contiguous() -> None:
    layer = Linear(6, 4, r=2, fan_in_fan_out=True)
    assert layer.weight.shape == (6, 4)
    assert layer.weight.is_contiguous()
    nn.init.normal_(layer.lora_B)
    assert layer.eval().weight.is_contiguous()


@pytest.mark.parametrize("fan_in_fan_out", [False, True])
def test_base_weight_starts_as_nn_linear_does(fan_in_fan_out: bool) -> None:
    """Uniform on ±1/sqrt(in_features): the fan must not be taken from the transposed weight."""
    layer = Linear(400, 25, fan_in_fan_out=fan_in_fan_out)
    for _ in range(2):
        assert 0.049 < layer.weight.abs().max() <= 0.05
        assert layer.bias.abs().max() <= 0.05
        layer.reset_parameters()


def test_same_rng_stream_as_nn_linear() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(6, 4)
    torch.manual_seed(0)
    layer = Linear(6, 4, r=2)
    assert torch.equal(layer.weight, plain.weight)
    assert torch.equal(layer.bias, plain.bias)


def test_without_bias() -> None:
    layer = Linear(6, 4, r=2, bias=False)
    assert layer.bias is None
    assert layer(torch.zeros(1, 6)).abs().sum() == 0


def test_under_bfloat16_autocast_the_factors_stay_float32() -> None:
    layer = Linear(6, 4, r=2)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x), atol=0.05, rtol=0.05)
    out.float().sum().backward()
    assert layer.lora_A.grad is not None
    assert layer.lora_A.grad.dtype == torch.float32
