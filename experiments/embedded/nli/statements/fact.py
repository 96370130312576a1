"""Facts about independent unknowns: alternatives of conditions."""

from __future__ import annotations

from typing import Any

# Conditions that hold together: unknown -> the set of its values that fit, as a bit mask.
Case = dict[Any, int]


class Fact:
    """A statement that is true in one list of alternative cases and false in another."""

    def cases(self, holds: bool) -> list[Case]:
        """The alternatives in which the statement is true, or, not `holds`, false."""
        raise NotImplementedError

    def allows(self, other: Fact, holds: bool) -> bool:
        return any(
            all(values & theirs.get(unknown, values) for unknown, values in mine.items())
            for theirs in other.cases(holds)
            for mine in self.cases(True)
        )
