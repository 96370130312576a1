"""What is said of things."""

from __future__ import annotations

from typing import NamedTuple

from experiments.embedded.nli.statements.denotation import types_of
from experiments.embedded.nli.taxonomy import PLACES, plural_of


class Description(NamedTuple):
    """What is said of things: any of an adjective, a noun, an activity and a place."""

    adjective: str | None = None
    noun: str | None = None
    activity: str | None = None
    place: str | None = None

    def types(self) -> int:
        """The set of types that fit, as a bit mask."""
        return types_of(self)

    def text(self, plural: bool, article: bool = False) -> str:
        """As words: ``small dogs running in the park``, or in the singular, with an article if asked."""
        words = [self.adjective, plural_of(self.noun) if plural and self.noun else self.noun, self.activity]
        phrase = " ".join(word for word in words if word)
        if article and self.noun and not plural:
            phrase = f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
        if self.place in PLACES:
            return f"{phrase} {self.place}".strip()
        return f"{phrase} in the {self.place}".strip() if self.place else phrase

    def size(self) -> int:
        """How many words are given."""
        return sum(word is not None for word in self)
