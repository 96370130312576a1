import json
import shutil
from pathlib import Path

import pytest

from analysis.errors import AnalysisError
from analysis.provenance import folder_of, full_sentence, lora_sentence, stem_of
from analysis.reading.needs import MissingRunsError
from analysis.reading.study import Study
from analysis.selection import Selection
from tests.analysis.planted import STUDY, of_the_hub, planted, two_rates, write_base, write_run

__all__ = ["planted", "two_rates"]


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
    with pytest.raises(AnalysisError, match="has the tasks sql, nli; choose one with --task"):
        Selection.of(study)
    with pytest.raises(AnalysisError, match="has no task 'mnli'; it has sql, nli"):
        Selection.of(study, "mnli")
    selection = Selection.of(study, "nli")
    assert selection.runs((8,), (0,))[8, 0].settings["task"] == "nli"
    assert folder_of(selection, Path("results")) == Path("results") / STUDY / "nli"


def test_the_folder_of_a_study_of_one_task(planted):
    assert folder_of(planted.select(), Path("results")) == Path("results") / STUDY


def test_every_choice_is_in_the_files_name(planted):
    assert stem_of(planted.select(), "fig3") == "fig3"
    selection = planted.select(
        targets="q,up", basis="dW-right", checkpoint="best", layer=0, seeds=(0, 2), choice={"lr": 0.1}
    )
    assert stem_of(selection, "fig3") == "fig3-q-up-dW-right-layer1-best-seed0-2-lr0.1"
    assert stem_of(selection, "fig3", basis=False, layer=False) == "fig3-q-up-best-seed0-2-lr0.1"


def test_an_unknown_device_is_one_line(planted):
    with pytest.raises(AnalysisError, match="--device nowhere: not there") as error:
        planted.select(device="nowhere")
    assert "\n" not in str(error.value)


@pytest.fixture
def other_base(tmp_path):
    """Another model of the same shapes."""
    write_base(tmp_path / "other", name="other")
    return tmp_path / "other"


def test_runs_of_two_models_are_not_compared(planted, other_base, tmp_path):
    write_run(tmp_path, planted.base, 8, 0)
    write_run(tmp_path, other_base, 64, 0)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    for act in (lambda: selection.runs((8, 64), (0,)), lambda: selection.every_run((4,))):
        with pytest.raises(AnalysisError, match="the runs are of different models"):
            act()


def test_a_model_that_has_moved_is_the_same_model(planted, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(planted.base, moved)
    write_run(tmp_path, planted.base, 8, 0)
    write_run(tmp_path, moved, 64, 0)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    runs = list(selection.runs((8, 64), (0,)).values())
    assert list(selection.every_run((4,))) == [(8, 0), (64, 0)]
    assert "differ in" not in lora_sentence(selection, runs)
    assert str(tmp_path) not in lora_sentence(selection, runs)


def test_two_commits_of_the_hub_are_two_models(planted, tmp_path):
    for rank, commit in ((8, "a" * 40), (64, "b" * 40)):
        of_the_hub(write_run(tmp_path, planted.base, rank, 0), commit)
    with pytest.raises(AnalysisError, match=r"org/tiny \(aaaaaaaaaaaa\), org/tiny \(bbbbbbbbbbbb\)"):
        Selection.of(Study.open(STUDY, tmp_path)).runs((8, 64), (0,))


def test_every_run_needs_the_seeds_that_were_chosen(planted):
    assert list(planted.select(seeds=(1, 0)).every_run((4,))) == [
        (rank, seed) for rank in (4, 8, 64) for seed in (1, 0)
    ]
    with pytest.raises(MissingRunsError, match=r"3 runs: qv r=4 seed=5; qv r=8 seed=5; qv r=64 seed=5"):
        planted.select(seeds=(0, 5)).every_run((4,))
    with pytest.raises(MissingRunsError, match=r"2 runs: qv r=4 seed=2; qv r=8 seed=2"):
        planted.select(seeds=(0, 2)).every_run((4,))


def test_a_chosen_seed_that_no_run_has_is_an_error_of_the_frame(planted):
    assert {*planted.select(seeds=(2, 0)).frame["seed"]} == {0, 2}
    with pytest.raises(
        AnalysisError, match=r"--seeds 0,5: study planted has no run of sql with seed 5; it has"
    ):
        _ = planted.select(seeds=(0, 5)).frame


# ---------------------------------------------------------------------------------- full fine-tuning


def rates(runs):
    return [(run.settings["method"], run.settings["lr"], run.settings["seed"]) for run in runs]


def test_full_fine_tuning_of_two_settings_is_not_pooled(two_rates):
    message = r"full fine-tuning that differ in lr \(1e-05, 0.001\): choose one kind, as in --choose full.lr="
    with pytest.raises(AnalysisError, match=message):
        Selection.of(two_rates).full_runs()


def test_of_several_learning_rates_each_cells_best_on_dev_is_taken(planted, tmp_path):
    """As in the tables; a rate with fewer seeds is no candidate, and one that is asked for is taken."""
    best = {8: 0.5, 64: 0.02, None: 1e-3}
    for rank, wanted in best.items():
        for seed in (0, 1):
            for rate in (0.02, 0.5) if rank else (1e-3, 1e-5):
                with_dev(
                    write_run(tmp_path, planted.base, rank, seed, lr=rate), 0.9 if rate == wanted else 0.4
                )
    with_dev(write_run(tmp_path, planted.base, 8, 0, lr=7.0), 1.0)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    assert rates(selection.every_run((8,)).values()) == [
        *(("lora", 0.5, seed) for seed in (0, 1)),
        *(("lora", 0.02, seed) for seed in (0, 1)),
    ]
    assert rates(selection.full_runs()) == [("full", 1e-3, 0), ("full", 1e-3, 1)]
    lora, full = [*selection.every_run((8,)).values()], selection.full_runs()
    said = lora_sentence(selection, lora)
    assert said.endswith(" Learning rate: of 0.02, 0.5, 7, each rank's best on dev (0.02, 0.5).")
    said = full_sentence(selection, full, lora)
    assert ", the best on dev of the learning rates 1e-05, 0.001." in said
    chosen = Selection.of(Study.open(STUDY, tmp_path), choice={"lr": 0.02})
    found = [*chosen.every_run((8, 64)).values()]
    assert {run.settings["lr"] for run in found} == {0.02}
    assert "best on dev" not in lora_sentence(chosen, found)


def with_dev(folder, accuracy):
    record = json.loads(folder.file("run.json").read_text())
    for scores in record["metrics"].values():
        scores["dev"]["accuracy"] = accuracy
    folder.file("run.json").write_text(json.dumps(record))


def test_settings_are_chosen_for_each_method(two_rates):
    selection = Selection.of(two_rates, choice={"lr": 0.02, "full.lr": 1e-5})
    assert rates(selection.full_runs()) == [("full", 1e-5, 0), ("full", 1e-5, 1)]
    assert rates(selection.every_run((4,)).values()) == [("lora", 0.02, 0), ("lora", 0.02, 1)]
    assert stem_of(selection, "spectra") == "spectra-lr0.02-full.lr1e-05"
    with pytest.raises(AnalysisError, match="differ in lr"):
        Selection.of(two_rates, choice={"lr": 0.02}).full_runs()


def test_a_setting_of_lora_drops_no_full_fine_tuning(planted):
    assert len(planted.select(choice={"lr": 0.02}).full_runs()) == 2
    assert len(planted.select(choice={"lr": 0.02}, seeds=(1,)).full_runs()) == 1
    assert planted.select(choice={"task.seed": 1}).full_runs() == []  # the data are one for both methods


def test_full_fine_tuning_that_differs_in_targets_alone_is_one_run(planted, tmp_path):
    for letters in (("q",), ("q", "v"), ("k",)):
        write_run(tmp_path, planted.base, None, 0, letters=letters)
    study = Study.open(STUDY, tmp_path)
    (run,) = Selection.of(study).full_runs()
    assert run.settings["targets"] == "qv"
    (run,) = Selection.of(study, targets="k").full_runs()
    assert run.settings["targets"] == "k"


def test_a_copy_of_full_fine_tuning_is_refused(planted, tmp_path):
    folder = write_run(tmp_path, planted.base, None, 0)
    shutil.copytree(folder.path, folder.path.with_name("a-copy"))
    with pytest.raises(AnalysisError, match="one run in several folders: a-copy"):
        Selection.of(Study.open(STUDY, tmp_path)).full_runs()


def test_a_value_that_no_run_has_comes_with_those_there_are(planted):
    with pytest.raises(AnalysisError, match=r"lr=0\.1: no run of study planted has it; there are lr=0\.02$"):
        _ = planted.select(choice={"lr": 0.1}).frame


def test_a_value_that_no_run_has_is_named_with_those_there_are(planted):
    selection = planted.select(choice={"lr": 0.5})
    with pytest.raises(AnalysisError, match=r"--choose lr=0\.5: no run of .* has it; there are lr=0\.0"):
        selection.runs((8,), (0,))
