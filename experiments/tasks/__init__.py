"""The tasks: text-to-SQL and natural-language inference, generated here or from the official releases."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import GENERATED_TASKS, TaskConfig
from experiments.errors import UserError
from experiments.identity import content_identity
from experiments.tasks.example import SPLITS, Example, Judgement, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Example", "Judgement", "Task", "load_task", "task_identity"]

# The generated tasks' sizes where the configuration leaves them open.
DEFAULT_SIZES = {"train": 8000, "dev": 500, "test": 1000}


def task_identity(config: TaskConfig) -> str:
    """What names the data in a run's hash: the content of a local release, else where it comes from.

    Generated data is named by a sample of it, so that a changed generator makes other runs.
    """
    if config.name in GENERATED_TASKS:
        return f"generated:{_sample_hash(config.name)}"
    return "hub" if config.path is None else f"files:{content_identity(_path(config))}"


def load_task(config: TaskConfig) -> Task:
    """The task's examples, at most `config.train`, `.dev` and `.test` of each split.

    Raises UserError when the data is not there or not in the release's layout.
    """
    from experiments.tasks.mnli import MNLI
    from experiments.tasks.wikisql import WikiSQL

    task: Task
    if config.name == "sql":
        from experiments.embedded import sql

        task = WikiSQL.from_records({s: sql.examples(s, n, config.seed) for s, n in _sizes(config).items()})
    elif config.name == "nli":
        from experiments.embedded import nli

        task = MNLI.from_records({s: nli.examples(s, n, config.seed) for s, n in _sizes(config).items()})
    elif config.name == "wikisql":
        task = WikiSQL.from_path(_path(config)) if config.path else WikiSQL.from_hub_rows(_from_hub(config))
    else:
        task = (
            MNLI.from_path(_path(config), config.holdout, config.seed)
            if config.path
            else MNLI.from_hub_rows(_from_hub(config), config.holdout, config.seed)
        )
    return _limited(task, config)


@functools.cache
def _sample_hash(name: str) -> str:
    task = load_task(TaskConfig(name, train=64, dev=8, test=8))
    texts = [f"{e.prompt}{e.target}{e.gold}" for split in task.splits for e in task.examples(split)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _sizes(config: TaskConfig) -> dict[str, int]:
    return {split: getattr(config, split) or size for split, size in DEFAULT_SIZES.items()}


def _limited(task: Task, config: TaskConfig) -> Task:
    """At most the configured number of examples of each split, drawn with the task's seed."""
    import random

    splits: dict[str, Sequence[Example]] = {}
    for split in SPLITS:
        if split not in task.splits:
            continue
        examples = task.examples(split)
        limit = getattr(config, split)
        if limit is not None and limit < len(examples):
            chosen = random.Random(f"{split}/{config.seed}").sample(range(len(examples)), limit)
            examples = [examples[index] for index in sorted(chosen)]
        splits[split] = examples
    if "train" not in splits or len(splits) < 2:
        raise UserError(
            f"task={config.name} needs a train split and a dev or test split, found {sorted(splits)}"
        )
    return type(task)(splits)


def _path(config: TaskConfig) -> Path:
    path = Path(config.path or "").expanduser().resolve()
    if not path.exists():
        raise UserError(
            f"task.path={config.path} does not exist; give the downloaded release or leave it out"
        )
    return path


def _from_hub(config: TaskConfig) -> Any:
    from datasets import load_dataset

    from experiments.tasks import mnli, wikisql

    name, revision = (
        (wikisql.HUB_ID, wikisql.HUB_REVISION) if config.name == "wikisql" else (mnli.HUB_ID, None)
    )
    try:
        return load_dataset(name, revision=revision)
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"task={config.name}: {name} cannot be had from the hub; where there is a network download the "
            f"official release and give its file or folder as task.path ({type(error).__name__}: {reason})"
        ) from error
