"""What is read of a selection's runs."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.reading import tensors
from analysis.reading.tensors import four_layers, middle_layer
from tests.analysis.planted import LAYERS, planted

__all__ = ["planted"]


@pytest.mark.parametrize(("count", "layer"), [(96, 48), (24, 12), (12, 6), (4, 2), (5, 2), (1, 1)])
def test_middle_layer_is_where_the_paper_has_it(count, layer):
    assert middle_layer(count) + 1 == layer


@pytest.mark.parametrize(
    ("count", "layers"),
    [(96, (1, 32, 64, 96)), (24, (1, 8, 16, 24)), (5, (1, 2, 3, 5)), (4, (1, 2, 3, 4)), (2, (1, 2))],
)
def test_four_layers_are_the_papers(count, layers):
    assert tuple(layer + 1 for layer in four_layers(count)) == layers


@given(st.integers(1, 300))
def test_four_layers_never_repeat(count):
    layers = four_layers(count)
    assert len(set(layers)) == len(layers) == min(count, 4)
    assert (layers[0], layers[-1]) == (0, count - 1)


def test_layers_of_a_run(planted):
    selection = planted.select()
    run = selection.available()[0]
    assert tensors.one_layer(selection, run) == 1
    assert tensors.some_layers(selection, run) == (0, 1, 2, 4)
    assert tensors.one_layer(planted.select(layer=4), run) == 4
    with pytest.raises(AnalysisError, match=rf"--layer 9: .* adapts the layers 1 to {LAYERS}"):
        tensors.one_layer(planted.select(layer=8), run)


def test_checkpoint_and_basis_reach_the_factors(planted):
    last, best = (planted.select(checkpoint=checkpoint) for checkpoint in ("last", "best"))
    run = last.available()[0]
    assert not tensors.factors(last, run, 0, "q").A.equal(tensors.factors(best, run, 0, "q").A)
    moved = tensors.directions(planted.select(basis="A-A0"), run, 0, "q")
    assert moved.basis == "A-A0"
    assert moved.rank == run.settings["rank"]


def test_the_base_may_have_moved(planted, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(planted.base, moved)
    selection = planted.select(base=str(moved))
    found = tensors.weight(selection, selection.available()[0], 1, "q")
    assert found.double().equal(planted.weights[1, "q"])
