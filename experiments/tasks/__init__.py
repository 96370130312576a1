"""The tasks, a file of this package each: text-to-SQL and inference, generated or from official releases."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.tasks.task import TASKS, Example, GeneratedTask, Task

if TYPE_CHECKING:
    from experiments.config import TaskConfig

__all__ = ["TASKS", "Example", "GeneratedTask", "Task", "load_task", "task_identity"]


def task_identity(config: TaskConfig) -> str:
    """What names the data in a run's hash.

    Raises:
        UserError: there is no such task, or its release is not there.
    """
    return TASKS.find(config.name).identity(config)


def load_task(config: TaskConfig) -> Task:
    """The task's examples, at most `config.train`, `.dev` and `.test` of each split, drawn with its seed.

    Raises:
        UserError: there is no such task, or its data is not there or not in the release's layout.
    """
    task = TASKS.find(config.name).load(config)
    if "train" not in task.splits or len(task.splits) < 2:
        raise UserError(
            f"task={config.name} needs a train split and a dev or test split, found {sorted(task.splits)}"
        )
    return type(task)({split: _drawn(task, split, config) for split in task.splits})


def _drawn(task: Task, split: str, config: TaskConfig) -> Sequence[Example]:
    examples, limit = task.examples(split), getattr(config, split)
    if limit is None or limit >= len(examples):
        return examples
    chosen = random.Random(f"{split}/{config.seed}").sample(range(len(examples)), limit)
    return [examples[index] for index in sorted(chosen)]
