import copy
import math
import pickle

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped
from scipy import stats
from torch import nn

from lora.adapter import AdaptedModule, Adapter, initial_factors


def pair(d_out, d_in, rank, scaling=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(d_out + 10 * d_in + 100 * rank)
    A = torch.randn(rank, d_in, generator=generator, dtype=dtype)
    B = torch.randn(d_out, rank, generator=generator, dtype=dtype)
    return Adapter(A, B, alpha=scaling * rank, scaling=scaling)


def fused(**settings):
    """A module of 10 outputs: 0 to 3 are q's, the scattered 9, 4, 7 are v's, the rest no adapter's."""
    torch.manual_seed(0)
    base = nn.Linear(5, 10, dtype=torch.float64)
    adapters = {"v": pair(3, 5, 1, scaling=3.0), "q": pair(4, 5, 2, scaling=0.5)}
    rows = {"q": slice(0, 4), "v": torch.tensor([9, 4, 7])}
    return AdaptedModule(base, adapters, rows, layer=0, **settings)


def first(seed=0, layer=0, letter="q", rank=8, d_in=256, init="gaussian"):
    return initial_factors((d_in, d_in), rank, init, seed=seed, layer=layer, letter=letter)[0]


def test_output_is_the_base_and_each_update_in_its_rows():
    module = fused()
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    expected = module.base(x).detach().clone()
    q, v = module.adapters["q"], module.adapters["v"]
    expected[..., 0:4] += 0.5 * (x @ q.lora_A.T @ q.lora_B.T)
    expected[..., [9, 4, 7]] += 3.0 * (x @ v.lora_A.T @ v.lora_B.T)
    torch.testing.assert_close(module(x), expected)
    assert [letter for letter, _ in module.items()] == ["q", "v"]


def test_shapes_are_those_of_the_annotations(monkeypatch):
    check = jaxtyped(typechecker=beartype)
    for owner, name in [
        (Adapter, "__init__"),
        (Adapter, "delta"),
        (AdaptedModule, "stacked"),
        (AdaptedModule, "forward"),
    ]:
        monkeypatch.setattr(owner, name, check(getattr(owner, name)))
    module = fused()
    assert module(torch.randn(2, 3, 5, dtype=torch.float64)).shape == (2, 3, 10)
    assert module.adapters["v"].delta().shape == (3, 5)
    with pytest.raises(TypeCheckError):
        Adapter(torch.zeros(2, 5), torch.zeros(4, 3), alpha=1.0, scaling=1.0)


def test_gradients():
    module = fused()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    factors = [p for _, adapter in module.items() for p in adapter.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *factors))


def test_delta_is_scaling_b_a():
    adapter = pair(4, 5, 2, scaling=0.25)
    torch.testing.assert_close(adapter.delta(), 0.25 * adapter.lora_B @ adapter.lora_A)
    assert (adapter.rank, adapter.scaling, adapter.alpha) == (2, 0.25, 0.5)


def test_dropout_is_on_the_input_of_the_factors_and_in_training_only():
    x = torch.ones(2000, 5, dtype=torch.float64)
    module, plain = fused(dropout=0.5), fused()
    module.base.eval()
    assert not AdaptedModule(
        module.base, dict(module.items()), {"q": slice(0, 4), "v": slice(4, 7)}, layer=0
    ).training
    torch.testing.assert_close(module.eval()(x), plain(x))
    module.train()
    torch.manual_seed(0)
    y = module(x)
    torch.testing.assert_close(y[:, [5, 6, 8]], module.base(x)[:, [5, 6, 8]])
    assert y.std(dim=0)[0] > 0.1
    torch.testing.assert_close(y.mean(dim=0), plain(x)[0], atol=0.5, rtol=0.1)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_and_their_gradients_stay_float32(dtype, autocast):
    torch.manual_seed(0)
    base = nn.Linear(64, 64).to(dtype).requires_grad_(False)
    adapter = pair(64, 64, 4, dtype=torch.float32)
    module = AdaptedModule(base, {"q": adapter}, {"q": slice(None)}, layer=0)
    x = torch.randn(8, 64).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = module(x)
    assert y.dtype == (torch.bfloat16 if autocast else dtype)
    y.float().sum().backward()
    assert adapter.lora_A.grad.dtype == adapter.lora_B.grad.dtype == torch.float32
    exact = x.double() @ (base.weight.double() + adapter.delta().double()).T + base.bias.double()
    coarse = torch.finfo(torch.bfloat16 if autocast else dtype).eps
    torch.testing.assert_close(y.double(), exact, atol=20 * coarse * exact.std().item(), rtol=0)


def test_beside_a_bf16_base_the_update_is_rounded_once():
    base = nn.Linear(64, 64, dtype=torch.bfloat16).requires_grad_(False)
    nn.init.zeros_(base.weight)
    nn.init.zeros_(base.bias)
    adapter = pair(64, 64, 4, dtype=torch.float32)
    module = AdaptedModule(base, {"q": adapter}, {"q": slice(None)}, layer=0)
    x = torch.randn(8, 64, dtype=torch.bfloat16)
    exact = x.double() @ adapter.delta().double().T
    half_a_unit = torch.finfo(torch.bfloat16).eps / 2
    assert ((module(x).double() - exact).abs() <= half_a_unit * exact.abs() + 1e-4).all()


def test_deepcopy_and_pickle():
    module = fused(dropout=0.1).eval()
    x = torch.randn(2, 5, dtype=torch.float64)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))


def test_moving_takes_scattered_rows_along_and_saves_only_weights():
    module = fused()
    assert module.to("meta").rows("v").device.type == "meta"
    factors = {f"adapters.{letter}.lora_{factor}" for letter in "qv" for factor in "AB"}
    assert set(module.state_dict()) == {"base.weight", "base.bias", *factors}


def test_b_starts_at_zero_and_shapes_are_right():
    A, B = initial_factors((6, 4), 3, "gaussian", seed=0, layer=0, letter="up")
    assert A.shape == (3, 4)
    assert torch.equal(B, torch.zeros(6, 3))
    assert A.dtype == B.dtype == torch.float32


@pytest.mark.parametrize(
    ("init", "distribution"),
    [("gaussian", stats.norm(0, 1 / math.sqrt(3 * 256))), ("kaiming", stats.uniform(-1 / 16, 2 / 16))],
)
def test_distributions_of_a(init, distribution):
    sample = first(rank=64, init=init).flatten().numpy()
    assert stats.kstest(sample, distribution.cdf).pvalue > 0.01
    assert sample.var() == pytest.approx(1 / (3 * 256), rel=0.05)


def test_kaiming_is_torchs_distribution():
    torch.manual_seed(0)
    reference = nn.init.kaiming_uniform_(torch.empty(64, 256), a=math.sqrt(5))
    ours = first(rank=64, init="kaiming")
    assert stats.ks_2samp(ours.flatten().numpy(), reference.flatten().numpy()).pvalue > 0.01
    assert ours.abs().max() <= 1 / 16


def test_an_unknown_init():
    with pytest.raises(ValueError, match="'zeros' is unknown; valid are gaussian, kaiming"):
        first(init="zeros")


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    one, after = first(), torch.rand(1)
    torch.manual_seed(0)
    before = torch.rand(1)
    assert torch.equal(before, after)
    torch.manual_seed(5)
    assert torch.equal(first(), one)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"layer": 1}, {"letter": "v"}, {"rank": 9}, {"layer": 10}])
def test_each_projection_has_its_own_generator(changed):
    one, other = first(), first(**changed)
    rows = min(len(one), len(other))
    assert not torch.isclose(one[:rows], other[:rows]).all(dim=1).any()
    correlation = torch.corrcoef(torch.stack([one[:rows].flatten(), other[:rows].flatten()]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(rows * 256)


def overlap(A1, A2, i, j):
    """phi of the paper's eq. 4, by its definition."""
    U1, U2 = (torch.linalg.svd(A.double(), full_matrices=False).Vh.T for A in (A1, A2))
    return ((U1[:, :i].T @ U2[:, :j]) ** 2).sum().item() / min(i, j)


@pytest.mark.parametrize("init", ["gaussian", "kaiming"])
@pytest.mark.parametrize(("i", "j"), [(8, 64), (4, 32), (8, 8)])
def test_untrained_subspaces_of_two_ranks_overlap_as_chance_has_it(init, i, j):
    """E phi = max(i, j) / d, with its closed-form variance, for independent subspaces of one seed."""
    d = 256
    null = max(i, j) / d
    spread = math.sqrt(2 * i * j * (d - i) * (d - j) / (d**2 * (d - 1) * (d + 2))) / min(i, j)
    z = []
    for layer in range(12):
        for letter in "qv":
            small, large = (first(layer=layer, letter=letter, rank=rank, init=init) for rank in (8, 64))
            z.append((overlap(small, large, i, j) - null) / spread)
    assert max(map(abs, z)) < 4
    assert abs(sum(z) / math.sqrt(len(z))) < 3
    assert 0.5 < torch.tensor(z).std() < 1.6
