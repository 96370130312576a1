import loralib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lora.loralib.layers import MergedLinear

ENABLED = [[True], [True, False, True], [False, True, False], [True, True, True], [False, False, True, True]]


@settings(deadline=None)  # the first call warms torch up
@given(
    enable=st.lists(st.booleans(), min_size=1, max_size=4),
    rows=st.integers(1, 4),
    r=st.integers(1, 3),
    fan_in_fan_out=st.booleans(),
    batch=st.lists(st.integers(0, 3), max_size=2),
    seed=st.integers(0, 2**16),
)
def test_each_enabled_slice_has_its_own_pair(enable, rows, r, fan_in_fan_out, batch, seed) -> None:
    """Slice by slice in numpy, for the layer unmerged and merged."""
    torch.manual_seed(seed)
    layer = MergedLinear(
        5,
        rows * len(enable),
        r=r,
        lora_alpha=3,
        enable_lora=enable,
        fan_in_fan_out=fan_in_fan_out,
        dtype=torch.float64,
    )
    weight = layer.weight.detach().numpy().copy()
    weight = weight.T.copy() if fan_in_fan_out else weight
    if any(enable):
        nn.init.normal_(layer.lora_B)
        a, b = layer.lora_A.detach().numpy(), layer.lora_B.detach().numpy()
        for pair, i in enumerate(np.flatnonzero(enable)):
            a_i, b_i = a[pair * r : (pair + 1) * r], b[pair * rows : (pair + 1) * rows]
            weight[i * rows : (i + 1) * rows] += 3 / r * b_i @ a_i
    x = torch.randn(*batch, 5, dtype=torch.float64)
    expected = torch.from_numpy(x.numpy() @ weight.T + layer.bias.detach().numpy())
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


@pytest.mark.parametrize("enable", ENABLED)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("fan_in_fan_out", [False, True])
def test_agrees_with_loralib_where_it_is_right(
    enable: list[bool], dropout: float, fan_in_fan_out: bool
) -> None:
    """loralib's forward with fan_in_fan_out=False transposes twice, so there it is compared merged."""
    torch.manual_seed(0)
    options = {"r": 2, "lora_alpha": 5, "lora_dropout": dropout, "enable_lora": enable}
    theirs = loralib.MergedLinear(6, 12, fan_in_fan_out=fan_in_fan_out, **options)
    nn.init.normal_(theirs.lora_B)
    ours = MergedLinear(6, 12, fan_in_fan_out=fan_in_fan_out, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 6)
    results = []
    for layer in (ours, theirs):
        if fan_in_fan_out:
            torch.manual_seed(2)
            out = layer(x)
            out.square().mean().backward()
            results.append((out, layer.lora_A.grad, layer.lora_B.grad))
        else:
            layer.eval()
            results.append((layer(x), layer.weight))
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("fan_in_fan_out", [False, True])
def test_merging_has_the_right_orientation(fan_in_fan_out: bool) -> None:
    """A square weight, where a wrong transpose raises no error."""
    layer = MergedLinear(12, 12, r=2, enable_lora=[True, False, True], fan_in_fan_out=fan_in_fan_out)
    nn.init.normal_(layer.lora_B)
    delta = layer.delta_weight().T if fan_in_fan_out else layer.delta_weight()
    assert delta[:4].any()
    assert not delta[4:8].any()
    assert delta[8:].any()
    x = torch.randn(3, 12)
    out = layer(x)
    torch.testing.assert_close(layer.eval()(x), out, atol=1e-5, rtol=1e-5)


def test_default_enable_lora_is_a_plain_linear() -> None:
    """r > 0 with no slice enabled; loralib fails in forward."""
    layer = MergedLinear(6, 4, r=2)
    plain = nn.Linear(6, 4)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 6)
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer.eval()(x), plain(x))
    assert layer.weight.requires_grad


def test_disabled_slices_have_no_parameters() -> None:
    layer = MergedLinear(6, 12, r=2, enable_lora=[True, False, True])
    assert layer.lora_A.shape == (4, 6)
    assert layer.lora_B.shape == (8, 2)
    assert sorted(layer.state_dict()) == ["bias", "lora_A", "lora_B", "weight"]


@pytest.mark.parametrize("enable", [[], [True, False, True]])
def test_slices_must_divide_the_output(enable: list[bool]) -> None:
    with pytest.raises(ValueError, match=rf"makes {len(enable)} slices, which do not divide out_features=4"):
        MergedLinear(6, 4, r=2, enable_lora=enable)


def test_the_callers_list_is_not_shared() -> None:
    enable = [True, False]
    layer = MergedLinear(3, 4, r=1, enable_lora=enable)
    enable[1] = True
    assert layer.enable_lora == [True, False]
