import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.needs import MissingRunsError
from analysis.selection import Selection, four_layers, middle_layer
from analysis.study import Study
from tests.analysis.planted import LAYERS, STUDY, planted, write_run

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
    assert selection.one_layer(run) == 1
    assert selection.some_layers(run) == (0, 1, 2, 4)
    assert planted.select(layer=4).one_layer(run) == 4
    with pytest.raises(AnalysisError, match=rf"--layer 9: .* adapts the layers 1 to {LAYERS}"):
        planted.select(layer=8).one_layer(run)


def test_seeds_with_all_ranks_come_first(planted, tmp_path):
    root = tmp_path / "outputs"
    write_run(root, planted.base, 8, 0)
    for seed in (3, 4):
        write_run(root, planted.base, 64, seed)
    write_run(root, planted.base, 8, 4)
    selection = Selection.of(Study.open(STUDY, root))
    assert selection.seeds_with((8, 64))[0] == 4
    assert selection.seeds_with((64,), count=2) == (3, 4)
    assert selection.seeds_with((8, 64), count=2) == (4, 0)


def test_seeds_that_no_run_has_are_made_up_from_zero(planted, tmp_path):
    write_run(tmp_path, planted.base, 64, 0)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    assert selection.seeds_with((64,), count=2) == (0, 1)


def test_chosen_seeds_are_used_in_their_order(planted):
    assert planted.select(seeds=(2, 0)).seeds_with((64,), count=2) == (2, 0)
    with pytest.raises(AnalysisError, match="2 seeds are compared, and --seeds gives 1"):
        planted.select(seeds=(0,)).seeds_with((64,), count=2)


def test_missing_runs_are_named_with_the_command(planted):
    with pytest.raises(MissingRunsError, match=r"qv r=16 seed=0.*\n.*python run.py -m .*rank=16 seed=0"):
        planted.select().runs((16,), (0,))


def test_a_study_of_several_tasks_needs_one(planted, tmp_path):
    write_run(tmp_path, planted.base, 8, 0)
    write_run(tmp_path, planted.base, 8, 0, task="nli")
    study = Study.open(STUDY, tmp_path)
    with pytest.raises(AnalysisError, match="has the tasks nli, sql; choose one with --task"):
        Selection.of(study)
    with pytest.raises(AnalysisError, match="has no task 'mnli'; it has nli, sql"):
        Selection.of(study, "mnli")
    selection = Selection.of(study, "nli")
    assert selection.runs((8,), (0,))[8, 0].settings["task"] == "nli"
    assert selection.folder(Path("results")) == Path("results") / STUDY / "nli"


def test_the_folder_of_a_study_of_one_task(planted):
    assert planted.select().folder(Path("results")) == Path("results") / STUDY


def test_every_choice_is_in_the_files_name(planted):
    assert planted.select().stem("fig3") == "fig3"
    selection = planted.select(
        targets="q,up", basis="dW-right", checkpoint="best", layer=0, seeds=(0, 2), choice={"lr": 0.1}
    )
    assert selection.stem("fig3") == "fig3-q-up-dW-right-layer1-best-seed0-2-lr0.1"
    assert selection.stem("fig3", basis=False, layer=False) == "fig3-q-up-best-seed0-2-lr0.1"


def test_checkpoint_and_basis_reach_the_factors(planted):
    last, best = (planted.select(checkpoint=checkpoint) for checkpoint in ("last", "best"))
    run = last.available()[0]
    assert not last.factors(run, 0, "q").A.equal(best.factors(run, 0, "q").A)
    moved = planted.select(basis="A-A0").directions(run, 0, "q")
    assert moved.basis == "A-A0"
    assert moved.rank == run.settings["rank"]


def test_an_unknown_device_is_one_line(planted):
    with pytest.raises(AnalysisError, match="--device nowhere: not there") as error:
        planted.select(device="nowhere")
    assert "\n" not in str(error.value)


def test_runs_of_two_models_are_not_compared(planted, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(planted.base, other)
    write_run(tmp_path, planted.base, 8, 0)
    write_run(tmp_path, other, 64, 0)
    with pytest.raises(AnalysisError, match="the runs are of different models"):
        Selection.of(Study.open(STUDY, tmp_path)).runs((8, 64), (0,))


def test_the_base_may_have_moved(planted, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(planted.base, moved)
    selection = planted.select(base=str(moved))
    found = selection.weight(selection.available()[0], 1, "q")
    assert found.double().equal(planted.weights[1, "q"])


def test_captions_name_what_else_the_runs_differ_in(planted, tmp_path):
    write_run(tmp_path, planted.base, 8, 0, lr=0.1)
    write_run(tmp_path, planted.base, 64, 0, lr=0.2)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    text = selection.sentence(list(selection.runs((8, 64), (0,)).values()))
    assert text.endswith("The runs differ in lr (0.1, 0.2).")
    assert "model base," in text  # not the folder that it lies in
