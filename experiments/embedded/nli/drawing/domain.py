"""The words that go together in one pair, and those near each of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from experiments.embedded.nli.drawing.chance import pick
from experiments.embedded.nli.taxonomy import (
    ACTIVITIES,
    ADJECTIVES,
    AGES,
    ANIMAL_CLASSES,
    NOUNS,
    PLACES,
    PLAIN_ACTIVITIES,
    SIZES,
)


def _relatives(tree: Mapping[str, Sequence[str]], top: str | None = None) -> dict[str, list[str]]:
    """Words near each word of a class > leaf tree: above it (twice, to be likelier), below and beside."""
    relatives: dict[str, list[str]] = {}
    above_all = [top] if top else []
    for group, leaves in tree.items():
        relatives[group] = [*above_all, *leaves, *(other for other in tree if other != group)]
        for leaf in leaves:
            beside = [other for other in leaves if other != leaf]
            relatives[leaf] = [group, *above_all] * 2 + beside
    if top:
        relatives[top] = [*tree, *(leaf for leaves in tree.values() for leaf in leaves)]
    return relatives


class Domain:
    """The words for one kind of beings: what they may be and do."""

    def __init__(self, kind: str) -> None:
        beings = [leaf for leaves in NOUNS[kind].values() for leaf in leaves]
        self.nouns = beings * 2 + [*NOUNS[kind]] * 3 + [kind] * 3
        classes = ANIMAL_CLASSES if kind == "animal" else tuple(ACTIVITIES)
        tree = {group: ACTIVITIES[group] for group in classes}
        leaves = [leaf for group in tree.values() for leaf in group]
        self.activities = [*leaves, *leaves, *PLAIN_ACTIVITIES, *PLAIN_ACTIVITIES, *classes, *classes]
        self.near = _relatives(NOUNS[kind], kind) | _relatives(tree) | _relatives(PLACES)
        self.near |= dict(
            zip(PLAIN_ACTIVITIES, ([other, *leaves] for other in reversed(PLAIN_ACTIVITIES)), strict=True)
        )
        for one, other in (SIZES, AGES):
            self.near |= {one: [other, *ADJECTIVES], other: [one, *ADJECTIVES]}

    def change(self, rng: random.Random, word: str, keep: float) -> str:
        """The word, with probability `keep`, or else one near it."""
        return word if rng.random() < keep else pick(rng, self.near[word])


DOMAINS = (Domain("animal"), Domain("person"))
# Classes are as likely as two leaves.
PLACE_WORDS = tuple(leaf for leaves in PLACES.values() for leaf in leaves) + tuple(PLACES) * 2
