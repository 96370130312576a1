from typing import Any

import loralib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lora.loralib.layers import Conv1d, Conv2d, Conv3d

CLASSES = {1: Conv1d, 2: Conv2d, 3: Conv3d}
PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
FUNCTIONAL = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    axes = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    return {
        "kernel_size": tuple(draw(st.integers(1, 3)) for _ in range(axes)),
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "groups": groups,
        "stride": draw(st.integers(1, 2)),
        "padding": draw(st.integers(0, 2)),
        "dilation": draw(st.integers(1, 2)),
    }


@settings(deadline=None)  # the first call warms torch up
@given(geometry=geometries(), r=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_any_dimension_kernel_and_groups(geometry: dict[str, Any], r: int, seed: int) -> None:
    """The functional convolution with W0 + scaled reshape of BA, for the layer unmerged and merged."""
    torch.manual_seed(seed)
    kernel, groups = geometry["kernel_size"], geometry["groups"]
    layer = CLASSES[len(kernel)](r=r, lora_alpha=3, dtype=torch.float64, **geometry)
    nn.init.normal_(layer.lora_B)
    product = np.asarray(layer.lora_B.detach()) @ np.asarray(layer.lora_A.detach())
    full = layer.weight.detach() + 3 / r * torch.from_numpy(product).reshape(layer.weight.shape)
    x = torch.randn(2, geometry["in_channels"], *[6] * len(kernel), dtype=torch.float64)
    options = {key: geometry[key] for key in ("stride", "padding", "dilation", "groups")}
    expected = FUNCTIONAL[len(kernel)](x, full, layer.bias, **options)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)
    leading = int(np.prod(kernel[: len(kernel) // 2]))
    assert layer.lora_B.shape == (geometry["out_channels"] // groups * leading, r * leading)
    assert layer.lora_A.shape[0] == r * leading


LORALIB_CASES = [
    *[(2, k, groups) for k in (1, 2, 3) for groups in (1, 2)],
    *[(axes, 1, groups) for axes in (1, 3) for groups in (1, 2)],
]


@pytest.mark.parametrize(("axes", "k", "groups"), LORALIB_CASES)
def test_agrees_with_loralib_where_it_is_right(axes: int, k: int, groups: int) -> None:
    theirs = getattr(loralib, f"Conv{axes}d")(4, 6, k, r=2, lora_alpha=5, groups=groups, padding=1)
    nn.init.normal_(theirs.lora_B)
    ours = CLASSES[axes](4, 6, k, r=2, lora_alpha=5, groups=groups, padding=1)
    ours.load_state_dict(theirs.state_dict())  # strictly: loralib's conv.weight and conv.bias are read
    assert torch.equal(ours.weight, theirs.conv.weight)
    results = []
    for layer in (ours, theirs):
        x = torch.randn(2, 4, *[5] * axes, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = layer(x)
        out.square().mean().backward()
        results.append((out, x.grad, layer.lora_A.grad, layer.lora_B.grad))
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)


def test_loralib_keys_load_inside_a_model() -> None:
    theirs = nn.Sequential(loralib.Conv2d(4, 6, 3, r=2), nn.ReLU(), loralib.Conv2d(6, 2, 3, r=2))
    ours = nn.Sequential(Conv2d(4, 6, 3, r=2), nn.ReLU(), Conv2d(6, 2, 3, r=2))
    state = theirs.state_dict()
    keys = set(state)
    ours.load_state_dict(state)
    assert set(state) == keys, "loading changed the caller's state dict"
    x = torch.randn(1, 4, 7, 7)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_pretrained_convolutions_keys_load(axes: int) -> None:
    plain = PLAIN[axes](4, 6, 3, groups=2)
    layer = CLASSES[axes](4, 6, 3, r=2, groups=2)
    result = layer.load_state_dict(plain.state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert set(result.missing_keys) == {"lora_A", "lora_B"}
    x = torch.randn(1, 4, *[5] * axes)
    torch.testing.assert_close(layer(x), plain(x))
    assert isinstance(layer, type(plain))


@pytest.mark.parametrize(("axes", "factor"), [(1, 1), (2, 3), (3, 3)])
def test_rank_of_the_product_is_as_documented(axes: int, factor: int) -> None:
    layer = CLASSES[axes](20, 20, 3, r=2, dtype=torch.float64)
    nn.init.normal_(layer.lora_B)
    assert torch.linalg.matrix_rank(layer.lora_B @ layer.lora_A) == 2 * factor


def test_conv1d_update_has_rank_r_as_a_map_from_patches_to_channels() -> None:
    layer = Conv1d(8, 9, 3, r=2, dtype=torch.float64)
    nn.init.normal_(layer.lora_B)
    assert torch.linalg.matrix_rank(layer.delta_weight().flatten(1)) == 2


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
@pytest.mark.parametrize("dropout", [0.0, 1e-9])
def test_padding_mode_and_missing_bias(mode: str, dropout: float) -> None:
    """A dropout that drops nothing takes the path with two convolutions."""
    torch.manual_seed(0)
    layer = Conv2d(2, 3, 3, r=2, padding=1, padding_mode=mode, bias=False, lora_dropout=dropout)
    nn.init.normal_(layer.lora_B)
    plain = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode, bias=False)
    plain.weight.data = (layer.weight + layer.delta_weight()).detach()
    x: Tensor = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(layer(x), plain(x), atol=1e-5, rtol=1e-5)


def test_unbatched_input() -> None:
    layer = Conv2d(2, 3, 3, r=2)
    assert layer(torch.randn(2, 5, 5)).shape == (3, 3, 3)
