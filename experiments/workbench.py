"""What runs of one process share: the base model, and the task's examples as token ids."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from experiments.models import BaseModel, load_base
from experiments.objective import Objective
from experiments.parts import ModelConfig, TaskConfig
from experiments.tasks import Task, load_task


@dataclass(frozen=True)
class Workbench:
    base: BaseModel
    task: Task
    objective: Objective


@functools.lru_cache(maxsize=2)
def workbench(model: ModelConfig, task: TaskConfig) -> Workbench:
    """Load once, use for every run of a sweep.  Raises UserError where model or data cannot be loaded."""
    from experiments.class_objective import ClassObjective, NumberObjective
    from experiments.text_objective import TextObjective

    loaded = load_task(task)
    outputs = len(loaded.labels) if loaded.labels else 1 if loaded.bounds else None
    base = load_base(model, outputs)
    head = NumberObjective if loaded.bounds else ClassObjective
    kind = TextObjective if base.generates else head
    return Workbench(base, loaded, kind(base.tokenizer, loaded, base.max_length))
