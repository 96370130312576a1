"""Special tokens: what a model makes of them, where they stand, and PEFT as a second opinion."""

from __future__ import annotations

import peft
import pytest
import torch
from transformers import DynamicCache

from experiments.encoded import Encoded
from experiments.errors import UserError
from experiments.methods import lookup
from experiments.prefixes import Activations, special_ids
from tests.lora.tiny_models import VOCABULARY, tiny_model

KINDS = ("gpt2", "bert", "roberta", "distilbert", "deberta-v2", "llama", "gemma2", "gpt-neox")
NAMES = ("prefix_embed", "prefix_layer", "lora_prefix")
PROMPT = torch.arange(3, 13).view(2, 5)


def prepared(config, kind, name, before, after=0, **changes):
    changes |= {"method": name, "l_p": before, "l_i": after}
    return lookup(name).prepare(tiny_model(kind), config(**changes)).eval()


def around(ids, model, before, after=0):
    """The ids with the special ones, as an objective gives them."""
    first, last = (
        torch.tensor([[*some]] * len(ids), dtype=torch.long) for some in special_ids_of(before, after)
    )
    return torch.cat([first, ids, last], dim=1)


def special_ids_of(before, after):
    return range(VOCABULARY, VOCABULARY + before), range(VOCABULARY + before, VOCABULARY + before + after)


@pytest.mark.parametrize("kind", KINDS)
def test_the_count_is_the_paper_s_formula(config, kind):
    """d (l_p + l_i) and L d (l_p + l_i) (section 5.1)."""
    for name, prefix, times in (
        ("prefix_embed", "embed", 1),
        ("prefix_layer", "embed", 2),
        ("lora_prefix", "embed", 1),
        ("lora_prefix", "layer", 2),
    ):
        model = prepared(config, kind, name, 3, 2, prefix=prefix)
        counts = lookup(name).counts(model)
        lora = lookup("lora").counts(lookup("lora").prepare(tiny_model(kind), config()))["adapter"]
        tokens = counts["adapter"] - lora * (name == "lora_prefix")
        assert tokens == times * model.config.hidden_size * (3 + 2), name
        assert counts["trainable"] == counts["adapter"] + counts["head"]
        assert model.config.num_hidden_layers == 2


def test_the_paper_s_sizes():
    """GPT-3 (Tables 4 and 15), in millions; its PreLayer rows are 7% above its own formula."""
    for before, after, millions in ((32, 8, 0.5), (64, 8, 0.9), (128, 8, 1.7), (256, 8, 3.2), (512, 8, 6.4)):
        assert round(12288 * (before + after) / 1e6, 1) == millions


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt-neox"])
def test_prompts_are_read_as_by_peft(config, kind):
    """Its prompt tuning: the same embeddings before the prompt's give the same logits."""
    model = prepared(config, kind, "prefix_embed", 4)
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    theirs = peft.get_peft_model(tiny_model(kind), settings).eval()
    (weight,) = theirs.prompt_encoder["default"].parameters()
    weight.data.copy_(model.get_input_embeddings().special)
    expected = theirs(input_ids=PROMPT, attention_mask=torch.ones_like(PROMPT)).logits
    torch.testing.assert_close(model(around(PROMPT, model, 4)).logits, expected[:, -9:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_activations_are_read_as_by_peft(config, kind):
    """Its prefix tuning, with the keys and values that our activations have: the same logits."""
    model = prepared(config, kind, "prefix_layer", 4)
    for name, parameter in model.named_parameters():
        if name.endswith("special"):
            parameter.data.add_(0.5 * torch.randn(parameter.shape))
    ids = torch.tensor([[*special_ids_of(4, 0)[0]]])
    cache = model(ids, past_key_values=DynamicCache(config=model.config), use_cache=True).past_key_values
    settings = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    theirs = peft.get_peft_model(tiny_model(kind), settings).eval()
    (table,) = theirs.prompt_encoder["default"].parameters()
    pairs = [(layer.keys[0], layer.values[0]) for layer in cache.layers]  # (heads, tokens, d_head)
    flat = torch.stack([part for pair in pairs for part in pair])  # layers * 2, heads, tokens, d_head
    table.data.copy_(flat.permute(2, 0, 1, 3).reshape(4, -1))
    expected = theirs(input_ids=PROMPT, attention_mask=torch.ones(2, 5)).logits
    torch.testing.assert_close(
        model(around(PROMPT, model, 4)).logits[:, -5:], expected[:, -5:], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_layer_makes_of_a_special_token_is_not_used(config, kind):
    """The trained activations stand after each layer but the last, whatever the model makes there."""
    model = prepared(config, kind, "prefix_layer", 3, 2)
    seen = []
    (layer,) = (m for m in model.modules() if isinstance(getattr(m, "special", None), Activations))
    layer.register_forward_hook(lambda *call: seen.append(call[-1]))
    values = layer.special.special
    ids = around(PROMPT, model, 3, 2)
    model(ids, attention_mask=torch.ones_like(ids))
    hidden = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    torch.testing.assert_close(hidden[:, :3], values[:3].expand(2, 3, -1))
    torch.testing.assert_close(hidden[:, -2:], values[3:].expand(2, 2, -1))
    assert not torch.isclose(hidden[0, 3:-2], hidden[1, 3:-2]).all()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_activations_start_as_what_the_model_makes_of_the_embeddings(config, kind):
    embed, layer = (prepared(config, kind, name, 4) for name in ("prefix_embed", "prefix_layer"))
    ids = around(PROMPT, embed, 4)
    torch.testing.assert_close(layer(ids).logits[:, 4:], embed(ids).logits[:, 4:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["prefix_embed", "prefix_layer"])
def test_generation_with_a_cache_is_that_without(config, name):
    model = prepared(config, "gpt2", name, 3, 2)
    ids = around(PROMPT, model, 3, 2)
    settings = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    settings |= {"eos_token_id": None, "pad_token_id": 0}
    cached, plain = (model.generate(ids, use_cache=use, **settings) for use in (True, False))
    assert torch.equal(cached, plain)
    assert cached.shape == (2, 15)


def test_where_the_tokens_stand_in_an_input(bench):
    """Around a text's prompt, before its answer; a class's input keeps its first token first."""
    objective = bench("sql").objective
    other = objective.with_tokens((900, 901), (902,))
    for one, two in zip(objective.encoded("train"), other.encoded("train"), strict=True):
        prompt, answer = one.ids[: one.target_start], one.ids[one.target_start :]
        assert two == Encoded((900, 901, *prompt, 902, *answer), one.target_start + 3)
    of_class = Encoded((2, 5, 3, 6, 3), 5, label=1, segments=(0, 0, 0, 1, 1))
    assert other.surrounded(of_class) == Encoded(
        (2, 900, 901, 5, 3, 6, 3, 902), 8, label=1, segments=(0, 0, 0, 0, 0, 1, 1, 1)
    )
    assert [*objective.with_tokens((), ()).encoded("dev")] == [*objective.encoded("dev")]


def test_ids_lie_above_the_vocabulary():
    assert special_ids(tiny_model("gpt2"), 2, 1) == special_ids_of(2, 1)


def test_no_token_is_one_line(config):
    with pytest.raises(UserError, match="l_p=0 and l_i=0 leave nothing to train"):
        prepared(config, "gpt2", "prefix_embed", 0, 0)


def test_tokens_that_leave_no_room_are_one_line(bench):
    with pytest.raises(UserError, match=r"l_p=60 and l_i=30 leave 6 of 96 tokens for the input"):
        bench("sql").objective.with_tokens(range(60), range(30))
