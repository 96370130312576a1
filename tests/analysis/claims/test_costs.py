"""Verdicts on planted costs, the paper's values beside them."""

from __future__ import annotations

import json

import pytest

from analysis.claims.costs import MARGIN, judge_costs, name_of, where
from analysis.reading.costs import read_costs
from tests.analysis import measured


@pytest.fixture
def judged(tmp_path):
    """`judged(rounds=..., **changes)`: the judgements on a planted file, by name."""

    def judge(**changes):
        path = tmp_path / "costs.json"
        path.write_text(json.dumps(measured.record(**changes)))
        return {found.claim: found for found in judge_costs(read_costs(path))}

    return judge


def planted_passes(monkeypatch, **slower):
    monkeypatch.setattr(measured, "SLOWER", {**measured.SLOWER, **slower})


def test_what_is_planted_is_found(judged):
    found = judged()
    assert {name: one.verdict for name, one in found.items()} == {
        "adapters-add-latency": "supported",
        "merged-adds-no-latency": "supported",
        "memory-a-third": "undecided",
        "storage-ten-thousandth": "supported",
        "trains-faster": "supported",
        "switching-is-cheap": "supported",
    }
    assert found["adapters-add-latency"].value == pytest.approx(1.03, abs=0.005)  # the least of six
    assert found["adapters-add-latency"].paper == "1.02"
    assert found["trains-faster"].value == pytest.approx(1.5, rel=0.01)
    assert found["trains-faster"].paper == "1.33"
    assert found["switching-is-cheap"].value == pytest.approx(10, rel=0.02)  # the dearest of three
    assert (found["merged-adds-no-latency"].level, found["merged-adds-no-latency"].margin) == (0.9, MARGIN)
    for one in found.values():
        assert one.task == "costs"
        assert one.section in ("3", "4.1", "4.2")
        assert one.note.endswith(".")


def test_memory_is_the_ratio_of_peaks_and_depends_on_the_input(judged):
    found = judged()["memory-a-third"]
    full, lora = (measured.step(name, 16, 112)["peak"] for name in ("full", "lora"))
    assert found.value == pytest.approx(full / lora)
    assert (found.low, found.high) == pytest.approx((full / lora, 48 / 13.08), rel=0.01)
    assert "It depends on batch and length" in found.note
    assert "within 0% of each peak" in found.note
    assert "from 3.92 with no tokens to 1.32 with many" in found.note  # 16 N/(4 N + 16 n), then 41.1/31.1


@pytest.mark.parametrize(
    ("kept", "verdict"),
    [((0.0, 100.0, 0.0), "supported"), ((0.0, 1e6, 0.0), "contradicted"), ((0.0, 4e4, 0.0), "undecided")],
)
def test_a_third_everywhere_nowhere_or_somewhere(judged, monkeypatch, kept, verdict):
    monkeypatch.setattr(measured, "KEPT", {"full": kept, "lora": kept})
    assert judged()["memory-a-third"].verdict == verdict


def test_a_merged_model_that_is_slower_is_told_from_one_that_is_not(judged, monkeypatch):
    planted_passes(monkeypatch, lora_merged=(1.0, 1.05, 1.0))
    found = judged()["merged-adds-no-latency"]
    assert found.verdict == "contradicted"
    assert found.value == pytest.approx(1.05, abs=0.003)  # the part that settles it
    planted_passes(monkeypatch, lora_merged=(1.0, 0.99, 1.01))
    assert judged()["merged-adds-no-latency"].verdict == "supported"
    planted_passes(monkeypatch, lora_merged=(1.0, 1.02, 1.0))  # at the margin
    assert judged()["merged-adds-no-latency"].verdict == "undecided"


def test_another_module_contradicts_whatever_its_time(judged):
    latency = measured.record()["latency"]
    latency["merged"]["operators"] = False
    found = judged(latency=latency)["merged-adds-no-latency"]
    assert found.verdict == "contradicted"
    assert "differs from the base in its operators" in found.note


def test_one_setting_without_latency_is_no_latency_of_adapters(judged, monkeypatch):
    planted_passes(monkeypatch, adapter_l=(0.95, 1.06, 1.2))
    assert judged()["adapters-add-latency"].verdict == "contradicted"
    planted_passes(monkeypatch, adapter_l=(1.0, 1.06, 1.2))
    found = judged(noise=0.2)["adapters-add-latency"]
    assert found.verdict == "undecided"
    assert found.p_holm > 0.05


def test_few_rounds_and_trials_decide_nothing(judged):
    found = judged(rounds=5)
    timed = ("adapters-add-latency", "merged-adds-no-latency", "trains-faster", "switching-is-cheap")
    assert {found[name].verdict for name in timed} == {"undecided"}
    assert "5 rounds, fewer than the 10 of a verdict" in found["trains-faster"].note
    assert {one.verdict for one in judged(rounds=3, quick=True).values()} == {"undecided"}


def test_files_larger_than_their_parameters_contradict(judged):
    storage = {**measured.record()["storage"], "lora": 10 * 4 * measured.TRAINED["lora"]}
    found = judged(storage=storage)["storage-ten-thousandth"]
    assert (found.verdict, found.paper) == ("contradicted", "10,000")
    assert "9,285 for GPT-3" in found.note


def test_where_it_was_measured_is_said(tmp_path):
    path = tmp_path / "costs.json"
    for changes, said in (
        ({}, "Measured on a CPU (2 threads), planted (3,000,000 parameters), float32; there was no GPU"),
        (
            {"gpu": True, "device": "NVIDIA X"},
            "Measured on NVIDIA X, planted (3,000,000 parameters), float32.",
        ),
    ):
        path.write_text(json.dumps(measured.record(**changes)))
        assert where(read_costs(path)).startswith(said)
    assert [name_of(name) for name in ("full", "adapter_h", "lora", "my.own")] == [
        "full fine-tuning",
        "Adapter^H",
        "LoRA",
        "my.own",
    ]
