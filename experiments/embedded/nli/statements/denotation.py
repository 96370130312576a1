"""Words as sets of types: a type is what a thing can be along every dimension of the taxonomy."""

from __future__ import annotations

from functools import lru_cache

from experiments.embedded.nli.taxonomy import ACTIVITIES, AGES, NOUNS, PLACES, PLAIN_ACTIVITIES, SIZES


def _denotations() -> tuple[dict[str, int], int]:
    """The set of types each word stands for, as a bit mask, and the set of all types."""
    nouns = {
        leaf: (kind, group, leaf)
        for kind, groups in NOUNS.items()
        for group in groups
        for leaf in groups[group]
    }
    places = {leaf: (group, leaf) for group, leaves in PLACES.items() for leaf in leaves}
    activities = {leaf: (group, leaf) for group, leaves in ACTIVITIES.items() for leaf in leaves}
    # The empty tuple is the value that no word names: elsewhere, doing something else, middle-sized.
    dimensions: list[list[tuple[str, ...]]] = [
        list(nouns.values()),
        [(size,) for size in SIZES] + [()],
        [(age,) for age in AGES] + [()],
        [*places.values(), ()],
        [*activities.values(), *((leaf,) for leaf in PLAIN_ACTIVITIES), ()],
    ]
    sets: dict[str, int] = {}
    width = 1
    for values in dimensions:
        # Grow the space by one dimension: a type is a mixed-radix number, this dimension its leading digit.
        block = (1 << width) - 1
        copies = sum(1 << (width * i) for i in range(len(values)))
        sets = {word: mask * copies for word, mask in sets.items()}
        for i, names in enumerate(values):
            for name in names:
                sets[name] = sets.get(name, 0) | block << (width * i)
        width *= len(values)
    return sets, (1 << width) - 1


DENOTATION, EVERYTHING = _denotations()


@lru_cache(maxsize=2048)  # of a few kB each; a hypothesis is compared with many premises
def types_of(words: tuple[str | None, ...]) -> int:
    """The set of types that fit all the words, as a bit mask; None is no word."""
    types = EVERYTHING
    for word in words:
        if word is not None:
            types &= DENOTATION[word]
    return types
