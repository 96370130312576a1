"""A subject and a predicate, and the quantified and counted statements made of them."""

from __future__ import annotations

import random

from experiments.embedded.nli.drawing.chance import index, pick
from experiments.embedded.nli.drawing.domain import PLACE_WORDS
from experiments.embedded.nli.drawing.scene import Scene
from experiments.embedded.nli.lexicon import NUMBERS
from experiments.embedded.nli.statements.counted import COMPARISONS, Counted
from experiments.embedded.nli.statements.description import Description
from experiments.embedded.nli.statements.quantified import DETERMINERS, Quantified
from experiments.embedded.nli.taxonomy import ADJECTIVES


def _place(rng: random.Random, chance: float) -> str | None:
    return pick(rng, PLACE_WORDS) if rng.random() < chance else None


def _changed_place(
    rng: random.Random, scene: Scene, place: str | None, keep: float, chance: float
) -> str | None:
    if place is None or rng.random() < 0.08:
        return _place(rng, chance)
    return scene.domain.change(rng, place, keep)


def draw_clause(rng: random.Random, scene: Scene) -> tuple[Description, Description]:
    """A subject and a predicate."""
    subject_place = _place(rng, 0.25)
    predicate_place = None if subject_place else _place(rng, 0.35)
    activity = None if predicate_place and rng.random() < 0.3 else pick(rng, scene.domain.activities)
    adjective = pick(rng, ADJECTIVES) if rng.random() < 0.3 else None
    subject = Description(adjective, pick(rng, scene.domain.nouns), None, subject_place)
    return subject, Description(None, None, activity, predicate_place)


def near_clause(
    rng: random.Random, scene: Scene, subject: Description, predicate: Description
) -> tuple[Description, Description]:
    """The clause with words kept, changed, dropped, added or moved; it keeps a noun."""
    domain = scene.domain
    adjective = subject.adjective
    if adjective is None or rng.random() < 0.15:
        adjective = pick(rng, ADJECTIVES) if rng.random() < 0.12 else None
    else:
        adjective = domain.change(rng, adjective, 0.9)
    assert subject.noun is not None
    noun = domain.change(rng, subject.noun, 0.75)
    subject_place, predicate_place = subject.place, predicate.place
    if rng.random() < 0.05:  # "some dogs in the park are running" / "some dogs are running in the park"
        subject_place, predicate_place = predicate_place, subject_place
    if predicate_place is None:
        subject_place = _changed_place(rng, scene, subject_place, 0.85, 0.07)
    if subject_place is None:
        predicate_place = _changed_place(rng, scene, predicate_place, 0.85, 0.08)
    activity = predicate.activity
    if activity is None:
        activity = pick(rng, domain.activities) if rng.random() < 0.2 or not predicate_place else None
    elif predicate_place and rng.random() < 0.1:
        activity = None
    else:
        activity = domain.change(rng, activity, 0.8)
    changed_subject = Description(adjective, noun, None, subject_place)
    return changed_subject, Description(None, None, activity, predicate_place)


def draw_quantified(rng: random.Random, scene: Scene) -> Quantified:
    return Quantified(pick(rng, tuple(DETERMINERS)), *draw_clause(rng, scene))


def near_quantified(rng: random.Random, scene: Scene, near: Quantified) -> Quantified:
    determiner = pick(rng, tuple(DETERMINERS))
    return Quantified(determiner, *near_clause(rng, scene, near.subject, near.predicate))


def _comparison_word(rng: random.Random, number: int) -> str:
    """Any comparison that can hold, and fail, of this number."""
    return pick(rng, tuple(COMPARISONS)[: 5 if number == 1 else 6])  # not "fewer than one"


def draw_counted(rng: random.Random, scene: Scene) -> Counted:
    number = 1 + index(rng, NUMBERS)
    return Counted(_comparison_word(rng, number), number, *draw_clause(rng, scene))


def near_counted(rng: random.Random, scene: Scene, near: Counted) -> Counted:
    number = near.number
    if rng.random() < 0.7:
        number = min(max(number + pick(rng, (-3, -2, -1, -1, 1, 1, 2, 3)), 1), len(NUMBERS))
    clause = near.subject, near.predicate
    if rng.random() < 0.35:
        clause = near_clause(rng, scene, *clause)
    return Counted(_comparison_word(rng, number), number, *clause)
