"""One file is all that a task or a metric takes: it is found by its name, and by no list of names."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.metrics import METRICS, metric
from experiments.registry import Registry
from experiments.tasks import TASKS
from experiments.tasks.wikisql import WikiSQL

ROOT = Path(__file__).resolve().parents[2]
TASK = '''
"""Sentences about the weather."""
from experiments.tasks.task import TASKS, Example, GeneratedTask

@TASKS.register
class Weather(GeneratedTask):
    name, labels, metrics = "weather", None, ("length",)
    sizes = {"train": 3, "dev": 2}

    @staticmethod
    def generate(split, count, seed):
        return [Example(f"{split}-{seed}-{i}", "sky:", " blue", ("sky",), "blue") for i in range(count)]
'''
METRIC = '''
"""How much longer a prediction is."""
from experiments.metrics.metric import METRICS, MeanMetric

@METRICS.register
class Length(MeanMetric):
    name = "length"

    def score(self, prediction, gold):
        return len(prediction) - len(gold)
'''
PROGRAM = """
import sys
import experiments.metrics, experiments.tasks
experiments.metrics.__path__.append(sys.argv[1] + "/metrics")
experiments.tasks.__path__.append(sys.argv[1] + "/tasks")
from experiments.config import TASKS, TaskConfig
from experiments.tasks import load_task, task_identity

assert [*TASKS] == sorted(TASKS) and {"jsonl", "sql", "weather"} <= {*TASKS}, [*TASKS]
task = load_task(TaskConfig("weather", dev=1))
assert {split: len(task.examples(split)) for split in task.splits} == {"train": 3, "dev": 1}
assert task.judge(task.examples("dev")[0], "very blue") == {"length": 5}
assert task_identity(TaskConfig("weather")).startswith("generated:")
assert not {"torch", "datasets", "numpy"} & {*sys.modules}
"""


def test_a_new_file_is_all_it_takes(tmp_path):
    for folder, text in (("tasks", TASK), ("metrics", METRIC)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "added.py").write_text(textwrap.dedent(text))
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, cwd=ROOT)


def test_every_metric_of_a_task_is_known():
    assert {"e2e", "jsonl", "mnli", "nli", "sql", "wikisql"} <= {*TASKS}
    for task in TASKS.values():
        assert {*task.metrics} <= {*METRICS}


def test_an_unknown_name_is_told():
    with pytest.raises(
        UserError, match=r"^task=foo is unknown; valid are cola, .*wikisql, or an import path"
    ):
        TASKS.find("foo")
    with pytest.raises(UserError, match="metric=blue is unknown; valid are accuracy, bleu, "):
        metric("blue")


def test_a_name_belongs_to_one_class():
    registry: Registry[type] = Registry("task", "experiments.tasks")
    registry.register(WikiSQL)
    assert registry.register(WikiSQL) is WikiSQL

    class Other:
        name, labels, metrics = "wikisql", None, ()

    with pytest.raises(UserError, match="task wikisql is defined twice: in experiments"):
        registry.register(Other)
