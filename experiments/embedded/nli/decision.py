"""The label of two statements, from whether some world makes the one true and the other true or false."""

from __future__ import annotations

from typing import Any, Literal, Protocol

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
