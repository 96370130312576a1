"""A command line becomes the runs that Hydra itself would compose, or one line that says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from experiments.config import RunConfig, read_config
from experiments.errors import UserError
from experiments.overrides import with_searchpath
from experiments.plan import CONF, Plan, experiment_names, make_studies, plan, plan_experiments

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGES = ["seed=3,4", "study=mine", "task.dev=20", "lr=0.5", "wandb.tags=[a]", "++task.train=70"]


def composed(job: tuple[str, ...]) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=list(job)), resolve=True)
    assert isinstance(values, dict)
    return read_config({str(key): value for key, value in values.items()})


def only(*arguments: str) -> RunConfig:
    [run] = plan(arguments).runs
    return run.config


# ------------------------------------------------------------------------------------------------- the runs


def test_configurations_are_hydra_s_own() -> None:
    runs = plan(["-m", "+experiment=table15_mixed_ranks", *CHANGES, "method=full,lora"]).runs
    chosen = runs[:: len(runs) // 3] + runs[-1:]
    for run in chosen:
        assert run.config == composed(run.overrides)
    assert {run.config.seed for run in chosen} == {3, 4}
    assert {run.config.method for run in chosen} == {"full", "lora"}
    assert {(run.config.task.dev, run.config.lr, run.config.task.train) for run in chosen} == {(20, 0.5, 70)}


def test_values_of_one_job_do_not_stay_for_the_next() -> None:
    first, second = plan(["-m", "task.dev=3,4", "rank={q: 1, v: 2},5"]).runs[1:3]
    assert (first.config.task.dev, first.config.rank) == (3, {"q": 5, "v": 5})
    assert (second.config.task.dev, second.config.rank) == (4, {"q": 1, "v": 2})


def test_files_of_one_s_own_in_another_folder(tmp_path) -> None:
    """The command that repeats a run has the folder in Hydra's own words, and finds it again."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ntargets: v\nhydra: {sweeper: {params: {rank: '3,5'}}}\n"
    )
    words = with_searchpath(["-m", "+experiment=mine", "--config-dir", str(tmp_path), "seed=4"])
    runs = plan(words).runs
    assert [(run.config.targets, run.config.rank["v"], run.config.seed) for run in runs] == [
        (("v",), 3, 4),
        (("v",), 5, 4),
    ]
    again = plan(runs[1].overrides).runs
    assert [run.config for run in again] == [runs[1].config]
    assert again[0].overrides == runs[1].overrides


def test_a_folder_of_files_is_there_and_given_once(tmp_path) -> None:
    assert with_searchpath(["rank=3"]) == ["rank=3"]
    place = f"hydra.searchpath=['file://{tmp_path}']"
    given = ["-m", "--config-dir", str(tmp_path), "rank=3", "lr=1"]
    assert with_searchpath(given) == ["-m", place, "rank=3", "lr=1"]  # none on the other side of -m
    assert with_searchpath([*given[3:], *given[:3]]) == [place, "rank=3", "lr=1", "-m"]
    assert with_searchpath(["--cfg", "job", f"-cd={tmp_path}"]) == ["--cfg", "job", place]
    with pytest.raises(UserError, match="--config-dir nowhere: there is no such folder"):
        with_searchpath(["rank=3", "-cd=nowhere"])
    with pytest.raises(UserError, match="not both"):
        with_searchpath(["--config-dir", str(tmp_path), "hydra.searchpath=[file://x]"])


def test_a_value_that_follows_from_a_choice_or_from_another_value() -> None:
    assert only("method=full") == composed(("method=full",))
    assert only("seed=5", "task.seed=${seed}").task.seed == 5
    assert only("rank={q: 1}", "targets=q", "rank.q=2").rank == {"q": 2}


@pytest.mark.parametrize(
    ("arguments", "ranks"),
    [
        (["rank=3"], ["3"]),
        (["-m", "rank=1,2,4", "targets=qv"], ["1", "2", "4"]),
        (["--multirun", "rank=range(1,3)"], ["1", "2"]),
        (["hydra.mode=MULTIRUN", "rank=1,2"], ["1", "2"]),
        (["-m", "+experiment=fig3", "task=sql", "seed=0", "rank=1,2"], ["1", "2"]),
        (["-m", "rank={q: 4, v: 8}"], ["q4-v8"]),
        (["model=hf", "model.name=embedded", "rank=3"], ["3"]),
    ],
)
def test_runs_in_hydra_s_order(arguments: list[str], ranks: list[str]) -> None:
    planned = plan(arguments)
    assert [run.config.rank_name for run in planned.runs] == ranks
    assert planned.sweep == (arguments[-1] != "rank=3")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-m", "seed=range(3)", "task=glob(*li)"],
        ["-m", "lr=1e-3,1e-2"],
        ["rank={q: 4, v: 8}", "targets=[q,v]", "rank.q=1"],
        ["task=wikisql", "task.path=/data/x.tar.bz2", "wandb.tags=[a]"],
        ["hydra.job.chdir=true", "hydra/launcher=basic", "++lr=1"],
        ["budget=q8"],
        ["budget=8192", "model=gpt2-medium", "model.name=embedded"],  # whose file has a rank
        ["-m", "budget=null", "rank=1,2"],
        ["-m", "+experiment=table5", "budget=null", "rank=4", "seed=0"],
        ["-m", "+experiment=table6", "rank=null", "budget=q8", "seed=0", "task=sql"],
        ["hydra.mode=MULTIRUN", "+experiment=fig3"],
        ["+experiment=fig3", "seed=0", "task=nli", "rank=8"],
        ["targets=null", "rank={v: 2}"],
        ["root=123", "study='2024_11_25'"],
    ],
)
def test_what_is_valid_is_planned(arguments: list[str]) -> None:
    assert plan(arguments).runs


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--config-name=mine", "anything=1"]])
def test_nothing_is_planned_where_hydra_alone_knows(arguments: list[str]) -> None:
    assert plan(arguments) == Plan([], sweep=False)


def test_a_search_is_checked_but_not_planned() -> None:
    search = ["-m", "hydra/sweeper=tune", "rank=interval(1,8)"]
    assert plan(search) == Plan([], sweep=True)
    with pytest.raises(UserError, match="rnak is not a key; did you mean rank"):
        plan([*search, "rnak=choice(1,2)"])


def test_a_command_repeats_its_run() -> None:
    run = plan(["-m", "+experiment=table7", "seed=0", "task=sql", "rank=4", "wandb.tags=[a b]"]).runs[0]
    assert run.command.startswith("python run.py seed=0 task=sql rank=4 +experiment=table7")
    assert plan(run.overrides).runs == [run]


def test_hydra_that_is_initialised_already_stays_as_it_was() -> None:
    with initialize_config_dir(str(CONF / "task"), version_base="1.3"):  # as in a notebook
        assert plan(["rank=3"]).runs
        assert compose("sql").name == "sql"
    assert not GlobalHydra.instance().is_initialized()
    assert plan(["rank=3"]).runs


# ---------------------------------------------------------------------------------------------- experiments


def test_shared_runs_are_planned_once_and_as_first_asked_for() -> None:
    alone = plan_experiments(["table7"], ["seed=0", "task=sql"])
    both = plan_experiments(["table7", "subspaces"], ["seed=0", "task=sql"])
    assert [run.config.rank_name for run in both] == ["4", "64", "8"]
    assert both[:2] == alone


def test_runs_that_differ_in_the_numbers_alone_are_different() -> None:
    changes = ["seed=0", "task=sql", "rank=4", "task.dev=1,2", "wandb.mode=offline"]
    assert [run.config.task.dev for run in plan_experiments(["table7"], changes)] == [1, 2]


def test_the_names_are_the_files() -> None:
    assert {"table5", "table6", "fig3"} <= set(experiment_names())


@pytest.mark.parametrize("closed", ["outputs", "outputs/mine"])
def test_a_store_that_cannot_be_written_is_one_line(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that is mounted to be read: the folders are there, and take nothing."""
    monkeypatch.chdir(tmp_path)
    runs = plan(["study=mine"]).runs
    make_studies(runs)
    monkeypatch.setattr("experiments.plan.os.access", lambda path, mode: str(path) != closed)
    with pytest.raises(UserError, match=f"^{closed} cannot be written; give another root"):
        make_studies(runs)


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys; from experiments.plan import plan; plan(['rank=3', 'budget=null']); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "hydra" in modules
    assert "torch" not in modules
