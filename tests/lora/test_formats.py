"""Names of factors as other programs write them, and where the scale stands."""

from __future__ import annotations

import json
import math

import pytest

from lora.formats import METADATA, NamedPair, PairShape, named_pairs, pair_shape, peft_scaling, stated_scaling


@pytest.mark.parametrize(
    ("first", "second", "module", "writer"),
    [
        ("base_model.model.h.0.q.lora_A.weight", "base_model.model.h.0.q.lora_B.weight", "h.0.q", "PEFT"),
        ("h.0.q.lora_A.default.weight", "h.0.q.lora_B.default.weight", "h.0.q", "PEFT"),
        ("wte.lora_embedding_A", "wte.lora_embedding_B", "wte", "PEFT"),
        ("h.0.q.lora_A", "h.0.q.lora_B", "h.0.q", "loralib"),
        ("lora_te_h_0_q.lora_down.weight", "lora_te_h_0_q.lora_up.weight", "lora_te_h_0_q", "kohya"),
        ("unet.to_q.lora.down.weight", "unet.to_q.lora.up.weight", "unet.to_q", "diffusers"),
        ("unet.to_q_lora.down.weight", "unet.to_q_lora.up.weight", "unet.to_q", "diffusers"),
        ("model.q.lora_a", "model.q.lora_b", "model.q", "mlx-lm"),
        ("net.A", "net.B", "net", "plain A and B"),
    ],
)
def test_every_writers_names(first, second, module, writer):
    pairs, others = named_pairs(["head.weight", second, first])
    assert others == ["head.weight"]
    assert pairs[module].writer == writer
    assert (pairs[module].keys["A"], pairs[module].keys["B"]) == (first, second)


def test_what_stands_beside_a_pair():
    keys = ["x.lora_A.weight", "x.lora_B.weight", "x.lora_B.bias", "x.lora_magnitude_vector", "y.alpha"]
    pairs, others = named_pairs(keys)
    assert pairs["x"].keys["bias"] == "x.lora_B.bias"
    assert pairs["x"].keys["magnitude"] == "x.lora_magnitude_vector"
    assert others == ["y.alpha"]  # of no pair


def test_shapes():
    def shape(A, B, writer="PEFT"):
        return pair_shape(NamedPair("x", writer), A, B)

    assert shape((2, 6), (5, 2)) == PairShape(5, 2, 6)
    assert shape((6, 2), (2, 5), "mlx-lm") == PairShape(5, 2, 6)
    assert shape((2, 3, 3, 3), (8, 2, 1, 1)) == PairShape(8, 2, 27, (3, 3))
    assert shape((6, 8), (24, 2), "loralib") == PairShape(24, 6, 8, (), 3)
    for A, B, writer in (
        ((6, 8), (24, 2), "PEFT"),
        ((5, 8), (24, 2), "loralib"),
        ((2, 6), (5, 3), "PEFT"),
        ((2, 3, 3, 3), (8, 2, 3, 3), "kohya"),
        ((2,), (5, 2), "PEFT"),
        ((0, 6), (5, 0), "PEFT"),
    ):
        with pytest.raises(ValueError, match="do not make a pair"):
            shape(A, B, writer)


def test_pefts_rule_of_the_scale():
    settings = {"r": 4, "lora_alpha": 8, "rank_pattern": {"v": 2}, "alpha_pattern": {r"1\.q": 3}}
    assert peft_scaling(settings, "h.0.q", 4) == 2
    assert peft_scaling(settings, "h.1.q", 4) == 3 / 4
    assert peft_scaling(settings, "h.11.q", 4) == 2  # a pattern is whole words
    assert peft_scaling(settings, "h.0.v", 2) == 4
    assert peft_scaling(settings | {"use_rslora": True}, "h.0.q", 4) == 8 / math.sqrt(4)
    with pytest.raises(ValueError, match="of rank 3 in the tensors, and of rank 4 in the config"):
        peft_scaling(settings, "h.0.q", 3)
    with pytest.raises(ValueError, match=r"its pattern '\(' is no regular expression"):
        peft_scaling(settings | {"alpha_pattern": {"(": 3}}, "h.0.q", 4)


@pytest.mark.parametrize("settings", [{"r": 4}, {"r": 4, "lora_alpha": None}])
def test_an_alpha_that_is_left_out_is_pefts_own(settings):
    from peft import LoraConfig

    assert peft_scaling(settings, "h.0.q", 4) == LoraConfig().lora_alpha / 4


def test_where_a_scale_is_stated():
    pair = NamedPair("unet.mid.to_q", "diffusers")
    assert stated_scaling(pair, 4, {}, {}) is None
    assert stated_scaling(pair, 4, {}, {}, alpha=2.0) == 0.5
    told = {"unet.lora_alpha": 8, "unet.r": 4, "text_encoder.lora_alpha": 1}
    assert stated_scaling(pair, 4, {}, {METADATA: json.dumps(told)}) == 2
    assert stated_scaling(NamedPair("vae.to_q", "diffusers"), 4, {}, {METADATA: json.dumps(told)}) is None
    assert stated_scaling(pair, 4, {"lora_parameters": {"scale": 20.0}}, {}) == 20
    assert stated_scaling(pair, 4, {"lora_parameters": {"scale": 10.0, "alpha": 2}}, {}) == 5
    for settings in (
        {"lora_alpha": "8"},
        {"lora_parameters": 3},
        {"peft_type": "LORA", "alpha_pattern": [1]},
    ):
        with pytest.raises(
            ValueError,
            match=r"what it states of its scale is not valid|lora_alpha = '8' for .*; give a number",
        ):
            stated_scaling(pair, 4, settings, {})
    with pytest.raises(ValueError, match="no finite number"):
        stated_scaling(pair, 4, {"lora_alpha": math.inf}, {})
