"""Statements about named individuals: hypernyms, negations and conjunctions."""

from __future__ import annotations

import random

from experiments.embedded.nli.drawing.chance import different, pick
from experiments.embedded.nli.drawing.description import draw_predicate, near_description, shortened
from experiments.embedded.nli.drawing.domain import PLACE_WORDS
from experiments.embedded.nli.drawing.scene import Scene
from experiments.embedded.nli.statements.description import Description
from experiments.embedded.nli.statements.individual import Individual, TwoIndividuals
from experiments.embedded.nli.taxonomy import ADJECTIVES

# Connectives of two names, with whether the sentence is positive.
_JOINTS = (("and", True), ("and", False), ("or", True), ("neither", True))


def draw_hypernym(rng: random.Random, scene: Scene) -> Individual:
    domain, draw = scene.domain, rng.random()
    noun = pick(rng, domain.nouns)
    description = Description(noun=noun)
    if draw < 0.3:
        description = Description(adjective=pick(rng, ADJECTIVES), noun=noun)
    elif draw < 0.55:
        description = Description(noun=noun, activity=pick(rng, domain.activities))
    elif draw < 0.8:
        description = Description(noun=noun, place=pick(rng, PLACE_WORDS))
    return Individual(scene.names[:1], "", rng.random() < 0.75, description)


def draw_negation(rng: random.Random, scene: Scene) -> Individual:
    return Individual(scene.names[:1], "", rng.random() < 0.4, draw_predicate(rng, scene))


def near_individual(rng: random.Random, scene: Scene, near: Individual) -> Individual:
    name = near.names[0] if rng.random() < 0.93 else scene.names[1]
    positive = rng.random() < 0.7
    description = near_description(rng, scene, near.description, 0.75)
    return Individual((name,), "", positive, description if positive else shortened(rng, description, 2))


def draw_conjunction(rng: random.Random, scene: Scene) -> Individual:
    description = draw_predicate(rng, scene)
    if rng.random() < 0.5:
        return Individual((pick(rng, scene.names),), "", rng.random() < 0.5, description)
    return Individual(different(rng, scene.names, 2), *pick(rng, _JOINTS), description)


def near_conjunction(rng: random.Random, scene: Scene, near: Individual) -> Individual | TwoIndividuals:
    names = different(rng, scene.names, 2)
    if rng.random() < 0.4:
        first, second = (_near_half(rng, scene, name, near.description) for name in names)
        if first.description.size() and second.description.size():
            return TwoIndividuals(first, second)
    description = shortened(rng, near_description(rng, scene, near.description, 0.88), 3)
    return Individual(names, *pick(rng, _JOINTS), description)


def _near_half(rng: random.Random, scene: Scene, name: str, near: Description) -> Individual:
    """One half of a premise about two: short, and without a noun, so that what is left may be empty."""
    positive = rng.random() < 0.75
    description = near_description(rng, scene, near, 0.88)._replace(noun=None)
    return Individual((name,), "", positive, shortened(rng, description, 2))
