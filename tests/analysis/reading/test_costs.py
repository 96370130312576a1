"""A file of costs is whole, or one line says what is wrong; the formula finds the planted activations."""

from __future__ import annotations

import copy
import json

import pytest

from analysis.errors import AnalysisError
from analysis.reading.costs import read_costs
from tests.analysis import measured


@pytest.fixture
def written(tmp_path):
    def write(record):
        path = tmp_path / "costs.json"
        path.write_text(json.dumps(record))
        return path

    return write


def test_activations_are_found_again(written):
    costs = read_costs(written(measured.record()))
    for name in ("full", "lora"):
        assert costs.activations(name) == pytest.approx(measured.KEPT[name], rel=1e-3, abs=1.0)
        step = measured.step(name, 7, 200)
        assert costs.formula(name, 7, 200) == pytest.approx(step["peak"], rel=1e-4)
    assert [full.batch * full.length for full, _ in costs.pairs] == [28, 112, 448, 448, 1792]
    assert list(costs.by_method) == [*measured.METHODS]


def test_without_input_there_are_four_copies_of_what_is_trained(written):
    """AdamW: the weight, its gradient and two moments; what is frozen is there once."""
    costs = read_costs(written(measured.record()))
    assert costs.formula("full", 0, 0) == 4 * 4 * 3_000_000
    assert costs.formula("lora", 0, 0) == 4 * (3_000_000 + 4 * 15_000)


def test_what_is_not_there_is_one_line(tmp_path):
    with pytest.raises(AnalysisError, match=r"gone\.json cannot be read: No such file or directory$"):
        read_costs(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(format=2), "no file of scripts/benchmark_costs.py of format 1"),
        (lambda r: r.pop("latency"), "no file of scripts/benchmark_costs.py"),
        (lambda r: r.pop("storage"), "is damaged: KeyError 'storage'; measure again"),
        (lambda r: r["memory"][0].pop("peak"), "is damaged: TypeError .*peak"),
        (lambda r: r["speed"]["seconds"]["lora"].pop(), "seconds are not those of the same rounds"),
        (lambda r: r["switching"]["seconds"]["load"].__setitem__(0, 0.0), "not those of the same rounds"),
        (lambda r: r["storage"].pop("lora"), "is damaged: AssertionError; measure again"),
    ],
)
def test_what_is_not_whole_is_one_line(written, change, message):
    record = copy.deepcopy(measured.record())
    change(record)
    with pytest.raises(AnalysisError, match=message) as error:
        read_costs(written(record))
    assert "\n" not in str(error.value)
