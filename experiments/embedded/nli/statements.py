"""Statements: sentences with a meaning, and the label of two of them, decided from their meanings.

Quantified and counted statements are about sets of things; the others are facts about independent unknowns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

from experiments.embedded.nli.lexicon import (
    ACTIVITIES,
    AGES,
    NOUNS,
    NUMBERS,
    PLACES,
    PLAIN_ACTIVITIES,
    SCALES,
    SIZES,
    TRANSFERS,
    VERBS,
    plural_of,
)

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")


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
        if has_label(premise, hypothesis, label):
            return label
    raise ValueError(f"no label: {premise.text()!r} denies what {hypothesis.text()!r} presupposes")


def has_label(premise: Statement, hypothesis: Statement, label: Label) -> bool:
    """Whether this is the label of the two; cheaper than `decide`."""
    # The conditions that fail most often come first: most candidates have another label.
    if label == "entailment":
        return not premise.allows(hypothesis, holds=False) and premise.allows(hypothesis, holds=True)
    if label == "contradiction":
        return not premise.allows(hypothesis, holds=True) and premise.allows(hypothesis, holds=False)
    return premise.allows(hypothesis, holds=False) and premise.allows(hypothesis, holds=True)


# ----------------------------------------------------------------------------------------------- descriptions
# A type is what a thing can be along every dimension of the taxonomy; words stand for sets of types.


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


# --------------------------------------------------------------------------------------------- sets of things

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


# ------------------------------------------------------------------------------------------------------ facts

# Conditions that hold together: unknown -> the set of its values that fit, as a bit mask.
Case = dict[Any, int]


class Fact:
    """A statement that is true in one list of alternative cases and false in another."""

    def cases(self, holds: bool) -> list[Case]:
        """The alternatives in which the statement is true, or, not `holds`, false."""
        raise NotImplementedError

    def allows(self, other: Fact, holds: bool) -> bool:
        return any(
            all(values & theirs.get(unknown, values) for unknown, values in mine.items())
            for theirs in other.cases(holds)
            for mine in self.cases(True)
        )


@dataclass(frozen=True, slots=True)
class Individual(Fact):
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
class TwoIndividuals(Fact):
    """``max is running and leo is in the park``."""

    first: Individual
    second: Individual

    def text(self) -> str:
        return f"{self.first.text()} and {self.second.text()}"

    def cases(self, holds: bool) -> list[Case]:
        if not holds:
            return [*self.first.cases(False), *self.second.cases(False)]
        return [{**self.first.cases(True)[0], **self.second.cases(True)[0]}]


# What one did to the other, what one handed over, how they compare: each deed, and each comparison, is an
# unknown of its own.
TRUE, FALSE = 0b10, 0b01
SOMEONE, NOBODY = "someone", "nobody"
_STRANGER = "a stranger"  # whoever is not named in the sentence


@dataclass(frozen=True, slots=True)
class Deed(Fact):
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
class Transfer(Fact):
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
class Comparison(Fact):
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


Role = Deed | Transfer | Comparison
