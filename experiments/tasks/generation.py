"""What tasks of generation share: an input for which several texts may be right, read from a release.

In train each text is an example of its own.  In dev and test an input is one example, generated once and
judged against all its texts; the loss recorded beside that is over all of them.
"""

from __future__ import annotations

import dataclasses
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from experiments.errors import UserError
from experiments.metrics import References, metric
from experiments.parts import DECODING, TaskConfig
from experiments.tasks.files import release_path, wrong_field
from experiments.tasks.task import SPLITS, Example, ReleaseTask

MARK = " ||"
"""Between an input and its text, as in the files of microsoft/LoRA."""


@dataclass(frozen=True)
class Group:
    """An input and all texts that the release has for it.

    Attributes:
        part: of the data, where metrics tell parts apart.
    """

    input: str
    texts: tuple[str, ...]
    part: str = ""


class GenerationTask(ReleaseTask):
    """A text is written for each input.  A task says where its release is had and how that is read.

    Attributes:
        origin: where the release is had, and which of its forms are read.
        ending: what stands between the input and its text.
    """

    labels = None
    keys: ClassVar[tuple[str, ...]] = ("path", *DECODING)
    records_loss = True
    origin: ClassVar[str]
    ending: ClassVar[str] = MARK

    @classmethod
    @abstractmethod
    def read(cls, path: Path) -> Mapping[str, Sequence[Group]]:
        """The groups of each split that a release has.

        Raises:
            UserError: it is not in a layout that is read, or a record is not as it should be.
        """

    @classmethod
    def check(cls, config: TaskConfig) -> None:
        super().check(config)
        if config.path is None:
            raise UserError(
                f"task={config.name} takes task.path=FOLDER_OR_ARCHIVE of the release; {cls.origin}"
            )
        metric(cls.metrics[0]).require()

    @classmethod
    def load(cls, config: TaskConfig) -> Self:
        found = cls.read(release_path(str(config.path)))
        if not found:
            raise UserError(f"task.path={config.path} holds no file of {cls.name}: {cls.origin}")
        return cls({split: cls.examples_of(split, found[split]) for split in SPLITS if split in found})

    @classmethod
    def examples_of(cls, split: str, groups: Iterable[Group]) -> list[Example]:
        """Of train one a text, else one a group."""
        if split == "train":
            groups = [Group(group.input, (text,), group.part) for group in groups for text in group.texts]
        return [
            Example(
                id=str(number),
                prompt=group.input + cls.ending,
                target=cls._target(group.texts[0]),
                sentences=(group.input,),
                gold=References(group.texts, group.part),
            )
            for number, group in enumerate(groups)
        ]

    @staticmethod
    def pack(gold: References) -> Any:
        return [gold.texts, gold.part]

    @staticmethod
    def unpack(packed: Any) -> References:
        texts, part = packed
        return References(tuple(texts), part)

    def references(self, example: Example) -> Sequence[Example]:
        return [dataclasses.replace(example, target=self._target(text)) for text in example.gold.texts]

    @classmethod
    def _target(cls, text: str) -> str:
        # Most tokenizers write a word with the blank before it; after a line's end there is none.
        return text if cls.ending[-1:].isspace() else f" {text}"


def records(content: Any, where: str, fields: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list in JSON, each behind where it stands.

    Raises:
        UserError: it is no list, or one is no object with these fields of these types.
    """
    if not isinstance(content, list):
        raise UserError(f"{where} is no list of records")
    for number, record in enumerate(content, start=1):
        record_at = f"{where}, record {number}"
        if not isinstance(record, dict):
            raise UserError(f"{record_at} is no object")
        if reason := wrong_field(record, fields):
            raise UserError(f"{record_at}: {reason}")
        yield record_at, record


def consecutive(pairs: Iterable[tuple[str, str]]) -> list[Group]:
    """Rows of (input, text), those together that follow each other with one input, as e2e-metrics does."""
    grouped: list[tuple[str, list[str]]] = []
    for source, text in pairs:
        if not grouped or grouped[-1][0] != source:
            grouped.append((source, []))
        grouped[-1][1].append(text)
    return [Group(source, tuple(texts)) for source, texts in grouped]


def with_texts(groups: Iterable[Group], where: str) -> list[Group]:
    """Those that have a text; how many have none is said, on stderr.

    Raises:
        UserError: none has.
    """
    groups = list(groups)
    kept = [group for group in groups if group.texts]
    if not kept:
        raise UserError(f"{where} has no text for any of its {len(groups)} inputs")
    if len(kept) < len(groups):
        print(
            f"{where}: {len(groups) - len(kept)} of {len(groups)} inputs have no text and are left out",
            file=sys.stderr,
        )
    return kept


def filled(where: str, name: str, text: object) -> str:
    """A text of a release, blanks at its ends apart.  Raises UserError where it is none or empty."""
    if not isinstance(text, str) or not text.strip():
        said = "empty" if isinstance(text, str) else f"{text!r}"[:60]
        raise UserError(f"{where}: {name} is {said}; it must be a text")
    return text.strip()
