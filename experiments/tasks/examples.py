"""One example, and a split's examples on disk: a line of JSON each, made when it is looked at."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload


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


class StoredExamples(Sequence[Example]):
    """The examples of a file that `write_examples` wrote, mapped into memory, or some of them.

    Args:
        file: of lines.
        unpack: makes a gold answer of what its line holds.
        content: names all examples of the file.
        chosen: which of them, in this order; None for all.
    """

    def __init__(
        self,
        file: Path,
        unpack: Callable[[Any], Any],
        content: str,
        chosen: Iterable[int] | None = None,
    ) -> None:
        self._file, self._unpack, self._content = file, unpack, content
        self._bounds = array("q")
        self._bounds.frombytes(_bounds_of(file).read_bytes())
        with file.open("rb") as opened:
            self._lines = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        count = len(self._bounds) - 1
        self._chosen: Sequence[int] = range(count) if chosen is None else array("q", chosen)

    def some(self, chosen: Iterable[int]) -> StoredExamples:
        """Of all examples of the file, those with these indices."""
        return StoredExamples(self._file, self._unpack, self._content, chosen)

    @property
    def content(self) -> str:
        """Names these examples."""
        if isinstance(self._chosen, range):
            return self._content
        return hashlib.sha256(f"{self._content} {[*self._chosen]}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        line = self._chosen[index]
        name, prompt, target, sentences, packed = json.loads(
            self._lines[self._bounds[line] : self._bounds[line + 1]]
        )
        return Example(name, prompt, target, tuple(sentences), self._unpack(packed))


def write_examples(
    file: Path, examples: Iterable[Example], pack: Callable[[Any], Any], unpack: Callable[[Any], Any]
) -> None:
    """Write a line for each, and where each begins and ends into a file beside it.

    Raises:
        TypeError: a gold answer does not come back from JSON as it was.
    """
    bounds = array("q", [0])
    with file.open("wb") as opened:
        for one in examples:
            packed = pack(one.gold)
            text = json.dumps([one.id, one.prompt, one.target, one.sentences, packed])
            back = unpack(json.loads(json.dumps(packed)))
            if type(back) is not type(one.gold) or back != one.gold:
                raise TypeError(f"{one.gold!r} does not come back from JSON")
            opened.write(text.encode() + b"\n")
            bounds.append(opened.tell())
    _bounds_of(file).write_bytes(bounds.tobytes())


def _bounds_of(file: Path) -> Path:
    return file.with_suffix(".bounds")


def content_of(splits: Mapping[str, Sequence[Example]]) -> str:
    """A hash of every example, whatever file it is from; where an object lies in memory is left out."""
    found = hashlib.sha256()
    for split, examples in splits.items():
        for one in examples:
            gold = re.sub(r" at 0x[0-9a-f]+", "", repr(one.gold))
            found.update(repr((split, one.prompt, one.target, one.sentences, gold)).encode())
    return found.hexdigest()[:16]
