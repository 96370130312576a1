"""Tables 5 and 6 of planted studies: every number can be told beforehand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas
import pytest

from analysis import paper_values
from analysis.defaults import CHECKPOINTS
from analysis.errors import AnalysisError
from analysis.reading.run import Run, row
from analysis.tables.accuracy import table5, table6
from analysis.tables.notes import _mark_notes, normality_note
from experiments.store import PREDICTIONS, write_jsonl

LAYERS, WIDTH, EXAMPLES = 4, 256, 200
METRICS = {"sql": "logical_form_accuracy", "nli": "accuracy"}


class Planted:
    """A study built run by run; an example is right where its number is below the run's share."""

    def __init__(self, folder):
        self.folder = folder
        self.runs = []

    def run(self, task="sql", targets="qv", rank=8, seed=0, share=0.5, dev=None, best=None, ids=None, **more):
        """`dev` is the share on dev; `best` the test share of a best checkpoint other than the last.

        `best_dev` is that checkpoint's share on dev, where it is another one.
        """
        best_dev = more.pop("best_dev", None)
        generator = np.random.default_rng(seed)
        answers = {"test": generator.permutation(EXAMPLES) < round(share * EXAMPLES)}
        answers["dev"] = np.arange(50) < (share if dev is None else dev) * 50
        records = [("last", split, correct) for split, correct in answers.items()]
        if best is not None:
            records.append(("best", "test", generator.permutation(EXAMPLES) < round(best * EXAMPLES)))
        metric, folder = METRICS.get(task, "accuracy"), more.pop("folder", "embedded")
        scores = {split: {metric: float(correct.mean())} for split, correct in answers.items()}
        chosen = scores if best is None else {**scores, "test": {metric: best}}
        if best_dev is not None:
            chosen = {**chosen, "dev": {metric: best_dev}}
        path = self.folder / f"{task}-{targets}-r{rank}-{len(self.runs)}"
        write_jsonl(
            path / PREDICTIONS,
            [
                {"checkpoint": c, "split": s, "id": str(e if ids is None else ids[e]), "correct": bool(right)}
                for c, s, correct in records
                for e, right in enumerate(correct)
            ],
        )
        config = {
            "model": {"identity": more.pop("model", "embedded:1")},
            "task": {"name": task, "seed": more.pop("task_seed", 0)},
            "method": "lora",
            "targets": targets,
            "rank": more.pop("ranks", dict.fromkeys(targets, rank)),
            "alpha": 8.0,
            "seed": seed,
            "lr": 0.02,
            **more,
        }
        adapter = LAYERS * sum(2 * WIDTH * r for r in config["rank"].values())
        record = {
            "config": config,
            "model": {"name": folder},
            "metric": metric,
            "metrics": {"last": {"step": 9, **scores}, "best": {"step": 5, **chosen}},
            "parameters": {"adapter": adapter, "head": 0, "bias": 0, "total": 1, "trainable": adapter},
            "timing": {"seconds": 1.0},
        }
        self.runs.append(Run(path, record))

    def frame(self):
        """As `Study.frame`, whose whole numbers may be missing."""
        frame = pandas.DataFrame([row(run) for run in self.runs])
        return frame.astype({name: "Int64" for name in frame if frame[name].dtype == "int64"})


@pytest.fixture
def study(tmp_path):
    return Planted(tmp_path)


def cell(made, **keys):
    found = made.cells
    for key, value in keys.items():
        found = found[found[key] == value]
    assert len(found) == 1
    return found.iloc[0]


def test_table6_measures_and_compares(study):
    for seed, share in enumerate((0.70, 0.74, 0.78)):
        study.run(seed=seed, share=share, rank=8)
        study.run(seed=seed, share=round(share - 0.5, 2), rank=1, targets="q")
    study.run(task="nli", targets="qkvo", rank=16, share=0.6)
    made = table6(study.frame())
    ours = cell(made, task="sql", targets="qv", rank=8)
    assert (ours["mean"], ours["seed_sd"]) == pytest.approx((74, 4))
    assert ours["low"] < 70 < 78 < ours["high"]
    assert (ours["seeds"], ours["examples"], ours["varies"]) == (3, 200, "seeds and examples")
    assert (ours["lr"], ours["lr_rule"]) == (0.02, "fixed")
    assert (ours["split"], ours["checkpoint"], ours["metric"]) == ("test", "last", "logical form accuracy")
    assert (ours["paper_task"], ours["paper"], ours["paper_noise"]) == ("WikiSQL", 73.8, 0.5)
    assert ours["parameters"] == 32768
    assert ours["marked"]
    low = cell(made, task="sql", targets="q", rank=1)
    assert low["below_highest"] == pytest.approx(50)
    assert low["p_holm"] < 0.05
    assert not low["marked"]
    single = cell(made, task="nli", targets="qkvo", rank=16)
    assert single["varies"] == "examples"
    assert np.isnan(single["seed_sd"])
    assert pandas.isna(single["paper"])  # the paper has no rank 16
    paper_only = cell(made, task="nli", targets="q", rank=4)
    assert pandas.isna(paper_only["mean"])
    assert paper_only["paper"] == 91.1
    assert len(made.runs) == len(set(made.runs)) == 7


def test_table6_in_the_papers_layout(study):
    for seed in range(2):
        study.run(seed=seed, share=0.8, rank=1)
        study.run(seed=seed, share=0.2, rank=1, targets="q")
        study.run(task="nli", seed=seed, share=0.5, rank=64)
    text = table6(study.frame()).table.terminal()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "weights r=1 r=2 r=4 r=8 r=64" in lines
    assert "sql W_q ours 20.0 ±0.0 – – – –" in lines
    assert "WikiSQL paper 68.8 69.6 70.5 70.4 70.0" in lines
    assert "sql W_q, W_v ours 80.0 ±0.0* – – – –" in lines
    assert "nli W_q, W_v ours – – – – 50.0 ±0.0" in lines  # the only cell of its task
    assert "MultiNLI paper 91.2 91.7 91.7 91.5 91.4" in lines
    assert lines.index("sql W_q ours 20.0 ±0.0 – – – –") < lines.index("nli W_q, W_v ours – – – – 50.0 ±0.0")
    notes = " ".join(lines)
    for words in (
        "logical form accuracy on sql, accuracy on nli, in %",
        "over 2 seeds; test split, 200 (sql), 200 (nli) examples; checkpoint: the last step.",
        "variance components of the crossed table of seeds and examples.",
        "Bold (*) on sql: the task's highest. †: not significantly worse than",
        "Learning rate: 0.02, fixed.",
        "its noise is ±0.5 on WikiSQL, ±0.1 on MultiNLI.",
        "Not in the study: q r=2,",
    ):
        assert words in notes
    assert "on nli: the task's highest" not in notes  # there is nothing to compare its cell with


def test_the_papers_column_is_the_papers(study):
    """Every cell of the paper's Table 6 is in the tidy form once, as in the reference values."""
    study.run()
    study.run(task="nli")
    made = table6(study.frame())
    for task in ("wikisql", "multinli"):
        for found in paper_values.table("table6").rows:
            name = {"wikisql": "WikiSQL", "multinli": "MultiNLI"}[task]
            ours = cell(made, paper_task=name, targets=found["targets"], rank=found["rank"])
            expected = paper_values.value(
                "table6", task, **{key: found[key] for key in ("targets", "rank")}
            ).value
            assert ours["paper"] == expected
    assert len(made.cells) == 30


def test_nothing_is_marked_that_the_data_do_not_part(study):
    study.run(share=0.50, rank=1)
    study.run(share=0.51, rank=8)
    made = table6(study.frame())
    assert not made.cells["marked"].fillna(False).any()
    assert not {"*", "†"} & {*made.table.terminal()}
    assert "No cell is marked on sql" in " ".join(made.table.notes)
    assert "with one seed" not in " ".join(made.table.notes)
    assert "one seed; test split" in " ".join(made.table.notes)
    assert "over examples alone, which says nothing of other seeds" in " ".join(made.table.notes)


def test_the_best_is_bold_and_what_is_not_worse_has_a_sign(study):
    for share, rank in ((0.80, 1), (0.81, 8), (0.40, 64)):
        study.run(share=share, rank=rank)
    made = table6(study.frame())
    assert [row.kind for row in made.table.groups[0]] == ["ours", "interval", "paper"] * 3
    [means] = [row for row in made.table.groups[0] if row.labels == ("sql", "W_q, W_v", "ours")]
    shown = {cell.text: (cell.strong, cell.tied) for cell in means.cells if cell.text != "–"}
    assert shown == {"80.0": (False, True), "81.0": (True, False), "40.0": (False, False)}
    assert {*made.cells[made.cells["marked"].fillna(False)]["rank"]} == {1, 8}  # in the CSV both


def test_table5_takes_the_ranks_that_cost_the_budget(study):
    for targets, rank in (("q", 8), ("k", 8), ("qv", 4), ("qkvo", 2), ("qv", 8), ("q", 1), ("v", 2)):
        study.run(targets=targets, rank=rank)
    made = table5(study.frame())
    ours = made.cells[made.cells["mean"].notna()]
    assert [*zip(ours["targets"], ours["rank"], strict=True)] == [("q", 8), ("k", 8), ("qv", 4), ("qkvo", 2)]
    assert set(ours["parameters"]) == {16384}
    assert cell(made, targets="qkvo")["paper"] == 73.7
    lines = [" ".join(line.split()) for line in made.table.terminal().splitlines()]
    assert lines[0] == "Table 5: which weight types to adapt, with 16,384 parameters"
    assert "r ours 8 8 – – – 4 2" in lines
    assert "paper 8 8 8 8 4 4 2" in lines
    assert "WikiSQL paper 70.4 70.0 73.0 73.2 71.4 73.7 73.7" in lines
    assert "Not in the study: v, o, qk." in " ".join(made.table.notes)
    with pytest.raises(AnalysisError, match="no run of the study costs 999,999 parameters"):
        table5(study.frame(), budget=999_999)
    smaller = table5(study.frame(), budget=2048)
    assert [*smaller.cells[smaller.cells["mean"].notna()]["targets"]] == ["q"]


def test_table5_with_smaller_keys_compares_unequal_ranks(study):
    """Grouped-query attention: W_k has 5/8 of W_q's d_in + d_out, so k at r=13 costs what q does at r=8."""
    study.run(targets="q", rank=8)
    for rank in (8, 12, 13, 14):
        study.run(targets="k", rank=rank)
    frame = study.frame()
    of_keys = frame["targets"] == "k"
    frame.loc[of_keys, "adapter_parameters"] = (frame.loc[of_keys, "adapter_parameters"] * 5) // 8
    made = table5(frame)
    ours = cell(made, targets="k")
    assert (ours["rank"], ours["paper_rank"], ours["paper"]) == (13, 8, 70.0)


def test_of_two_ranks_equally_near_the_budget_the_smaller_is_taken(study):
    for rank in (2, 1, 3):
        study.run(targets="q", rank=rank)
    made = table5(study.frame(), budget=3 * LAYERS * WIDTH)
    assert cell(made, targets="q")["rank"] == 1


def test_table5_needs_its_budget(study):
    study.run(targets="qv", rank=4)
    with pytest.raises(AnalysisError, match="lacks runs of q at r=8"):
        table5(study.frame())
    assert table5(study.frame(), budget=16384).cells["mean"].notna().sum() == 1


def test_the_learning_rate_is_chosen_on_dev_and_reported_on_test(study):
    study.run(lr=0.01, dev=0.9, share=0.4)
    study.run(lr=0.1, dev=0.5, share=0.9)
    study.run(lr=0.1, dev=0.5, share=0.9, rank=1)
    made = table6(study.frame())
    ours = cell(made, targets="qv", rank=8)
    assert (ours["mean"], ours["lr"], ours["lr_rule"]) == (pytest.approx(40), 0.01, "best on dev")
    assert cell(made, targets="qv", rank=1)["lr_rule"] == "fixed"
    notes = " ".join(made.table.notes)
    assert (
        "Learning rate: of 0.01, 0.1, 1 of 2 cells' best on dev (0.01, 0.1 in this table); the others"
        in notes
    )
    fixed = table6(study.frame(), lr=0.1)
    assert cell(fixed, targets="qv", rank=8)["mean"] == pytest.approx(90)
    assert "Learning rate: 0.1, fixed." in " ".join(fixed.table.notes)
    with pytest.raises(AnalysisError, match=r"no run for this table at lr=0\.3"):
        table6(study.frame(), lr=0.3)


def test_the_learning_rate_is_chosen_at_the_checkpoint_that_is_shown(study):
    study.run(lr=0.01, dev=0.9, share=0.4, best=0.3, best_dev=0.5)
    study.run(lr=0.1, dev=0.5, share=0.5, best=0.6, best_dev=0.9)
    found = {name: cell(table6(study.frame(), checkpoint=name), rank=8, targets="qv") for name in CHECKPOINTS}
    assert {name: (row["lr"], row["mean"]) for name, row in found.items()} == {
        "last": (0.01, pytest.approx(40)),
        "best": (0.1, pytest.approx(60)),
    }


def test_a_rate_with_fewer_seeds_is_not_chosen(study):
    for seed in range(2):
        study.run(lr=0.01, dev=0.5, share=0.4, seed=seed)
    study.run(lr=0.1, dev=0.9, share=0.9)
    assert cell(table6(study.frame()), targets="qv", rank=8)["lr"] == 0.01


def test_the_best_checkpoint(study):
    study.run(share=0.4, best=0.6)
    study.run(share=0.4, rank=1)
    made = table6(study.frame(), checkpoint="best")
    assert cell(made, targets="qv", rank=8)["mean"] == pytest.approx(60)
    assert cell(made, targets="qv", rank=1)["mean"] == pytest.approx(40)
    assert "checkpoint: the best evaluation on dev." in " ".join(made.table.notes)
    assert cell(table6(study.frame(), split="dev"), targets="qv", rank=1)["examples"] == 50


def test_runs_that_differ_in_more_are_told(study):
    study.run(rank=8)
    study.run(rank=64, alpha=64.0)
    notes = " ".join(table6(study.frame()).table.notes)
    assert "The cells differ in more than weights and rank: alpha (8, 64)." in notes


def test_ranks_that_differ_by_letter_have_no_cell(study):
    study.run(rank=8)
    study.run(ranks={"q": 4, "v": 8})
    assert table6(study.frame()).cells["mean"].notna().sum() == 1


def test_runs_that_cannot_stand_in_one_table(study):
    study.run(rank=8)
    study.run(rank=1, model="embedded:2")
    with pytest.raises(AnalysisError, match=r"sql: the runs differ in model\.identity"):
        table6(study.frame())


def test_a_model_that_has_moved_is_the_same_model(study):
    study.run(rank=8)
    study.run(rank=1, folder="elsewhere/embedded")
    assert table6(study.frame()).cells["mean"].notna().sum() == 2


def test_several_runs_of_one_seed(study):
    study.run()
    study.run(alpha=16.0)
    with pytest.raises(AnalysisError, match=r"sql qv r=8 has several runs of one seed.*alpha \(8.0, 16.0\)"):
        table6(study.frame())


def test_other_examples(study):
    study.run(rank=8)
    study.run(rank=1, ids=[*range(1, EXAMPLES + 1)])
    with pytest.raises(AnalysisError, match="sql-qv-r8-0 answers other examples than the runs before"):
        table6(study.frame())


def test_predictions_that_contradict_the_record(study):
    study.run(share=0.5)
    frame = study.frame()
    frame["test_last"] = 0.7
    with pytest.raises(AnalysisError, match=r"give logical form accuracy 0\.5000, run\.json says 0\.7000"):
        table6(frame)


def test_no_runs(study):
    with pytest.raises(AnalysisError, match="no finished run"):
        table6(pandas.DataFrame())
    study.run(ranks={"q": 1, "v": 2})
    with pytest.raises(AnalysisError, match="no LoRA run of one rank; train some"):
        table6(study.frame())
    study.run(targets="k")
    with pytest.raises(AnalysisError, match="no LoRA run of q, qv, qkvo"):
        table6(study.frame())
    with pytest.raises(AnalysisError, match="checkpoint 'first'"):
        table6(study.frame(), checkpoint="first")


def test_a_task_that_the_paper_lacks(study):
    """Its rows stand alone, behind those of the paper's tasks; nothing of the paper's is said of it."""
    study.run(task="e2e", share=0.6)
    alone = table6(study.frame())
    assert cell(alone, task="e2e", targets="qv", rank=8)["mean"] == pytest.approx(60)
    assert alone.cells["paper"].isna().all()
    assert len(alone.cells) == 1
    assert [row.labels[-1] for row in alone.table.groups[0]] == ["ours", "95%"] * 3
    assert not any(note.startswith("Paper:") for note in alone.table.notes)
    study.run(task="sql")
    assert list(dict.fromkeys(table6(study.frame()).cells["task"])) == ["sql", "e2e"]


def test_runs_scored_by_two_metrics(study):
    study.run(seed=0)
    study.run(seed=1)
    frame = study.frame()
    frame.loc[1, "metric"] = "accuracy"
    with pytest.raises(AnalysisError, match="sql: the runs are scored by accuracy and logical_form_acc"):
        table6(frame)
    frame["metric"] = "nonesuch"
    with pytest.raises(AnalysisError, match="metric=nonesuch is unknown; valid are accuracy,"):
        table6(frame)


def test_every_form_holds_every_number(study):
    study.run(share=0.8)
    study.run(share=0.3, rank=1)
    made = table6(study.frame())
    for text in (made.table.terminal(), made.table.markdown(), made.table.latex()):
        assert "80.0" in text
        assert "30.0" in text
        assert "73.8" in text
    assert r"\textbf{80.0}" in made.table.latex()
    assert "**80.0**" in made.table.markdown()
    assert "80.0*" in made.table.terminal()


def test_where_seed_effects_are_not_normal_the_notes_say_so():
    generator = np.random.default_rng(0)
    normal = generator.standard_normal((18, 5))
    groups = generator.choice([60.0, 77.0, 85.0], (18, 5)) + generator.standard_normal((18, 5))
    assert normality_note({"sql": normal}) == ""
    note = normality_note({"sql": normal, "nli": groups})
    assert note.startswith(" On nli they are not (p < 0.001, Shapiro and Wilk's test of the cells together)")
    assert "sql" not in note


def test_a_table_of_marks_warns_of_what_a_mark_means():
    def result(task, marked, cells):
        best = SimpleNamespace(together=range(marked), decided=True, against=range(cells - 1))
        return SimpleNamespace(task=task, compared=range(cells), best=best)

    told = [*_mark_notes([result("sql", 5, 18), result("nli", 16, 18)])]
    assert told[0].startswith("Bold (*) on sql, nli: ")
    assert told[1:] == [
        "On nli 16 of 18 cells are marked: a mark means not shown to be worse, and these data part few of "
        "them."
    ]
