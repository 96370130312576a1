"""Every choice of the configuration composes, is valid, and holds the paper's values where it says so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.config import TASKS, ModelConfig, RunConfig, TaskConfig, WandbConfig, read_config
from experiments.config import keys as declared_keys
from experiments.decoding import Decoding
from experiments.help import help_page
from experiments.methods import METHODS
from experiments.plan import plan
from experiments.tasks.generation import GenerationTask

CONF = Path(__file__).resolve().parent.parent / "conf"


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def configured(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return read_config({str(key): value for key, value in values.items()})


def test_the_groups_offer_what_the_code_knows() -> None:
    assert choices("task") == sorted(TASKS)


@pytest.mark.parametrize("model", choices("model"))
def test_every_method_and_every_task_is_a_valid_run(model: str) -> None:
    """Each task is composed; the methods, which choose no file, share a composition (test_plan.py)."""
    of_path = [task for task in TASKS if task == "jsonl" or issubclass(TASKS[task], GenerationTask)]
    others = [task for task in TASKS if task not in of_path]
    sweeps = (
        ["task=sql", f"method={','.join(METHODS)}"],
        [f"task={','.join(others)}"],
        [f"task={','.join(of_path)}", "task.path=mine.jsonl"],
    )
    of_model = ["-m", f"model={model}", "model.name=some/model"]
    configs = [run.config for words in sweeps for run in plan([*of_model, *words]).runs]
    asked = [(method, "sql") for method in METHODS] + [("lora", task) for task in [*others, *of_path]]
    assert [(config.method, config.task.name) for config in configs] == asked
    assert all((config.steps is None) != (config.epochs is None) for config in configs)


def test_the_default_is_the_readme_s_run() -> None:
    config = configured()
    assert (config.task.name, config.model.name, config.method) == ("sql", "embedded", "lora")
    assert (config.targets, config.rank, config.study, config.force) == (
        ("q", "v"),
        {"q": 8, "v": 8},
        "default",
        False,
    )
    assert config.wandb.mode == "auto"


def test_the_learning_rate_follows_method_and_model_unless_given() -> None:
    embedded = yaml.safe_load((CONF / "model/embedded.yaml").read_text(encoding="utf-8"))["model"]["lr"]
    trained = [name for name, method in METHODS.items() if method.trains]
    assert {method: configured(f"method={method}").lr for method in trained} == embedded
    assert configured("method=truncated").lr == embedded["lora"]
    assert configured("method=full", "lr=0.25").lr == 0.25


def test_the_warm_up_follows_model_and_task_unless_given() -> None:
    assert configured("task=nli").warmup == 0.25
    assert configured("task=sql").warmup == 0.06
    assert configured("task=nli", "model=hf", "model.name=some/model").warmup == 0.06
    assert configured("task=nli", "warmup=0.5").warmup == 0.5


def test_the_command_line_beats_a_model_s_values() -> None:
    assert configured("model=gpt2").rank == {"q": 4, "v": 4}
    config = configured("model=gpt2", "rank=2", "alpha=1", "steps=7", "model.max_length=99")
    assert (config.rank, config.alpha, config.steps, config.epochs) == ({"q": 2, "v": 2}, 1.0, 7, None)
    assert config.model.max_length == 99


def test_a_rank_for_each_letter() -> None:
    assert configured("rank={q: 4, v: 8}").rank == {"q": 4, "v": 8}


@pytest.mark.parametrize(
    ("model", "values"),
    [
        # Table 11, E2E column: batch, epochs, lr, warm-up, r, alpha, weight decay, smoothing, dropout.
        ("gpt2-medium", (8, 5.0, 2e-4, 500, 4, 32.0, 0.01, 0.1, 0.1)),
        ("gpt2-large", (8, 5.0, 2e-4, 500, 4, 32.0, 0.01, 0.1, 0.1)),
        # Table 10, MNLI column; its dropout is that before the classifier.
        ("deberta-v2-xxlarge", (8, 5.0, 1e-4, 0.1, 8, 8.0, 0.0, 0.0, 0.0)),
        # Table 9, MNLI column; it names no weight decay, smoothing or dropout.
        ("roberta-base", (16, 30.0, 5e-4, 0.06, 8, 8.0, 0.0, 0.0, 0.0)),
        ("roberta-large", (4, 10.0, 3e-4, 0.06, 8, 16.0, 0.0, 0.0, 0.0)),
    ],
)
def test_the_paper_s_hyper_parameters(model: str, values: tuple[float, ...]) -> None:
    config = configured(f"model={model}", "task=mnli")
    assert config.model.name.rpartition("/")[2] == model
    assert config.targets == ("q", "v")
    assert values == (
        config.batch_size,
        config.epochs,
        config.lr,
        config.warmup,
        config.rank["q"],
        config.alpha,
        config.weight_decay,
        config.label_smoothing,
        config.dropout,
    )


@pytest.mark.parametrize(
    ("task", "decoding"),
    [
        # Table 11, Inference; the released command ends an answer after 64 tokens.
        ("e2e", Decoding(10, 0.9, 4, 64)),
        ("webnlg", Decoding(10, 0.8, 4, 64)),
        ("dart", Decoding(10, 0.8, 4, 64)),
        ("samsum", Decoding()),
        ("jsonl", Decoding()),
    ],
)
def test_the_paper_s_decoding(task: str, decoding: Decoding) -> None:
    assert configured("model=gpt2-medium", f"task={task}", "task.path=x").task.decoding == decoding
    greedy = configured("model=gpt2-medium", f"task={task}", "task.path=x", "task.num_beams=1").task.decoding
    assert (greedy.num_beams, greedy.length_penalty) == (1, 1.0)


def test_the_paper_s_lengths() -> None:
    assert configured("model=roberta-base").model.max_length == 512
    assert configured("model=roberta-large").model.max_length == 128
    assert configured("model=deberta-v2-xxlarge").model.max_length == 256


@pytest.mark.parametrize("model", sorted({*choices("model")} - {"embedded", "hf", "deberta-v2-xxlarge"}))
def test_a_model_of_the_hub_is_pinned(model: str) -> None:
    """To a commit of its own, not that of the file from which it inherits."""
    revision = configured(f"model={model}").model.revision
    assert re.fullmatch("[0-9a-f]{40}", revision or "")
    sharing = [other for other in choices("model") if revision in (CONF / f"model/{other}.yaml").read_text()]
    assert sharing == [model]


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_begins_with_what_it_is(file: Path) -> None:
    comments = [line for line in file.read_text(encoding="utf-8").splitlines()[:2] if "@package" not in line]
    assert comments[0].startswith("# ")


def test_help_names_every_key_and_choice() -> None:
    page = help_page()
    keys = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    for key in keys.keys() - {"defaults", "hydra", "wandb"}:
        assert f"\n  {key}=" in page
    for key, part in (("wandb", WandbConfig), ("task", TaskConfig), ("model", ModelConfig)):
        for setting in declared_keys(part).keys() - ({"name"} if key == "task" else set()):
            assert f"\n  {key}.{setting}=" in page
    for group in ("task", "model"):
        for choice in choices(group):
            assert f"\n  {group}={choice} " in page
    for method in METHODS:
        assert f"\n  method={method} " in page
    for experiment in choices("experiment"):
        assert f"\n  +experiment={experiment} " in page
    assert max(map(len, page.splitlines())) <= 110


def test_help_tells_the_defaults() -> None:
    lines = {
        line.split()[0]: " ".join(line.split()[1:])
        for line in help_page().splitlines()
        if line[:3] != "   " and line
    }
    for default in (
        "targets=qv",
        "rank=8",
        "alpha=8",
        "lr=...",
        "steps=400",
        "batch_size=16",
        "force=false",
    ):
        assert default in lines
    for default in (
        "task.train=8000",
        "task.path=null",
        "task.holdout=null",
        "model.name=embedded",
        "wandb.tags=[]",
    ):
        assert default in lines
    assert lines["init=gaussian"].startswith("gaussian, kaiming, pissa or olora: ")
    assert lines["scaling=alpha/r"] == "alpha/r, 1/r or alpha/sqrt(r)"
    assert lines["method=none"] == METHODS["none"].label


def test_a_file_of_one_s_own_is_a_choice_and_on_the_help_page(tmp_path, monkeypatch) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    text = (CONF / "model/gpt2.yaml").read_text(encoding="utf-8").partition("\n")
    (tmp_path / "conf/model/mine.yaml").write_text(
        f"{text[0]}\n# A model of one's own.  It lies here.\n{text[2]}", encoding="utf-8"
    )
    for module in ("plan", "overrides", "help"):
        monkeypatch.setattr(f"experiments.{module}.CONF", tmp_path / "conf")
    assert plan(["model=mine"]).runs[0].config.model == plan(["model=gpt2"]).runs[0].config.model
    assert "  model=mine              A model of one's own\n" in help_page()
    (tmp_path / "own/model").mkdir(parents=True)
    shutil.copy(tmp_path / "conf/model/mine.yaml", tmp_path / "own/model/other.yaml")
    shown = subprocess.run(
        [sys.executable, str(CONF.parent / "run.py"), "--config-dir", "own", "model=other", "--cfg", "job"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "name: gpt2\n" in shown.stdout
