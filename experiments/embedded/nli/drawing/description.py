"""Descriptions of an individual."""

from __future__ import annotations

import random

from experiments.embedded.nli.drawing.chance import pick
from experiments.embedded.nli.drawing.domain import PLACE_WORDS
from experiments.embedded.nli.drawing.scene import Scene
from experiments.embedded.nli.statements.description import Description
from experiments.embedded.nli.taxonomy import ADJECTIVES


def draw_predicate(rng: random.Random, scene: Scene) -> Description:
    """One or two words without a noun, or a noun alone."""
    draw = rng.random()
    if draw < 0.12:
        return Description(adjective=pick(rng, ADJECTIVES))
    if draw < 0.22:
        return Description(noun=pick(rng, scene.domain.nouns))
    place = pick(rng, PLACE_WORDS) if draw > 0.5 else None
    activity = pick(rng, scene.domain.activities) if draw < 0.75 else None
    return Description(activity=activity, place=place)


def near_description(rng: random.Random, scene: Scene, near: Description, keep: float) -> Description:
    """A description with words kept, changed, dropped or added; never empty."""
    domain = scene.domain
    words: list[str | None] = []
    for word, options in zip(near, (ADJECTIVES, domain.nouns, domain.activities, PLACE_WORDS), strict=True):
        if word is None:
            words.append(pick(rng, options) if rng.random() < 0.12 else None)
        else:
            words.append(None if rng.random() < 0.1 else domain.change(rng, word, keep))
    changed = Description(*words)
    return _grammatical(changed) if changed.size() else near


def _grammatical(description: Description) -> Description:
    """Without an adjective that would stand neither alone nor before a noun."""
    if description.adjective and not description.noun and description.size() > 1:
        return description._replace(adjective=None)
    return description


def shortened(rng: random.Random, description: Description, size: int) -> Description:
    """At most `size` of the words."""
    while description.size() > size:
        present = [field for field in description._fields if getattr(description, field)]
        description = description._replace(**{pick(rng, present): None})
    return _grammatical(description)
