"""Statements about how many a set has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from experiments.embedded.nli.lexicon import NUMBERS
from experiments.embedded.nli.statements.description import Description

INFINITY = 1 << 30  # more than any number word
# Comparison -> the interval of sizes that fit the number k.
COMPARISONS: dict[str, Callable[[int], tuple[int, int]]] = {
    "": lambda k: (k, k),
    "exactly": lambda k: (k, k),
    "at least": lambda k: (k, INFINITY),
    "at most": lambda k: (0, k),
    "more than": lambda k: (k + 1, INFINITY),
    "fewer than": lambda k: (0, k - 1),
}


class Counted(NamedTuple):
    """``at least three dogs are running``: the size of a set lies in an interval."""

    comparison: str
    number: int
    subject: Description
    predicate: Description

    def text(self) -> str:
        plural = self.number > 1
        words = f"{self.comparison} {NUMBERS[self.number - 1]} {self.subject.text(plural)}"
        return f"{words.strip()} {'are' if plural else 'is'} {self.predicate.text(plural)}"

    def _members(self) -> int:
        return self.subject.types() & self.predicate.types()

    def _interval(self) -> tuple[int, int]:
        return COMPARISONS[self.comparison](self.number)

    def allows(self, other: Counted, holds: bool) -> bool:
        low, high = other._interval()
        intervals = [(low, high)] if holds else [(0, low - 1), (high + 1, INFINITY)]
        mine, theirs = self._members(), other._members()
        return any(_sizes_exist(mine, self._interval(), theirs, interval) for interval in intervals)


def _sizes_exist(first: int, first_size: tuple[int, int], second: int, second_size: tuple[int, int]) -> bool:
    """Whether two sets over these types can have sizes in these intervals.

    The number n of shared members decides: n is at most either size, and reaches it where a set has no
    types of its own to fill up with.
    """
    if max(first_size[0], second_size[0]) >= INFINITY or first_size[1] < 0 or second_size[1] < 0:
        return False
    shared = first & second
    lows = [0, 0 if first != shared else first_size[0], 0 if second != shared else second_size[0]]
    return max(lows) <= min(first_size[1], second_size[1], INFINITY if shared else 0)
