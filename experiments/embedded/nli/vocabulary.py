"""Every word of the closed English."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.embedded.nli.lexicon import FUNCTION_WORDS, NAMES, NUMBERS, SCALES, THINGS, TRANSFERS, VERBS
from experiments.embedded.nli.statements.counted import COMPARISONS
from experiments.embedded.nli.statements.quantified import DETERMINERS
from experiments.embedded.nli.statements.role import NOBODY, SOMEONE
from experiments.embedded.nli.taxonomy import (
    ACTIVITIES,
    ADJECTIVES,
    NOUNS,
    PLACES,
    PLAIN_ACTIVITIES,
    plural_of,
)


def words() -> frozenset[str]:
    """Every word that a pair can have."""
    nouns = [
        word for kind, groups in NOUNS.items() for group in groups for word in (kind, group, *groups[group])
    ]
    kinds: list[Iterable[str]] = [
        nouns,
        map(plural_of, nouns),
        ADJECTIVES,
        PLACES,
        *PLACES.values(),
        ACTIVITIES,
        *ACTIVITIES.values(),
        PLAIN_ACTIVITIES,
        NAMES,
        NUMBERS,
        VERBS,
        VERBS.values(),
        *(forms for deal in TRANSFERS for forms in deal),
        THINGS,
        *SCALES,
        (SOMEONE, NOBODY),
        *map(str.split, (*DETERMINERS, *COMPARISONS)),
        FUNCTION_WORDS,
    ]
    return frozenset(word for kind in kinds for word in kind)
