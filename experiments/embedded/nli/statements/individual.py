"""Statements about one or two named individuals, whose types are the unknowns."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.embedded.nli.statements.denotation import EVERYTHING
from experiments.embedded.nli.statements.description import Description
from experiments.embedded.nli.statements.fact import Case, Fact


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
