import copy
import pickle
import re

import pytest
import torch

import lora
from lora.adapter import AdaptedModule
from lora.targets import parse_targets

KINDS = ["gpt2", "gpt2-classifier", "bert", "roberta"]


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_do_not_change_at_the_start(tiny, ids, kind):
    model = tiny(kind)
    before = model(ids).logits
    assert lora.adapt(model, "qkvo,up,down", rank=3) is model
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_dense_update(tiny, ids, shake, kind):
    """With G = dL/dW at W = W0 + s B A, the chain rule gives dL/dB = s G A^T and dL/dA = s B^T G."""
    model = tiny(kind).double()
    lora.adapt(model, "qkvo,up,down", rank={"q": 1, "k": 2, "v": 3, "o": 4, "up": 2, "down": 1}, alpha=6.0)
    shake(model)
    model(ids).logits.square().mean().backward()
    found = {key: (a.lora_A.grad, a.lora_B.grad) for key, a in lora.adapters(model).items()}

    dense = lora.merge(copy.deepcopy(model)).requires_grad_(True)
    dense(ids).logits.square().mean().backward()
    with torch.no_grad():
        for parameter in dense.parameters():
            if parameter.grad is not None:  # put G where W was, to cut it as W is cut
                parameter.copy_(parameter.grad)
    del dense.lora_adaptation
    for (layer, letter), adapter in lora.adapters(model).items():
        G = lora.projection(dense, layer, letter)
        grad_A, grad_B = found[layer, letter]
        torch.testing.assert_close(grad_B, adapter.scaling * G @ adapter.lora_A.T)
        torch.testing.assert_close(grad_A, adapter.scaling * adapter.lora_B.T @ G)
        assert grad_A.abs().max() > 0


def test_adapters_come_in_order_with_their_shapes(tiny):
    model = lora.adapt(tiny("bert"), ["down", "q", "o"], rank={"q": 1, "o": 2, "down": 3}, alpha=6)
    adapters = lora.adapters(model)
    assert list(adapters) == [(layer, letter) for layer in (0, 1) for letter in ("q", "o", "down")]
    for (layer, letter), adapter in adapters.items():
        d_out, d_in = lora.projection(model, layer, letter).shape
        assert adapter.rank == {"q": 1, "o": 2, "down": 3}[letter]
        assert adapter.lora_A.shape == (adapter.rank, d_in)
        assert adapter.lora_B.shape == (d_out, adapter.rank)
        assert (adapter.alpha, adapter.scaling) == (6.0, 6 / adapter.rank)
    assert lora.adapters(tiny("bert")) == {}


@pytest.mark.parametrize(("rule", "scaling"), [("alpha/r", 4.0), ("1/r", 0.25), ("alpha/sqrt(r)", 8.0)])
def test_scaling_rules(tiny, rule, scaling):
    model = lora.adapt(tiny("gpt2"), rank=4, alpha=16, scaling=rule)
    assert {adapter.scaling for adapter in lora.adapters(model).values()} == {scaling}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_factors_and_the_head_are_trained(tiny, ids, kind):
    model = lora.adapt(tiny(kind), "qo", rank=2)
    expected = {name for name in dict(model.named_parameters()) if "lora_" in name}
    expected |= {
        name for name in dict(model.named_parameters()) if name.startswith(("classifier.", "score."))
    }
    assert trainable(model) == expected
    assert len(expected) > 8 or kind == "gpt2"

    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):  # A moves from the second step on, when B is no longer zero
        optimizer.zero_grad()
        model(ids).logits.square().sum().backward()
        optimizer.step()
    after = model.state_dict()
    assert {name for name in after if not torch.equal(after[name], before[name])} == expected


@pytest.mark.parametrize(("targets", "modules"), [("qo", ("c_attn", "c_proj")), ("qv", ("c_attn",))])
def test_biases_of_the_adapted_modules(tiny, targets, modules):
    model = lora.adapt(tiny("gpt2"), targets, bias="lora_only")
    biases = {name for name in trainable(model) if "lora_" not in name}
    assert biases == {f"transformer.h.{i}.attn.{name}.base.bias" for i in (0, 1) for name in modules}


def test_all_biases(tiny):
    model = tiny("bert")
    expected = {name for name, _ in model.named_parameters() if name.endswith(".bias")} | {
        "classifier.weight"
    }
    lora.adapt(model, "qv", bias="all")
    assert {name.replace(".base.", ".") for name in trainable(model) if "lora_" not in name} == expected


def test_results_do_not_depend_on_what_else_is_adapted(tiny):
    alone = lora.adapters(lora.adapt(tiny("gpt2"), "v", rank=4, seed=3))
    torch.rand(5)
    together = lora.adapters(lora.adapt(tiny("gpt2"), "qkvo", rank={"q": 1, "k": 2, "v": 4, "o": 8}, seed=3))
    other = lora.adapters(lora.adapt(tiny("gpt2"), "v", rank=4, seed=4))
    for layer in (0, 1):
        assert torch.equal(alone[layer, "v"].lora_A, together[layer, "v"].lora_A)
        assert not torch.isclose(alone[layer, "v"].lora_A, other[layer, "v"].lora_A).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "qx"}, "'qx' is not a projection"),
        ({"rank": 0}, "0 is not valid"),
        ({"rank": 17}, r"rank: 17 is too large for W_q of layer 0, which is \(16, 16\); at most 16"),
        ({"targets": "up", "rank": 20}, r"W_up of layer 0, which is \(64, 16\); at most 16"),
        ({"alpha": 0}, "alpha: 0"),
        ({"scaling": "r"}, "scaling: 'r' is unknown"),
        ({"init": "eva"}, "init: 'eva' is unknown"),
        ({"dropout": 1.0}, "dropout: 1.0 is not valid"),
        ({"dropout": -0.1}, "dropout: -0.1"),
        ({"dropout": "0.1"}, "dropout: '0.1'"),
        ({"bias": "some"}, "bias: 'some' is unknown; valid are none, lora_only, all"),
    ],
)
def test_wrong_arguments_leave_the_model_alone(tiny, arguments, message):
    model = tiny("gpt2")
    names, was_trainable = list(model.state_dict()), trainable(model)
    with pytest.raises(ValueError, match=message) as error:
        lora.adapt(model, **arguments)
    assert "\n" not in str(error.value)
    assert list(model.state_dict()) == names
    assert trainable(model) == was_trainable
    lora.adapt(model)


def test_adapting_twice(tiny):
    model = lora.adapt(tiny("gpt2"))
    with pytest.raises(ValueError, match=r"adapted already; call lora\.remove"):
        lora.adapt(model)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "module", "plain"),
    [("gpt2", "c_attn", r"transformers\.pytorch_utils\.Conv1D"), ("bert", "query", r"torch\.nn\.Linear")],
)
def test_a_model_of_another_library(tiny, kind, module, plain):
    peft = pytest.importorskip("peft")
    model = tiny(kind)
    theirs = peft.get_peft_model(model, peft.LoraConfig(target_modules=[module]))
    with pytest.raises(
        ValueError,
        match=rf"{module} is a peft\.tuners\.lora\.layer\.Linear, not a {plain}: .*model\.unload\(\)",
    ) as error:
        lora.adapt(model)
    assert "\n" not in str(error.value)
    lora.adapt(theirs.unload())  # as it says


@pytest.mark.parametrize(
    ("kind", "layers", "module"),
    [("gpt2", "transformer.h", "attn.c_attn"), ("bert", "bert.encoder.layer", "attention.self.query")],
)
def test_one_layer_at_two_places(tiny, kind, layers, module):
    model = tiny(kind)
    blocks = model.get_submodule(layers)
    blocks[1] = blocks[0]
    names = [re.escape(f"{layers}.{layer}.{module}") for layer in (0, 1)]
    with pytest.raises(ValueError, match=f"{names[0]} and {names[1]} are one module, which cannot have two"):
        lora.adapt(model)
    assert lora.adapters(model) == {}
    assert all(parameter.requires_grad for parameter in model.parameters())
    blocks[1] = copy.deepcopy(blocks[0])  # as it says
    assert len(lora.adapters(lora.adapt(model))) == 4


def test_quantised_weights(tiny):
    model = tiny("bert")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    query = model.bert.encoder.layer[0].attention.self.query
    query.weight.data = query.weight.data.to(torch.int8)
    with pytest.raises(ValueError, match=r"query\.weight is torch\.int8, quantised"):
        lora.adapt(model)


@pytest.mark.parametrize("bias", ["none", "all"])
def test_remove_gives_the_model_back(tiny, ids, shake, bias):
    model = tiny("gpt2")
    model.transformer.wpe.weight.requires_grad_(False)
    expected, was_trainable, logits = copy.deepcopy(model.state_dict()), trainable(model), model(ids).logits
    lora.adapt(model, "qkvo,up,down", bias=bias)
    if bias == "none":
        shake(model)
        assert not torch.allclose(model(ids).logits, logits)
    assert lora.remove(model) is model
    assert trainable(model) == was_trainable
    assert list(model.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(ids).logits, logits)
    assert not any(isinstance(module, AdaptedModule) for module in model.modules())
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel is not adapted; call lora\.adapt"):
        lora.remove(model)
    lora.adapt(model)


def test_projection_is_w0_before_and_after_adapting(tiny, shake):
    model = tiny("gpt2")
    weight = model.transformer.h[1].attn.c_attn.weight.detach().clone()
    bare = {letter: lora.projection(model, 1, letter) for letter in parse_targets("qkvo,up,down")}
    assert torch.equal(bare["k"], weight[:, 16:32].T)
    assert not bare["k"].requires_grad
    shake(lora.adapt(model, "qkvo,up,down"))
    for letter, W in bare.items():
        assert torch.equal(lora.projection(model, 1, letter), W)


@pytest.mark.parametrize(
    ("layer", "letter", "message"),
    [
        (2, "q", "layer 2 does not exist; this model has 0 to 1"),
        (-1, "q", "layer -1"),
        (0, "x", "'x' is not a"),
    ],
)
def test_projections_that_do_not_exist(tiny, layer, letter, message):
    with pytest.raises(ValueError, match=message):
        lora.projection(tiny("gpt2"), layer, letter)


def test_projection_of_a_merged_model_is_an_error(tiny):
    model = lora.merge(lora.adapt(tiny("gpt2")))
    with pytest.raises(ValueError, match="the model is merged"):
        lora.projection(model, 0, "q")


def test_parameter_counts_follow_the_papers_formula(tiny):
    """2 L d r for each square projection adapted (paper, section 4.2), the head apart."""
    model = tiny("roberta")
    total = sum(parameter.numel() for parameter in model.parameters())
    head = (16 * 16 + 16) + (16 * 3 + 3)
    assert lora.parameter_counts(model) == {
        "adapter": 0,
        "head": head,
        "bias": sum(
            p.numel() for n, p in model.named_parameters() if n.endswith("bias") and "classifier" not in n
        ),
        "total": total,
        "trainable": total,
    }
    lora.adapt(model, "qv", rank=4)
    adapter = 2 * (2 * 2 * 16 * 4)
    counts = {
        "adapter": adapter,
        "head": head,
        "bias": 0,
        "total": total + adapter,
        "trainable": adapter + head,
    }
    assert lora.parameter_counts(model) == counts
    assert lora.parameter_counts(lora.merge(model)) == counts


def test_parameter_counts_of_oblong_projections_and_biases(tiny):
    model = lora.adapt(tiny("gpt2"), "up,down", rank=3, bias="lora_only")
    counts = lora.parameter_counts(model)
    assert counts["adapter"] == 2 * 2 * 3 * (16 + 64)
    assert counts["bias"] == 2 * (16 + 64)
    assert counts["trainable"] == counts["adapter"] + counts["bias"]
    assert counts["total"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_whole_and_apart(tiny, ids, shake, twin_of):
    model = shake(lora.adapt(tiny("gpt2"), "qo"))
    twin = twin_of(model)
    assert torch.equal(twin(ids).logits, model(ids).logits)
    shake(twin, seed=8)
    assert not torch.equal(twin(ids).logits, model(ids).logits)
    lora.remove(twin)
    assert lora.adapters(model)


def test_float64_models_have_float64_factors(tiny):
    double = lora.adapt(tiny("gpt2").double())
    half = lora.adapt(tiny("gpt2").bfloat16())
    assert {a.lora_A.dtype for a in lora.adapters(double).values()} == {torch.float64}
    assert {a.lora_A.dtype for a in lora.adapters(half).values()} == {torch.float32}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_training_under_autocast_and_checkpointing(tiny, ids, shake):
    model = shake(lora.adapt(tiny("gpt2"), "qkvo,up,down", dropout=0.0))
    model(ids).logits.square().mean().backward()
    exact = {key: adapter.lora_B.grad.clone() for key, adapter in lora.adapters(model).items()}
    model.zero_grad()
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.gradient_checkpointing_enable()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(ids).logits.float().square().mean()
    loss.backward()
    for key, adapter in lora.adapters(model).items():
        assert adapter.lora_B.grad.dtype == torch.float32
        agreement = torch.cosine_similarity(adapter.lora_B.grad.flatten(), exact[key].flatten(), dim=0)
        assert agreement > 0.98
