"""The reference numbers are consistent where the paper is, and say so where it is not."""

from __future__ import annotations

import math

import pytest

from analysis import paper_values
from analysis.errors import AnalysisError
from analysis.paper_values import TASKS, accuracy, table, tables, value

GPT3_LAYERS, GPT3_WIDTH = 96, 12288


def test_a_cell_has_its_value_unit_noise_and_place():
    cell = accuracy("table6", task="wikisql", targets="qv", rank=8)
    assert (cell.value, cell.noise, cell.unit, cell.table) == (73.8, 0.5, "%", "Table 6")
    assert accuracy("table6", task="multinli", targets="qv", rank=8).first_version == 91.7
    assert value("table2", "rte", model="roberta-large", method="lora").noise == 2.5
    assert value("table7", "weight_norm", rank=4).noise is None


def test_the_projects_names_lead_to_the_papers():
    for name, column in TASKS.items():
        assert accuracy("table5", task=name, targets="q", rank=8) == value(
            "table5", column, targets="q", rank=8
        )
    assert accuracy("table5", task="sql", targets=("v", "q"), rank=4).value == 73.7
    assert accuracy("table5", task="sql", targets="o,v,k,q", rank=2).value == 73.7


@pytest.mark.parametrize("row", table("table5").rows, ids=lambda row: row["targets"])
def test_every_column_of_table_5_costs_the_same(row):
    count = GPT3_LAYERS * len(row["targets"]) * 2 * GPT3_WIDTH * row["rank"]
    assert row["parameters"] == count == 18_874_368


@pytest.mark.parametrize("row", [r for r in table("table15").rows if r["method"] == "lora"], ids=str)
def test_table_15_counts_its_parameters(row):
    millions = GPT3_LAYERS * len(row["targets"]) * 2 * GPT3_WIDTH * row["rank"] / 1e6
    assert row["parameters"] == pytest.approx(millions, abs=0.2)  # the paper truncates


@pytest.mark.parametrize("rank", [4, 64])
def test_what_table_7_implies(rank):
    paper = {name: value("table7", name, rank=rank).value for name in table("table7").quantities}
    derived = {
        name: value("derived_table7", name, rank=rank).value for name in table("derived_table7").quantities
    }
    null = rank * paper["weight_norm"] / GPT3_WIDTH
    assert derived["null_projected_norm"] == pytest.approx(null, abs=5e-5)
    assert paper["projected_norm_random"] == pytest.approx(
        null, abs=0.0075
    )  # two digits; 0.3227 is printed 0.33
    assert derived["factor"] == pytest.approx(paper["delta_norm"] / paper["projected_norm_delta"], abs=5e-3)
    assert paper["factor"] == pytest.approx(derived["factor"], abs=0.15)
    assert derived["null_factor"] == pytest.approx(paper["delta_norm"] / null, abs=0.06)
    assert derived["lift"] == pytest.approx(paper["projected_norm_delta"] / null, abs=0.06)
    energy = 100 * (paper["projected_norm_weight"] / paper["weight_norm"]) ** 2
    assert derived["own_energy"] == pytest.approx(energy, abs=0.06)


def test_the_numbers_named_in_the_text():
    assert 4 * value("table7", "weight_norm", rank=4).value / 12288 == pytest.approx(0.0202, abs=5e-5)
    ratio = (
        value("table7", "delta_norm", rank=4).value / value("table7", "projected_norm_delta", rank=4).value
    )
    assert ratio == pytest.approx(21.59, abs=5e-3)


@pytest.mark.parametrize("row", table("derived_null_phi").rows, ids=str)
def test_chance_level_of_figure_8(row):
    assert row["phi"] == pytest.approx(row["directions"] / GPT3_WIDTH, abs=5e-4)


@pytest.mark.parametrize("row", table("derived_noise").rows, ids=str)
def test_sampling_noise(row):
    share = row["accuracy"] / 100
    error = 100 * math.sqrt(share * (1 - share) / row["examples"])
    assert row["standard_error"] == pytest.approx(error, abs=5e-3)


@pytest.mark.parametrize(
    ("model", "method"), [(row["model"], row["method"]) for row in table("table2").rows], ids=str
)
def test_the_average_of_table_2_is_that_of_its_eight_tasks(model, method):
    names = ("mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb")
    mean = sum(value("table2", name, model=model, method=method).value for name in names) / len(names)
    assert value("table2", "average", model=model, method=method).value == pytest.approx(mean, abs=0.0501)


def test_runs_that_two_tables_share_agree_or_are_noted():
    """Tables 5, 6 and 15 report the same runs; a difference that has no note is a slip of the file."""
    for task in ("wikisql", "multinli"):
        for first, second, extra in (("table5", "table6", {}), ("table6", "table15", {"method": "lora"})):
            for row in table(first).rows:
                keys = {key: row[key] for key in ("targets", "rank")}
                try:
                    other = value(second, task, **keys, **extra)
                except AnalysisError:
                    continue
                cell = value(first, task, **keys)
                contradicted = any(
                    other.table in note and f"{cell.value}" in note and f"{other.value}" in note
                    for note in cell.notes
                )
                assert (cell.value != other.value) == contradicted, (first, second, task, keys)


def test_known_contradictions_are_noted():
    assert any("91.0" in note for note in accuracy("table6", task="nli", targets="q", rank=8).notes)
    assert any("73.6" in note for note in accuracy("table6", task="sql", targets="qv", rank=64).notes)
    assert any("D.4" in note for note in accuracy("table4", task="sql", method="lora", parameters=37.7).notes)
    assert any(
        "r = 16" in note for note in value("table2", "parameters", model="deberta-xxl", method="lora").notes
    )
    assert any(
        "393,216" in note for note in value("table3", "parameters", model="gpt2-medium", method="lora").notes
    )
    assert not any("91.0" in note for note in accuracy("table6", task="nli", targets="q", rank=4).notes)


def test_table_4_takes_its_lora_rows_from_table_15():
    def of(name, task, **keys):
        return accuracy(name, task=task, **keys).value

    small, large = {"method": "lora", "parameters": 4.7}, {"method": "lora", "parameters": 37.7}
    assert of("table4", "sql", **small) == of("table15", "sql", method="lora", targets="qv", rank=1)
    assert of("table4", "nli", **small) == of("table15", "nli", method="lora", targets="v", rank=2)
    assert of("table4", "sql", **large) == of("table15", "sql", method="lora", targets="qkvo", rank=4)
    assert of("table4", "nli", **large) == of("table15", "nli", method="lora", targets="qv", rank=8)
    assert of("table16", "nli", method="lora", examples=392000) == of("table4", "nli", **small)


def test_hyper_parameters():
    assert value("table12", "lr", method="lora").value == 2e-4
    assert value("table17", "lr", method="prefix-layer", examples=392000).value == 1e-4
    assert value("table9", "alpha", model="roberta-base", method="lora", task="mnli").value == 8
    assert value("table11", "warmup", task="e2e").value == 500
    assert value("table10", "rank", task="rte").notes


@pytest.mark.parametrize("name", list(tables()))
def test_every_row_is_well_formed(name):
    entry = table(name)
    seen = set()
    for row in entry.rows:
        keys = {key: row[key] for key in entry.keys}
        assert tuple(keys.values()) not in seen
        seen.add(tuple(keys.values()))
        assert set(row) <= {*entry.keys, *entry.quantities}
        for quantity in set(row) & set(entry.quantities):
            cell = entry.value(quantity, **keys)
            assert isinstance(cell.value, int | float)
            assert cell.noise is None or cell.noise > 0
    for note in entry.notes:
        assert set(note["where"]) <= {*entry.keys, *entry.quantities, "quantity"}
        concerned = any(paper_values._concerns(note["where"], row, q) for row in entry.rows for q in row)
        assert concerned, f"the note {note} concerns no cell"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: accuracy("table6", task="sql", targets="qv", rank=16),
            "at targets=qv, rank is one of 1, 2, 4",
        ),
        (lambda: accuracy("table6", task="sql", targets="k", rank=8), "targets is one of q, qv, qkvo"),
        (lambda: accuracy("table6", task="sql", targets="mlp", rank=8), "targets is one of q, qv, qkvo"),
        (lambda: accuracy("table6", task="squad", targets="q", rank=8), "task 'squad'.*sql, wikisql"),
        (lambda: accuracy("table6", task="sql", targets="q"), "Table 6 has the keys targets, rank"),
        (lambda: table("table 6"), "did you mean table6"),
        (lambda: value("table18", "blue", rank=4), "did you mean bleu"),
        (lambda: value("table17", "rank", method="full", examples=100), "the paper leaves it out"),
    ],
)
def test_a_cell_that_the_paper_does_not_have(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()
