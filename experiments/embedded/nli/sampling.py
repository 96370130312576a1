"""Pairs at random.

The hypothesis and the label are drawn first, independently, and then premises near the hypothesis until one
has that label: the hypothesis alone says next to nothing about the label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from experiments.embedded.nli.decision import LABELS, Statement, has_label
from experiments.embedded.nli.drawing.chance import pick
from experiments.embedded.nli.drawing.clause import (
    draw_counted,
    draw_quantified,
    near_counted,
    near_quantified,
)
from experiments.embedded.nli.drawing.individual import (
    draw_conjunction,
    draw_hypernym,
    draw_negation,
    near_conjunction,
    near_individual,
)
from experiments.embedded.nli.drawing.role import draw_role, near_role
from experiments.embedded.nli.drawing.scene import Scene, draw_scene
from experiments.embedded.nli.pair import Pair

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
