"""docs/data.md: its class and its commands work as they stand there, from a file to the answer of `grid`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from analysis.reading.needs import MissingRunsError, Need
from analysis.reading.study import Study
from experiments.errors import UserError
from experiments.overrides import quoted
from experiments.plan import plan
from experiments.tasks import load_task, task_identity
from experiments.tasks.task import TASKS

ROOT = Path(__file__).resolve().parent.parent
OF_THE_PAPER, _, PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8").partition("## Your own data\n")


def commands(page):
    return [
        shlex.split(line, comments=True)[2:] for line in re.findall(r"^    (python run\.py .*)$", page, re.M)
    ]


COMMANDS = commands(PAGE)
WORDS = {"train": "red dog\nblue cat\ngreen dog\nred cat\n", "dev": "blue dog\n", "test": "green cat\n"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the page's class and its data, in which commands are typed."""
    [text] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "my_module.py").write_text(text, encoding="utf-8")
    (tmp_path / "words").mkdir()
    for split, lines in WORDS.items():
        (tmp_path / f"words/{split}.txt").write_text(lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._all()))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("my_module", None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny random GPT-2 whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("model")
    names = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({name: index for index, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=end).save_pretrained(place)
    torch.manual_seed(0)
    size = {"n_positions": 96, "n_embd": 32, "n_layer": 2, "n_head": 2}
    settings = GPT2Config(vocab_size=len(names), bos_token_id=0, eos_token_id=0, **size)
    GPT2LMHeadModel(settings).save_pretrained(place)
    return place


def run(*words, folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_there_are_ten_lines_and_commands():
    [text] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len([line for line in text.splitlines() if line.strip()]) <= 12
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_one(folder, command):
    runs = plan([quoted(word) for word in command]).runs
    assert runs
    [template] = {run.config.task.template for run in runs}
    assert template == ("{instruction}\n{input}\n" if any("template" in word for word in command) else None)
    # What a run records is a command, too.
    assert plan(runs[-1].overrides).runs[0].identity == runs[-1].identity


@pytest.mark.parametrize("command", commands(OF_THE_PAPER), ids=" ".join)
def test_every_command_of_the_paper_s_tasks_is_one(command):
    """But for the run to start from, which there is only once it is trained."""
    runs = plan([word for word in command if not word.startswith("init_from=")]).runs
    assert {run.config.task.name for run in runs} <= set(re.findall(r"^\| `(\w+)` \|", OF_THE_PAPER, re.M))


def test_the_table_names_each_task_of_a_release_and_its_metrics():
    table = OF_THE_PAPER.partition("###")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", table, re.M))
    for name, told in rows.items():
        words = {"pearson": "Pearson", "spearman": "Spearman", "matthews": "Matthews", "f1": "F1"}
        assert all(words.get(metric, metric.replace("_", " ")) in told for metric in TASKS[name].metrics)
    assert {*rows} == {"mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb", "wikisql"}


@pytest.mark.parametrize(
    ("template", "read"),
    [
        ("{a}\\n", "{a}\n"),
        ("it's {a}", "it's {a}"),
        ("'{a}'", "{a}"),  # in quotes already
        ('say "{a}", {b}: ', 'say "{a}", {b}: '),
        ("{a}=", "{a}="),
        ("null", None),
    ],
)
def test_a_template_is_typed_as_it_is(template, read):
    [planned] = plan(["task=jsonl", "task.path=x", quoted(f"task.template={template}")]).runs
    assert planned.config.task.template == read


def test_the_class(folder):
    [planned] = plan(["task=my_module:Backwards", "task.path=words", "task.train=3"]).runs
    assert planned.config.readable_name().startswith("backwards-embedded-qv-r8-")
    task = load_task(planned.config.task)
    assert {split: len(task.examples(split)) for split in task.splits} == {"train": 3, "dev": 1, "test": 1}
    [example] = task.examples("dev")
    assert (example.prompt, example.target) == ("blue dog\n", "god eulb")
    assert task.judge(example, "god eulb")["exact_match"] == 1
    # The address follows the content, which the class has said nothing about.
    before = task_identity(planned.config.task)
    Path("words").rename("moved")
    moved = plan(["task=my_module:Backwards", "task.path=moved", "task.train=3"]).runs[0].config.task
    assert task_identity(moved) == before
    Path("moved/dev.txt").write_text("red dog\n")
    Path("moved").rename("changed")
    changed = plan(["task=my_module:Backwards", "task.path=changed", "task.train=3"]).runs[0].config.task
    assert task_identity(changed) != before
    with pytest.raises(UserError, match=r"task\.metric has no meaning for task=my_module:Backwards; "):
        plan(["task=my_module:Backwards", "task.path=changed", "task.metric=bleu"])


def test_it_is_a_choice_among_others(folder):
    runs = plan(["-m", "task=sql,my_module:Backwards", "seed=0,1"]).runs
    assert [run.config.task.name for run in runs] == ["sql", "sql"] + ["my_module:Backwards"] * 2
    (folder / "my_module.py").write_text("class Mine: pass\n")
    sys.modules.pop("my_module")
    with pytest.raises(UserError, match="task=my_module:Mine is registered by nothing; put @register before"):
        plan(["task=my_module:Mine"])


def test_from_a_file_to_which_rank(folder, model):
    """The commands as typed: a sweep on a file, the grid, and a sweep of the page's class."""
    animals = [f"{colour} {animal}" for colour in ("red", "blue") for animal in ("dog", "cat")]
    rows = [{"prompt": f"{animals[i % 4]} {i}", "target": animals[i % 4][:3]} for i in range(30)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    short = ["steps=2", "batch_size=4", "device=cpu", "hydra.launcher.workers=1"]
    fewer = {
        "FOLDER": str(model),
        "seed=0,1,2": "seed=0,1",
        "rank=1,4,16": "rank=1,4",
        "rank=1,2,4": "rank=1",
    }
    for command, count in ((COMMANDS[0], 8), (COMMANDS[-1], 1)):
        words = command
        for text, shorter in fewer.items():
            words = [word.replace(text, shorter) for word in words]
        done = run(str(ROOT / "run.py"), *words, *short, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(re.findall(r"^finished  \d+/", done.stdout, flags=re.M)) == count
    done = run("-m", "analysis", "grid", "--study", "mine", folder=folder)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "Numbers: exact match on jsonl, in %, " in told
    assert "; test split, 3 (jsonl) examples; " in told
    records = [json.loads(file.read_text()) for file in folder.glob("outputs/mine/*/run.json")]
    assert {record["metric"] for record in records} == {"exact_match"}
    assert {tuple(record["examples"].values()) for record in records} == {(24, 3, 3)}
    # What trains a missing run of it names the data as it was named.
    for study, task in (("mine", "jsonl"), ("default", "my_module:Backwards")):
        with pytest.raises(MissingRunsError) as error:
            Study.open(study, folder / "outputs").require([Need("q", 64, 0)])
        [planned] = plan(shlex.split(error.value.commands[0])[2:]).runs
        records = [json.loads(file.read_text()) for file in folder.glob(f"outputs/{study}/*/run.json")]
        [other] = {record["config"]["task"]["identity"] for record in records}
        assert (planned.config.task.name, task_identity(planned.config.task)) == (task, other)
    # A wrong file is one line, and nothing trains.
    (folder / "mine.jsonl").write_text('{"prompt": "a", "target": "b"}\n{"prompt": "a"}\n')
    wrong = run(
        str(ROOT / "run.py"), *words[:1], "task=jsonl", "task.path=mine.jsonl", "seed=5", folder=folder
    )
    assert wrong.returncode != 0
    assert wrong.stderr.splitlines()[-1] == "error: mine.jsonl, line 2 lacks target; it has prompt"
