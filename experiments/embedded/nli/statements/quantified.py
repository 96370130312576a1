"""Statements about all, some or none of a set."""

from __future__ import annotations

from typing import NamedTuple

from experiments.embedded.nli.statements.denotation import EVERYTHING
from experiments.embedded.nli.statements.description import Description

# Determiner -> whether its noun is plural, and its corner of the square of opposition:
# A all are, E none are, I some are, O some are not.
DETERMINERS = {
    "all": (True, "A"),
    "every": (False, "A"),
    "no": (True, "E"),
    "none of the": (True, "E"),
    "some": (True, "I"),
    "some not": (True, "O"),  # some dogs are not ...
    "not all": (True, "O"),
    "not every": (False, "O"),
}
CONTRADICTORY = {"A": "O", "O": "A", "E": "I", "I": "E"}


class Quantified(NamedTuple):
    """``not all small dogs in the park are running``: a determiner over a subject and a predicate."""

    determiner: str
    subject: Description
    predicate: Description

    def text(self) -> str:
        plural, _ = DETERMINERS[self.determiner]
        determiner, verb = self.determiner, "are" if plural else "is"
        if determiner == "some not":
            determiner, verb = "some", "are not"
        return f"{determiner} {self.subject.text(plural)} {verb} {self.predicate.text(plural)}"

    def _conditions(self, holds: bool) -> tuple[int, list[int]]:
        """The types that must not occur, and the sets of which some type must."""
        _, corner = DETERMINERS[self.determiner]
        subject = self.subject.types()
        inside = subject & self.predicate.types()
        present = [] if self.determiner.startswith("some") else [subject]
        if not holds:
            corner = CONTRADICTORY[corner]
        struck = {"A": subject ^ inside, "E": inside}.get(corner, 0)
        if corner in "IO":
            present = [*present, inside if corner == "I" else subject ^ inside]
        return struck, present

    def allows(self, other: Quantified, holds: bool) -> bool:
        struck, present = self._conditions(True)
        other_struck, other_present = other._conditions(holds)
        alive = EVERYTHING ^ (struck | other_struck)
        return all(types & alive for types in (*present, *other_present))
