"""What holds for every LoRA layer: starting point, freezing, merging, state dicts, copies."""

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from lora.loralib.layers import Conv1d, Conv2d, Conv3d, Embedding, Linear, LoRALayer, MergedLinear


class Case(NamedTuple):
    make: Callable[..., LoRALayer]  # takes r and the layer's keyword arguments
    plain: Callable[[], nn.Module]  # the torch layer of the same shape
    x: Tensor


def tokens() -> Tensor:
    return torch.tensor([[1, 4, 4], [0, 6, 2]])


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


QV = [True, False, True]
CASES = {
    "Linear": Case(lambda **kw: Linear(6, 4, **kw), lambda: nn.Linear(6, 4), noise(2, 3, 6)),
    "Linear_fan_in_fan_out": Case(
        lambda **kw: Linear(6, 4, fan_in_fan_out=True, **kw), lambda: nn.Linear(6, 4), noise(2, 3, 6)
    ),
    "MergedLinear": Case(
        lambda **kw: MergedLinear(6, 12, enable_lora=QV, **kw), lambda: nn.Linear(6, 12), noise(5, 6)
    ),
    "MergedLinear_fan_in_fan_out": Case(
        lambda **kw: MergedLinear(6, 12, enable_lora=QV, fan_in_fan_out=True, **kw),
        lambda: nn.Linear(6, 12),
        noise(5, 6),
    ),
    "Embedding": Case(lambda **kw: Embedding(7, 4, **kw), lambda: nn.Embedding(7, 4), tokens()),
    "Conv1d": Case(lambda **kw: Conv1d(4, 6, 3, **kw), lambda: nn.Conv1d(4, 6, 3), noise(2, 4, 8)),
    "Conv2d": Case(
        lambda **kw: Conv2d(4, 6, 3, groups=2, **kw), lambda: nn.Conv2d(4, 6, 3, groups=2), noise(2, 4, 5, 5)
    ),
    "Conv3d": Case(lambda **kw: Conv3d(2, 4, 2, **kw), lambda: nn.Conv3d(2, 4, 2), noise(1, 2, 3, 3, 3)),
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def trained(case: Case, **kwargs: Any) -> LoRALayer:
    """A layer with r=2 whose update is not zero."""
    torch.manual_seed(0)
    layer = case.make(**{"r": 2, "lora_alpha": 3, **kwargs})
    nn.init.normal_(layer.lora_A, std=0.5)
    nn.init.normal_(layer.lora_B, std=0.5)
    return layer


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


# --- starting point


def test_update_starts_at_zero(case: Case) -> None:
    layer = case.make(r=2)
    assert torch.equal(layer.delta_weight(), torch.zeros_like(layer.weight))
    assert layer.lora_A.any() != layer.lora_B.any(), "exactly one factor starts at zero"


@pytest.mark.parametrize("make", [lambda: Linear(50, 8, r=400), lambda: Conv1d(10, 4, 5, r=400)])
def test_a_starts_gaussian_with_the_variance_of_loralibs_uniform(make: Callable[[], LoRALayer]) -> None:
    from scipy import stats

    torch.manual_seed(0)
    layer = make()
    a = layer.lora_A.detach().flatten().double().numpy()
    assert layer.lora_A.shape == (400, 50)
    assert stats.kstest(a, "norm", args=(0, math.sqrt(1 / (3 * 50)))).pvalue > 1e-3
    assert not layer.lora_B.any()


def test_scaling_is_alpha_over_r(case: Case) -> None:
    assert case.make(r=4, lora_alpha=6).scaling == 1.5
    layer = trained(case)
    before = layer.delta_weight()
    layer.scaling *= 2
    torch.testing.assert_close(layer.delta_weight(), 2 * before)


def test_r_0_is_the_plain_layer(case: Case) -> None:
    layer = case.make(r=0)
    plain = case.plain()
    assert {name.split(".")[0] for name in layer.state_dict()} == set(plain.state_dict())
    assert layer.scaling == 0.0
    assert all(p.requires_grad for p in layer.parameters())
    assert not layer.delta_weight().any()
    before = layer.weight.clone()
    out = layer(case.x)
    torch.testing.assert_close(layer.eval()(case.x), out)
    assert not layer.merged
    assert torch.equal(layer.weight, before)
    if layer.weight.shape == plain.weight.shape:
        plain.load_state_dict(layer.state_dict())
        torch.testing.assert_close(plain(case.x), out)


def test_negative_rank_is_an_error(case: Case) -> None:
    with pytest.raises(ValueError, match="r=-1 is not a rank: give 0"):
        case.make(r=-1)


@pytest.mark.parametrize("r", [1.5, "4"])
def test_rank_that_is_no_integer_is_an_error(case: Case, r: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"\br\b"):  # TypeError from a run-time type checker
        case.make(r=r)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_wrong_dropout_is_an_error(p: float) -> None:
    with pytest.raises(ValueError, match="lora_dropout"):
        Linear(3, 3, r=1, lora_dropout=p)


def test_device_and_dtype_reach_the_factors(case: Case) -> None:
    layer = case.make(r=2, dtype=torch.float64, device="cpu")
    assert {p.dtype for p in layer.parameters()} == {torch.float64}


# --- training


def test_only_the_factors_and_the_bias_train(case: Case) -> None:
    layer = trained(case)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(case.x).square().sum().backward()
    optimizer.step()
    changed = {name for name, p in layer.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(before) - {"weight"}


def test_gradients_are_those_of_the_merged_layer(case: Case) -> None:
    """Through the factors and through W0 + dW written into the plain layer, by the chain rule."""
    layer = trained(case).double()
    x = case.x.double() if case.x.is_floating_point() else case.x
    layer(x).sin().sum().backward()
    reference = case.make(r=0).double()
    full = (layer.weight + layer.delta_weight()).detach().requires_grad_()
    reference.load_state_dict(
        {"bias": layer.bias} if getattr(layer, "bias", None) is not None else {}, strict=False
    )
    out = torch.func.functional_call(reference, {"weight": full}, (x,))
    (gradient,) = torch.autograd.grad(out.sin().sum(), full)
    by_chain_rule = torch.autograd.grad(layer.delta_weight(), [layer.lora_A, layer.lora_B], gradient)
    torch.testing.assert_close((layer.lora_A.grad, layer.lora_B.grad), by_chain_rule)


@pytest.mark.parametrize("name", [name for name in CASES if name != "Embedding"])
def test_dropout_acts_on_the_update_only_and_in_training_only(name: str) -> None:
    case = CASES[name]
    layer = trained(case, lora_dropout=0.999999, merge_weights=False)
    base = layer(case.x)  # all of the update's input is dropped
    nn.init.zeros_(layer.lora_B)
    torch.testing.assert_close(base, layer(case.x))
    layer = trained(case, lora_dropout=0.5, merge_weights=False)
    assert not torch.equal(layer(case.x), layer(case.x))
    layer.eval()
    torch.testing.assert_close(layer(case.x), trained(case)(case.x))


@pytest.mark.parametrize("name", [name for name in CASES if name != "Embedding"])
def test_dropout_is_unbiased(name: str) -> None:
    case = CASES[name]
    layer = trained(case, lora_dropout=0.3)
    with torch.no_grad():
        draws = torch.stack([layer(case.x) for _ in range(2000)])
        expected = trained(case)(case.x)
    error = (draws.mean(0) - expected) / (draws.std(0) / math.sqrt(len(draws)) + 1e-6)
    assert error.abs().max() < 6


def test_data_parallel_replicas_keep_their_factors(case: Case) -> None:
    """A replica carries plain tensors in place of parameters."""
    layer = trained(case)
    replica = layer._replicate_for_data_parallel()
    for name, parameter in layer.named_parameters():
        setattr(replica, name, parameter.clone())
    torch.testing.assert_close(replica(case.x), layer(case.x))


# --- merging


def test_eval_of_the_model_merges_and_train_unmerges(case: Case) -> None:
    """Module.eval() reaches its children by train(False), not by eval()."""
    layer = trained(case)
    w0, delta, out = layer.weight.clone(), layer.delta_weight(), layer(case.x)
    model = nn.Sequential(layer)
    assert model.eval() is model
    assert layer.merged
    torch.testing.assert_close(layer.weight, w0 + delta)
    torch.testing.assert_close(model(case.x), out, atol=1e-5, rtol=1e-5)
    model.train()
    assert not layer.merged
    torch.testing.assert_close(model(case.x), out, atol=0, rtol=0)


def test_merged_weight_serves_the_plain_layer(case: Case) -> None:
    layer = trained(case)
    out = layer(case.x)
    plain = case.make(r=0)
    layer.eval()
    plain.weight.data = layer.weight.data
    if getattr(plain, "bias", None) is not None:
        plain.bias.data = layer.bias.data
    torch.testing.assert_close(plain(case.x), out, atol=1e-5, rtol=1e-5)


def test_merge_weights_false_leaves_the_weight_alone(case: Case) -> None:
    layer = trained(case, merge_weights=False)
    w0, out = bits(layer.weight), layer(case.x)
    layer.eval()
    assert not layer.merged
    assert bits(layer.weight) == w0
    torch.testing.assert_close(layer(case.x), out, atol=0, rtol=0)
    layer.merge()
    assert layer.merged
    layer.train()
    assert layer.merged, "what was merged by hand stays merged"


@pytest.mark.parametrize("dtype", DTYPES)
def test_unmerging_gives_w0_back_bit_for_bit(case: Case, dtype: torch.dtype) -> None:
    layer = trained(case).to(dtype)
    w0 = bits(layer.weight)
    for _ in range(20):
        layer.eval()
        assert bits(layer.weight) != w0
        layer.train()
    assert bits(layer.weight) == w0


def test_unmerging_is_exact_after_the_factors_changed(case: Case) -> None:
    layer = trained(case)
    w0 = bits(layer.weight)
    layer.eval()
    nn.init.normal_(layer.lora_B)
    layer.train()
    assert bits(layer.weight) == w0


def test_merge_and_unmerge_are_idempotent(case: Case) -> None:
    layer = trained(case)
    w0 = bits(layer.weight)
    layer.merge()
    merged = bits(layer.weight)
    layer.merge()
    assert bits(layer.weight) == merged
    layer.unmerge()
    layer.unmerge()
    assert bits(layer.weight) == w0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_merge_rounds_once(case: Case, dtype: torch.dtype) -> None:
    layer = trained(case).to(dtype)
    wide = copy.deepcopy(layer).double()
    layer.eval()
    expected = wide.weight + wide.delta_weight()
    # Half a unit in the last place, and float32's own rounding.
    assert (
        (layer.weight.double() - expected).abs() <= expected.abs() * torch.finfo(dtype).eps / 2 + 1e-6
    ).all()


@pytest.mark.parametrize(
    "context", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_merging_does_not_depend_on_the_surrounding_mode(case: Case, context: Callable[[], Any]) -> None:
    layer, reference = trained(case), trained(case).eval()
    with context():
        layer.eval()
    assert bits(layer.weight) == bits(reference.weight)
    if case.x.is_floating_point():
        x = case.x.clone().requires_grad_()
        layer(x).sum().backward()
        assert x.grad is not None
    layer.train()
    layer(case.x).sum().backward()
    assert layer.lora_A.grad is not None


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_merge_that_is_not_finite_raises_and_leaves_the_base(case: Case, value: float) -> None:
    layer = trained(case)
    w0 = bits(layer.weight)
    with torch.no_grad():
        layer.lora_B[0, 0] = value
    with pytest.raises(ValueError, match=r"was not merged: \d+ of \d+ weights"):
        layer.eval()
    assert not layer.merged
    assert bits(layer.weight) == w0


def test_a_merge_that_overflows_float16_raises(case: Case) -> None:
    layer = trained(case, lora_alpha=1e6).half()
    with pytest.raises(ValueError, match=r"infinite or NaN in torch\.float16"):
        layer.merge()


@pytest.mark.parametrize("merged", [False, True])
def test_backward_after_a_change_of_mode_is_that_of_the_forward(merged: bool) -> None:
    """loralib changes the weight in place, which a backward pass from before must not use."""
    layer, x = trained(CASES["Linear"]).train(not merged), noise(2, 6)
    full = layer.weight.detach().clone() if merged else layer.weight + layer.delta_weight()
    x.requires_grad_()
    out = layer(x)
    layer.train(merged)
    out.sum().backward()
    torch.testing.assert_close(x.grad, full.sum(0).expand(2, 6))


def test_w0_follows_a_change_of_dtype_while_merged(case: Case) -> None:
    layer = trained(case)
    w0 = layer.weight.double()
    layer.eval().double().train()
    assert bits(layer.weight) == bits(w0)


def test_resetting_while_merged_starts_over(case: Case) -> None:
    layer = trained(case).eval()
    layer.reset_parameters()
    assert not layer.merged
    assert not layer.delta_weight().any()


def test_repr_tells_rank_and_state(case: Case) -> None:
    layer = trained(case)
    assert "r=2, lora_alpha=3, merged=False" in repr(layer)
    assert "merged=True" in repr(layer.eval())


def test_merged_replicas_use_the_merged_weight(case: Case) -> None:
    layer = trained(case).eval()
    replica = layer._replicate_for_data_parallel()
    for name, parameter in layer.named_parameters():
        setattr(replica, name, torch.zeros_like(parameter) if name != "bias" else parameter.detach())
    assert torch.equal(replica(case.x), layer(case.x)), "W0 and the factors are not read"


def test_the_parameter_is_w0_while_the_weight_is_w(case: Case) -> None:
    layer = trained(case)
    parameter, w0 = layer.weight, bits(layer.weight)
    layer.eval()
    assert dict(layer.named_parameters())["weight"] is parameter
    assert bits(parameter) == w0 != bits(layer.weight)
    assert not layer.weight.requires_grad


def test_a_weight_replaced_while_merged_is_merged_anew(case: Case) -> None:
    layer = trained(case)
    other = nn.Parameter(torch.randn_like(layer.weight), requires_grad=False)
    delta = layer.delta_weight().detach()
    layer.eval()
    layer.weight = other
    torch.testing.assert_close(layer.weight, other + delta)
    assert layer.train().weight is other


# --- state dicts


def test_state_dict_saved_while_merged_holds_w0(case: Case) -> None:
    """microsoft/LoRA issue 190, saving."""
    layer = trained(case)
    expected = {key: bits(value) for key, value in layer.state_dict().items()}
    model = nn.Sequential(layer).eval()
    assert {key.removeprefix("0."): bits(value) for key, value in model.state_dict().items()} == expected
    fresh = case.make(r=2, lora_alpha=3)
    fresh.load_state_dict(layer.state_dict())
    torch.testing.assert_close(fresh(case.x), layer(case.x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("assign", [False, True])
def test_loading_into_a_merged_model(case: Case, assign: bool) -> None:
    """microsoft/LoRA issue 190, loading."""
    source = trained(case)
    saved = {key: value.clone() for key, value in source.state_dict().items()}
    expected = {key: bits(value) for key, value in saved.items()}
    model = nn.Sequential(case.make(r=2, lora_alpha=3)).eval()
    model.load_state_dict({f"0.{key}": value for key, value in saved.items()}, assign=assign)
    torch.testing.assert_close(model(case.x), source(case.x), atol=1e-5, rtol=1e-5)
    assert {key: bits(value) for key, value in saved.items()} == expected, "loading wrote to its source"
    model.train()
    assert bits(model[0].weight) == bits(source.weight)
    torch.testing.assert_close(model(case.x), source(case.x), atol=0, rtol=0)


def test_a_state_dict_handed_out_before_merging_keeps_w0(case: Case) -> None:
    layer = trained(case)
    saved, w0 = layer.state_dict(), bits(layer.weight)
    layer.eval()
    assert bits(saved["weight"]) == w0


def test_base_then_adapter_load_non_strictly(case: Case) -> None:
    source = trained(case)
    base = {key: value for key, value in source.state_dict().items() if "lora_" not in key}
    adapter = {key: value for key, value in source.state_dict().items() if "lora_" in key}
    for layer in (case.make(r=2, lora_alpha=3), case.make(r=2, lora_alpha=3).eval()):
        assert set(layer.load_state_dict(base, strict=False).missing_keys) == {"lora_A", "lora_B"}
        assert layer.load_state_dict(adapter, strict=False).unexpected_keys == []
        torch.testing.assert_close(layer(case.x), source(case.x), atol=1e-5, rtol=1e-5)


def test_state_dict_is_single_contiguous_and_fit_for_safetensors(case: Case) -> None:
    layer = trained(case)
    state = layer.state_dict()
    assert set(state) <= {"weight", "bias", "lora_A", "lora_B"}
    assert all(value.is_contiguous() for value in state.values())
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    save_safetensors(state)
    save_safetensors(layer.eval().state_dict())


# --- copies


def through_torch_save(layer: LoRALayer) -> LoRALayer:
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_torch_save]
)
@pytest.mark.parametrize("merged", [False, True])
def test_copies_are_complete_and_independent(
    case: Case, merged: bool, duplicate: Callable[[LoRALayer], LoRALayer]
) -> None:
    """microsoft/LoRA pull request 200: a layer with dropout must pickle."""
    layer = trained(case, **({} if case is CASES["Embedding"] else {"lora_dropout": 0.1}))
    w0 = bits(layer.weight)
    layer.train(not merged)
    twin = duplicate(layer)
    assert twin.merged == merged
    nn.init.zeros_(layer.weight)
    layer.train()
    assert bits(twin.train().weight) == w0
    twin.merge_weights = False
    nn.init.normal_(layer.lora_B)
    assert torch.equal(twin.eval().delta_weight(), trained(case).delta_weight())
