"""A switched model is one that was given the other adapter afresh, whatever it had before."""

import copy

import pytest
import torch

import lora
from tests.lora.tiny_models import forward

KINDS = ["gpt2", "bert", "llama", "t5"]
OTHERS = {
    "a higher rank": {"rank": 5, "alpha": 3.0},
    "other projections": {"targets": "k,o,up", "rank": {"k": 1, "o": 4, "up": 2}},
    "rslora": {"scaling": "alpha/sqrt(r)", "rank": 4},
    "dora": {"dora": True, "rank": 2},
    "pissa": {"init": "pissa", "rank": 2},
}


@pytest.fixture
def saved(tiny, shake, tmp_path):
    """`saved("gpt2", rank=5)`: the file of an adapter as training would leave it."""

    def build(kind, seed=11, **settings):
        path = tmp_path / f"{seed}.safetensors"
        model = shake(lora.adapt(tiny(kind), **({"targets": "qv", "rank": 3} | settings)), seed=seed)
        lora.save(model, path)
        return path

    return build


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_a_fresh_load(tiny, ids, saved, kind, other, merged):
    first, second = saved(kind), saved(kind, seed=12, **OTHERS[other])
    fresh = lora.load(tiny(kind), second)
    model = lora.load(tiny(kind), first)
    if merged:
        lora.merge(model)
        lora.merge(fresh)
    before = forward(model, ids)
    assert lora.switch(model, second) is model
    assert torch.equal(forward(model, ids), forward(fresh, ids))
    assert not torch.allclose(forward(model, ids), before, atol=1e-3)
    assert torch.equal(forward(lora.switch(model, lora.read(first)), ids), before)  # and back
    if merged:
        lora.unmerge(model)
    bare, base = lora.remove(model), tiny(kind)
    heads = {name for name in bare.state_dict() if name.split(".")[0] in ("classifier", "score")}
    for name, value in base.state_dict().items():
        assert name in heads or torch.equal(bare.state_dict()[name], value), name


def test_a_peft_adapter_is_switched_to(tiny, ids, shake, saved, tmp_path):
    other = shake(lora.adapt(tiny("gpt2"), targets="qkv", rank=2, alpha=5), seed=13)
    lora.export_peft(other, tmp_path / "peft")
    model = lora.switch(lora.load(tiny("gpt2"), saved("gpt2")), tmp_path / "peft")
    assert torch.equal(model(ids).logits, lora.import_peft(tiny("gpt2"), tmp_path / "peft")(ids).logits)
    torch.testing.assert_close(model(ids).logits, other(ids).logits, atol=1e-5, rtol=1e-5)


def test_what_is_trained_is_the_other_adapter(tiny, ids, saved):
    model = lora.load(tiny("roberta"), saved("roberta")).train()
    lora.switch(model, saved("roberta", seed=12, rank=2, targets="k", dropout=0.25))
    fresh = lora.load(tiny("roberta"), saved("roberta", seed=12, rank=2, targets="k", dropout=0.25))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
    assert lora.parameter_counts(model) == lora.parameter_counts(fresh)
    assert all(module.training for module in model.modules())
    assert model.lora_adaptation.dropout == 0.25
    model(ids).logits.sum().backward()
    assert all(adapter.lora_B.grad is not None for adapter in lora.adapters(model).values())


def test_saving_a_switched_model_gives_the_file_again(tiny, saved, tmp_path):
    second = saved("gpt2", seed=12, rank=5, scaling="1/r")
    model = lora.switch(lora.merge(lora.load(tiny("gpt2"), saved("gpt2"))), second)
    lora.save(model, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == second.read_bytes()


def broken(file, key, **changes):
    factors = dict(file.factors)
    for name, value in changes.items():
        object.__setattr__(factors[key], name, value)
    return file


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda file: broken(file, (1, "v"), A=torch.zeros(3, 17)),
            r"W_v of layer 1 is \(16, 17\) in the file and \(16, 16\) in this model",
        ),
        (
            lambda file: broken(file, (1, "v"), B=torch.full((16, 3), torch.nan)),
            "B of W_v of layer 1 holds NaN or infinity",
        ),
        (
            lambda file: file.factors.update({(2, "q"): file.factors[0, "q"]}) or file,
            "layer 2 does not exist",
        ),
        (
            lambda file: file.extra.update({"lm_head.scale": torch.ones(1)}) or file,
            r"lm_head\.scale is \(1,\); this model has no such parameter",
        ),
        (lambda file: file.metadata.update(architecture="bert") or file, "of a bert model; this is a gpt2"),
    ],
    ids=["shape", "nan", "layer", "parameter", "architecture"],
)
def test_what_does_not_fit_is_one_line_and_changes_nothing(tiny, ids, saved, change, message, merged):
    model = lora.load(tiny("gpt2"), saved("gpt2"))
    if merged:
        lora.merge(model)
    state, modules = copy.deepcopy(model.state_dict()), dict(model.named_modules())
    with pytest.raises(lora.AdapterFileError, match=message) as error:
        lora.switch(model, change(lora.read(saved("gpt2", seed=12))))
    assert "\n" not in str(error.value)
    assert dict(model.named_modules()) == modules
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert (model.lora_adaptation.merged is not None) == merged


def test_biases_that_only_the_present_adapter_trains_cannot_be_left(tiny, saved):
    """Their values before are not kept, so the outputs would not be the other adapter's."""
    model = lora.load(tiny("gpt2"), saved("gpt2", bias="all"))
    with pytest.raises(lora.AdapterFileError, match=r"holds no \S*bias, which is trained in this model"):
        lora.switch(model, saved("gpt2", seed=12))
    lora.switch(model, saved("gpt2", seed=13, bias="all", rank=1))


def test_a_bare_model_is_told_to_load(tiny, saved, tmp_path):
    with pytest.raises(ValueError, match=r"is not adapted; call lora\.adapt\(model\) or lora\.load"):
        lora.switch(tiny("gpt2"), saved("gpt2"))
    model = lora.load(tiny("gpt2"), saved("gpt2"))
    with pytest.raises(lora.AdapterFileError, match="no such file"):
        lora.switch(model, tmp_path / "gone.safetensors")
