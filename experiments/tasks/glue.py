"""GLUE (Wang et al. 2019): seven of the eight tasks of the paper's Table 2; MultiNLI has a file of its own.

The labels of GLUE's test sets are not public: the dev set, on which the paper reports, is the test split, and
rows held out of train are the dev split, on which choices are made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from experiments.errors import UserError
from experiments.identity import content_identity
from experiments.parts import TaskConfig
from experiments.tasks.examples import Example
from experiments.tasks.files import folder_files, hub_rows, release_path, tab_rows, wrong_field
from experiments.tasks.task import TASKS, Task, held_out, hold_out

HUB_ID = "nyu-mll/glue"
HUB_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"  # parquet files, no script


class GLUE(Task):
    """One task of GLUE.  Rows that share their first text stay on one side when some are held out.

    Attributes:
        folder: of the official release, with train.tsv and dev.tsv.
        texts: the one or two that are judged, as the hub calls them; in a prompt they are called so, too.
        columns: of the .tsv files, where they are called otherwise there.
        header: of .tsv files that have none.
        numbered: whether the .tsv files have a label's number, not its word.
        skips: whether rows with too few fields are left out, as GLUE's own readers do.
    """

    folder: ClassVar[str]
    texts: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    columns: ClassVar[Mapping[str, str]] = {}
    header: ClassVar[tuple[str, ...] | None] = None
    numbered: ClassVar[bool] = True
    skips: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]] = ("path", "holdout")

    @classmethod
    def load(cls, config: TaskConfig) -> Self:
        if config.path is None:
            return cls.from_hub_rows(hub_rows(cls.name, HUB_ID, HUB_REVISION, cls.name), config)
        return cls.from_path(release_path(config.path), config)

    @classmethod
    def source(cls, config: TaskConfig) -> str | None:
        return None if config.path is None else f"files:{content_identity(release_path(config.path))}"

    @classmethod
    def from_path(cls, path: Path, config: TaskConfig) -> Self:
        """From the official release: the folder of one task or of all, or an archive of either."""
        read: dict[str, list[Example]] = {}
        skipped: dict[str, int] = {}
        for name, content in folder_files(path, cls.folder, ("train.tsv", "dev.tsv")).items():
            short: list[str] = []
            read[name] = list(cls._from_tsv(content, f"{path}:{cls.folder}/{name}", short))
            if not read[name]:
                raise UserError(f"task.path={path} holds a {cls.folder}/{name} without a row; fill it")
            if short:
                skipped[f"{cls.folder}/{name}"] = len(short)
                print(
                    f"task={cls.name}: left out as GLUE's own readers do, for too few fields: {len(short)} "
                    f"rows of {len(short) + len(read[name])}, from {short[0]}, on",
                    file=sys.stderr,
                )
        task = cls._split(read["train.tsv"], read["dev.tsv"], config)
        if skipped:
            task.skipped = skipped
        return task

    @classmethod
    def from_hub_rows(cls, rows: Mapping[str, Iterable[Mapping[str, Any]]], config: TaskConfig) -> Self:
        """From the hub's layout: the texts, and label, a class's number or STS-B's score."""
        train, dev = ([*cls._from_hub(split, rows[split])] for split in ("train", "validation"))
        return cls._split(train, dev, config)

    @classmethod
    def _split(cls, train: list[Example], dev: list[Example], config: TaskConfig) -> Self:
        counts = {"dev": held_out(config, len(train))}
        splits = hold_out(train, lambda example: example.sentences[0], counts, config.seed)
        return cls({**splits, "test": dev})

    @classmethod
    def _from_tsv(cls, content: bytes, where: str, short: list[str]) -> Iterator[Example]:
        columns = [cls.columns.get(name, name) for name in (*cls.texts, "label")]
        for number, (line, row) in enumerate(tab_rows(content, where, columns, cls.header)):
            if all(column in row for column in columns):
                *texts, label = (row[column] for column in columns)
                yield cls._example(number, texts, cls._gold(line, label, cls.numbered))
            elif cls.skips:
                short.append(line)
            else:
                raise UserError(f"{line} has {len(row)} fields; it needs {', '.join(columns)}")

    @classmethod
    def _from_hub(cls, split: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Example]:
        fields: dict[str, type] = {**dict.fromkeys(cls.texts, str), "label": int if cls.labels else float}
        for number, row in enumerate(rows):
            where = f"{HUB_ID} {cls.name}, {split}, row {number}"
            if reason := wrong_field(row, fields):
                raise UserError(f"{where}: {reason}")
            yield cls._example(
                number, [row[name] for name in cls.texts], cls._gold(where, row["label"], True)
            )

    @classmethod
    def _gold(cls, where: str, label: Any, numbered: bool) -> Any:
        assert cls.labels is not None
        valid = [str(number) for number in range(len(cls.labels))] if numbered else [*cls.labels]
        if str(label) not in valid:
            raise UserError(f"{where}: label is {str(label)[:60]!r}; {cls.name}'s are {', '.join(valid)}")
        return cls.labels[valid.index(str(label))]

    @classmethod
    def _example(cls, number: int, texts: Iterable[str], gold: Any) -> Example:
        sentences = tuple(texts)
        named = zip(cls.texts, sentences, strict=True)
        prompt = "".join(f"{name}: {text.strip()}\n" for name, text in named) + "="
        return Example(str(number), prompt, f" {cls._answer(gold)}", sentences, gold)

    @classmethod
    def _answer(cls, gold: Any) -> str:
        """What a text model is to write."""
        return str(gold)


@TASKS.register
class CoLA(GLUE):
    """Is a sentence good English?"""

    name, folder, texts = "cola", "CoLA", ("sentence",)
    labels, metrics = ("unacceptable", "acceptable"), ("matthews", "accuracy")
    header = ("source", "label", "original label", "sentence")


@TASKS.register
class SST2(GLUE):
    """Does a sentence of a film review praise the film?"""

    name, folder, texts = "sst2", "SST-2", ("sentence",)
    labels, metrics = ("negative", "positive"), ("accuracy",)


@TASKS.register
class MRPC(GLUE):
    """Do two sentences of the news say the same?"""

    name, folder = "mrpc", "MRPC"
    columns: ClassVar = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
    labels, metrics = ("not_equivalent", "equivalent"), ("accuracy", "f1")


@TASKS.register
class QQP(GLUE):
    """Do two questions of Quora ask the same?"""

    name, folder, texts = "qqp", "QQP", ("question1", "question2")
    columns: ClassVar = {"label": "is_duplicate"}
    labels, metrics = ("not_duplicate", "duplicate"), ("accuracy", "f1")
    skips = True


@TASKS.register
class QNLI(GLUE):
    """Does a sentence hold the answer to a question?"""

    name, folder, texts = "qnli", "QNLI", ("question", "sentence")
    labels, metrics = ("entailment", "not_entailment"), ("accuracy",)
    numbered = False


@TASKS.register
class RTE(GLUE):
    """Does a text entail a sentence?"""

    name, folder = "rte", "RTE"
    labels, metrics = ("entailment", "not_entailment"), ("accuracy",)
    numbered = False


@TASKS.register
class STSB(GLUE):
    """How much do two sentences mean the same, from 0 to 5?  A text model writes it to 0.2, as T5 does."""

    name, folder = "stsb", "STS-B"
    columns: ClassVar = {"label": "score"}
    labels, metrics = None, ("pearson", "spearman")
    bounds = (0.0, 5.0)

    @classmethod
    def _gold(cls, where: str, label: Any, numbered: bool) -> float:
        try:
            score = round(float(label), 3)  # the hub's are float32
        except ValueError:
            score = -1.0
        if not cls.bounds[0] <= score <= cls.bounds[1]:
            raise UserError(f"{where}: score is {str(label)[:60]!r}; stsb's lie between 0 and 5")
        return score

    @classmethod
    def _answer(cls, gold: float) -> str:
        return f"{round(5 * gold) / 5:.1f}"
