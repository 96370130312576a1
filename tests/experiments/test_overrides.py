from __future__ import annotations

import pytest

from experiments.errors import UserError
from experiments.overrides import CONF, check


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("rnak=3", ["rnak is not a key", "did you mean rank"]),
        ("learning_rate=3", ["learning_rate is not a key", "valid are study, seed", " lr,"]),
        ("+rnak=3", ["rnak is not a key"]),
        ("task.trian=5", ["task.trian is not a key of task", "did you mean train"]),
        ("wandb.mod=off", ["wandb.mod is not a key of wandb", "did you mean mode"]),
        ("model.lr.ful=1", ["model.lr.ful is not a key of model.lr", "did you mean full"]),
        ("task=sq", ["task=sq is unknown", "mnli, nli, sql, wikisql", "did you mean sql"]),
        ("method=adapter", ["method=adapter is unknown", "bias, full, lora"]),
        ("model=gpt2-xl", ["model=gpt2-xl is unknown", "roberta-large", "model=hf model.name=gpt2-xl"]),
        ("task=null", ["task=null is unknown"]),
        ("wandb=off", ["set one of wandb.mode, wandb.project"]),
        ("rank=1,2", ["rank=1,2 gives several values", "add -m"]),
        ("~wandb", ["keys cannot be removed"]),
    ],
)
def test_a_wrong_word_is_one_line_that_names_the_valid_ones(argument: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check(["seed=1", argument])
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_each_value_of_a_swept_group_is_checked() -> None:
    check(["-m", "task=sql,nli", "model=embedded"])
    with pytest.raises(UserError, match="task=wiki is unknown"):
        check(["-m", "task=sql,wiki"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--cfg", "job"],
        ["-m", "rank=1,2,4,8", "targets=qv", "seed=range(3)", "task=glob(*)"],
        ["--multirun", "lr=1e-3,1e-2"],
        ["hydra.mode=MULTIRUN", "rank=1,2"],
        ["rank={q: 4, v: 8}", "targets=[q,v]", "rank.q=1"],
        ["task=wikisql", "task.path=/data/x.tar.bz2", "model.budget.epochs=1", "wandb.tags=[a]"],
        ["hydra.job.chdir=true", "hydra/launcher=basic", "++lr=1"],
        ["rank={q:", "4}", "rank"],
        ["--config-name=mine", "anything=1"],
    ],
)
def test_what_is_valid_or_not_understood_passes(arguments: list[str]) -> None:
    check(arguments)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-m", "+experiment=tabel5"], ["valid are baselines, fig3, fig4, subspaces", "did you mean table5"]),
        (["-m", "+experiment=fig6"], ["experiment=fig6 is unknown; valid are baselines, fig3"]),
        (["-m", "experiment=table5"], ["write +experiment=table5"]),
        (["-m", "++experiment=table5"], ["write +experiment=table5"]),
        (["-m", "+experiment=table5,table6"], ["one experiment a command"]),
        (["-m", "+experiment=[table5,table6]"], ["one experiment a command"]),
        (["-m", "+experiment=table5", "+experiment=table6"], ["one experiment a command"]),
        (["+experiment=table6"], ["sweep over seed, task, targets, rank; add -m"]),
        (["+experiment=table6", "seed=0", "task=sql", "targets=q"], ["add -m"]),
        (["+experiment=fig4", "seed=0", "task.train=9"], ["sweep over seed, task, rank; add -m"]),
    ],
)
def test_an_experiment_that_cannot_be_run_so(arguments: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check(arguments)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["budget=q8", "rank=4"], "rank=4 and budget=q8 are both given"),
        (["rank={q: 4, v: 8}", "++budget=1000"], "rank={q: 4, v: 8} and ++budget=1000 are"),
        (["budget=q8", "rank.q=4"], "rank.q=4 and budget=q8 are"),
        (["-m", "budget=q8,q16", "rank=4"], "rank=4 and budget=q8,q16 are"),
        (["-m", "+experiment=table5", "rank=1,2"], "rank=1,2 and budget=q8 (in table5) are"),
        (["-m", "+experiment=table6", "budget=q8"], "rank=1,2,4,8,16,64 (in table6) and budget=q8 are"),
        (["-m", "+experiment=fig4", "budget=q8"], "rank=64 (in fig4) and budget=q8 are"),
    ],
)
def test_a_rank_and_a_budget(arguments: list[str], start: str) -> None:
    with pytest.raises(UserError) as error:
        check(arguments)
    assert str(error.value).startswith(start)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["budget=q8"],
        ["budget=18874368", "model=gpt2"],  # whose file has a rank
        ["-m", "budget=null", "rank=1,2"],
        ["-m", "+experiment=table5", "budget=null", "rank=4"],
        ["-m", "+experiment=table6", "rank=null", "budget=q8"],
        ["hydra.mode=MULTIRUN", "+experiment=fig3"],
        ["+experiment=fig3", "--cfg", "job"],
        ["+experiment=fig3", "seed=0", "task=nli", "rank=8"],
        ["targets=null", "rank={v: 2}"],
    ],
)
def test_experiments_and_budgets_that_pass(arguments: list[str]) -> None:
    check(arguments)


def test_keys_are_those_of_every_file() -> None:
    for file in (CONF / "task").glob("*.yaml"):
        check([f"task={file.stem}", "task.holdout=3"])
