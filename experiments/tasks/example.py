"""What a task hands to the trainer: examples as text, a way to score predictions, and their splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Example:
    """One example.

    A text model reads `prompt` and is to continue with `target` (the objective of the paper, eq. 1: the loss
    is on the target alone).  `sentences` are the raw inputs that a sequence classifier pairs, `gold` is what
    predictions are scored against.
    """

    id: str
    prompt: str
    target: str
    sentences: tuple[str, ...]
    gold: Any


@dataclass(frozen=True)
class Judgement:
    """How one prediction fared: the metrics of its example, each 0 or 1."""

    scores: Mapping[str, float]


class Task(ABC):
    """Examples by split and the official scoring of predictions.

    `labels` are the answers to choose from, or None where the answer is generated text.  `metric` names the
    score by which runs are compared and their best checkpoint is chosen.
    """

    name: ClassVar[str]
    labels: ClassVar[tuple[str, ...] | None]
    metric: ClassVar[str]

    def __init__(self, splits: Mapping[str, Sequence[Example]]):
        self._splits = dict(splits)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if self._splits.get(split))

    def examples(self, split: str) -> Sequence[Example]:
        return self._splits[split]

    @abstractmethod
    def judge(self, example: Example, prediction: str) -> Judgement:
        """Score one prediction: generated text, or one of `labels`."""
