"""The benchmark of costs: what is counted is right, and what it writes the analysis reads."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from analysis.claims.costs import judge_costs
from analysis.reading.costs import read_costs

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_costs", ROOT / "scripts" / "benchmark_costs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def subject(benchmark):
    return benchmark.subject_of("embedded", "cpu", quick=True)


def test_allocations_are_counted_to_the_byte(benchmark):
    """y = x W keeps x; the peak has x, y and both gradients of a size, as autograd frees the rest."""
    x, W = torch.randn(64, 32), torch.randn(32, 128, requires_grad=True)

    def call():
        held = [torch.empty(1000, dtype=torch.uint8), torch.empty(500, dtype=torch.uint8)]
        held.pop()
        torch.empty(300, dtype=torch.uint8)

    assert 1500 <= benchmark.allocated(call, CPU) <= 1500 + 2 * 64  # an allocator may round up
    assert benchmark.allocated(lambda: x @ W.detach(), CPU) == 4 * 64 * 128


@pytest.mark.parametrize("name", ["full", "lora", "adapter_h", "prefix_embed"])
def test_the_parts_of_a_step_are_those_of_the_formula(benchmark, subject, name):
    found = benchmark.memory_of(subject, name, 2, 24)
    steps = 4 * 60  # a step counter of 4 bytes for each of AdamW's tensors
    assert found["weights"] == 4 * found["total"]
    assert found["gradients"] == 4 * found["trainable"]
    assert 0 <= found["optimizer"] - 8 * found["trainable"] <= steps
    formula = found["weights"] + found["optimizer"] + max(found["gradients"], found["activations"])
    assert formula <= found["peak"] <= 1.1 * formula


def test_activations_follow_batch_and_length(benchmark, subject):
    """k + batch * (a length + c length^2): the embedded model keeps its attention weights, and LoRA its
    stacked factors, of which A of the first layer is not needed, as nothing below it is trained.
    """

    def kept(name, batch, length):
        return benchmark.memory_of(subject, name, batch, length)["activations"]

    a_stacked, b_stacked = 4 * 2 * 4 * 256, 4 * 2 * 4 * 3 * 256  # two letters of r = 4
    for name, k in (("full", 0), ("lora", 4 * b_stacked + 3 * a_stacked)):
        one, two, four = (kept(name, 1, length) - k for length in (16, 32, 64))
        assert kept(name, 3, 16) - k == pytest.approx(3 * one, rel=1e-3)
        c = (two - 2 * one) / (32**2 - 2 * 16**2)
        a = one / 16 - c * 16
        assert c > 0
        assert four == pytest.approx(64 * a + 64**2 * c, rel=1e-3)


def test_a_merged_model_is_the_base_and_an_unmerged_one_is_not(benchmark, subject):
    assert benchmark.merged_is_the_base(subject) == {
        "modules": True,
        "parameters": True,
        "operators": True,
        "count": pytest.approx(600, abs=300),
    }
    ids = subject.ids(1, 8)
    of_base, of_lora = (
        benchmark.operators(benchmark.forward(subject, model), ids)
        for model in (subject.base, subject.model("lora").eval())
    )
    assert of_base != of_lora


def test_candidates_have_the_papers_shares_of_parameters(benchmark, subject):
    share = 11 / 354.92
    total = sum(p.numel() for p in subject.base.parameters())
    added = {name: count for name, (_, count) in benchmark.candidates(subject, share).items()}
    assert (added.pop("full"), added.pop("lora_merged")) == (0, 0)
    assert set(added) == {"lora_unmerged", "adapter_l", "adapter_h"}
    for name, count in added.items():
        assert count == pytest.approx(share * total, rel=0.04), name


def test_rounds_meet_all_and_inputs_shrink_until_they_fit(benchmark, subject):
    calls = []
    seconds = benchmark.rounds_of({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 5, CPU)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 5, "b": 5}
    assert [{*calls[i : i + 2]} for i in range(0, len(calls), 2)] == [{"a", "b"}] * (5 + benchmark.WARM_UP)
    assert len({tuple(calls[i : i + 2]) for i in range(0, len(calls), 2)}) == 2  # not always one order
    whole = benchmark.dataclasses.replace(subject, quick=False)
    assert whole.fitting(32, 128, 1.0, lambda batch, length: batch * length / 512) == (4, 128)
    assert whole.fitting(1, 128, 1.0, lambda batch, length: batch * length / 32) == (1, 32)
    assert (whole.rounds(10.0, 0.25), whole.rounds(1.0, 1.0), whole.rounds(1.0, 1e-9)) == (40, 10, 100)


@pytest.mark.parametrize("model", ["embedded", "stories260K"])
def test_what_it_writes_the_analysis_reads(benchmark, tmp_path, request, model):
    """Of a GPT-2, and of a small Llama, which has no biases to train."""
    if model != "embedded":
        model = str(request.getfixturevalue("shared_data") / "models" / model)
    out = tmp_path / "costs.json"
    benchmark.main(["--quick", "--device", "cpu", "--model", model, "--out", str(out)])
    costs = read_costs(out)
    assert costs.quick
    assert not costs.gpu
    assert costs.model["name"] == model
    methods = {*costs.by_method}
    assert methods == {*costs.storage} == {*costs.training_seconds}
    assert ("bias" in methods) == (model == "embedded")
    assert {"full", "lora", "adapter_h", "adapter_l", "prefix_layer"} <= methods
    assert {found.verdict for found in judge_costs(costs)} == {"undecided"}
    ratio = costs.storage["full"] / costs.storage["lora"]
    step = costs.by_method
    assert ratio == pytest.approx(step["full"].total / step["lora"].trainable, rel=0.2)


def test_a_model_that_is_not_there_is_one_line(benchmark, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: model\.name=\S*gone\S* "):
        benchmark.main(["--quick", "--model", str(tmp_path / "gone"), "--out", str(tmp_path / "x.json")])
