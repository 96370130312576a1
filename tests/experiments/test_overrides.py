"""A mistake on the command line is one line that names what was given and what is valid."""

from __future__ import annotations

import pytest

from experiments.errors import UserError
from experiments.plan import plan


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["rnak=3"], ["rnak is not a key", "did you mean rank"]),
        (["learning_rate=3"], ["learning_rate is not a key; here it is lr"]),
        (["target_modules=qv"], ["target_modules is not a key; here it is targets"]),
        (["r=8"], ["r is not a key; here it is rank"]),
        (["--rank", "8"], ["--rank is not an option; write rank=..., without --"]),
        (["--dryrun"], ["--dryrun is not an option; valid are -m,", "did you mean --dry-run?"]),
        (["--dry-run=yes", "-m"], ["--dry-run=yes is not an option", "did you mean --dry-run?"]),
        (["--learning-rate=1e-3"], ["--learning-rate is not an option; write lr=..., without --"]),
        (
            ["-m", "rank=1,", "2,", "4"],
            ["'rank=1,' cannot be read; write the values with a comma between them and no space"],
        ),
        (["rank", "8"], ["'rank' cannot be read; write key=value, as in rank=8"]),
        (["rank=[1,2,4]"], ["an integer of at least 1; for a run with each, -m rank=1,2"]),
        (["targets=[q_proj,v_proj]"], ["'q_proj' is written q; valid are q k v o"]),
        (["-m", "targets=all-linear,q"], ["'all-linear' is written qkvo,up,down or"]),
        (["whatever=3"], ["whatever is not a key; valid are study, seed"]),
        (["+rnak=3"], ["rnak is not a key"]),
        (["task.trian=5"], ["task.trian is not a key of task=sql", "did you mean train"]),
        (["+task.path=mine.jsonl"], ["task.path has no meaning for task=sql; task=cola, "]),
        (
            ["task.path=mine.jsonl"],
            ["task.path has no meaning for task=sql; task=cola, task=dart, task=e2e, task=jsonl, "],
        ),
        (["task=nli", "task.metric=bleu"], ["task.metric has no meaning for task=nli; task=jsonl takes it"]),
        (["task=jsonl", "task.path=a", "task.name=sql"], ["task.path has no meaning for task=sql"]),
        (["task=wikisql", "task.template='{a}'"], ["task.template has no meaning for task=wikisql; "]),
        (["task=jsonl"], ["takes task.path=FILE_OR_FOLDER or task.hub=owner/name; neither is given"]),
        (["task=jsonl", "task.path=a", "task.hub=b/c"], ["or task.hub=owner/name; both are given"]),
        (["task=nowhere:Mine"], ["task=nowhere:Mine cannot be imported (No module named 'nowhere')"]),
        (["wandb.mod=off"], ["wandb.mod is not a key of wandb", "did you mean mode"]),
        (["model.lr.ful=1"], ["model.lr.ful is not a key of model.lr", "did you mean full"]),
        (["task=sq"], ["task=sq is unknown", "jsonl, mnli", "did you mean sql"]),
        (["method=adapter"], ["method=adapter is unknown", "adapter_h, adapter_l, adapter_p, bias"]),
        (["model=gpt2-xl"], ["model=gpt2-xl is unknown", "roberta-large", "model=hf model.name=gpt2-xl"]),
        (["task=null"], ["task=null"]),
        (["wandb=off"], ["set one of wandb.mode, wandb.project"]),
        (["rank=1,2"], ["rank=1,2 gives several values", "add -m"]),
        (["~wandb"], ["keys cannot be removed"]),
        (["rank={q:"], ["'rank={q:' cannot be read"]),
        (["alpha=x"], ["alpha=x is not valid; give a number above 0"]),
        (["study=2024_11_25"], ["study=20241125 is read as a number", "study=\"'2024_11_25'\""]),
        (["study=1e3"], ["study=1000.0 is read as a number"]),
        (["study=null"], ["study=None is read as"]),
        (["root=null"], ["root=None is not valid; give the folder"]),
        (["scaling=r"], ["alpha/sqrt(r)"]),
        (["precision=fp8"], ["auto, float32, bfloat16"]),
        (["lr=-1"], ["lr=-1"]),
        (["model=hf"], ["model.name is missing; give model.name="]),
        (["lr=${model.lr.other}"], ["lr"]),
        (["-m", "task=sql,wiki"], ["task=wiki is unknown"]),
        (["-m", "rank=glob(*)"], ["this is a sweep of 0 runs"]),
        (["-m", "seed=range(0,20000)"], ["this is a sweep of 20,000 runs; give one of 1 to 10,000"]),
        (["-m", "--cfg", "job"], ["--cfg and --info show the configuration of one run; leave -m out"]),
        (["-m", "hydra/launcher=slurm", "rank=1,2"], ["there is no srun here"]),
        (["-m", "rank=1,0"], ["rank=0: rank: 0"]),
        (["-m", "rank=interval(1,3)"], ["does not support sweep type", "one by one"]),
        (
            ["-m", "+experiment=tabel5"],
            ["valid are attention_or_mlp, baselines, ", "did you mean table5"],
        ),
        (
            ["-m", "+experiment=fig6"],
            ["experiment=fig6 is unknown; valid are attention_or_mlp"],
        ),
        (["-m", "experiment=table5"], ["write +experiment=table5"]),
        (["-m", "++experiment=table5"], ["write +experiment=table5"]),
        (["-m", "+experiment=table5,table6"], ["one experiment a command"]),
        (["-m", "+experiment=[table5,table6]"], ["one experiment a command"]),
        (["-m", "+experiment=table5", "+experiment=table6"], ["one experiment a command"]),
        (["+experiment=table6"], ["sweep over seed, task, targets, rank; add -m"]),
        (["+experiment=table6", "seed=0", "task=sql", "targets=q"], ["add -m"]),
        (["+experiment=fig4", "seed=0", "task.train=9"], ["sweep over seed, task, rank; add -m"]),
        (["budget=q8", "rank=4"], ["rank=4 and budget=q8 are both given"]),
        (["rank={q: 4, v: 8}", "++budget=1000"], ["rank={q: 4, v: 8} and budget=1000 are"]),
        (["-m", "budget=q8,q16", "rank=4"], ["rank=4 and budget=q8 are"]),
        (["-m", "+experiment=table5", "rank=1,2"], ["rank=1 and budget=q8 are"]),
        (["-m", "+experiment=table6", "budget=q8"], ["rank=1 and budget=q8 are"]),
        (["-m", "+experiment=fig4", "budget=q8", "task=sql"], ["rank=64 and budget=q8 are"]),
    ],
)
def test_a_mistake_is_one_line_that_names_what_is_valid(arguments: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        plan(arguments)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("choice", "extra"),
    [("launcher=joblib", "joblib"), ("launcher=submitit_local", "slurm"), ("sweeper=tune", "tune")],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, choice: str, extra: str
) -> None:
    from hydra.core.config_store import ConfigStore

    kind, name = choice.split("=")
    monkeypatch.delitem(
        ConfigStore.instance().repo["hydra"][kind], f"{'optuna' if extra == 'tune' else name}.yaml"
    )
    with pytest.raises(UserError, match=rf"needs a plugin of Hydra's: pip install -e '\.\[{extra}\]'"):
        plan(["-m", f"hydra/{choice}", "rank=1,2"])
