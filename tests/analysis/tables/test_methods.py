"""Tables 15 and 16, method against method, of planted studies."""

from __future__ import annotations

import pytest

from analysis.errors import AnalysisError, LackingError
from analysis.reading.study import Study
from analysis.registry import COMMANDS, make_each
from analysis.selection import Selection
from analysis.tables.methods import has_examples, has_sizes, table15, table16
from tests.analysis.test_grid import reference, select, study

__all__ = ["study"]

SEEDS = (0, 1, 2)


def lines(result):
    return [" ".join(line.split()) for line in result.printed().splitlines()]


def notes(result):
    return " ".join(result.tables[0].notes)


def of_examples(study, number=8000, **config):
    """The newest run's number of training examples, and settings that only its method has."""
    record = study.runs[-1].record
    record["examples"] = {"train": number, "dev": 50, "test": 200}
    record["config"]["task"]["train"] = number
    record["config"] |= config


def fill(study, task="sql", number=8000, **shares):
    """Three seeds of full fine-tuning, an adapter, LoRA, and LoRA beside a prefix, of one task."""
    for seed in SEEDS:
        reference(study, "full", task=task, seed=seed, share=shares.get("full", 0.9), lr=0.001)
        of_examples(study, number)
        reference(study, "adapter_h", task=task, seed=seed, share=shares.get("adapter_h", 0.6))
        of_examples(study, number, bottleneck=8)
        study.run(task=task, rank=8, seed=seed, share=shares.get("lora", 0.8))
        of_examples(study, number)
        study.run(task=task, rank=8, seed=seed, share=shares.get("lora_prefix", 0.5), method="lora_prefix")
        of_examples(study, number, prefix="embed", l_p=8, l_i=4)


def test_table15_compares_every_method_with_every_other(study):
    fill(study)
    made = table15(select(study))
    told = lines(made)
    assert any(
        line.startswith("sql full fine-tuning") and " 90.0 ±0.0* " in line and line.endswith(" 73.8")
        for line in told
    )
    assert any(line.startswith("sql Adapter H r=8") and line.endswith(" 73.2") for line in told)
    assert any(line.startswith("sql LoRA qv r=8") and line.endswith(" 73.8") for line in told)
    assert any(line.startswith("sql LoRA qv r=8 prefix=embed") and line.endswith(" 75.0") for line in told)
    numbers = made.numbers.set_index("method")
    assert numbers.loc["adapter_h", "below_highest"] == pytest.approx(30)
    assert not numbers.loc["lora", "marked"]
    assert numbers.loc["full", "marked"]
    assert {*numbers["examples_train"]} == {8000}
    assert {*made.provenance["runs"]} == {run.id for run in study.runs}


def test_table15_has_the_papers_value_at_its_own_setting_alone(study):
    for rank, targets in ((1, "q"), (3, "qv")):
        study.run(rank=rank, targets=targets)
        of_examples(study)
    study.run(rank=8, method="lora_prefix")
    of_examples(study, prefix="layer", l_p=16, l_i=4)
    reference(study, "adapter_h", task="mine")
    of_examples(study, bottleneck=8)
    papers = table15(select(study)).numbers.set_index("what")["paper"]
    assert papers["LoRA q r=1"] == 68.8  # of Table 6
    assert papers.isna().sum() == 3


@pytest.mark.parametrize("method", ["adapter_h", "lora_prefix"])
def test_a_study_asks_for_table15_by_its_methods(study, method):
    study.run(rank=8)
    assert not has_sizes(select(study))
    study.run(rank=8, method=method)
    assert has_sizes(select(study))


def by_examples(study):
    fill(study, "nli", 100, full=0.4, lora=0.6)
    fill(study, "nli", 8000, full=0.9, lora=0.9)


def test_table16_has_a_column_for_each_number_and_marks_in_each(study):
    by_examples(study)
    made = table16(select(study))
    told = lines(made)
    assert "method 100 1,000 8,000 10,000 392,000" in told
    assert "nli full fine-tuning ours 40.0 ±0.0 – 90.0 ±0.0* – –" in told
    assert "MultiNLI paper 60.2 85.8 88.9 89.5" in told
    assert "nli Adapter H r=8 ours 60.0 ±0.0* – 60.0 ±0.0 – –" in told
    assert "nli LoRA qv r=8 ours 60.0 ±0.0† – 90.0 ±0.0† – –" in told
    numbers = made.numbers[made.numbers["method"] == "full"].set_index("examples_train")
    assert numbers["paper"].to_dict()[100] == 60.2
    assert numbers["below_highest"].to_dict() == {100: pytest.approx(20), 8000: 0}
    assert "drawn by task.seed" in notes(made)


def test_table16_of_another_task_has_no_columns_of_the_paper(study):
    fill(study, "sql", 10)
    fill(study, "sql", 20)
    told = lines(table16(select(study)))
    assert "method 10 20" in told
    assert "Paper:" not in notes(table16(select(study)))
    assert not any(line.startswith("WikiSQL") for line in told)


def test_two_kinds_of_one_number_are_told_apart_by_the_reader(study):
    by_examples(study)
    fill(study, "nli", 100)
    for run in study.runs[-12:]:
        run.record["config"]["task"]["seed"] = 1
    with pytest.raises(AnalysisError, match="100 training examples both; leave one kind in with --choose"):
        table16(select(study))


def test_table16_of_one_number_says_what_trains_others(study):
    fill(study)
    assert not has_examples(select(study))
    with pytest.raises(LackingError, match=r"\+experiment=table16"):
        table16(select(study))


def test_all_makes_them_where_a_study_asked(study):
    by_examples(study)
    made = {name for name, _ in make_each(select(study), {}, {})}
    assert {"table15", "table16"} <= made
    fewer = Selection.of_tasks(Study("mine", study.folder, tuple(study.runs[2:3]), ()))
    assert not {"table15", "table16"} & {name for name, one in COMMANDS.items() if one.applies(fewer)}
