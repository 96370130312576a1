"""The tasks, a file of this package each: one's own data, and text-to-SQL and inference."""

from __future__ import annotations

from experiments.decoding import Decoding
from experiments.errors import UserError
from experiments.metrics import metric
from experiments.parts import DECODING, TaskConfig
from experiments.tasks.examples import Example
from experiments.tasks.task import COMMON_KEYS, TASKS, GeneratedTask, Task, meaningless

__all__ = [
    "COMMON_KEYS",
    "TASKS",
    "Example",
    "GeneratedTask",
    "Task",
    "load_task",
    "meaningless",
    "task_identity",
]


def task_identity(config: TaskConfig) -> str:
    """What names the data in a run's hash.

    Raises:
        UserError: there is no such task, or its data is not there.
    """
    return TASKS.find(config.name).identity(config)


def load_task(config: TaskConfig) -> Task:
    """The task's examples, at most `config.train`, `.dev` and `.test` of each split, drawn with its seed.

    Raises:
        UserError: there is no such task, or its data is not there, not in its layout or has an empty split.
    """
    task = TASKS.find(config.name).open(config)
    if "train" not in task.splits or len(task.splits) < 2:
        raise UserError(
            f"task={config.name} needs a train split and a dev or test split, found {sorted(task.splits)}"
        )
    for split in task.splits:
        if not task.examples(split):
            raise UserError(
                f"task={config.name} has no example in its {split} split; leave it out or fill it"
            )
    if metric(task.metric, task.labels).lower_is_better:
        raise UserError(
            f"task={config.name} is compared by {task.metric}, of which less is better; let another metric "
            "count"
        )
    task = task.drawn(config)
    task.decoding = config.decoding
    if task.labels is not None and config.decoding != Decoding():
        raise UserError(
            f"task={config.name} has labels to choose from, so that nothing is decoded; leave out "
            f"{', '.join(f'task.{key}' for key in DECODING)}"
        )
    return task
