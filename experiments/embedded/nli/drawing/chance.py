"""Uniform choices, drawn faster than by `random.choice`."""

from __future__ import annotations

import random
from collections.abc import Sequence, Sized
from typing import TypeVar

T = TypeVar("T")


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.random() * len(options))]


def index(rng: random.Random, options: Sized) -> int:
    """The position of one of the options."""
    return int(rng.random() * len(options))


def different(rng: random.Random, options: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` of the options, no two the same."""
    return tuple(rng.sample(options, count))
