"""What is trained, with which settings, and that what is stored is what was trained."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import lora
from experiments import method, store
from experiments.store import RunFolder


def test_every_setting_of_lora_reaches_the_model(config, word_model):
    settings = {"targets": "qv", "rank": {"q": 2, "v": 3}, "alpha": 7.0, "scaling": "alpha/sqrt(r)"}
    settings |= {"init": "kaiming", "dropout": 0.3, "bias": "all", "seed": 5}
    ours = method.prepare(word_model.model, config(**settings))
    reference = method.prepare(word_model.model, config(method="full"))
    expected = lora.adapt(reference, **settings)
    assert {n for n, p in ours.named_parameters() if p.requires_grad} == {
        n for n, p in expected.named_parameters() if p.requires_grad
    }
    for (name, one), (_, two) in zip(ours.named_parameters(), expected.named_parameters(), strict=True):
        assert torch.equal(one, two), name
    for key, adapter in lora.adapters(ours).items():
        assert adapter.scaling == pytest.approx(7.0 / adapter.lora_A.shape[0] ** 0.5), key
    rates = {m.p for m in ours.modules() if isinstance(m, torch.nn.Dropout)} - {0.0}
    assert rates == {0.3} == {m.p for m in expected.modules() if isinstance(m, torch.nn.Dropout)} - {0.0}


def test_dw_is_what_was_added_to_w0(config, word_model, tmp_path):
    run = config(method="full", targets="qo")
    model = method.prepare(word_model.model, run)
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight += 0.5
    folder = RunFolder(tmp_path)
    for best in (False, True):
        method.save_trained(model, word_model.model, run, folder, best=best)
        deltas = load_file(folder.file(store.DELTA_BEST if best else store.DELTA))
        torch.testing.assert_close(deltas["layers.1.o.dW"], torch.full((32, 32), 0.5))
        assert not any(delta.any() for name, delta in deltas.items() if name != "layers.1.o.dW")


@pytest.mark.parametrize("name", ["lora", "full", "bias"])
def test_a_snapshot_is_what_was_trained_then(config, word_model, name):
    model = method.prepare(word_model.model, config(method=name))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    state = method.snapshot(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 1.0
    assert all(torch.equal(state[n], before[n]) for n in state)
    method.restore(model, state)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
