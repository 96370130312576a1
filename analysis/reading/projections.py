"""What is stored for each projection of a model, read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias, TypeVar

from lora.targets import LETTERS

Key: TypeAlias = tuple[int, str]
"""A projection: the layer, from 0, and one of q k v o gate up down."""

Value = TypeVar("Value")


class Projections(Mapping[Key, Value]):
    """What is stored for each (layer, letter), by layer and then in the order q k v o gate up down.

    Attributes:
        source: where it is from, for errors and captions.
        layers: the layers that have something, from 0.
        letters: the letters that some layer has.
    """

    def __init__(
        self, source: str, shapes: Mapping[Key, tuple[int, int]], read: Callable[[Key], Value]
    ) -> None:
        self.source = source
        self._shapes = {key: shapes[key] for key in sorted(shapes, key=_order)}
        self._read = read
        self.layers = tuple(dict.fromkeys(layer for layer, _ in self._shapes))
        self.letters = tuple(letter for letter in LETTERS if any(letter == found for _, found in shapes))

    def shape(self, layer: int, letter: str) -> tuple[int, int]:
        """(d_out, d_in) of dW, without reading it.  A KeyError where there is no such projection."""
        return self._shapes[self._present((layer, letter))]

    def __getitem__(self, key: Key) -> Value:
        return self._read(self._present(key))

    def __contains__(self, key: object) -> bool:
        return key in self._shapes

    def __iter__(self) -> Iterator[Key]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def _present(self, key: Key) -> Key:
        if key not in self._shapes:
            there = f"{' '.join(self.letters)} of {len(self.layers)} layers"
            raise KeyError(f"{self.source}: holds nothing for {key}; it has {there}")
        return key


def _order(key: Key) -> tuple[int, int]:
    return key[0], LETTERS.index(key[1])
