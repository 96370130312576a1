"""Statements at random (`draw_...`), and statements near a given one (`near_...`) to stand beside it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace
from typing import NamedTuple, TypeVar

from experiments.embedded.nli.lexicon import (
    ACTIVITIES,
    ADJECTIVES,
    AGES,
    ANIMAL_CLASSES,
    NAMES,
    NOUNS,
    NUMBERS,
    PEOPLE,
    PLACES,
    PLAIN_ACTIVITIES,
    SCALES,
    SIZES,
    THINGS,
    TRANSFERS,
    VERBS,
)
from experiments.embedded.nli.statements import (
    COMPARISONS,
    DETERMINERS,
    EQUAL,
    LESS,
    MORE,
    NOBODY,
    SOMEONE,
    Comparison,
    Counted,
    Deed,
    Description,
    Individual,
    Quantified,
    Role,
    Transfer,
    TwoIndividuals,
)

T = TypeVar("T")

# Uniform choices, drawn faster than by `random.choice`.


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.random() * len(options))]


def index(rng: random.Random, options: Sized) -> int:
    """The position of one of the options."""
    return int(rng.random() * len(options))


def different(rng: random.Random, options: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` of the options, no two the same."""
    return tuple(rng.sample(options, count))


# --------------------------------------------------------------------------------------- what a pair is about


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


class Scene(NamedTuple):
    """What is shared by a hypothesis and the premises tried for it."""

    domain: Domain
    names: tuple[str, ...]
    people: tuple[str, ...]


def draw_scene(rng: random.Random) -> Scene:
    return Scene(pick(rng, DOMAINS), different(rng, NAMES, 3), different(rng, PEOPLE, 3))


# --------------------------------------------------------------------------------------------- sets of things


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


# ------------------------------------------------------------------------------------------------ individuals


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


# ----------------------------------------------------------------------------------------------------- people


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
