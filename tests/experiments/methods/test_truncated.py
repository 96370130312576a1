"""A truncated run evaluates the run of the same settings, its pairs cut: held against the cut by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import lora
from experiments import job
from experiments.methods import lookup
from experiments.plan import PlannedRun, plan
from experiments.store import ADAPTER, PREDICTIONS, RunFolder
from lora.saving import snapshot


@pytest.fixture
def run(bench, monkeypatch):
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    return lambda config: job.run_job(PlannedRun(config, ()))


def test_it_is_the_source_s_run_cut(config, bench, run, monkeypatch) -> None:
    settings = {"steps": 4, "rank": 4, "targets": "qv", "lr": 0.05, "bias": "lora_only"}
    source = run(config(**settings))
    assert source.status == "finished", source.error
    seen = {}
    method = type(lookup("truncated"))
    begin = method.begin

    def watched(self, model, settings, folder):
        begin(self, model, settings, folder)
        seen.update(deltas={place: one.delta().detach() for place, one in lora.adapters(model).items()})
        seen.update(biases=snapshot(model).extra)

    monkeypatch.setattr(method, "begin", watched)
    outcome = run(config(method="truncated", keep=2, **settings))
    assert outcome.status == "finished", outcome.error
    assert outcome.record["metrics"]["last"]["step"] == 0
    stored = lora.read(source.folder / ADAPTER)
    for place, one in stored.factors.items():
        U, S, Vh = torch.linalg.svd((one.scaling * one.B @ one.A).double())
        best = ((U[:, :2] * S[:2]) @ Vh[:2]).float()
        torch.testing.assert_close(seen["deltas"][place], best, atol=1e-6, rtol=1e-4)
    for name, bias in stored.extra.items():
        torch.testing.assert_close(seen["biases"][name], bias)
    whole = source.record["parameters"]
    assert outcome.record["parameters"]["adapter"] == whole["adapter"] // 2
    assert outcome.record["parameters"]["bias"] == whole["bias"]
    assert (outcome.folder / PREDICTIONS).is_file()
    assert not (outcome.folder / ADAPTER).exists()
    assert "-qv-r4-top2-lr0.05-" in outcome.name
    by_a = run(config(method="truncated", keep=2, by="A", **settings))
    assert "-top2-byA-" in by_a.name
    assert by_a.name != outcome.name


def test_what_was_trained_otherwise_is_another_source(config, run) -> None:
    assert run(config(steps=2, rank=4)).status == "finished"
    other = run(config(method="truncated", keep=1, steps=3, rank=4))
    assert other.status == "failed"
    assert "starts from a finished run of method=lora" in other.error
    assert run(config(method="truncated", keep=1, steps=2, rank=4)).status == "finished"


def test_no_fewer_directions_than_there_are_is_an_error(config, run) -> None:
    run(config(steps=2, rank=2))
    outcome = run(config(method="truncated", keep=2, steps=2, rank=2))
    assert "keep=2 is not valid: of W_q the adapter has 2 directions" in outcome.error


def test_the_learning_rate_is_that_of_the_source(tmp_path) -> None:
    [run] = plan(["method=truncated", f"root={tmp_path}"]).runs
    [source] = plan(["method=lora", f"root={tmp_path}"]).runs
    assert run.config.lr == source.config.lr
    assert dataclasses.replace(run.config, method="lora") == source.config
    assert RunFolder(tmp_path).read() is None
