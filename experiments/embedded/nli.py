"""Natural-language-inference pairs in MultiNLI's layout, labelled by deciding them.

A closed, word-level English about animals and people.  Every sentence is built from a statement with a
meaning, and the label of a pair is computed from the two meanings, never written down with a template:
*entailment* if no world has the premise true and the hypothesis false, *contradiction* if none has both
true, *neutral* otherwise.  Six phenomena share three small decision procedures:

- ``quantifier``: all / every / some / no / none of / not all over sets of things; a world is the set of
  *types* (noun x size x age x place x activity) that occur, and universals strike types out.
- ``number``: ``at least three dogs are running``; intervals on the sizes of two sets.
- ``hypernym``, ``negation``, ``conjunction``, ``role``: facts about independent unknowns (the type of a named
  individual, whether one helped the other, how two people compare), as alternatives of conditions.

Conventions, where English leaves a choice:

- Two nouns, activities or places that name different leaves of the taxonomy exclude each other: nobody is
  both a doctor and a nurse, or both running and sleeping.  Big and small (old and young) are contraries:
  something may be neither.
- Every determiner but *some* presupposes that there are such things: *no dogs are running* grants that there
  are dogs.  *Some* asserts existence and presupposes nothing.  A pair whose premise denies what its
  hypothesis presupposes has no label and is not drawn.
- A bare number means *exactly* that many.
- A name says nothing about what bears it; different names and *the* descriptions are different individuals.
- Adjectives are absolute and independent of nouns: a small horse is a small animal, a boy may be old.
- *Or* is inclusive.
- What one did to another is independent of what the other did to the one, and of all else that was done:
  swapped verbs are neutral.  Comparatives are strict: a swap contradicts.

The hypothesis and the label are drawn first, independently, and then premises near the hypothesis until one
has that label: the hypothesis alone says next to nothing about the label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from experiments.embedded.split import SPLITS
from experiments.embedded.split import bucket as split_of

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
PROPORTIONS = {"quantifier": 25, "number": 20, "hypernym": 15, "negation": 15, "conjunction": 10, "role": 15}

# The taxonomy: kind > class > leaf.
NOUNS = {
    "animal": {
        "mammal": ("dog", "cat", "horse", "cow", "goat", "rabbit"),
        "bird": ("duck", "owl", "parrot", "eagle"),
    },
    "person": {
        "worker": ("doctor", "nurse", "teacher", "farmer", "baker", "driver", "lawyer", "soldier"),
        "child": ("boy", "girl"),
    },
}
IRREGULAR_PLURALS = {"person": "people", "child": "children"}
SIZES = ("big", "small")
AGES = ("old", "young")
ADJECTIVES = SIZES + AGES
PLACES = {
    "outside": ("park", "garden", "forest", "field", "street", "market"),
    "inside": ("kitchen", "office", "library", "school", "hall", "barn"),
}
ACTIVITIES = {
    "moving": ("running", "walking", "jumping", "swimming", "climbing"),
    "resting": ("sleeping", "sitting"),
    "working": ("cooking", "cleaning", "digging", "painting"),
    "performing": ("singing", "acting"),
}
PLAIN_ACTIVITIES = ("eating", "drinking")  # leaves without a class
ANIMAL_CLASSES = ("moving", "resting")  # what animals do, besides eating and drinking

# fmt: off
NAMES = (
    "max", "bella", "charlie", "ruby", "oscar", "rosie", "leo", "luna", "toby", "daisy",
    "jack", "molly", "sam", "coco", "milo", "lucy", "felix", "penny", "archie", "nina",
)
NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)
FUNCTION_WORDS = (
    "a", "an", "and", "are", "as", "by", "did", "from", "in", "is", "neither", "nor", "not", "or", "than",
    "the", "to", "was",
)
# fmt: on

# Base form -> past form (also the participle).
VERBS = {
    "help": "helped",
    "call": "called",
    "follow": "followed",
    "thank": "thanked",
    "visit": "visited",
    "push": "pushed",
    "watch": "watched",
    "chase": "chased",
    "hug": "hugged",
    "carry": "carried",
    "find": "found",
    "teach": "taught",
}
# A hands a thing to B: (base, past) seen from A, and the converse seen from B.
TRANSFERS = (
    (("sell", "sold"), ("buy", "bought")),
    (("lend", "lent"), ("borrow", "borrowed")),
    (("give", "gave"), ("get", "got")),
)
THINGS = ("book", "car", "phone", "map", "coat", "lamp")
# Plain form, more, less.
SCALES = (
    ("tall", "taller", "shorter"),
    ("fast", "faster", "slower"),
    ("rich", "richer", "poorer"),
    ("strong", "stronger", "weaker"),
    ("heavy", "heavier", "lighter"),
)

# Those who do things to one another: by name, or by what they are.
PEOPLE = NAMES + tuple(f"the {leaf}" for leaves in NOUNS["person"].values() for leaf in leaves)


@dataclass(frozen=True)
class Pair:
    """One premise and hypothesis (lower-case words, single spaces) with their label and phenomenon."""

    premise: str
    hypothesis: str
    label: Label
    phenomenon: str


class Statement(Protocol):
    """A sentence with a meaning."""

    def text(self) -> str: ...

    def allows(self, other: Any, holds: bool) -> bool:
        """Whether some world in which this statement is true makes `other` true (or, not `holds`, false)."""
        ...


def decide(premise: Statement, hypothesis: Statement) -> Label:
    """The label of two statements of one phenomenon.

    Raises:
        ValueError: the premise denies what the hypothesis presupposes, so that no label fits.
    """
    for label in LABELS:
        if _has_label(premise, hypothesis, label):
            return label
    raise ValueError(f"no label: {premise.text()!r} denies what {hypothesis.text()!r} presupposes")


def _has_label(premise: Statement, hypothesis: Statement, label: Label) -> bool:
    # The conditions that fail most often come first: most candidates have another label.
    if label == "entailment":
        return not premise.allows(hypothesis, holds=False) and premise.allows(hypothesis, holds=True)
    if label == "contradiction":
        return not premise.allows(hypothesis, holds=True) and premise.allows(hypothesis, holds=False)
    return premise.allows(hypothesis, holds=False) and premise.allows(hypothesis, holds=True)


# --- Words as sets of types ---------------------------------------------------------------------------------


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


class Description(NamedTuple):
    """What is said of things: any of an adjective, a noun, an activity and a place."""

    adjective: str | None = None
    noun: str | None = None
    activity: str | None = None
    place: str | None = None

    def types(self) -> int:
        """The set of types that fit, as a bit mask."""
        return _types(self)

    def text(self, plural: bool, article: bool = False) -> str:
        """As words: ``small dogs running in the park``, or in the singular, with an article if asked."""
        words = [self.adjective, _plural(self.noun) if plural and self.noun else self.noun, self.activity]
        phrase = " ".join(word for word in words if word)
        if article and self.noun and not plural:
            phrase = f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
        if self.place in PLACES:
            return f"{phrase} {self.place}".strip()
        return f"{phrase} in the {self.place}".strip() if self.place else phrase

    def size(self) -> int:
        return sum(word is not None for word in self)


@lru_cache(maxsize=2048)  # of a few kB each; a hypothesis is compared with many premises
def _types(words: Iterable[str | None]) -> int:
    types = EVERYTHING
    for word in words:
        if word is not None:
            types &= DENOTATION[word]
    return types


def _plural(noun: str) -> str:
    return IRREGULAR_PLURALS.get(noun, noun + "s")


# --- Quantifiers and numbers --------------------------------------------------------------------------------

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


INFINITY = 1 << 30  # more than any number word
# Comparison -> the interval of sizes that fit the number k.
COMPARISONS: dict[str, Callable[[int], tuple[int, int]]] = {
    "": lambda k: (k, k),
    "exactly": lambda k: (k, k),
    "at least": lambda k: (k, INFINITY),
    "at most": lambda k: (0, k),
    "more than": lambda k: (k + 1, INFINITY),
    "fewer than": lambda k: (0, k - 1),
}


class Counted(NamedTuple):
    """``at least three dogs are running``: the size of a set lies in an interval."""

    comparison: str
    number: int
    subject: Description
    predicate: Description

    def text(self) -> str:
        plural = self.number > 1
        words = f"{self.comparison} {NUMBERS[self.number - 1]} {self.subject.text(plural)}"
        return f"{words.strip()} {'are' if plural else 'is'} {self.predicate.text(plural)}"

    def _members(self) -> int:
        return self.subject.types() & self.predicate.types()

    def _interval(self) -> tuple[int, int]:
        return COMPARISONS[self.comparison](self.number)

    def allows(self, other: Counted, holds: bool) -> bool:
        low, high = other._interval()
        intervals = [(low, high)] if holds else [(0, low - 1), (high + 1, INFINITY)]
        mine, theirs = self._members(), other._members()
        return any(_sizes_exist(mine, self._interval(), theirs, interval) for interval in intervals)


def _sizes_exist(first: int, first_size: tuple[int, int], second: int, second_size: tuple[int, int]) -> bool:
    """Whether two sets over these types can have sizes in these intervals.

    The number n of shared members decides: n is at most either size, and reaches it where a set has no
    types of its own to fill up with.
    """
    if max(first_size[0], second_size[0]) >= INFINITY or first_size[1] < 0 or second_size[1] < 0:
        return False
    shared = first & second
    lows = [0, 0 if first != shared else first_size[0], 0 if second != shared else second_size[0]]
    return max(lows) <= min(first_size[1], second_size[1], INFINITY if shared else 0)


# --- Facts about independent unknowns -----------------------------------------------------------------------

# Conditions that hold together: unknown -> the set of its values that fit, as a bit mask.
Case = dict[Any, int]


class _Fact:
    """A statement that is a list of alternative cases, with the list of those in which it is false."""

    def cases(self, holds: bool) -> list[Case]:
        raise NotImplementedError

    def allows(self, other: _Fact, holds: bool) -> bool:
        return any(
            all(values & theirs.get(unknown, values) for unknown, values in mine.items())
            for theirs in other.cases(holds)
            for mine in self.cases(True)
        )


@dataclass(frozen=True, slots=True)
class Individual(_Fact):
    """``max is not a dog``, ``max and leo are sleeping``, ``neither max nor leo is big``."""

    names: tuple[str, ...]  # one or two
    connective: str  # "" for one name; "and", "or", "neither" for two
    positive: bool
    description: Description

    def text(self) -> str:
        plural = self.connective == "and"
        lead = "neither " if self.connective == "neither" else ""
        link = {"neither": " nor "}.get(self.connective, f" {self.connective} ")
        verb = ("are" if plural else "is") + ("" if self.positive else " not")
        return f"{lead}{link.join(self.names)} {verb} {self.description.text(plural, article=True)}"

    def cases(self, holds: bool) -> list[Case]:
        # "neither a nor b is" denies "a or b is"; "a and b are not" is said of each.
        each = self.positive if self.connective != "neither" else False
        together = self.connective != "or"
        types = self.description.types()
        values = types if each == holds else EVERYTHING ^ types
        if together == holds:
            return [dict.fromkeys(self.names, values)]
        return [{name: values} for name in self.names]


@dataclass(frozen=True, slots=True)
class TwoIndividuals(_Fact):
    """``max is running and leo is in the park``."""

    first: Individual
    second: Individual

    def text(self) -> str:
        return f"{self.first.text()} and {self.second.text()}"

    def cases(self, holds: bool) -> list[Case]:
        if not holds:
            return [*self.first.cases(False), *self.second.cases(False)]
        return [{**self.first.cases(True)[0], **self.second.cases(True)[0]}]


TRUE, FALSE = 0b10, 0b01
SOMEONE, NOBODY = "someone", "nobody"
_STRANGER = "a stranger"  # whoever is not named in the sentence


@dataclass(frozen=True, slots=True)
class Deed(_Fact):
    """``max helped leo``, ``leo was not helped by max``, ``nobody helped leo``."""

    verb: str
    agent: str  # a name, a description with "the", or for one of the two: someone, nobody
    patient: str
    positive: bool
    passive: bool
    cast: tuple[str, ...]  # all who are named in the pair

    def text(self) -> str:
        past = VERBS[self.verb]
        if self.passive:
            return f"{self.patient} was {'' if self.positive else 'not '}{past} by {self.agent}"
        return f"{self.agent} {past if self.positive else f'did not {self.verb}'} {self.patient}"

    def cases(self, holds: bool) -> list[Case]:
        anyone = (*self.cast, _STRANGER)
        agents = anyone if self.agent in (SOMEONE, NOBODY) else (self.agent,)
        patients = anyone if self.patient in (SOMEONE, NOBODY) else (self.patient,)
        deeds = [(self.verb, agent, patient) for agent in agents for patient in patients if agent != patient]
        done = self.positive and NOBODY not in (self.agent, self.patient)
        if done == holds:
            return [{deed: TRUE} for deed in deeds]
        return [dict.fromkeys(deeds, FALSE)]


@dataclass(frozen=True, slots=True)
class Transfer(_Fact):
    """``max sold the car to leo``, or its converse ``leo bought the car from max``."""

    deal: int
    thing: str
    giver: str
    taker: str
    positive: bool
    converse: bool

    def text(self) -> str:
        base, past = TRANSFERS[self.deal][self.converse]
        verb = past if self.positive else f"did not {base}"
        if self.converse:
            return f"{self.taker} {verb} the {self.thing} from {self.giver}"
        return f"{self.giver} {verb} the {self.thing} to {self.taker}"

    def cases(self, holds: bool) -> list[Case]:
        return [{(self.deal, self.thing, self.giver, self.taker): TRUE if self.positive == holds else FALSE}]


LESS, EQUAL, MORE = 0b001, 0b010, 0b100


@dataclass(frozen=True, slots=True)
class Comparison(_Fact):
    """``max is not taller than leo``: which of less, equal and more hold between two people on a scale."""

    scale: int
    order: int  # LESS, EQUAL or MORE
    positive: bool
    first: str
    second: str

    def text(self) -> str:
        plain, more, less = SCALES[self.scale]
        how = {MORE: f"{more} than", LESS: f"{less} than", EQUAL: f"exactly as {plain} as"}[self.order]
        return f"{self.first} is {'' if self.positive else 'not '}{how} {self.second}"

    def cases(self, holds: bool) -> list[Case]:
        order, one, two = self.order, self.first, self.second
        if one > two:  # one unknown for the two directions
            order, one, two = {LESS: MORE, MORE: LESS, EQUAL: EQUAL}[order], two, one
        values = order if self.positive == holds else (LESS | EQUAL | MORE) ^ order
        return [{(self.scale, one, two): values}]


# --- Drawing statements and their neighbours ----------------------------------------------------------------

T = TypeVar("T")


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


class _Domain:
    """The words for one kind of beings: what they may be and do."""

    def __init__(self, kind: str) -> None:
        self.leaves = [leaf for leaves in NOUNS[kind].values() for leaf in leaves]
        self.nouns = self.leaves * 2 + [*NOUNS[kind]] * 3 + [kind] * 3
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
        return word if rng.random() < keep else _pick(rng, self.near[word])


DOMAINS = (_Domain("animal"), _Domain("person"))
PLACE_WORDS = tuple(leaf for leaves in PLACES.values() for leaf in leaves) + tuple(PLACES) * 2


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]


def _index(rng: random.Random, options: Sized) -> int:
    return int(rng.random() * len(options))


def _different(rng: random.Random, options: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(rng.sample(options, count))


class _Scene(NamedTuple):
    """What a pair is about: shared by the hypothesis and the premises tried for it."""

    domain: _Domain
    names: tuple[str, ...]
    people: tuple[str, ...]


def _scene(rng: random.Random) -> _Scene:
    return _Scene(_pick(rng, DOMAINS), _different(rng, NAMES, 3), _different(rng, PEOPLE, 3))


def _place(rng: random.Random, chance: float) -> str | None:
    return _pick(rng, PLACE_WORDS) if rng.random() < chance else None


def _changed_place(
    rng: random.Random, scene: _Scene, place: str | None, keep: float, chance: float
) -> str | None:
    if place is None or rng.random() < 0.15:
        return _place(rng, chance)
    return scene.domain.change(rng, place, keep)


def _draw_clause(rng: random.Random, scene: _Scene) -> tuple[Description, Description]:
    """A subject and a predicate."""
    subject_place = _place(rng, 0.25)
    predicate_place = None if subject_place else _place(rng, 0.35)
    activity = None if predicate_place and rng.random() < 0.3 else _pick(rng, scene.domain.activities)
    adjective = _pick(rng, ADJECTIVES) if rng.random() < 0.3 else None
    subject = Description(adjective, _pick(rng, scene.domain.nouns), None, subject_place)
    return subject, Description(None, None, activity, predicate_place)


def _near_clause(
    rng: random.Random, scene: _Scene, subject: Description, predicate: Description
) -> tuple[Description, Description]:
    domain = scene.domain
    adjective = subject.adjective
    if adjective is None or rng.random() < 0.3:
        adjective = _pick(rng, ADJECTIVES) if rng.random() < 0.25 else None
    else:
        adjective = domain.change(rng, adjective, 0.8)
    assert subject.noun is not None
    noun = domain.change(rng, subject.noun, 0.55)
    subject_place, predicate_place = subject.place, predicate.place
    if rng.random() < 0.15:  # "some dogs in the park are running" / "some dogs are running in the park"
        subject_place, predicate_place = predicate_place, subject_place
    if predicate_place is None:
        subject_place = _changed_place(rng, scene, subject_place, 0.75, 0.15)
    if subject_place is None:
        predicate_place = _changed_place(rng, scene, predicate_place, 0.7, 0.2)
    activity = predicate.activity
    if activity is None:
        activity = _pick(rng, domain.activities) if rng.random() < 0.4 or not predicate_place else None
    elif predicate_place and rng.random() < 0.1:
        activity = None
    else:
        activity = domain.change(rng, activity, 0.6)
    changed_subject = Description(adjective, noun, None, subject_place)
    return changed_subject, Description(None, None, activity, predicate_place)


def _draw_quantified(rng: random.Random, scene: _Scene) -> Quantified:
    return Quantified(_pick(rng, tuple(DETERMINERS)), *_draw_clause(rng, scene))


def _near_quantified(rng: random.Random, scene: _Scene, near: Quantified) -> Quantified:
    determiner = _pick(rng, tuple(DETERMINERS))
    return Quantified(determiner, *_near_clause(rng, scene, near.subject, near.predicate))


def _comparison_word(rng: random.Random, number: int) -> str:
    """Any comparison that can hold, and fail, of this number."""
    return _pick(rng, tuple(COMPARISONS)[: 5 if number == 1 else 6])  # not "fewer than one"


def _draw_counted(rng: random.Random, scene: _Scene) -> Counted:
    number = 1 + int(rng.random() * len(NUMBERS))
    return Counted(_comparison_word(rng, number), number, *_draw_clause(rng, scene))


def _near_counted(rng: random.Random, scene: _Scene, near: Counted) -> Counted:
    number = near.number
    if rng.random() < 0.7:
        number = min(max(number + _pick(rng, (-3, -2, -1, -1, 1, 1, 2, 3)), 1), len(NUMBERS))
    clause = near.subject, near.predicate
    if rng.random() < 0.65:
        clause = _near_clause(rng, scene, *clause)
    return Counted(_comparison_word(rng, number), number, *clause)


def _near_description(rng: random.Random, scene: _Scene, near: Description, keep: float) -> Description:
    """A description with words kept, changed, dropped or added; never empty."""
    domain = scene.domain
    words: list[str | None] = []
    for word, options in zip(near, (ADJECTIVES, domain.nouns, domain.activities, PLACE_WORDS), strict=True):
        if word is None:
            words.append(_pick(rng, options) if rng.random() < 0.3 else None)
        else:
            words.append(None if rng.random() < 0.12 else domain.change(rng, word, keep))
    changed = Description(*words)
    return _grammatical(changed) if changed.size() else near


def _grammatical(description: Description) -> Description:
    """Without an adjective that would stand neither alone nor before a noun."""
    if description.adjective and not description.noun and description.size() > 1:
        return description._replace(adjective=None)
    return description


def _shortened(rng: random.Random, description: Description, size: int) -> Description:
    """At most `size` of the words."""
    while description.size() > size:
        present = [field for field in description._fields if getattr(description, field)]
        description = description._replace(**{_pick(rng, present): None})
    return _grammatical(description)


def _near_individual(rng: random.Random, scene: _Scene, near: Individual) -> Individual:
    name = near.names[0] if rng.random() < 0.93 else scene.names[1]
    positive = rng.random() < 0.7
    description = _near_description(rng, scene, near.description, 0.6)
    return Individual((name,), "", positive, description if positive else _shortened(rng, description, 2))


def _draw_hypernym(rng: random.Random, scene: _Scene) -> Individual:
    domain, draw = scene.domain, rng.random()
    noun = _pick(rng, domain.nouns)
    description = Description(noun=noun)
    if draw < 0.3:
        description = Description(adjective=_pick(rng, ADJECTIVES), noun=noun)
    elif draw < 0.55:
        description = Description(noun=noun, activity=_pick(rng, domain.activities))
    elif draw < 0.8:
        description = Description(noun=noun, place=_pick(rng, PLACE_WORDS))
    return Individual(scene.names[:1], "", rng.random() < 0.75, description)


def _draw_negation(rng: random.Random, scene: _Scene) -> Individual:
    return Individual(scene.names[:1], "", rng.random() < 0.4, _draw_predicate(rng, scene))


def _draw_predicate(rng: random.Random, scene: _Scene) -> Description:
    """One or two words without a noun, or a noun alone."""
    draw = rng.random()
    if draw < 0.12:
        return Description(adjective=_pick(rng, ADJECTIVES))
    if draw < 0.22:
        return Description(noun=_pick(rng, scene.domain.nouns))
    place = _pick(rng, PLACE_WORDS) if draw > 0.5 else None
    activity = _pick(rng, scene.domain.activities) if draw < 0.75 else None
    return Description(activity=activity, place=place)


# Connectives of two names, with whether the sentence is positive.
_JOINTS = (("and", True), ("and", False), ("or", True), ("neither", True))


def _draw_conjunction(rng: random.Random, scene: _Scene) -> Individual:
    description = _draw_predicate(rng, scene)
    if rng.random() < 0.5:
        return Individual((_pick(rng, scene.names),), "", rng.random() < 0.5, description)
    return Individual(_different(rng, scene.names, 2), *_pick(rng, _JOINTS), description)


def _near_conjunction(rng: random.Random, scene: _Scene, near: Individual) -> Individual | TwoIndividuals:
    names = _different(rng, scene.names, 2)
    if rng.random() < 0.4:
        first, second = (_near_half(rng, scene, name, near.description) for name in names)
        if first.description.size() and second.description.size():
            return TwoIndividuals(first, second)
    description = _shortened(rng, _near_description(rng, scene, near.description, 0.75), 3)
    return Individual(names, *_pick(rng, _JOINTS), description)


def _near_half(rng: random.Random, scene: _Scene, name: str, near: Description) -> Individual:
    """One half of a premise about two: short, and without a noun, so that what is left may be empty."""
    positive = rng.random() < 0.75
    description = _near_description(rng, scene, near, 0.75)._replace(noun=None)
    return Individual((name,), "", positive, _shortened(rng, description, 2))


Role = Deed | Transfer | Comparison


def _draw_role(rng: random.Random, scene: _Scene) -> Role:
    one, two, _ = scene.people
    positive, draw = rng.random() < 0.6, rng.random()
    if draw < 0.3:
        return Comparison(_index(rng, SCALES), _pick(rng, (LESS, EQUAL, MORE)), positive, one, two)
    if draw < 0.5:
        return Transfer(_index(rng, TRANSFERS), _pick(rng, THINGS), one, two, positive, rng.random() < 0.5)
    return _vague(rng, Deed(_pick(rng, tuple(VERBS)), one, two, positive, rng.random() < 0.5, scene.people))


def _vague(rng: random.Random, deed: Deed) -> Deed:
    """Sometimes with someone or nobody as agent or patient."""
    if rng.random() < 0.7:
        return deed
    who = _pick(rng, (SOMEONE, NOBODY))
    if _pick(rng, ("agent", "patient")) == "agent":
        return replace(deed, positive=True, agent=who)
    return replace(deed, positive=True, patient=who)


def _near_role(rng: random.Random, scene: _Scene, near: Role) -> Role:
    positive, turned = rng.random() < 0.6, rng.random() < 0.5
    one, two, third = scene.people
    draw = rng.random()
    if draw < 0.1:
        one, two = _pick(rng, ((one, third), (third, two)))
    if rng.random() < 0.4:
        one, two = two, one
    if isinstance(near, Comparison):
        scale = near.scale if rng.random() < 0.9 else _index(rng, SCALES)
        return Comparison(scale, _pick(rng, (LESS, EQUAL, MORE)), positive, one, two)
    if isinstance(near, Transfer):
        thing = near.thing if rng.random() < 0.9 else _pick(rng, THINGS)
        return Transfer(near.deal, thing, one, two, positive, turned)
    verb = near.verb if rng.random() < 0.9 else _pick(rng, tuple(VERBS))
    return _vague(rng, Deed(verb, one, two, positive, turned, scene.people))


# --- Pairs --------------------------------------------------------------------------------------------------

# Phenomenon -> how to draw a hypothesis, and a premise near it.
PHENOMENA: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "quantifier": (_draw_quantified, _near_quantified),
    "number": (_draw_counted, _near_counted),
    "hypernym": (_draw_hypernym, _near_individual),
    "negation": (_draw_negation, _near_individual),
    "conjunction": (_draw_conjunction, _near_conjunction),
    "role": (_draw_role, _near_role),
}
_CUMULATIVE = tuple(accumulate(PROPORTIONS.values()))
LONGEST_PREMISE = 14  # words; hypotheses have at most 12 as drawn
TRIES = 200  # premises tried for one hypothesis and label


def sample_pair(rng: random.Random) -> Pair:
    """One pair: labels are equally likely, phenomena as in `PROPORTIONS`.

    Its sentences differ and have at most 14 (premise) and 12 (hypothesis) words.
    """
    phenomenon = rng.choices(tuple(PROPORTIONS), cum_weights=_CUMULATIVE)[0]
    label = _pick(rng, LABELS)
    draw, near = PHENOMENA[phenomenon]
    while True:
        scene = _scene(rng)
        hypothesis = draw(rng, scene)
        for _ in range(TRIES):
            premise = near(rng, scene, hypothesis)
            if _has_label(premise, hypothesis, label):
                texts = premise.text(), hypothesis.text()
                if texts[0] != texts[1] and texts[0].count(" ") < LONGEST_PREMISE:
                    return Pair(*texts, label, phenomenon)


def bucket(pair: Pair) -> str:
    """The one split a pair belongs to, by a stable hash of its two sentences."""
    return split_of(f"{pair.premise}\t{pair.hypothesis}")


def pairs(split: str, count: int, seed: int) -> Iterator[Pair]:
    """`count` distinct pairs of a split; a longer draw with the same seed begins with the shorter one.

    Raises:
        ValueError: the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    return islice(_distinct(split, random.Random(f"nli {split} {seed}")), count)


def _distinct(split: str, rng: random.Random) -> Iterator[Pair]:
    seen: set[tuple[str, str]] = set()  # of sentences: two phenomena share a few
    while True:
        pair = sample_pair(rng)
        sentences = pair.premise, pair.hypothesis
        if bucket(pair) == split and sentences not in seen:
            seen.add(sentences)
            yield pair


def examples(split: str, count: int, seed: int) -> list[dict[str, str]]:
    """Pairs as lines of a MultiNLI file: the phenomenon is the genre, every pair has a prompt of its own."""
    return [
        {
            "gold_label": pair.label,
            "sentence1": pair.premise,
            "sentence2": pair.hypothesis,
            "genre": pair.phenomenon,
            "pairID": f"{split}-{seed}-{i}",
            "promptID": f"{split}-{seed}-{i}",
        }
        for i, pair in enumerate(pairs(split, count, seed))
    ]


def words() -> frozenset[str]:
    """Every word that a pair can have."""
    nouns = [
        word for kind, groups in NOUNS.items() for group in groups for word in (kind, group, *groups[group])
    ]
    kinds: list[Iterable[str]] = [
        nouns,
        map(_plural, nouns),
        ADJECTIVES,
        PLACE_WORDS,
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
