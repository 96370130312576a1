"""The claims about forgetting: verdicts on planted losses, intruders counted as by the geometry itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

import analysis
from analysis.claims import judge
from analysis.claims.catalogue import decide
from analysis.claims.forgetting import Forgetting, intruders_go_with_forgetting
from analysis.reading.study import Study
from analysis.selection import Selection
from tests.analysis.claims.builder import LAYERS, STUDY, TRUE, weight, write_base, write_run
from tests.analysis.claims.later import TEXT, study

__all__ = ["study"]

SEEDS = range(5)
BY_CHANCE = (0.05, -0.06, 0.02, -0.04, 0.03)


def since(study, **options):
    return {one.claim: one for one in judge(study.select(**options)) if one.since}


@pytest.mark.parametrize(
    ("less", "verdict"),
    [([0.1] * 5, "supported"), ([-0.1] * 5, "contradicted"), (BY_CHANCE, "undecided")],
)
def test_lora_against_full(study, less, verdict):
    for seed in SEEDS:
        moved = 0.01 * (-1) ** seed
        study.add(seed=seed, forgotten=0.2 + moved / 2, share=0.8)
        study.add(seed=seed, forgotten=0.2 + moved + less[seed], method="full", share=0.9)
        study.add("qkvo", seed=seed)  # not measured
    found = since(study)["lora-forgets-less"]
    assert found.verdict == verdict
    assert found.value == pytest.approx(np.mean([-x - 0.005 * (-1) ** s for s, x in enumerate(less)]))
    assert (found.wanted, found.seeds, found.null) == ("< 0", 5, 0)
    assert found.low < found.value < found.high
    assert "Margin: none." in found.note
    assert "qv r=8 +0.201, 80.0 % (lr 0.02)" in found.note
    assert "qkvo" not in found.note


def test_every_cell_must_forget_less(study):
    for seed in SEEDS:
        study.add(seed=seed, forgotten=0.1 + seed / 1000)
        study.add(seed=seed, rank=64, forgotten=0.5 - seed / 1000)
        study.add(seed=seed, forgotten=0.3, method="full")
    found = since(study)["lora-forgets-less"]
    assert found.verdict == "contradicted"
    assert "Shown: qv r=64 against full." in found.note


def test_rates_are_those_that_are_best_on_dev(study):
    for seed in SEEDS:
        for lr, dev, forgotten in ((0.1, 0.9, 0.2), (0.2, 0.5, 0.9)):
            study.add(seed=seed, lr=lr, dev=dev, forgotten=forgotten + seed / 1000)
        for lr, dev, forgotten in ((0.01, 0.4, 0.1), (0.02, 0.9, 0.5)):
            study.add(seed=seed, lr=lr, dev=dev, forgotten=forgotten, method="full")
    found = since(study)["lora-forgets-less"]
    assert found.value == pytest.approx(0.202 - 0.5)


def test_runs_that_differ_in_more_are_told_apart(study):
    """Of full fine-tuning the targets are no difference; the steps are, and none is taken unasked."""
    for seed in SEEDS:
        study.add(seed=seed, forgotten=0.1 + seed / 1000, steps=400)
        study.add(seed=seed, forgotten=0.3, method="full", steps=400)
        study.add("qkvo", seed=seed, forgotten=0.3, method="full", steps=400)
    assert since(study)["lora-forgets-less"].verdict == "supported"
    study.add(seed=0, forgotten=0.0, method="full", steps=100)
    found = since(study)["lora-forgets-less"]
    assert found.verdict == "not testable"
    assert "full r=0 has several runs of one seed, which differ in steps (400, 100)" in found.note
    assert since(study, choice={"steps": 400})["lora-forgets-less"].verdict == "supported"


def test_a_choice_without_one_of_the_two_is_said(study):
    study.add(seed=0, forgotten=0.1, lr=0.1)
    study.add(seed=0, forgotten=0.1, lr=0.2, method="full")
    found = since(study, choice={"lr": 0.1})["lora-forgets-less"]
    assert "it was not measured of both LoRA and full fine-tuning" in found.note


def test_texts_that_differ_are_not_compared(study):
    study.add(forgotten=0.1)
    study.add(forgotten=0.2, method="full")
    study.runs[-1].record["forgetting"]["text"] = "file:1"
    found = since(study)["lora-forgets-less"]
    assert found.verdict == "not testable"
    assert "measured on different texts (embedded:0, file:1)" in found.note


# ---------------------------------------------------------------------------------------------- intruders


def planted(study, forgotten):
    """Settings in which as many directions intrude as their number says; `forgotten` by setting and seed."""
    for setting in range(9):
        for seed in SEEDS:
            study.add(rank=setting + 1, seed=seed, forgotten=forgotten(setting, seed))


def verdict(study, monkeypatch):
    monkeypatch.setattr(
        Forgetting, "intruders", lambda self, runs: {run.id: float(run.settings["rank"]) for run in runs}
    )
    evidence = intruders_go_with_forgetting(Forgetting(study.select()))
    return decide({"intruders-forget": evidence}, "sql")["intruders-forget"]


SHUFFLED = (4, 0, 7, 2, 8, 5, 1, 6, 3)


@pytest.mark.parametrize(
    ("forgotten", "expected", "rho"),
    [
        (lambda setting, seed: 0.1 * setting + 0.01 * seed, "supported", 1 - 6 / 720),
        (lambda setting, seed: -0.1 * setting, "contradicted", -1 + 6 / 720),
        (lambda setting, seed: SHUFFLED[setting] + 0.01 * seed, "undecided", 0.1),
    ],
)
def test_intruders_go_with_forgetting(study, monkeypatch, forgotten, expected, rho):
    planted(study, forgotten)
    found = verdict(study, monkeypatch)
    assert found.verdict == expected
    assert found.value == pytest.approx(rho, abs=0.06 if expected == "undecided" else 1e-9)
    assert -1 <= found.low < found.value < found.high <= 1
    assert found.seeds == 9  # settings; repeats are no further evidence
    assert "9 settings of qv, 45 runs" in found.note
    if expected == "undecided":
        assert "seed" not in found.note.partition("Undecided:")[2]


def test_few_settings_decide_nothing(study, monkeypatch):
    planted(study, lambda setting, seed: 0.1 * setting)
    study.runs = [run for run in study.runs if run.settings["rank"] <= 5]
    assert verdict(study, monkeypatch).verdict == "undecided"
    assert "intruders-forget" not in since(study)


def test_runs_without_any_intruder_have_no_order(study, monkeypatch):
    planted(study, lambda setting, seed: 0.1 * setting)
    monkeypatch.setattr(Forgetting, "intruders", lambda self, runs: {run.id: 0.0 for run in runs})
    found = since(study)["intruders-forget"]
    assert found.verdict == "not testable"
    assert "all numbers of one kind are equal" in found.note


def test_intruders_are_those_of_each_matrix(tmp_path):
    base = write_base(tmp_path / "base")
    for rank in (4, 8):
        folder = write_run(tmp_path / "outputs", base, TRUE, "qv", rank, 0)
        record = json.loads(folder.file("run.json").read_text())
        record["forgetting"] = TEXT | {"last": 1.0 + rank / 10, "best": 1.1}
        folder.file("run.json").write_text(json.dumps(record))
    selection = Selection.of(Study.open(STUDY, tmp_path / "outputs"))
    forgetting = Forgetting(selection)
    runs = [run for runs in forgetting.settings() for run in runs]
    assert sorted(forgetting.forgotten(run) for run in runs) == pytest.approx([0.4, 0.8])
    counted = forgetting.intruders(runs)
    for run in runs:
        adapter = run.adapter()
        expected = [
            analysis.intruder_dimensions(weight(layer, letter).float(), pair.scaling * pair.B @ pair.A)
            for layer in range(LAYERS)
            for letter in "qv"
            for pair in [adapter[layer, letter]]
        ]
        assert counted[run.id] == pytest.approx(np.mean(expected))
    assert max(counted.values()) > 0
