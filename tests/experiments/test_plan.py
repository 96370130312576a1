"""A plan holds each run once, and its configurations are those that Hydra itself composes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.config import RunConfig, read_config
from experiments.errors import UserError
from experiments.overrides import CONF, check
from experiments.plan import configs, experiment_names, plan, sweep_jobs

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGES = ["seed=3,4", "study=mine", "task.dev=20", "lr=0.5", "wandb.tags=[a]", "+task.holdout=7"]


def composed(job: list[str]) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=job), resolve=True)
    assert isinstance(values, dict)
    return read_config({str(key): value for key, value in values.items()})


def test_configurations_are_hydra_s_own() -> None:
    jobs = sweep_jobs("table15_mixed_ranks", [*CHANGES, "method=full,lora"])
    chosen = jobs[:: len(jobs) // 3] + jobs[-1:]
    found = configs(chosen)
    assert found == [composed(job) for job in chosen]
    assert {config.seed for config in found} == {3, 4}
    assert {config.method for config in found} == {"full", "lora"}
    assert {(config.task.dev, config.lr, config.task.holdout) for config in found} == {(20, 0.5, 7)}


def test_values_of_one_job_do_not_stay_for_the_next() -> None:
    changed, plain = configs([["task.dev=3", "rank={q: 1, v: 2}"], []])
    assert (changed.task.dev, changed.rank) == (3, {"q": 1, "v": 2})
    assert plain == composed([])


def test_a_value_that_follows_from_a_choice_or_from_another_value() -> None:
    full, same = configs([["method=full"], ["seed=5", "task.seed=${seed}"]])
    assert full == composed(["method=full"])
    assert same.task.seed == 5


def test_shared_runs_are_planned_once_and_as_first_asked_for() -> None:
    alone = plan(["table7"], ["seed=0", "task=sql"])
    both = plan(["table7", "subspaces"], ["seed=0", "task=sql"])
    assert [run.config.rank_name for run in both] == ["4", "64", "8"]
    assert both[:2] == alone
    assert both[0].command.startswith("python run.py seed=0 task=sql rank=4 +experiment=table7")
    for run in both:
        check(run.overrides)


def test_runs_that_differ_in_the_numbers_alone_are_different() -> None:
    planned = plan(["table7"], ["seed=0", "task=sql", "rank=4", "task.dev=1,2", "wandb.mode=offline"])
    assert [run.config.task.dev for run in planned] == [1, 2]


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("rnak=3", "rnak is not a key; did you mean rank"),
        ("task=foo", "task=foo is unknown"),
        ("alpha=x", "alpha=x"),
        ("lr=-1", "seed=0 task=sql targets=q .*lr=-1.*: lr=-1"),
        ("seed=interval(0,2)", "does not support sweep type"),
    ],
)
def test_what_is_not_valid_is_one_line(override: str, error: str) -> None:
    with pytest.raises(UserError, match=error) as raised:
        plan(["table5"], ["seed=0", "task=sql", override])
    assert "\n" not in str(raised.value)


def test_planning_imports_no_torch() -> None:
    code = "import sys; from experiments.plan import plan; plan(['fig4'], ['seed=0']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "hydra" in modules
    assert "torch" not in modules


def test_the_names_are_the_files() -> None:
    assert {"table5", "table6", "fig3"} <= set(experiment_names())
