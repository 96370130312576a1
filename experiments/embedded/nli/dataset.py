"""The pairs of a split."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from experiments.embedded.nli.pair import Pair, bucket
from experiments.embedded.nli.sampling import sample_pair
from experiments.embedded.split import SPLITS


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
