"""DoRA, and the starts of PiSSA and OLoRA: PEFT computes the same, and dW is what was added to W0."""

from __future__ import annotations

import peft
import pytest
import torch

import lora
from lora.adapter import AdaptedModule, factors_of_weight, row_norms
from tests.lora.tiny_models import forward, tiny_model

IDS = torch.arange(3, 21).view(2, 9)
VARIANTS = ({"dora": True}, {"init": "pissa"}, {"init": "olora"}, {"init": "pissa", "dora": True})
ONE_FACTOR = ({"train": "A"}, {"train": "B"})


def trained(kind, targets="qo", seed=1, rank=3, **settings):
    """An adapted tiny model whose factors have moved, in eval mode."""
    model = lora.adapt(tiny_model(kind), targets=targets, rank=rank, alpha=6, **settings).eval()
    generator = torch.Generator().manual_seed(seed)
    for adapter in lora.adapters(model).values():
        for parameter in (one for one in adapter.parameters() if one.requires_grad):
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def of_peft(kind, names, **settings):
    settings = peft.LoraConfig(r=3, lora_alpha=6, target_modules=names, **settings)
    return peft.get_peft_model(tiny_model(kind), settings).eval()


@pytest.mark.parametrize("kind", ["roberta", "llama", "gpt2"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"init": "pissa"}, {"init_lora_weights": "pissa"}),
        ({"init": "olora"}, {"init_lora_weights": "olora"}),
        ({"dora": True}, {"use_dora": True}),
    ],
)
def test_peft_starts_and_computes_so(kind, ours, theirs):
    """The same factors at the start, and after both were given the same values the same outputs."""
    names = {"roberta": "query", "llama": "v_proj", "gpt2": r".*attn\.c_proj"}[kind]
    letter = {"roberta": "q", "llama": "v", "gpt2": "o"}[kind]
    if kind == "gpt2" and "olora" in ours.values():
        pytest.skip("PEFT decomposes a Conv1D's weight as it is stored, transposed")
    model = lora.adapt(tiny_model(kind), targets=letter, rank=3, alpha=6, **ours).eval()
    other = of_peft(kind, names if kind == "gpt2" else [names], **theirs)
    layers = [module for module in other.modules() if hasattr(module, "lora_A") and len(module.lora_A)]
    ours_in_order = list(lora.adapters(model).values())
    assert len(layers) == len(ours_in_order) == 2
    generator = torch.Generator().manual_seed(0)
    for adapter, layer in zip(ours_in_order, layers, strict=True):
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        if "init" in ours:
            torch.testing.assert_close(adapter.lora_B @ adapter.lora_A, B @ A, atol=1e-5, rtol=1e-4)
            signs = (A * adapter.lora_A).sum(1).sign()
            torch.testing.assert_close(signs[:, None] * adapter.lora_A, A.detach(), atol=1e-5, rtol=1e-4)
        pairs = [(adapter.lora_A, A), (adapter.lora_B, B)]
        if "dora" in ours:
            magnitude = layer.lora_magnitude_vector["default"].weight
            torch.testing.assert_close(adapter.magnitude, magnitude)
            pairs.append((adapter.magnitude, magnitude))
        for own, given in pairs:
            given.data.add_(0.2 * torch.randn(given.shape, generator=generator))
            own.data.copy_(given)
    # The task heads are equal: both models are of one seed.
    torch.testing.assert_close(
        forward(model, IDS), forward(other.base_model.model, IDS), atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["gpt2", "bert", "roberta", "llama", "gpt-neox", "phi3"])
@pytest.mark.parametrize("settings", [*VARIANTS, *ONE_FACTOR])
def test_nothing_changes_until_the_first_step(kind, settings):
    model = lora.adapt(tiny_model(kind), targets="qv", rank=3, alpha=6, **settings)
    expected = forward(tiny_model(kind), IDS)
    torch.testing.assert_close(forward(model.eval(), IDS), expected, atol=1e-4, rtol=1e-4)
    assert all(adapter.delta().abs().max() < 1e-6 for adapter in lora.adapters(model).values())


@pytest.mark.parametrize("kind", ["gpt2", "roberta", "llama", "gpt-neox", "phi3"])
@pytest.mark.parametrize("settings", [*VARIANTS, *ONE_FACTOR])
def test_a_merged_model_computes_the_same_and_w0_comes_back(kind, settings):
    model = trained(kind, "qv", **settings)
    before = {key: lora.projection(model, *key).clone() for key in lora.adapters(model)}
    expected = forward(model, IDS)
    updates = {
        (module.layer, letter): module.update(letter).detach()
        for module in model.modules()
        if isinstance(module, AdaptedModule)
        for letter, _ in module.items()
    }
    assert not torch.allclose(expected, forward(tiny_model(kind), IDS), atol=1e-3)
    with lora.merged(model):
        torch.testing.assert_close(forward(model, IDS), expected, atol=1e-4, rtol=1e-4)
        bare = tiny_model(kind)
        bare.load_state_dict(model.state_dict())
        for key, update in updates.items():
            torch.testing.assert_close(
                lora.projection(bare, *key) - before[key], update, atol=1e-6, rtol=1e-4
            )
    assert all(torch.equal(lora.projection(model, *key), before[key]) for key in before)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("train", ["A", "B"])
def test_one_factor_is_trained_and_the_other_stays_random(kind, train):
    """Of variance 1 / (3 d), d of the side that the frozen one is on; dW = 0 at the start."""
    model = lora.adapt(tiny_model(kind), targets="qv", rank=3, alpha=6, train=train)
    fixed, moving = ("lora_B", "lora_A") if train == "A" else ("lora_A", "lora_B")
    before = {place: getattr(one, fixed).detach().clone() for place, one in lora.adapters(model).items()}
    numbers = torch.cat([value.flatten() for (_, letter), value in before.items() if letter == "q"])
    assert numbers.var().item() == pytest.approx(1 / (3 * model.config.hidden_size), rel=0.4)
    assert not any(getattr(one, moving).any() for one in lora.adapters(model).values())
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.5)
    for _ in range(2):
        forward(model, IDS).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for place, one in lora.adapters(model).items():
        assert torch.equal(getattr(one, fixed), before[place])
        assert getattr(one, moving).any()
        torch.testing.assert_close(one.delta(), one.scaling * one.lora_B @ one.lora_A)
    counts = lora.parameter_counts(model)
    pairs = [(one.lora_A.numel(), one.lora_B.numel()) for one in lora.adapters(model).values()]
    assert counts["adapter"] == sum(map(sum, pairs))
    trained = sum(getattr(one, moving).numel() for one in lora.adapters(model).values())
    assert counts["trainable"] - counts["head"] == trained


def test_training_b_alone_starts_as_both_do():
    one, both = (lora.adapt(tiny_model("gpt2"), targets="qv", rank=3, train=t) for t in ("B", "both"))
    for place, adapter in lora.adapters(one).items():
        assert torch.equal(adapter.lora_A, lora.adapters(both)[place].lora_A)


def test_an_unknown_factor_is_an_error():
    with pytest.raises(ValueError, match="train: 'C' is unknown; valid are both, A, B"):
        lora.adapt(tiny_model("gpt2"), train="C")


def test_the_ranks_of_dw():
    """2 r of PiSSA and OLoRA; DoRA's is full."""
    for settings, rank in (({}, 3), ({"init": "pissa"}, 6), ({"init": "olora"}, 6), ({"dora": True}, 16)):
        (first, *_) = (m for m in trained("llama", "q", **settings).modules() if isinstance(m, AdaptedModule))
        values = torch.linalg.svdvals(first.update("q").double())
        assert (values > 1e-5 * values[0]).sum() == rank, settings


def test_pissa_s_part_of_w_is_its_largest():
    weight = torch.randn(7, 5, dtype=torch.float64)
    A, B = factors_of_weight(weight, 2, "pissa", 0.25)
    U, S, Vh = torch.linalg.svd(weight)
    torch.testing.assert_close(0.25 * B @ A, U[:, :2] * S[:2] @ Vh[:2])
    torch.testing.assert_close(A @ A.T, B.T @ B)
    A, B = factors_of_weight(weight, 2, "olora", 0.25)
    torch.testing.assert_close(B.T @ B, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(B @ A, B @ (B.T @ weight))


def test_norms_of_rows_without_the_sum():
    weight, down, up = (torch.randn(*shape, dtype=torch.float64) for shape in ((6, 5), (2, 5), (6, 2)))
    torch.testing.assert_close(row_norms(weight, down, up), (weight + up @ down).norm(dim=1))


def test_dora_s_norm_has_no_gradient():
    """m / ||V||, the latter a constant: the magnitude's gradient is that of the outputs along V."""
    model = trained("llama", "q", dora=True)
    module = next(m for m in model.modules() if isinstance(m, AdaptedModule))
    adapter = module.adapters["q"]
    x = torch.randn(4, 16)
    module(x).sum().backward()
    V = (lora.projection(model, 0, "q") + adapter.delta()).detach()
    torch.testing.assert_close(adapter.magnitude.grad, (x @ V.T / V.norm(dim=1)).sum(0))
    gains = (adapter.magnitude / V.norm(dim=1)).detach()
    through = adapter.scaling * torch.outer(gains, x.sum(0) @ adapter.lora_A.detach().T)
    torch.testing.assert_close(adapter.lora_B.grad, through)


def test_dropout_leaves_the_frozen_part_whole():
    """What is subtracted from W0 is a part of it: only what is trained sees a dropped input."""
    model = lora.adapt(tiny_model("llama"), targets="q", rank=16, init="pissa", dropout=0.5).train()
    module = next(m for m in model.modules() if isinstance(m, AdaptedModule))
    module.adapters["q"].lora_B.data.zero_()  # nothing that is trained is left, nor of W0
    assert module(torch.randn(4, 16)).abs().max() < 1e-4


@pytest.mark.parametrize("settings", [*VARIANTS, *ONE_FACTOR])
def test_a_file_gives_the_model_back(tmp_path, settings):
    model = trained("gpt2", "qv", **settings)
    path = tmp_path / "adapter.safetensors"
    lora.save(model, path)
    expected = forward(model, IDS)
    bare = lora.load(tiny_model("gpt2"), path)
    plain = lora.load(lora.adapt(tiny_model("gpt2"), targets="qv", rank=3, alpha=6), path)
    for other in (bare, plain):
        assert torch.equal(forward(other.eval(), IDS), expected)
    lora.save(bare, tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_a_file_without_them_takes_them_away(tmp_path):
    path = tmp_path / "adapter.safetensors"
    lora.save(trained("gpt2", "qv"), path)
    model = lora.load(trained("gpt2", "qv", init="pissa", dora=True), path)
    torch.testing.assert_close(forward(model.eval(), IDS), forward(trained("gpt2", "qv"), IDS))


def test_pissa_goes_to_peft_as_lora_of_twice_the_rank(tmp_path):
    model = trained("gpt2", "qv", init="pissa")
    lora.export_peft(model, tmp_path / "theirs")
    theirs = peft.PeftModel.from_pretrained(tiny_model("gpt2"), tmp_path / "theirs").eval()
    torch.testing.assert_close(theirs(IDS).logits, forward(model, IDS), atol=1e-5, rtol=1e-4)
    assert theirs.peft_config["default"].r == 12  # q and v of one module, 2 r each
    with pytest.raises(ValueError, match="DoRA's magnitudes are not exported"):
        lora.export_peft(trained("gpt2", "qv", dora=True), tmp_path / "refused")
