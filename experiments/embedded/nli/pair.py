"""A premise and a hypothesis with their label."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.embedded.nli.decision import Label
from experiments.embedded.split import bucket as split_of


@dataclass(frozen=True)
class Pair:
    """One premise and hypothesis (lower-case words, single spaces) with their label and phenomenon."""

    premise: str
    hypothesis: str
    label: Label
    phenomenon: str


def bucket(pair: Pair) -> str:
    """The one split a pair belongs to, by a stable hash of its two sentences."""
    return split_of(f"{pair.premise}\t{pair.hypothesis}")
