"""What a pair is about."""

from __future__ import annotations

import random
from typing import NamedTuple

from experiments.embedded.nli.drawing.chance import different, pick
from experiments.embedded.nli.drawing.domain import DOMAINS, Domain
from experiments.embedded.nli.lexicon import NAMES, PEOPLE


class Scene(NamedTuple):
    """What is shared by a hypothesis and the premises tried for it."""

    domain: Domain
    names: tuple[str, ...]
    people: tuple[str, ...]


def draw_scene(rng: random.Random) -> Scene:
    return Scene(pick(rng, DOMAINS), different(rng, NAMES, 3), different(rng, PEOPLE, 3))
