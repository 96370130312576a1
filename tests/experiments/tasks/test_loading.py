"""From a configuration to a task: sizes, draws, and what is said when the data cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from experiments.config import TaskConfig
from experiments.embedded import nli
from experiments.errors import UserError
from experiments.tasks import TASKS, Example, GeneratedTask, Task, load_task, task_identity
from experiments.tasks.mnli import FILES
from experiments.tasks.task import _examples_hash, _sample_hash, hold_out


@pytest.mark.parametrize("name", ["sql", "nli"])
def test_generated_task_has_the_sizes_asked_for(name):
    task = load_task(TaskConfig(name, train=20, dev=7, test=5))
    assert {split: len(task.examples(split)) for split in task.splits} == {"train": 20, "dev": 7, "test": 5}
    prompts = [example.prompt for split in task.splits for example in task.examples(split)]
    assert len(set(prompts)) == len(prompts)
    assert task.examples("dev") == load_task(TaskConfig(name, train=20, dev=7, test=5)).examples("dev")
    assert task.examples("dev") != load_task(TaskConfig(name, seed=1, train=20, dev=7, test=5)).examples(
        "dev"
    )


def test_default_sizes_are_those_of_the_configuration_files():
    import yaml

    from experiments.plan import CONF

    for name in ("sql", "nli"):
        file = yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert {split: file[split] for split in GeneratedTask.sizes} == GeneratedTask.sizes


@pytest.fixture
def release(tmp_path):
    for name, split, count in ((FILES["train"], "train", 40), (FILES["matched"], "dev", 10)):
        lines = [json.dumps(row) + "\n" for row in nli.examples(split, count, seed=0)]
        (tmp_path / name).write_text("".join(lines))
    return tmp_path


def test_limit_draws_a_subset_that_the_seed_decides(release):
    def drawn(seed):
        config = TaskConfig("mnli", path=str(release), seed=seed, train=8, test=3, holdout=10)
        task = load_task(config)
        return {split: [e.id for e in task.examples(split)] for split in task.splits}

    assert {split: len(ids) for split, ids in drawn(0).items()} == {"train": 8, "dev": 10, "test": 3}
    assert drawn(0) == drawn(0)
    assert drawn(0)["train"] != drawn(1)["train"]


def test_the_seed_draws_the_limited_examples_and_the_held_out_ones(release):
    """Each by itself, and over the whole split."""
    whole = load_task(TaskConfig("mnli", path=str(release), holdout=10))
    drawn = [
        [e.id for e in whole.drawn(TaskConfig("mnli", seed=seed, train=8)).examples("train")]
        for seed in (0, 1)
    ]
    assert drawn[0] != drawn[1]
    first = [example.id for example in whole.examples("train")[:8]]
    assert first not in drawn
    other = load_task(TaskConfig("mnli", path=str(release), holdout=10, seed=1))
    assert {e.id for e in other.examples("dev")} != {e.id for e in whole.examples("dev")}


@pytest.mark.parametrize("name", ["wikisql", "mnli"])
def test_missing_path_is_told(name, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_task(TaskConfig(name, path=str(tmp_path / "none")))


@pytest.mark.parametrize("name", ["wikisql", "mnli"])
def test_unreachable_hub_tells_what_to_do(name, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(UserError, match=r"task\.path.*ConnectionError: no route") as caught:
        load_task(TaskConfig(name))
    assert "\n" not in str(caught.value)


def test_identity_is_the_content(release, tmp_path):
    config = TaskConfig("mnli", path=str(release))
    assert task_identity(config).startswith("files:")
    assert task_identity(TaskConfig("mnli")) == "hub"
    assert task_identity(TaskConfig("sql")).startswith("generated:")
    assert task_identity(TaskConfig("sql")) != task_identity(TaskConfig("nli"))


GENERATED = {"sql": "generated:f3bd60004ce080d0", "nli": "generated:f9f77e64ba357de4"}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_data_stays(name):
    """What it is names the addresses of runs that people have."""
    assert task_identity(TaskConfig(name)) == GENERATED[name]


@pytest.mark.parametrize("name", GENERATED)
def test_generated_data_is_that_of_the_committed_results(name):
    runs = Path(__file__).resolve().parents[3] / "results/embedded/runs/embedded"
    record = json.loads((next(runs.glob(f"{name}-*")) / "run.json").read_text())
    assert task_identity(TaskConfig(name)) == record["config"]["task"]["identity"]


def test_changed_generator_is_another_task(monkeypatch):
    before = task_identity(TaskConfig("sql"))
    _sample_hash.cache_clear()
    monkeypatch.setattr("experiments.embedded.sql.JOINTS", [" plus "])
    assert task_identity(TaskConfig("sql")) != before
    monkeypatch.undo()
    _sample_hash.cache_clear()
    assert task_identity(TaskConfig("sql")) == before


def test_an_empty_file_is_told(release):
    (release / FILES["matched"]).write_text("\n")
    with pytest.raises(
        UserError, match=rf"holds a {FILES['matched']} without a record; leave it out or fill"
    ):
        load_task(TaskConfig("mnli", path=str(release)))


class Mine(Task):
    """A class of one's own, whose gold is an object without a text of its own."""

    name, labels, metrics = "mine", None, ("exact_match",)
    counts: ClassVar[dict[str, int]] = {"train": 3, "dev": 1}

    @classmethod
    def load(cls, config):
        return cls(
            {
                split: [Example(str(i), f"p{i}", " t", ("s",), object()) for i in range(count)]
                for split, count in cls.counts.items()
            }
        )


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setitem(TASKS._entries, "mine", Mine)
    return Mine


def test_an_empty_split_is_told(mine, monkeypatch):
    monkeypatch.setattr(mine, "counts", {"train": 3, "dev": 0})
    with pytest.raises(UserError, match="task=mine has no example in its dev split; leave it out or fill it"):
        load_task(TaskConfig("mine"))
    monkeypatch.setattr(mine, "counts", {"train": 3})
    with pytest.raises(UserError, match="task=mine needs a train split and a dev or test split, found"):
        load_task(TaskConfig("mine"))


def test_identity_is_that_of_the_examples_wherever_they_lie_in_memory(mine, monkeypatch):
    before = task_identity(TaskConfig("mine"))
    assert before.startswith("examples:")
    _examples_hash.cache_clear()
    assert task_identity(TaskConfig("mine")) == before
    _examples_hash.cache_clear()
    monkeypatch.setattr(mine, "counts", {"train": 4, "dev": 1})
    assert task_identity(TaskConfig("mine")) != before
    _examples_hash.cache_clear()


def test_holding_out_takes_groups_whole():
    rows = [(group, number) for number in range(4) for group in "abcdefgh"]
    splits = hold_out(rows, lambda row: row[0], {"dev": 5, "test": 3}, seed=0)
    assert {split: len(found) for split, found in splits.items()} == {"train": 20, "dev": 8, "test": 4}
    assert sorted(row for found in splits.values() for row in found) == sorted(rows)
    groups = [{group for group, _ in found} for found in splits.values()]
    assert sum(map(len, groups)) == 8
    assert hold_out(rows, lambda row: row[0], {"dev": 5, "test": 3}, seed=0) == splits
    assert hold_out(rows, lambda row: row[0], {"dev": 5, "test": 3}, seed=1) != splits


@pytest.mark.parametrize("seed", range(5))
def test_no_label_is_held_out_whole(seed):
    rows = [(number, "rare" if number in (2, 5) else "common") for number in range(20)]
    splits = hold_out(rows, lambda row: row[0], {"dev": 9, "test": 9}, seed, label=lambda row: row[1])
    assert {split: len(found) for split, found in splits.items()} == {"train": 2, "dev": 9, "test": 9}
    assert {label for _, label in splits["train"]} == {"rare", "common"}
    with pytest.raises(UserError, match="holdout=9 leaves no training example of each of 2 labels"):
        hold_out(rows, lambda row: row[0], {"dev": 10, "test": 9}, seed, label=lambda row: row[1])
