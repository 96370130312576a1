"""A run's configuration as plain values, as Hydra composes it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

VALUES: dict[str, Any] = {
    "study": "test",
    "seed": 0,
    "method": "lora",
    "targets": "qv",
    "rank": 8,
    "alpha": 8,
    "scaling": "alpha/r",
    "init": "gaussian",
    "dropout": 0.0,
    "bias": "none",
    "lr": 0.01,
    "steps": None,
    "epochs": None,
    "batch_size": 16,
    "accumulate": 1,
    "warmup": 0.06,
    "weight_decay": 0.0,
    "clip": 1.0,
    "label_smoothing": 0.0,
    "eval_every": None,
    "log_every": 10,
    "precision": "float32",
    "device": "cpu",
    "force": False,
    "root": "outputs",
    "model": {"name": "embedded"},
    "task": {"name": "sql", "seed": 0},
    "wandb": {"mode": "disabled", "project": "p", "entity": None, "tags": []},
}


def changed(changes: Mapping[str, Any], values: Mapping[str, Any] = VALUES) -> dict[str, Any]:
    """A copy of the values with these changes: {"rank": 4, "task.name": "nli"}."""
    made = copy.deepcopy(dict(values))
    for key, value in changes.items():
        node = made
        *path, last = key.split(".")
        for step in path:
            node = node[step]
        node[last] = value
    return made
