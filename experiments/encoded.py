"""A split as token ids: a few flat arrays, which processes that map the same files share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np


@dataclass(frozen=True)
class Encoded:
    """Token ids of one example.  From `target_start` on they are the answer (a class has none there).

    `label` is the number of a class, or the answer where that is a number (a regression's); -1 in a text.
    `segments` are the numbers that an encoder's tokenizer gives the sentences; empty where it has none.
    """

    ids: tuple[int, ...]
    target_start: int
    label: float = -1
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class EncodedSplit(Sequence[Encoded]):
    """The examples of a split, in its order.

    Attributes:
        ids: (tokens,), int32, those of all examples one after the other.
        bounds: (examples + 1,), int64: example i has ids[bounds[i] : bounds[i + 1]].
        target_starts: (examples,), int32.
        labels: (examples,), float64.
        segments: (tokens,), int8; (0,) where there are none.
        truncated: how many examples were shortened.
    """

    ids: np.ndarray
    bounds: np.ndarray
    target_starts: np.ndarray
    labels: np.ndarray
    segments: np.ndarray
    truncated: int = 0

    @classmethod
    def of(cls, examples: Iterable[Encoded], truncated: int = 0) -> Self:
        """Of examples one by one, none of which is kept."""
        from array import array

        ids, segments = array("i"), array("b")
        bounds, starts, labels = array("q", [0]), array("i"), array("d")
        for one in examples:
            ids.extend(one.ids)
            segments.extend(one.segments)
            bounds.append(len(ids))
            starts.append(one.target_start)
            labels.append(one.label)
        return cls(
            np.array(ids, np.int32),
            np.array(bounds, np.int64),
            np.array(starts, np.int32),
            np.array(labels, np.float64),
            np.array(segments, np.int8),
            truncated,
        )

    def write(self, folder: Path) -> dict[str, Any]:
        """One .npy file an array; returns what `read` is to be told besides."""
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        return {"truncated": self.truncated}

    @classmethod
    def read(cls, folder: Path, about: dict[str, Any]) -> Self:
        """Mapped into memory, so that processes share what they look at."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return cls(**arrays, truncated=about["truncated"])

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start, end = self.bounds[index], self.bounds[index + 1]
        return Encoded(
            tuple(self.ids[start:end].tolist()),
            int(self.target_starts[index]),
            float(self.labels[index]),
            tuple(self.segments[start:end].tolist()),
        )

    def __iter__(self) -> Iterator[Encoded]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> list[int]:
        """Of the examples, in tokens."""
        return np.diff(self.bounds).tolist()

    @property
    def longest_target(self) -> int:
        """Tokens of the longest answer, its end of text among them."""
        return int((np.diff(self.bounds) - self.target_starts).max())


_ARRAYS = ("ids", "bounds", "target_starts", "labels", "segments")
