import random

import pytest

from experiments.embedded.nli import Pair, sample_pair


@pytest.fixture(scope="session")
def sampled() -> list[Pair]:
    """The first 8,000 pairs of a seed, whatever their splits."""
    rng = random.Random(0)
    return [sample_pair(rng) for _ in range(8_000)]
