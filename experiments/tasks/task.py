"""What a task is: examples as text by split, the metrics they are scored by, and where both come from.

    @TASKS.register
    class Sentiment(Task):
        name, labels, metrics = "sentiment", ("good", "bad"), ("accuracy",)

        @classmethod
        def load(cls, config):
            return cls({"train": [...], "dev": [...]})

One file of this package and conf/task/NAME.yaml are all that a task takes.  Nothing here imports torch.
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from experiments.identity import content_identity
from experiments.metrics import Score, metric
from experiments.registry import Registry
from experiments.tasks.files import release_path

if TYPE_CHECKING:
    from experiments.config import TaskConfig

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


class Task(ABC):
    """Examples by split and the official scoring of predictions.

    Attributes:
        name: of the task, as in conf/task.
        labels: the answers to choose from, or None where the answer is generated text.
        metrics: their names; by the first, runs are compared and their best checkpoint is chosen.
    """

    name: ClassVar[str]
    labels: ClassVar[tuple[str, ...] | None]
    metrics: ClassVar[tuple[str, ...]]

    def __init__(self, splits: Mapping[str, Sequence[Example]]):
        self._splits = dict(splits)

    @classmethod
    @abstractmethod
    def load(cls, config: TaskConfig) -> Self:
        """The examples of `config`; of a release all, of which a run uses those that it asks for.

        Raises:
            UserError: the data is not there or not in the release's layout.
        """

    @classmethod
    def identity(cls, config: TaskConfig) -> str:
        """What names the data in a run's hash: the content of a local release, else where it comes from."""
        return "hub" if config.path is None else f"files:{content_identity(release_path(config.path))}"

    @property
    def metric(self) -> str:
        """The metric that counts."""
        return self.metrics[0]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if self._splits.get(split))

    def examples(self, split: str) -> Sequence[Example]:
        return self._splits[split]

    def judge(self, example: Example, prediction: str) -> dict[str, Score]:
        """The scores, by metric, of one prediction: generated text, or one of `labels`."""
        scores = {name: metric(name).score(prediction, example.gold) for name in self.metrics}
        return {name: score for name, score in scores.items() if score is not None}


class GeneratedTask(Task):
    """A task whose examples are generated, as many as are asked for."""

    sizes: ClassVar[Mapping[str, int]] = {"train": 8000, "dev": 500, "test": 1000}
    """Of the splits, where the configuration leaves them open."""

    @staticmethod
    @abstractmethod
    def generate(split: str, count: int, seed: int) -> list[Example]:
        """The split's first examples: of one seed always the same."""

    @classmethod
    def load(cls, config: TaskConfig) -> Self:
        counts = {split: getattr(config, split) or size for split, size in cls.sizes.items()}
        return cls({split: cls.generate(split, count, config.seed) for split, count in counts.items()})

    @classmethod
    def identity(cls, config: TaskConfig) -> str:
        """A sample of the data, so that a changed generator makes other runs."""
        return f"generated:{_sample_hash(cls)}"


@functools.cache
def _sample_hash(task: type[GeneratedTask]) -> str:
    sample = {"train": 64, "dev": 8, "test": 8}
    examples = [example for split, count in sample.items() for example in task.generate(split, count, 0)]
    texts = [f"{example.prompt}{example.target}{example.gold}" for example in examples]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


TASKS: Registry[type[Task]] = Registry("task", "experiments.tasks", needs=("name", "labels", "metrics"))
