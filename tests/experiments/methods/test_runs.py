"""Every method in a run: it trains what it says, and what is stored gives the trained model back."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import lora
from analysis.errors import AnalysisError
from analysis.reading.study import Study
from experiments import job, store
from experiments.methods import METHODS, lookup
from experiments.plan import PlannedRun
from experiments.prefixes import special_ids
from tests.experiments.test_trainer import fit
from tests.lora.tiny_models import forward, tiny_model

ADDED = ("adapter_h", "adapter_l", "adapter_p", "prefix_embed", "prefix_layer", "fttop2")
SETTINGS = {
    "lora": (
        {"dora": True},
        {"init": "pissa"},
        {"init": "olora", "dora": True},
        {"lr_ratio": 16.0},
        {"train": "A"},
        {"train": "B"},
    ),
    "lora_prefix": ({"prefix": "embed"}, {"prefix": "layer", "init": "pissa"}),
}
CASES = [(name, {}) for name in ADDED] + [(name, more) for name, many in SETTINGS.items() for more in many]
FAMILIES = ("gpt2", "bert", "roberta", "llama")


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_run_is_trained_stored_and_loaded(config, bench, monkeypatch, name, settings):
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    run = config(method=name, steps=3, bottleneck=2, l_p=3, l_i=2, eval_every=2, **settings)
    trained = {}
    method = METHODS[name]
    kept = method.save

    def save(self, model, base, settings, folder, best):
        kept(self, model, base, settings, folder, best)
        if not best:
            trained.update(weights(model))

    monkeypatch.setattr(method, "save", save)
    outcome = job.run_job(PlannedRun(run, ()))
    assert outcome.status == "finished", outcome.error
    assert outcome.record["parameters"] == lookup(name).counts(lookup(name).prepare(desk.base.model, run))
    assert {"prediction", "correct"} <= store.read_jsonl(outcome.folder / store.PREDICTIONS)[0].keys()

    start = lookup(name).prepare(desk.base.model, run)
    moved = {n for n, value in weights(start).items() if not torch.equal(value, trained[n])}
    trainable = {n for n, parameter in start.named_parameters() if parameter.requires_grad}
    assert moved
    assert moved <= trainable
    if (outcome.folder / store.ADAPTER).is_file():
        lora.load(start, outcome.folder / store.ADAPTER)
    else:
        lookup(name).restore(start, load_file(outcome.folder / store.DELTA))
    assert all(torch.equal(value, trained[n]) for n, value in weights(start).items())


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_each_family_learns_and_comes_back(config, kind, name, settings):
    """A few steps of gradient descent on the outputs; a snapshot put into a new copy gives the same ones."""
    run = config(method=name, bottleneck=2, l_p=3, l_i=2, **settings)
    method, base = lookup(name), tiny_model(kind)
    model = method.prepare(base, run)
    ids = torch.arange(3, 21).view(2, 9)
    if any(around := method.special_tokens(run)):
        before, after = (torch.tensor([[*some]] * 2) for some in special_ids(base, *around))
        ids = torch.cat([ids[:, :1], before, ids[:, 1:], after], dim=1)
    torch.manual_seed(0)
    wanted = torch.randn_like(forward(model, ids))
    losses = []
    chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(chosen, lr=0.02)
    for _ in range(8):
        loss = (forward(model, ids) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)
    again = method.prepare(base, run)
    method.restore(again, method.snapshot(model))
    assert torch.equal(forward(again, ids), forward(model, ids))


def test_the_last_two_layers_are_trained(config):
    """GPT-2 medium has 25.19M parameters there (Table 3): 12 d^2 + 13 d a layer."""
    model = lookup("fttop2").prepare(tiny_model("gpt2", n_layer=3), config(method="fttop2"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".h.")[1][0] for name in trained} == {"1", "2"}
    assert lookup("fttop2").counts(model)["trainable"] == 2 * (12 * 16**2 + 13 * 16)
    assert round(2 * (12 * 1024**2 + 13 * 1024) / 1e6, 2) == 25.19


@pytest.mark.parametrize("settings", [{"init": "pissa"}, {"init": "olora"}, {"dora": True}])
def test_the_analysis_reads_dw_as_it_is(config, bench, monkeypatch, settings):
    """PiSSA's without the product at the start, of twice the rank; DoRA's whole, as full fine-tuning's."""
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    run = config(steps=3, **settings)
    outcome = job.run_job(PlannedRun(run, ()))
    merged = lora.merge(
        lora.load(lookup("full").prepare(desk.base.model, run), outcome.folder / store.ADAPTER)
    )
    bare = lookup("full").prepare(desk.base.model, run)
    bare.load_state_dict(merged.state_dict())
    dW = lora.projection(bare, 1, "q") - lora.projection(desk.base.model, 1, "q")
    assert dW.abs().max() > 1e-3
    (found,) = Study.open("test", run.root).runs
    if "dora" in settings:
        torch.testing.assert_close(found.deltas()[1, "q"], dW, atol=1e-6, rtol=1e-4)
        with pytest.raises(AnalysisError, match=r"is DoRA, whose dW is more than .* delta\.safetensors"):
            found.adapter()[1, "q"]
    else:
        pair = found.adapter()[1, "q"]
        torch.testing.assert_close(pair.scaling * pair.B @ pair.A, dW, atol=1e-6, rtol=1e-4)
        assert pair.rank == found.adapter().ranks[1, "q"] == 4
        assert (
            not found.initial()[1, "q"].B @ found.initial()[1, "q"].A @ torch.ones(32) @ torch.ones(32) > 1e-4
        )


@pytest.mark.parametrize("train", ["A", "B"])
def test_dw_of_one_trained_factor_is_read_as_it_is(config, bench, monkeypatch, train):
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    run = config(steps=3, train=train)
    outcome = job.run_job(PlannedRun(run, ()))
    whole = lookup("full").prepare(desk.base.model, run)
    merged = lora.merge(lora.load(whole, outcome.folder / store.ADAPTER))
    bare = lookup("full").prepare(desk.base.model, run)
    bare.load_state_dict(merged.state_dict())
    dW = lora.projection(bare, 1, "q") - lora.projection(desk.base.model, 1, "q")
    (found,) = Study.open("test", run.root).runs
    pair, start = found.adapter()[1, "q"], found.initial()[1, "q"]
    torch.testing.assert_close(pair.scaling * pair.B @ pair.A, dW, atol=1e-6, rtol=1e-4)
    assert dW.abs().max() > 1e-4
    frozen, moved = ("B", "A") if train == "A" else ("A", "B")
    assert torch.equal(getattr(pair, frozen), getattr(start, frozen))
    assert getattr(start, frozen).abs().max() > 0
    assert not getattr(start, moved).any()
    counts = outcome.record["parameters"]
    assert counts["trainable"] == counts["adapter"] // 2  # W is square


def test_what_runs_do_not_tell_is_the_default(config, bench, monkeypatch):
    """Runs without DoRA are told from those with it, though only the latter say so."""
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    for settings in ({}, {"dora": True}):
        job.run_job(PlannedRun(config(steps=1, **settings), ()))
    study = Study.open("test", config().root)
    with pytest.raises(AnalysisError, match=r"differ in dora \(False, True\): choose one, as in dora=False"):
        study.run(targets="qv", rank=2, seed=0)
    assert "dora" not in study.run(targets="qv", rank=2, seed=0, dora=False).settings
    assert study.run(targets="qv", rank=2, seed=0, dora=True).setting("dora")


def test_b_learns_at_its_own_rate(config, bench):
    """LoRA+: the first step of Adam moves B by lr_ratio times the learning rate."""
    folder, _, _ = fit(config(steps=1, lr=0.001, lr_ratio=16.0, warmup=0.0), bench("sql"))
    stored = lora.read(folder.file(store.ADAPTER)).factors[0, "q"]
    assert stored.B.abs().max().item() == pytest.approx(0.016, rel=1e-3)


def test_defaults_that_came_later_change_no_address(config):
    """dora=false and lr_ratio=1 are not in the hash; what differs from them is, and is in the run's name."""

    def told(**settings):
        return config(**settings).scientific("float32", "model", "task")

    assert (
        not {"dora", "lr_ratio", "train", "forgetting", "bottleneck", "l_p", "l_i", "prefix"} & told().keys()
    )
    assert told(dora=True) == {**told(), "dora": True}
    assert told(train="B") == {**told(), "train": "B"}
    assert told(forgetting=True) == told()
    assert told(lr_ratio=4.0) == {**told(), "lr_ratio": 4.0}
    assert told(method="adapter_h")["bottleneck"] == 8
    assert {"l_p", "l_i", "prefix", "rank"} <= told(method="lora_prefix").keys()
    assert config(dora=True, init="pissa", lr_ratio=4.0).readable_name() == (
        "sql-embedded-qv-r2-pissa-dora-ratio4-lr0.01-seed0"
    )
    assert config(method="adapter_h").readable_name() == "sql-embedded-adapter_h-r8-lr0.01-seed0"
    assert config(method="lora_prefix").readable_name() == (
        "sql-embedded-qv-r2-prefix_embed-p8-i4-lr0.01-seed0"
    )
