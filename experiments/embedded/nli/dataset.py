"""Pairs of statements at random, those of each split, and all words that they can have.

The hypothesis and the label are drawn first, independently, and then premises near the hypothesis until one
has that label: the hypothesis alone says next to nothing about the label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from experiments.embedded.nli.drawing import (
    Scene,
    draw_conjunction,
    draw_counted,
    draw_hypernym,
    draw_negation,
    draw_quantified,
    draw_role,
    draw_scene,
    near_conjunction,
    near_counted,
    near_individual,
    near_quantified,
    near_role,
    pick,
)
from experiments.embedded.nli.lexicon import (
    ACTIVITIES,
    ADJECTIVES,
    FUNCTION_WORDS,
    NAMES,
    NOUNS,
    NUMBERS,
    PLACES,
    PLAIN_ACTIVITIES,
    SCALES,
    THINGS,
    TRANSFERS,
    VERBS,
    plural_of,
)
from experiments.embedded.nli.statements import (
    COMPARISONS,
    DETERMINERS,
    LABELS,
    NOBODY,
    SOMEONE,
    Label,
    Statement,
    has_label,
)
from experiments.embedded.split import SPLITS
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


# Phenomenon -> percent of the task's pairs.
PROPORTIONS = {"quantifier": 34, "number": 4, "hypernym": 22, "negation": 22, "conjunction": 4, "role": 14}
Draw = Callable[[random.Random, Scene], Statement]
Near = Callable[[random.Random, Scene, Any], Statement]

# Phenomenon -> how to draw a hypothesis, and a premise near it.
PHENOMENA: dict[str, tuple[Draw, Near]] = {
    "quantifier": (draw_quantified, near_quantified),
    "number": (draw_counted, near_counted),
    "hypernym": (draw_hypernym, near_individual),
    "negation": (draw_negation, near_individual),
    "conjunction": (draw_conjunction, near_conjunction),
    "role": (draw_role, near_role),
}
LONGEST_PREMISE = 14  # words; hypotheses have at most 12 as drawn
TRIES = 200  # premises tried for one hypothesis and label


def sample_pair(rng: random.Random, proportions: Mapping[str, float] = PROPORTIONS) -> Pair:
    """One pair: labels are equally likely, phenomena in these proportions.

    Its sentences differ and have at most 14 (premise) and 12 (hypothesis) words.
    """
    phenomenon = rng.choices(tuple(proportions), tuple(proportions.values()))[0]
    label = pick(rng, LABELS)
    draw, near = PHENOMENA[phenomenon]
    while True:
        scene = draw_scene(rng)
        hypothesis = draw(rng, scene)
        for _ in range(TRIES):
            premise = near(rng, scene, hypothesis)
            if has_label(premise, hypothesis, label):
                texts = premise.text(), hypothesis.text()
                if texts[0] != texts[1] and texts[0].count(" ") < LONGEST_PREMISE:
                    return Pair(*texts, label, phenomenon)


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
        map(plural_of, nouns),
        ADJECTIVES,
        PLACES,
        *PLACES.values(),
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
