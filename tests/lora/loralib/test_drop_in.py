"""What public code does with loralib beyond its README, done by both packages and compared."""

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import loralib
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lora.loralib

PACKAGES = {"loralib": loralib, "ours": lora.loralib}


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> Any:
    return PACKAGES[request.param]


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def randomised(layer: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter drawn anew, in the order of their names, so that both packages' layers are equal."""
    generator = torch.Generator().manual_seed(seed)
    named = dict(layer.named_parameters())
    with torch.no_grad():
        for name in sorted(named, key=lambda name: name.replace("conv.", "")):
            named[name].copy_(torch.randn(named[name].shape, generator=generator))
    return layer


def in_mode(layer: nn.Module, mode: bool) -> nn.Module:
    """loralib's `train` returns nothing."""
    layer.train(mode)
    return layer


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


# --- names


@pytest.mark.parametrize("module", ["layers", "utils"])
def test_every_name_of_loralib_is_here_with_its_parameters(module: str) -> None:
    theirs, ours = getattr(loralib, module), getattr(lora.loralib, module)
    names = [
        name for name, value in vars(theirs).items() if getattr(value, "__module__", "") == theirs.__name__
    ]
    assert len(names) == {"layers": 8, "utils": 2}[module]
    for name in names:
        assert getattr(ours, name) is getattr(lora.loralib, name) is getattr(lora, name)
        given, taken = (inspect.signature(getattr(source, name)).parameters for source in (theirs, ours))
        assert list(taken) == list(given)


def test_the_modules_import_as_loralibs_do() -> None:
    import lora.loralib.utils as utils
    from lora.loralib.layers import ConvLoRA, LoRALayer

    assert lora.loralib.utils is utils
    assert issubclass(ConvLoRA, LoRALayer)
    assert all(issubclass(getattr(lora, name), LoRALayer) for name in ("Linear", "Embedding", "Conv1d"))


# --- a layer of one's own


def own_layer(package: Any, *, options_first: bool = False, **options: Any) -> nn.Module:
    class Own(nn.Linear, package.LoRALayer):
        """Merges by hand; the update's output is gated."""

        def __init__(self) -> None:
            if options_first:
                package.LoRALayer.__init__(self, **options)
            nn.Linear.__init__(self, 6, 4)
            if not options_first:
                package.LoRALayer.__init__(self, **options)
            self.lora_A = nn.Parameter(self.weight.new_zeros((self.r, 6)))
            self.lora_B = nn.Parameter(self.weight.new_zeros((4, self.r)))
            self.scaling = self.lora_alpha / self.r
            self.weight.requires_grad = False

        def train(self, mode: bool = True) -> nn.Module:
            nn.Linear.train(self, mode)
            if self.merge_weights and self.merged == mode:
                self.weight.data += (-1 if mode else 1) * self.lora_B @ self.lora_A * self.scaling
                self.merged = not mode
            return self

        def forward(self, x: Tensor) -> Tensor:
            if self.merged:
                return F.linear(x, self.weight, self.bias)
            update = self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T * self.scaling
            return F.linear(x, self.weight, self.bias) + update

    return randomised(Own())


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("merge", [False, True])
def test_a_layer_of_ones_own_on_lora_layer(dropout: float, merge: bool) -> None:
    results = []
    for package in PACKAGES.values():
        layer = own_layer(package, r=2, lora_alpha=3, lora_dropout=dropout, merge_weights=merge)
        assert isinstance(layer, package.LoRALayer)
        assert (layer.r, layer.lora_alpha, layer.merged, layer.merge_weights) == (2, 3, False, merge)
        package.mark_only_lora_as_trainable(layer, bias="lora_only")
        torch.manual_seed(2)  # the same dropout mask
        trained = layer(noise(5, 6))
        layer.eval()
        assert layer.merged == merge
        results.append(
            (trained, layer(noise(5, 6)), layer.weight, layer.train().weight, dict(layer.state_dict()))
        )
        assert [name for name, p in layer.named_parameters() if not p.requires_grad] == ["weight"]
        assert set(package.lora_state_dict(layer)) == {"lora_A", "lora_B"}
    close(*results)


def test_the_options_may_come_before_the_torch_layer() -> None:
    options = {"r": 2, "lora_alpha": 3, "lora_dropout": 0, "merge_weights": True, "options_first": True}
    close(*(own_layer(package, **options)(noise(5, 6)) for package in PACKAGES.values()))


def test_a_layer_that_changes_loralibs_linear() -> None:
    """It overrides `train` and moves the update into the weight itself, as loralib's own does."""
    results = []
    for package in PACKAGES.values():

        class Own(package.Linear):
            def train(self, mode: bool = True) -> nn.Module:
                nn.Linear.train(self, mode)
                if self.merged == mode:
                    self.weight.data += (-1 if mode else 1) * self.lora_B @ self.lora_A * self.scaling
                    self.merged = not mode
                return self

        layer = randomised(Own(6, 4, r=2, lora_alpha=3))
        for _ in range(3):
            outputs = [layer.train(mode)(noise(5, 6)) for mode in (True, False)]
            weights = [layer.train(mode).weight.clone() for mode in (True, False)]
        results.append((outputs, weights))
    close(*results)


# --- `merged`, assigned


@pytest.mark.parametrize(
    "make",
    [
        lambda package: package.Linear(6, 4, r=2, lora_alpha=3),
        lambda package: package.Linear(6, 4, r=2, lora_alpha=3, fan_in_fan_out=True),
        lambda package: package.MergedLinear(6, 4, r=2, lora_alpha=3, enable_lora=[True, False]),
        lambda package: package.Embedding(6, 4, r=2, lora_alpha=3),
        lambda package: package.Conv2d(6, 4, 3, r=2, lora_alpha=3),
    ],
)
def test_a_weight_declared_merged_is_used_as_it_is(make: Any) -> None:
    """As after loading merged weights into a layer in training mode."""
    results = []
    for package in PACKAGES.values():
        layer = randomised(make(package))
        x = {nn.Embedding: torch.arange(6), nn.Conv2d: noise(2, 6, 5, 5)}
        given = next((x[kind] for kind in x if type(layer).__name__ == kind.__name__), noise(5, 6))
        layer.merged = True
        assert layer.merged
        out = layer(given)
        layer.train()
        assert not layer.merged
        results.append((out, layer(given)))
    close(*results)


def test_a_layer_declared_unmerged_has_w0() -> None:
    """loralib would keep W and add the update to it once more; the weight is not its own here."""
    layer = randomised(lora.Linear(6, 4, r=2))
    w0, out = layer.weight.clone(), layer(noise(5, 6))
    layer.eval()
    layer.merged = False
    assert torch.equal(layer.weight, w0)
    assert torch.equal(layer(noise(5, 6)), out)


def test_merged_of_a_plain_layer_says_nothing() -> None:
    layer = lora.Linear(6, 4)
    w0 = layer.weight.clone()
    layer.merged = True
    assert not layer.merged
    assert torch.equal(layer.weight, w0)


# --- ranks


@pytest.mark.parametrize("number", [np.int64, np.int32, np.uint8])
def test_a_rank_of_numpy(package: Any, number: Any) -> None:
    layer = package.Linear(6, 4, r=number(2), lora_alpha=3)
    assert layer.lora_A.shape == (2, 6)
    assert layer.scaling == 1.5
    if package is lora.loralib:
        assert type(layer.r) is int


# --- convolutions


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_lora_of_a_torch_class(axes: int, groups: int) -> None:
    kernel = 3 if axes == 2 else 1
    results = []
    for package in PACKAGES.values():
        layer = package.ConvLoRA(
            getattr(nn, f"Conv{axes}d"), 4, 6, kernel, r=2, lora_alpha=3, groups=groups, padding=1
        )
        x = noise(2, 4, *[5] * axes)
        outputs = [in_mode(randomised(layer), mode)(x) for mode in (True, False)]
        bare = []
        for mode in (True, False):
            layer.train(mode)
            bare.append((layer.conv(x), layer.conv.weight.clone(), layer.conv.bias))
        results.append((outputs, bare))
        assert isinstance(layer, package.ConvLoRA)
        assert isinstance(layer.conv, getattr(nn, f"Conv{axes}d"))
    close(*results)
    assert type(layer) is getattr(lora, f"Conv{axes}d")
    assert "conv" not in dict(layer.named_modules())
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


def test_a_convolution_of_ones_own_on_conv_lora() -> None:
    """loralib's source invites to extend it so."""
    results = []
    for package in PACKAGES.values():

        class Own(package.ConvLoRA):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(nn.Conv2d, *args, **kwargs)

            def forward(self, x: Tensor) -> Tensor:
                if self.r > 0 and not self.merged:
                    update = (self.lora_B @ self.lora_A).view(self.conv.weight.shape) * self.scaling
                    return self.conv._conv_forward(x, self.conv.weight + 2 * update, self.conv.bias)
                return self.conv(x)

        layer = randomised(Own(4, 6, 3, r=2))
        assert isinstance(layer, Own)
        results.append([in_mode(copy.deepcopy(layer), mode)(noise(2, 4, 5, 5)) for mode in (True, False)])
    close(*results)


def test_a_pretrained_convolution_is_put_into_conv() -> None:
    plain, x = randomised(nn.Conv2d(4, 6, 3), seed=5), noise(2, 4, 5, 5)
    results = []
    for package in PACKAGES.values():
        by_hand, loaded = (randomised(package.Conv2d(4, 6, 3, r=2)) for _ in range(2))
        by_hand.conv.weight.data.copy_(plain.weight)
        by_hand.conv.bias = plain.bias
        loaded.conv.load_state_dict(plain.state_dict())
        by_hand.conv.weight.requires_grad = True
        assert by_hand.conv.weight.requires_grad
        results.append((by_hand(x), loaded(x), in_mode(loaded, False)(x)))
    close(*results)
    loaded.conv.load_state_dict(randomised(plain, seed=6).state_dict())  # merged: loralib breaks here
    close(loaded.conv(x), plain(x) + (loaded(x) - loaded.train().conv(x)))
    assert torch.equal(loaded.weight, plain.weight)


def test_what_conv_cannot_be() -> None:
    layer = lora.Conv2d(4, 6, 3, r=2)
    with pytest.raises(AttributeError, match=r"cannot be replaced: load the other one's state dict"):
        layer.conv = nn.Conv2d(4, 6, 3)
    with pytest.raises(
        ValueError, match=r"ConvTranspose2d.* is not one of nn\.Conv1d, nn\.Conv2d, nn\.Conv3d"
    ):
        lora.ConvLoRA(nn.ConvTranspose2d, 4, 6, 3, r=2)


# --- state dicts


def network(package: Any) -> nn.Sequential:
    return nn.Sequential(
        package.Embedding(7, 4, r=2),
        package.MergedLinear(4, 6, r=2, enable_lora=[True, False], fan_in_fan_out=True),
        nn.LayerNorm(6),
        nn.Sequential(
            package.Conv1d(5, 3, 1, r=2), nn.Conv1d(3, 3, 1), package.Conv1d(3, 3, 1, r=2, bias=False)
        ),
        package.Linear(6, 2, r=1),
    )


@pytest.mark.parametrize("ours_merged", [False, True])
@pytest.mark.parametrize("theirs_merged", [False, True])
def test_the_documented_way_to_loralib_and_back(ours_merged: bool, theirs_merged: bool) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "method.md").read_text(encoding="utf-8")
    (snippet,) = [code for code in page.split("```python\n") if "loralib_model" in code.partition("```")[0]]
    ours, theirs = randomised(network(lora)), network(loralib)
    ours.train(not ours_merged)
    theirs.train(not theirs_merged)
    exec(snippet.partition("```")[0], {"lora": lora, "model": ours, "loralib_model": theirs})
    x = torch.tensor([[1, 4, 4, 0, 2]])

    def close(one: torch.Tensor, other: torch.Tensor) -> None:  # outputs of some tens, by other sums
        torch.testing.assert_close(one, other, atol=5e-5, rtol=5e-6)

    close(theirs(x), ours(x))
    close(theirs.eval()(x), ours(x))
    back = network(lora).train(not ours_merged)
    (line,) = [line for line in page.splitlines() if "loralib_model.train().state_dict()" in line]
    exec(line.split("`")[1], {"model": back, "loralib_model": theirs})
    close(back(x), ours(x))
