"""Statements about two people: what one did to the other, what one handed over, how they compare.

Each deed, and each comparison, is an unknown of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.embedded.nli.lexicon import SCALES, TRANSFERS, VERBS
from experiments.embedded.nli.statements.fact import Case, Fact

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
