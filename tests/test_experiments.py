"""The sweeps in conf/experiment: their cells are the paper's, and what they share has one address."""

from __future__ import annotations

import functools
import json
import math
import re

import pytest

from analysis import paper_values
from experiments.config import RunConfig, digest
from experiments.methods import lookup
from experiments.plan import CONF, PlannedRun, experiment_names, plan, plan_experiments

OF_SECTION_7 = ("baselines", "fig3", "fig4", "subspaces", "table15_mixed_ranks", "table5", "table6", "table7")
OF_METHODS = ("table15", "table16", "table2", "table3", "table4")
OF_GLUE = ("table2_deberta", "table2_roberta", "table2_roberta_large")
SINCE = ("attention_or_mlp", "forgetting", "intruders", "learning_rates", "one_factor", "rslora")
OF_GENERATION = ("table18", "table3_gpt2")
"""Of the paper's own model and data; their tests are in test_generation.py."""
NAMES = [name for name in experiment_names() if name not in OF_GENERATION]
TASKS, SEEDS = ("sql", "nli"), range(5)
ARCHIVED = CONF.parent / "results/embedded/runs/embedded"
SECONDS = {"sql": 33, "nli": 15}
EVALUATION = {"sql": 10, "nli": 3}
Cell = tuple[str, str]  # targets and rank, in a run's words; of another method "" and its name


@functools.cache
def sweep(name: str, *overrides: str) -> list[PlannedRun]:
    return plan(["-m", f"+experiment={name}", *overrides]).runs


@pytest.fixture(scope="session")
def section7() -> list[PlannedRun]:
    """The distinct runs of Section 7's experiments."""
    return plan_experiments(OF_SECTION_7)


def address(config: RunConfig) -> str:
    return digest(config.scientific("float32", "model", "task"))


def cell(config: RunConfig) -> Cell:
    if config.method == "lora":
        return config.targets_name, config.rank_name
    method = lookup(config.method)
    return "", "-".join(method.words(config)) or method.name


@pytest.fixture(scope="session")
def cells() -> dict[str, dict[str, Cell]]:
    """Of each experiment: address -> cell, for one task and seed."""
    return {
        name: {address(run.config): cell(run.config) for run in sweep(name, "task=sql", "seed=0")}
        for name in OF_SECTION_7
    }


def of_paper(table: str) -> set[Cell]:
    rows = paper_values.table(table).rows
    return {(row["targets"], str(row["rank"])) for row in rows if row.get("method", "lora") == "lora"}


def test_the_cells_are_the_paper_s(cells: dict[str, dict[str, Cell]]) -> None:
    found = {name: set(of_name.values()) for name, of_name in cells.items()}
    assert found == {
        "table5": of_paper("table5"),
        "table6": of_paper("table6") | {("q", "16"), ("qv", "16"), ("qkvo", "16")},
        "table15_mixed_ranks": of_paper("table15"),
        "subspaces": {("qv", "4"), ("qv", "8"), ("qv", "64")},
        "fig3": {("qv", "8"), ("qv", "64")},
        "fig4": {("qv", "64")},
        "table7": {("qv", "4"), ("qv", "64")},
        "baselines": {("", "none"), ("", "full"), ("", "bias")},
    }
    assert len(found["table5"]) == 7
    assert len(found["table6"]) == 18
    assert len(found["table15_mixed_ranks"]) == 10


def test_what_experiments_share_has_one_address(cells: dict[str, dict[str, Cell]]) -> None:
    table5, table6, table15 = cells["table5"], cells["table6"], cells["table15_mixed_ranks"]
    assert {table5[one] for one in table5.keys() & table6.keys()} == {("q", "8"), ("qv", "4"), ("qkvo", "2")}
    assert {table15[one] for one in table15.keys() - table6.keys()} == {("v", "2")}
    for name in ("fig3", "fig4", "table7"):
        assert cells[name].keys() <= cells["subspaces"].keys() <= table6.keys()
    # One address for each cell, and no two cells at one address.
    together = {one: where for of_name in cells.values() for one, where in of_name.items()}
    assert len(together) == len(set(together.values())) == 26


def test_the_experiments_of_section_7_are_260_runs_of_one_study(section7: list[PlannedRun]) -> None:
    planned = section7
    assert len({address(run.config) for run in planned}) == len(planned) == 260
    assert len(planned) == 26 * len(TASKS) * len(SEEDS)
    assert {(run.config.seed, run.config.task.name) for run in planned} == {
        (seed, task) for seed in SEEDS for task in TASKS
    }
    assert {run.config.study for run in planned} == {"section7"}


def test_the_committed_study_is_theirs_with_the_truncated(section7: list[PlannedRun]) -> None:
    """It is found again under the names and addresses that its runs have there."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in ARCHIVED.glob("*/run.json")]
    identities = {record["config"]["task"]["name"]: record["config"] for record in records}
    found = set()
    for config in (run.config for run in (*section7, *plan_experiments(["truncation"]))):
        known = identities[config.task.name]
        named = (known["precision"], known["model"]["identity"], known["task"]["identity"])
        found.add(f"{config.readable_name()}-{digest(config.scientific(*named))}")
    assert len(records) == 260 + 120
    assert {record["id"] for record in records} == found


def test_methods_are_compared_in_the_same_study_and_share_its_addresses(section7: list[PlannedRun]) -> None:
    """Rows at the paper's ranks, each its own run; what Section 7's experiments have too has one address."""
    assert {*NAMES} == {*OF_SECTION_7, *OF_METHODS, *OF_GLUE, *SINCE, "truncation"}
    known = {address(run.config) for run in section7}
    shared = {}
    for name in OF_METHODS:
        planned = [run.config for run in sweep(name)]
        # Runs of other numbers of examples than Table 6's would stand in its way.
        assert {run.study for run in planned} == {"examples" if name == "table16" else "section7"}
        found = {address(run): cell(run) for run in planned}
        assert len(found) == len(planned)
        shared[name] = {where for one, where in found.items() if one in known}
    assert shared == {
        "table2": {("", "full"), ("", "bias"), ("qv", "8")},
        "table3": {("", "full"), ("qv", "4")},
        "table4": {("", "none"), ("", "full"), ("", "bias"), ("qv", "1"), ("qv", "8")},
        "table15": set(),
        "table16": {("", "full"), ("qv", "8")},
    }
    assert {run.config.task.train for run in sweep("table16")} == {100, 1000, 8000}
    table15 = {cell(run.config)[1] for run in sweep("table15")}
    for row in paper_values.table("table15").rows:
        rank = row["rank"]
        words = {
            "lora+prefix-embed": f"qv-r{rank}-prefix_embed-p8-i4",
            "lora+prefix-layer": f"qv-r{rank}-prefix_layer-p8-i4",
            "adapter-h": f"adapter_h-r{rank}",
        }
        assert row["method"] == "lora" or words[row["method"]] in table15


def test_claims_made_since_have_a_study_of_their_own_and_share_its_runs() -> None:
    """It has several learning rates of a cell; figures of Section 7's study would not know which to take."""
    found = {name: [run.config for run in sweep(name)] for name in SINCE}
    assert {one.study for runs in found.values() for one in runs} == {"since"}
    rates = {address(one) for one in found["learning_rates"]}
    assert {address(one) for one in found["intruders"]} <= rates
    assert {address(one) for one in found["forgetting"]} <= rates
    assert {address(one) for one in found["rslora"] if one.scaling == "alpha/r"} <= rates
    measured = {name for name, runs in found.items() if all(one.forgetting for one in runs)}
    assert measured == {"learning_rates", "forgetting", "intruders"}
    assert {one.train for one in found["one_factor"]} == {"A", "B"}
    assert {one.scaling for one in found["rslora"]} == {"alpha/r", "alpha/sqrt(r)"}
    for name in SINCE:
        head = (CONF / f"experiment/{name}.yaml").read_text(encoding="utf-8")
        assert "?  A claim made since the paper.\n" in head
        assert "\n#   source  " in head


def test_attention_mlp_and_all_linear_layers_cost_the_same() -> None:
    """Within 2 %: 163,840, and 165,888 parameters, by the adapted model itself."""
    from experiments.models import load_base

    head = (CONF / "experiment/attention_or_mlp.yaml").read_text(encoding="utf-8")
    counts = {}
    for run in sweep("attention_or_mlp", "seed=0", "task=sql", "lr=5e-3"):
        method = lookup("lora")
        base = load_base(run.config.model, None).model
        counts[cell(run.config)] = method.counts(method.prepare(base, run.config))["adapter"]
    assert counts == {
        ("qkvo", "20"): 163_840,
        ("up-down", "16"): 163_840,
        ("q-k-v-o-up-down", "9"): 165_888,
    }
    assert max(counts.values()) <= 1.02 * min(counts.values())
    assert all(f"{size:,}" in head for size in counts.values())


def test_the_sizes_that_the_heads_tell_are_those_of_the_embedded_model() -> None:
    from experiments.models import load_base

    base = load_base(sweep("table4")[0].config.model, None).model

    def sizes(name: str) -> dict[str, int]:
        chosen = [run.config for run in sweep(name, "seed=0", "task=sql")]
        counts = {
            cell(one): lookup(one.method).counts(lookup(one.method).prepare(base, one)) for one in chosen
        }
        return {"-".join(filter(None, where)): count["trainable"] for where, count in counts.items()}

    found = sizes("table2")
    assert (found["adapter_p-r16"], found["adapter_h-r8"], found["qv-8"]) == (33_856, 34_880, 32_768)
    small = [*sizes("table3").values()][1:]
    assert small == [15_384, 462_720, 461_696, 1_579_520, 16_384, 16_384]
    assert [*sizes("table4").values()][3:] == [3_072, 16_384, 6_152, 34_880, 4_096, 32_768]
    for name, told in (("table3", small), ("table2", [33_856, 34_880, 32_768])):
        head = (CONF / f"experiment/{name}.yaml").read_text(encoding="utf-8")
        assert all(f"{size:,}" in head for size in told)


@pytest.mark.parametrize("name", NAMES)
def test_the_head_tells_the_command_the_runs_and_their_cost(name: str) -> None:
    planned = sweep(name)
    head = (CONF / f"experiment/{name}.yaml").read_text(encoding="utf-8")
    assert head.startswith("# @package _global_\n# ")
    assert f"\n#   run     python run.py -m +experiment={name}\n" in head
    assert f"\n#   runs    {len(planned)}: " in head
    if name in OF_GLUE:
        cost = "not measured"
    else:
        each = [SECONDS if run.config.method != "truncated" else EVALUATION for run in planned]
        seconds = sum(of[run.config.task.name] for of, run in zip(each, planned, strict=True))
        cost = f"{math.ceil(seconds / 60)} minutes on two cores"
    assert f"\n#   cost    {cost}" in head
    assert re.search(r"\n#   expect  .*paper|\n#   expect  as in fig3", head)
    assert max(map(len, head.splitlines())) <= 118


@pytest.mark.parametrize("name", NAMES)
def test_every_job_of_a_sweep_is_a_command_of_its_own(name: str) -> None:
    runs = [run for run in sweep(name) if run.config.seed == 0]
    for run in runs[:: max(1, len(runs) // 3)]:
        assert plan(run.overrides).runs == [run]


TABLE_9_AND_10 = {
    # As the paper prints them, a row a key: MNLI SST-2 MRPC CoLA QNLI QQP RTE STS-B.
    "table2_roberta": {
        "batch_size": "16 16 16 32 32 16 32 16",
        "epochs": "30 60 30 80 25 25 80 40",
        "lr": "5e-4 5e-4 4e-4 4e-4 4e-4 5e-4 5e-4 4e-4",
        "max_length": "512 512 512 512 512 512 512 512",
        "alpha": "8 8 8 8 8 8 8 8",
        "warmup": "0.06 " * 8,
        "weight_decay": "0 " * 8,
    },
    "table2_roberta_large": {
        "batch_size": "4 4 4 4 4 4 8 8",
        "epochs": "10 10 20 20 10 20 20 30",
        "lr": "3e-4 4e-4 3e-4 2e-4 2e-4 3e-4 4e-4 2e-4",
        "max_length": "128 128 512 128 512 512 512 512",
        "alpha": "16 " * 8,
        "warmup": "0.06 " * 8,
        "weight_decay": "0 " * 8,
    },
    "table2_deberta": {
        "batch_size": "8 8 32 4 6 8 4 4",
        "epochs": "5 16 30 10 8 11 11 10",
        "lr": "1e-4 6e-5 2e-4 1e-4 1e-4 1e-4 2e-4 2e-4",
        "max_length": "256 128 128 64 512 320 320 128",
        "alpha": "8 " * 8,
        "warmup": "0.1 " * 8,
        "weight_decay": "0 .01 .01 0 .01 .01 .01 .1",
    },
}


@pytest.mark.parametrize("name", OF_GLUE)
def test_glue_has_the_paper_s_hyper_parameters_task_by_task(name: str) -> None:
    configs = [run.config for run in sweep(name, "seed=0")]
    assert [one.task.name for one in configs] == [
        "mnli",
        "sst2",
        "mrpc",
        "cola",
        "qnli",
        "qqp",
        "rte",
        "stsb",
    ]
    assert {(one.targets_name, one.rank_name, one.method) for one in configs} == {("qv", "8", "lora")}
    for key, values in TABLE_9_AND_10[name].items():
        found = [getattr(one.model if key == "max_length" else one, key) for one in configs]
        assert found == [float(value) for value in values.split()], key


def test_glue_on_a_model_s_own_folder_for_a_few_steps() -> None:
    own = ("task=rte", "seed=0", "model=hf", "model.name=some/folder", "model.max_length=64", "steps=3")
    (run,) = [one.config for one in sweep("table2_roberta", *own)]
    assert (run.model.name, run.model.max_length, run.steps, run.epochs) == ("some/folder", 64, 3, None)
    assert (run.batch_size, run.lr) == (32, 5e-4)


def test_seed_0_comes_first_and_whole() -> None:
    assert [run.config.seed for run in sweep("table6")] == [seed for seed in SEEDS for _ in range(2 * 18)]


def test_the_command_line_beats_the_file() -> None:
    planned = sweep("table5", "seed=7,8", "task=sql", "targets=q,qv", "study=mine", "alpha=2")
    found = [run.config for run in planned]
    assert [(run.seed, run.task.name, run.targets_name) for run in found] == [
        (7, "sql", "q"),
        (7, "sql", "qv"),
        (8, "sql", "q"),
        (8, "sql", "qv"),
    ]
    assert {(run.study, run.alpha) for run in found} == {("mine", 2.0)}


def test_a_budget_can_be_left_for_a_rank() -> None:
    (run,) = sweep("table5", "seed=0", "task=sql", "targets=qkvo", "budget=null", "rank=8")
    assert cell(run.config) == ("qkvo", "8")
    (run,) = sweep("table6", "seed=0", "task=sql", "targets=qkvo", "budget=q16", "rank=null")
    assert cell(run.config) == ("qkvo", "4")


def test_a_row_of_one_s_own_with_ranks_that_differ() -> None:
    (run,) = sweep("table15_mixed_ranks", "seed=0", "task=sql", "rank={q: 1, v: 3}")
    assert run.config.rank == {"q": 1, "v": 3}


@pytest.mark.parametrize("name", ["table5", "table6", "table15_mixed_ranks"])
def test_a_grid_of_learning_rates(name: str) -> None:
    head = (CONF / f"experiment/{name}.yaml").read_text(encoding="utf-8")
    grid = "lr=5e-3,1e-2,2e-2"
    assert grid in head
    planned = sweep(name, grid, "seed=0")
    assert len(planned) == 3 * len([run for run in sweep(name) if run.config.seed == 0])
    few = [run.config for run in planned[:3]]
    assert [run.lr for run in few] == [0.005, 0.01, 0.02]
    assert len({cell(run) for run in few}) == 1
    assert len({address(run) for run in few}) == 3
