"""What a task is: examples as text by split, the metrics they are scored by, and where both come from.

    @TASKS.register
    class Sentiment(Task):
        name, labels, metrics = "sentiment", ("good", "bad"), ("accuracy",)

        @classmethod
        def load(cls, config):
            return cls({"train": [...], "dev": [...]})

One file of this package and conf/task/NAME.yaml are all that a task takes; one that lies elsewhere is named
by its import path, as in task=my_module:Sentiment.  Nothing here imports torch.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar

from experiments import cache
from experiments.decoding import Decoding
from experiments.errors import UserError
from experiments.identity import content_identity
from experiments.keys import keys
from experiments.metrics import Score, metric
from experiments.parts import TaskConfig
from experiments.registry import Registry
from experiments.tasks.examples import Example, StoredExamples, content_of, write_examples
from experiments.tasks.files import release_path

SPLITS = ("train", "dev", "test")
COMMON_KEYS = ("name", "seed", *SPLITS)
"""The keys of the configuration that every task takes."""
MOST_HELD_OUT = 1000
Row = TypeVar("Row")


class Task(ABC):
    """Examples by split and the official scoring of predictions.

    Attributes:
        name: of the task, as in conf/task.
        labels: the answers to choose from, or None where the answer is generated text or a number.
        bounds: between what the answer is, where it is a number: an encoder's head is then a regression.
        metrics: their names; by the first, runs are compared and their best checkpoint is chosen.
        keys: of the configuration, those that it takes besides `COMMON_KEYS`.
        holdout: what task.holdout=null means; None where that depends on the data.
        skipped: rows of the release that do not parse and are left out, as its own readers do, by file.
        records_loss: whether evaluations tell the loss of the references beside the metrics.
        decoding: how an answer that is text is chosen.

    What the data decides (labels read from a file) an instance sets for itself.
    """

    name: ClassVar[str]
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    keys: ClassVar[tuple[str, ...]] = ("path",)
    holdout: ClassVar[int | None] = None
    bounds: ClassVar[tuple[float, float] | None] = None
    records_loss: ClassVar[bool] = False
    decoding: Decoding = Decoding()
    skipped: Mapping[str, int] = MappingProxyType({})

    _whole: str | None = None
    """`content_of` all that was loaded, where it is known without looking."""

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
    def open(cls, config: TaskConfig) -> Self:
        """As `load`; the examples of large data are on disk, and are read from their source once.

        Raises:
            UserError: as `load`.
        """
        source = cls.source(config)
        # Of a class that lies elsewhere it is not known what code makes its examples.
        if source is None or not cls.__module__.startswith(f"{__package__}."):
            return cls.load(config)
        told = dataclasses.asdict(config)
        key = {
            "code": cache.code_identity(*sorted(Path(__file__).parent.glob("*.py"))),
            "task": cls.__qualname__,
            "source": source,
            "config": {name: value for name, value in told.items() if name not in ("path", *SPLITS)},
        }
        return cache.once("examples", key, lambda: cls.load(config), cls._write, cls._read)

    @classmethod
    def source(cls, config: TaskConfig) -> str | None:
        """What names the files that `load` reads, by content; None where they are not kept on disk anew."""
        return None

    @staticmethod
    def pack(gold: Any) -> Any:
        """A gold answer as JSON, of which `unpack` makes the same; a task with others is loaded each time."""
        return gold

    @staticmethod
    def unpack(packed: Any) -> Any:
        """What `pack` was given."""
        return packed

    def _write(self, folder: Path) -> dict[str, Any] | None:
        """Every split's examples; None where they are few, or the task holds more than JSON can."""
        own = {name: value for name, value in vars(self).items() if name != "_splits"}
        more = own.keys() - {"labels", "metrics", "skipped"}
        if more or max(map(len, self._splits.values())) < cache.WORTHWHILE:
            return None
        try:
            for split, examples in self._splits.items():
                write_examples(folder / f"{split}.jsonl", examples, self.pack, self.unpack)
        except TypeError:
            return None
        content = {split: self.content(split) for split in self._splits}
        return {"content": content, "whole": content_of(self._splits), "own": own}

    @classmethod
    def _read(cls, folder: Path, about: dict[str, Any]) -> Self:
        splits = {
            split: StoredExamples(folder / f"{split}.jsonl", cls.unpack, content)
            for split, content in about["content"].items()
        }
        task = cls(splits)
        task._whole = about["whole"]
        for name, value in about["own"].items():
            setattr(task, name, tuple(value) if isinstance(value, list) else value)
        return task

    @classmethod
    def check(cls, config: TaskConfig) -> None:
        """What can be said before any data is read.

        Raises:
            UserError: a key that the task does not take is given, so that other data is meant.
        """
        for name, field in keys(TaskConfig).items():
            if name not in (*COMMON_KEYS, *cls.keys) and getattr(config, name) != field.default:
                raise UserError(meaningless(name, config.name))

    @classmethod
    def identity(cls, config: TaskConfig) -> str:
        """What names the data in a run's hash: by default the content of all examples."""
        return f"examples:{_examples_hash(cls, config)}"

    @property
    def metric(self) -> str:
        """The metric that counts."""
        return self.metrics[0]

    @property
    def splits(self) -> tuple[str, ...]:
        """Train, dev and test as far as they are there; then what is evaluated besides."""
        return tuple(sorted(self._splits, key=lambda split: (*SPLITS, split).index(split)))

    def examples(self, split: str) -> Sequence[Example]:
        return self._splits[split]

    def content(self, split: str) -> str:
        """A hash that names the split's examples."""
        examples = self._splits[split]
        if isinstance(examples, StoredExamples):
            return examples.content
        return content_of({"": examples})

    def drawn(self, config: TaskConfig) -> Self:
        """The same with at most `config.train`, `.dev` and `.test` examples, drawn with its seed.

        Of a further split at most as many as of test.
        """
        task = copy.copy(self)
        task._splits = {split: _drawn(split, examples, config) for split, examples in self._splits.items()}
        return task

    def references(self, example: Example) -> Sequence[Example]:
        """The example with each target that is right; it has one unless the task says otherwise."""
        return [example]

    @property
    def not_measured(self) -> dict[str, str]:
        """The metrics besides the one that counts for which something is not installed, and what that is."""
        lacking = {}
        for name in self.metrics[1:]:
            try:
                metric(name, self.labels).require()
            except UserError as error:
                lacking[name] = str(error)
        return lacking

    def judge(self, example: Example, prediction: str) -> dict[str, Score]:
        """The scores, by metric, of one prediction: generated text, or one of `labels`."""
        return self.judge_all([example], [prediction])[0]

    def judge_all(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[dict[str, Score]]:
        """The scores of the predictions of a split; of what cannot be measured here there are none."""
        judged: list[dict[str, Score]] = [{} for _ in examples]
        golds, lacking = [example.gold for example in examples], self.not_measured
        for name in self.metrics:
            if name not in lacking:
                found = metric(name, self.labels).scores(predictions, golds)
                for scores, score in zip(judged, found, strict=True):
                    if score is not None:
                        scores[name] = score
        return judged


def _drawn(split: str, examples: Sequence[Example], config: TaskConfig) -> Sequence[Example]:
    limit = getattr(config, split, config.test)
    if limit is None or limit >= len(examples):
        return examples
    chosen = sorted(random.Random(f"{split}/{config.seed}").sample(range(len(examples)), limit))
    if isinstance(examples, StoredExamples):
        return examples.some(chosen)
    return [examples[index] for index in chosen]


@functools.lru_cache
def _examples_hash(task: type[Task], config: TaskConfig) -> str:
    loaded = task.open(config)
    return loaded._whole or content_of(loaded._splits)


def held_out(config: TaskConfig, rows: int) -> int:
    """How many training rows serve as another split: as many as asked for, else a tenth, at most 1,000."""
    return config.holdout or min(MOST_HELD_OUT, max(1, rows // 10))


def hold_out(
    rows: Sequence[Row],
    group: Callable[[Row], object],
    counts: Mapping[str, int],
    seed: int,
    label: Callable[[Row], object] = lambda row: None,
) -> dict[str, list[Row]]:
    """Splits of about so many rows each, drawn by the seed, and the rest as train.

    Rows of one group go to the same side; the last group with rows of a label stays in train.

    Raises:
        UserError: nothing would be left to train on, or of a label.
    """
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(group(row), []).append(row)
    order, inputs = list(groups), len(groups)
    random.Random(seed).shuffle(order)
    left = Counter(map(label, rows))
    splits: dict[str, list[Row]] = {}
    for split, count in counts.items():
        splits[split] = []
        while len(splits[split]) < count:
            if not order:
                many = f" of each of {len(left)} labels" if len(left) > 1 else ""
                raise UserError(
                    f"task.holdout={count} leaves no training example{many}: there are {len(rows)}, with "
                    f"{inputs} different inputs"
                )
            drawn = order.pop()
            labels = Counter(map(label, groups[drawn]))
            if all(left[one] > number for one, number in labels.items()):
                left -= labels
                splits[split] += groups.pop(drawn)
    return {"train": [row for rest in groups.values() for row in rest], **splits}


class ReleaseTask(Task):
    """A task of an official release, which is read from task.path, or had from the hub."""

    @classmethod
    def identity(cls, config: TaskConfig) -> str:
        """The content of a local release, else where it comes from."""
        return cls.source(config) or "hub"

    @classmethod
    def source(cls, config: TaskConfig) -> str | None:
        return None if config.path is None else f"files:{content_identity(release_path(config.path))}"


class GeneratedTask(Task):
    """A task whose examples are generated, as many as are asked for."""

    keys: ClassVar[tuple[str, ...]] = ()
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


def meaningless(key: str, task: str) -> str:
    """The line that says so of a key of the configuration that the task does not take."""
    takers = [f"task={name}" for name, one in TASKS.items() if key in one.keys]
    word = "take" if len(takers) > 1 else "takes"
    return f"task.{key} has no meaning for task={task}; {', '.join(takers)} {word} it"
