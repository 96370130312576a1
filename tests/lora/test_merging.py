import copy
import pickle

import pytest
import torch

import lora

KINDS = ["gpt2", "gpt2-classifier", "bert", "roberta"]


@pytest.fixture
def adapted(tiny, shake):
    def build(kind="gpt2", dtype=torch.float32, **settings):
        return shake(lora.adapt(tiny(kind).to(dtype), **({"targets": "qkvo,up,down", "rank": 3} | settings)))

    return build


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_agree_and_differ_from_the_base(tiny, adapted, ids, kind):
    model = adapted(kind)
    expected = model(ids).logits
    assert lora.merge(model) is model
    torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, tiny(kind)(ids).logits, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_has_exactly_the_bases_modules(tiny, adapted, kind):
    base, model = tiny(kind), lora.merge(adapted(kind))
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in base.named_modules()]
    assert list(model.state_dict()) == list(base.state_dict())
    assert {n: p.dtype for n, p in model.named_parameters()} == {
        n: p.dtype for n, p in base.named_parameters()
    }


def test_a_merged_model_is_a_checkpoint_of_its_own(tiny, adapted, ids, tmp_path):
    model = lora.merge(adapted())
    fresh = tiny("gpt2", seed=5)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(ids).logits, model(ids).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_unmerge_gives_w0_back_bit_for_bit(tiny, adapted, dtype):
    model = adapted(dtype=dtype)
    expected = copy.deepcopy(model.state_dict())
    for _ in range(3):
        lora.merge(model)
        changed = model.transformer.h[0].attn.c_attn.weight
        assert not torch.equal(changed, expected["transformer.h.0.attn.c_attn.base.weight"])
        assert lora.unmerge(model) is model
    assert list(model.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_a_bf16_sum_is_rounded_once(adapted):
    model = adapted(dtype=torch.bfloat16, targets="o")
    weight = model.transformer.h[0].attn.c_proj.base.weight.detach().clone()
    update = lora.adapters(model)[0, "o"].delta().T
    lora.merge(model)
    assert torch.equal(
        model.transformer.h[0].attn.c_proj.weight, (weight.double() + update.double()).bfloat16()
    )


def test_gradients_and_training_mode_survive(adapted, ids):
    model = adapted()
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lora.merge(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.train()
    lora.unmerge(model)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == wanted
    assert all(module.training for module in model.modules())
    model(ids).logits.sum().backward()
    assert all(adapter.lora_B.grad is not None for adapter in lora.adapters(model).values())


def test_merging_twice_and_unmerging_what_is_not_merged(tiny, adapted):
    model = adapted()
    with pytest.raises(ValueError, match="not merged"):
        lora.unmerge(model)
    lora.merge(model)
    with pytest.raises(ValueError, match="merged already"):
        lora.merge(model)
    with pytest.raises(ValueError, match=r"is merged; call lora\.unmerge"):
        lora.remove(model)
    with pytest.raises(ValueError, match="adapted already"):
        lora.adapt(model)
    for function in (lora.merge, lora.unmerge):
        with pytest.raises(ValueError, match="is not adapted"):
            function(tiny("gpt2"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_sum_that_is_not_finite_raises_and_changes_nothing(adapted, value):
    model = adapted(dtype=torch.float16)
    with torch.no_grad():
        lora.adapters(model)[1, "down"].lora_B[0, 0] = value
    expected = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"transformer\.h\.1\.mlp\.c_proj has values that are not finite"):
        lora.merge(model)
    assert list(model.state_dict()) == list(expected)
    torch.testing.assert_close(model.state_dict(), expected, atol=0, rtol=0, equal_nan=True)


def test_the_context(adapted, ids):
    model = adapted()
    expected = model(ids).logits
    with lora.merged(model) as inside:
        assert inside is model
        assert "transformer.h.0.attn.c_attn.weight" in model.state_dict()
        with lora.merged(model):
            pass
        assert "transformer.h.0.attn.c_attn.weight" in model.state_dict()
    assert torch.equal(model(ids).logits, expected)
    with pytest.raises(RuntimeError, match="inside"), lora.merged(model):
        raise RuntimeError("inside")
    assert torch.equal(model(ids).logits, expected)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_merged_model_unmerge_by_themselves(adapted, ids, twin_of):
    model = adapted()
    expected = model(ids).logits
    lora.merge(model)
    twin = twin_of(model)
    lora.unmerge(twin)
    assert torch.equal(twin(ids).logits, expected)
    assert "transformer.h.0.attn.c_attn.weight" in model.state_dict()
    lora.unmerge(model)
    assert torch.equal(model(ids).logits, expected)


def test_a_model_converted_while_merged_unmerges_in_its_new_dtype(adapted):
    model = adapted()
    expected = model.transformer.h[0].attn.c_attn.base.weight.detach().half()
    lora.unmerge(lora.merge(model).half())
    assert torch.equal(model.transformer.h[0].attn.c_attn.base.weight, expected)


def test_adapters_of_a_merged_model(adapted):
    model = adapted()
    before = lora.adapters(model)
    after = lora.adapters(lora.merge(model))
    assert list(after) == list(before)
    assert all(after[key] is before[key] for key in before)


def test_trained_biases_stay(adapted, ids):
    model = adapted("bert", bias="all")
    expected = model(ids).logits
    torch.testing.assert_close(lora.merge(model)(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(lora.unmerge(model)(ids).logits, expected)


@pytest.mark.parametrize("tied_first", [False, True])
@pytest.mark.parametrize("other", ["transformer.h.1.attn.c_attn", "transformer.h.1.mlp.c_fc", "lm_head"])
def test_a_weight_that_another_module_has_too_is_not_merged(tiny, ids, shake, tied_first, other):
    """Adapted both, or one of them: either would get W0 + dW of the other."""
    sizes = {"n_inner": 48, "vocab_size": 48} if other != "lm_head" else {"n_inner": 31, "n_positions": 31}
    targets, one = ("qvo", "c_attn") if other != "lm_head" else ("down", "mlp.c_proj")
    model = tiny("gpt2", tie_word_embeddings=False, **sizes)

    def tie():
        first = model.transformer.h[0].get_submodule(one if one == "mlp.c_proj" else "attn.c_attn")
        first = getattr(first, "base", first)
        second = model.get_submodule(other)
        getattr(second, "base", second).weight = first.weight

    if tied_first:
        tie()
    shake(lora.adapt(model, targets))
    if not tied_first:
        tie()
    expected, weights = model(ids).logits, copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"are one parameter, and a merge would change both") as error:
        lora.merge(model)
    assert f"{other}.weight" in str(error.value)
    assert "\n" not in str(error.value)
    assert torch.equal(model(ids).logits, expected)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    second = model.get_submodule(other)
    second = getattr(second, "base", second)
    second.weight = torch.nn.Parameter(second.weight.detach().clone(), requires_grad=False)  # as it says
    torch.testing.assert_close(lora.merge(model)(ids).logits, expected, atol=1e-4, rtol=1e-4)


def test_tied_embeddings_do_not_matter_to_a_merge(adapted, ids):
    model = adapted()
    assert model.lm_head.weight is model.transformer.wte.weight
    expected, table = model(ids).logits, model.lm_head.weight.detach().clone()
    torch.testing.assert_close(lora.merge(model)(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert torch.equal(model.lm_head.weight, table)
