"""The grid of whatever a study holds: no run of it vanishes."""

from __future__ import annotations

import pandas
import pytest

from analysis.commands import main
from analysis.errors import AnalysisError
from analysis.grid import grids
from analysis.reading.study import Study
from analysis.selection import Selection
from tests.analysis.tables.test_accuracy import Planted
from tests.analysis.tables.test_table18 import played


@pytest.fixture
def study(tmp_path):
    return Planted(tmp_path)


def select(study, left_out=(), **options):
    """All of a planted study, in which weights are known by their sha256."""
    for run in study.runs:
        run.record["model"] |= {"revision": None, "sha256": run.record["config"]["model"]["identity"]}
    opened = Study("mine", study.folder, tuple(study.runs), tuple(left_out))
    return Selection.of_tasks(opened, **options)


def reference(study, method, **more):
    """A run of a method without a rank."""
    study.run(method=method, **more)
    for name in ("rank", "alpha", *(["targets"] if method != "full" else [])):
        del study.runs[-1].record["config"][name]
    study.runs[-1].record["parameters"] |= {"adapter": 0}


def accounted(grid):
    return [*grid.runs, *grid.other_rates, *grid.repeated]


def test_any_rank_and_any_letters(study):
    for targets in ("v", "q", "qkvo"):
        for rank in (3, 5):
            study.run(targets=targets, rank=rank, share=rank / 10)
    study.run(targets="up", rank=3, ranks={"up": 3}, share=0.2)
    study.run(targets="v-up", rank=5, ranks={"v": 5, "up": 5}, share=0.2)
    study.run(targets="qv", ranks={"q": 4, "v": 8}, share=0.6)
    [grid] = grids(select(study))
    assert [cell.name for cell in grid.cells] == [
        "q r=3",
        "q r=5",
        "v r=3",
        "v r=5",
        "up r=3",
        "qv r=q4-v8",
        "v-up r=5",
        "qkvo r=3",
        "qkvo r=5",
    ]
    assert grid.ranks == (3, 5)
    assert [*grid.lines] == ["q", "v", "up", "qv r=q4-v8", "v-up", "qkvo"]
    q = grid.cells[0]
    assert (q.rank, q.result.mean.mean, q.result.trainable) == (3, 0.3, 4 * 2 * 256 * 3)
    assert (q.result.seconds, q.result.dev) == (1.0, 0.3)
    assert grid.cells[5].rank is None
    assert sorted(accounted(grid)) == sorted(run.id for run in study.runs)


def test_tasks_in_the_papers_order_and_data_that_cannot_be_compared(study):
    study.run(task="mine")
    study.run(task="nli")
    study.run(task="sql")
    study.run(task="sql", task_seed=1)
    assert [grid.title for grid in grids(select(study))] == [
        "sql, task.seed=0",
        "sql, task.seed=1",
        "nli",
        "mine",
    ]


def test_models_are_blocks_wherever_their_folder_lies(study):
    study.run(rank=1, folder="here/small")
    study.run(rank=2, folder="there/small")
    study.run(rank=1, folder="here/large", model="files:2")
    found = grids(select(study))
    assert [(grid.title, len(grid.cells)) for grid in found] == [("sql, small", 2), ("sql, large", 1)]


def test_methods_with_ranks_are_blocks_and_the_others_references(study):
    study.run(rank=1)
    study.run(rank=1, method="dora")
    reference(study, "none", lr=None, share=0.1)
    reference(study, "full", share=0.9)
    found = grids(select(study))
    assert [grid.title for grid in found] == ["sql, lora", "sql, dora"]
    for grid in found:
        assert [cell.name for cell in grid.references] == ["full fine-tuning", "base model"]


def test_a_further_setting_is_a_cell_of_its_own(study):
    for seed in range(2):
        study.run(rank=8, seed=seed, share=0.5)
    study.run(rank=8, seed=0, alpha=16.0, share=0.7)
    study.run(rank=8, seed=2, steps=100, share=0.6)
    study.run(rank=4, seed=0, share=0.4)
    [grid] = grids(select(study))
    names = {cell.name: (cell.seeds, round(cell.result.mean.mean, 2)) for cell in grid.cells}
    assert names == {
        "qv r=8 alpha=8 steps=None": (2, 0.5),
        "qv r=8 alpha=16 steps=None": (1, 0.7),
        "qv r=8 alpha=8 steps=100": (1, 0.6),
        "qv r=4 alpha=8 steps=None": (1, 0.4),
    }
    assert len(grid.runs) == 5


def test_a_setting_that_goes_with_the_rank_tells_no_cells_apart(study):
    study.run(rank=8, alpha=8.0)
    study.run(rank=16, alpha=16.0)
    [grid] = grids(select(study))
    assert [cell.name for cell in grid.cells] == ["qv r=8", "qv r=16"]
    assert grid.result.differing == {"alpha": [8.0, 16.0]}


def test_settings_are_seen_whatever_the_first_run_is(study):
    """The first run has no alpha: where its column stands must not matter."""
    reference(study, "none", lr=None, share=0.1)
    study.run(rank=8)
    study.run(rank=16, alpha=16.0)
    [grid] = grids(select(study))
    assert grid.result.differing == {"alpha": [8.0, 16.0]}


def test_other_learning_rates_are_named(study):
    study.run(lr=0.01, dev=0.9, share=0.4)
    study.run(lr=0.1, dev=0.5, share=0.9)
    [grid] = grids(select(study))
    [cell] = grid.cells
    assert (cell.result.lr, cell.result.lr_tried) == (0.01, (0.01, 0.1))
    assert grid.other_rates == (study.runs[1].id,)


def test_full_fine_tuning_is_counted_once(study):
    for targets in ("qv", "qkvo"):
        reference(study, "full", targets=targets, share=0.9)
    [grid] = grids(select(study))
    [cell] = grid.references
    assert cell.seeds == 1
    assert grid.repeated == (study.runs[1].id,)


def test_no_runs(study):
    with pytest.raises(AnalysisError, match="the study has no finished run"):
        grids(select(study))


def sized(study, method, share=0.5, **settings):
    """A run of a method that has a size and no rank."""
    reference(study, method, share=share)
    study.runs[-1].record["config"] |= settings


def test_other_methods_are_named_with_their_sizes(study):
    study.run(rank=8)
    sized(study, "adapter_h", bottleneck=8)
    sized(study, "adapter_h", bottleneck=64)
    sized(study, "prefix_layer", l_p=8, l_i=4)
    sized(study, "fttop2")
    reference(study, "none", lr=None, share=0.1)
    [grid] = grids(select(study))
    assert [cell.name for cell in grid.references] == [
        "base model",
        "top two layers",
        "Adapter H r=8",
        "Adapter H r=64",
        "PreLayer l_p=8 l_i=4",
    ]
    assert [cell.is_mark for cell in grid.references] == [False, True, True, True, True]


def test_lora_beside_prefixes_is_a_grid_of_its_own(study):
    study.run(rank=8)
    study.run(rank=8, method="lora_prefix")
    study.runs[-1].record["config"] |= {"prefix": "embed", "l_p": 8, "l_i": 4}
    assert [[cell.name for cell in grid.cells] for grid in grids(select(study))] == [
        ["qv r=8"],
        ["qv r=8 prefix=embed"],
    ]


def test_settings_that_runs_do_not_tell_are_the_defaults(study):
    study.run(rank=8)
    study.run(rank=8, share=0.6)
    study.runs[-1].record["config"] |= {"dora": True}
    [grid] = grids(select(study))
    assert [cell.name for cell in grid.cells] == ["qv r=8 dora=False", "qv r=8 dora=True"]


def test_all_does_not_fail_for_what_the_study_was_not_asked_for(study, tmp_path, capsys, monkeypatch):
    for seed in (0, 1):
        study.run(targets="v-up", rank=3, ranks={"v": 3, "up": 3}, seed=seed, share=0.5 + 0.1 * seed)
    opened = select(study).study
    monkeypatch.setattr(Study, "open", lambda *_: opened)
    place = ["--study", "mine", "--out", str(tmp_path / "results")]
    skip = "--skip=claims,report,spectra,table7,fig3,fig4,fig6,fig7"
    assert main(["all", *place, skip]) == 0
    error = capsys.readouterr().err
    assert "not made: fig8: study" in error
    assert "not made: table6: the study has no LoRA run of q, qv, qkvo at one rank" in error
    assert not any(line.startswith("error") for line in error.splitlines())
    assert main(["all", *place, f"{skip},grid"]) == 1  # nothing is made


def test_another_metric_than_the_one_that_counts(tmp_path, capsys):
    """Its own means and intervals; dev is of the one that counts, by which choices are made: not shown."""
    for rank, matches in ((1, 5), (4, 7)):
        for seed in (0, 1):
            played(tmp_path, rank, seed, matches, loss=1.0)
    place = ["--study", "toy", "--root", str(tmp_path), "--out", str(tmp_path / "results")]
    assert main(["grid", *place, "--metric", "rouge_l"]) == 0
    cells = pandas.read_csv(tmp_path / "results/grid-rouge_l.csv")
    assert cells["mean"].tolist() == pytest.approx([55.0, 55.0])
    assert {*cells["metric"]} == {"ROUGE-L"}
    assert cells["dev"].isna().all()
    assert main(["grid", *place]) == 0
    cells = pandas.read_csv(tmp_path / "results/grid.csv")
    for column in ("mean", "dev"):
        assert cells[column].tolist() == pytest.approx([50.0, 70.0])
    capsys.readouterr()
    assert main(["grid", *place, "--metric", "rouge"]) == 1
    told = capsys.readouterr().err
    assert "has no such score; there are bleu_lc, rouge_l, loss, cider; did you mean rouge_l?" in told
    assert main(["grid", *place, "--metric", "rouge_l", "--paper"]) == 2
