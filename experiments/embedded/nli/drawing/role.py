"""Statements about what people do to one another and how they compare."""

from __future__ import annotations

import random
from dataclasses import replace

from experiments.embedded.nli.drawing.chance import index, pick
from experiments.embedded.nli.drawing.scene import Scene
from experiments.embedded.nli.lexicon import SCALES, THINGS, TRANSFERS, VERBS
from experiments.embedded.nli.statements.role import (
    EQUAL,
    LESS,
    MORE,
    NOBODY,
    SOMEONE,
    Comparison,
    Deed,
    Role,
    Transfer,
)


def draw_role(rng: random.Random, scene: Scene) -> Role:
    one, two, _ = scene.people
    positive, draw = rng.random() < 0.6, rng.random()
    if draw < 0.3:
        return Comparison(index(rng, SCALES), pick(rng, (LESS, EQUAL, MORE)), positive, one, two)
    if draw < 0.5:
        return Transfer(index(rng, TRANSFERS), pick(rng, THINGS), one, two, positive, rng.random() < 0.5)
    return _vague(rng, Deed(pick(rng, tuple(VERBS)), one, two, positive, rng.random() < 0.5, scene.people))


def _vague(rng: random.Random, deed: Deed) -> Deed:
    """Sometimes with someone or nobody as agent or patient."""
    if rng.random() < 0.7:
        return deed
    who = pick(rng, (SOMEONE, NOBODY))
    if pick(rng, ("agent", "patient")) == "agent":
        return replace(deed, positive=True, agent=who)
    return replace(deed, positive=True, patient=who)


def near_role(rng: random.Random, scene: Scene, near: Role) -> Role:
    positive, turned = rng.random() < 0.6, rng.random() < 0.5
    one, two, third = scene.people
    draw = rng.random()
    if draw < 0.1:
        one, two = pick(rng, ((one, third), (third, two)))
    if rng.random() < 0.4:
        one, two = two, one
    if isinstance(near, Comparison):
        scale = near.scale if rng.random() < 0.9 else index(rng, SCALES)
        return Comparison(scale, pick(rng, (LESS, EQUAL, MORE)), positive, one, two)
    if isinstance(near, Transfer):
        thing = near.thing if rng.random() < 0.9 else pick(rng, THINGS)
        return Transfer(near.deal, thing, one, two, positive, turned)
    verb = near.verb if rng.random() < 0.9 else pick(rng, tuple(VERBS))
    return _vague(rng, Deed(verb, one, two, positive, turned, scene.people))
