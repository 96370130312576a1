"""What adapting reaches, from planted studies."""

from __future__ import annotations

import pytest

from analysis.defaults import CHECKPOINTS
from analysis.errors import AnalysisError
from analysis.tables.baselines import baselines
from tests.analysis.tables.test_accuracy import Planted


@pytest.fixture
def study(tmp_path) -> Planted:
    return Planted(tmp_path)


def cell(made, what, task="sql"):
    [row] = made.cells[(made.cells["what"] == what) & (made.cells["task"] == task)].to_dict("records")
    return row


def fill(study, task="sql"):
    for seed in range(2):
        study.run(task=task, seed=seed, method="none", lr=None, share=0.1)
        study.run(task=task, seed=seed, method="full", lr=0.001, share=0.9)
        study.run(task=task, seed=seed, method="bias", lr=0.01, share=0.3)
        study.run(task=task, seed=seed, rank=8, share=0.7)


def test_gap_closed_and_the_papers_numbers(study):
    fill(study)
    fill(study, "nli")
    made = baselines(study.frame())
    assert cell(made, "base model")["mean"] == pytest.approx(10)
    assert cell(made, "LoRA qv r=8")["gap_closed"] == pytest.approx(75)
    assert cell(made, "biases")["gap_closed"] == pytest.approx(25)
    found = {
        task: [cell(made, what, task)["paper"] for what in ("full fine-tuning", "biases", "LoRA qv r=8")]
        for task in ("sql", "nli")
    }
    assert found == {"sql": [73.8, 71.3, 73.8], "nli": [89.5, 91.0, 91.6]}
    lines = [" ".join(line.split()) for line in made.table.terminal().splitlines()]
    [line] = [line for line in lines if line.startswith("sql LoRA qv r=8")]
    assert line.startswith("sql LoRA qv r=8 32,768 70.0 70.0 ±0.0 ")
    assert line.endswith(" 75% 1 73.8")
    notes = " ".join(lines)
    assert "Not in the study: LoRA q r=8 (sql), LoRA qv r=1 (sql), LoRA q r=8 (nli)" in notes
    assert "Learning rate: 0.001, 0.01, 0.02, by cell as the study has it." in notes
    assert len(made.runs) == len(set(made.runs)) == 16


def test_without_both_ends_there_is_no_gap(study):
    study.run(method="full", share=0.9)
    study.run(rank=8, share=0.7)
    made = baselines(study.frame())
    assert made.cells["gap_closed"].isna().all()
    assert "base model (sql)" in made.table.notes[-2]


def test_full_fine_tuning_that_keeps_other_deltas_is_the_same_run(study):
    study.run(method="full", targets="qv", share=0.9)
    study.run(method="full", targets="qkvo", share=0.9)
    assert cell(baselines(study.frame()), "full fine-tuning")["seeds"] == 1


def test_the_learning_rate_is_chosen_on_dev(study):
    study.run(method="full", lr=0.1, dev=0.9, share=0.4)
    study.run(method="full", lr=0.2, dev=0.5, share=0.9)
    found = cell(baselines(study.frame()), "full fine-tuning")
    assert (found["mean"], found["lr"]) == (pytest.approx(40), 0.1)


def test_dev_is_that_of_the_checkpoint_that_is_shown(study):
    study.run(method="full", dev=0.5, share=0.4, best=0.6, best_dev=0.9)
    found = {
        name: cell(baselines(study.frame(), checkpoint=name), "full fine-tuning")["dev"]
        for name in CHECKPOINTS
    }
    assert found == {"last": pytest.approx(50), "best": pytest.approx(90)}


def test_a_study_of_lora_alone_is_told_what_to_train(study):
    study.run()
    with pytest.raises(
        AnalysisError, match="lacks runs of the base model, full fine-tuning and biases"
    ) as told:
        baselines(study.frame())
    assert told.value.methods == ("none", "full", "bias")
