"""Where nothing is there, a claim is supported no more often than the level says.

Each study is simulated at the edge of its claim, where a wrong verdict is likeliest: 5 % of the studies may
be decided wrongly, 2.5 % in either direction where both count.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from analysis.claims import accuracy, subspaces, weights
from analysis.claims.catalogue import decide
from analysis.claims.geometry import FEW, MANY, Lifts, Overlap
from analysis.claims.subspaces import halfway
from experiments.metrics import metric
from tests.analysis.statistics.conftest import answers, binomial_limits

__all__ = ["binomial_limits"]

LEVEL = 0.05

DRAWS = 100
"""Random directions behind a lift."""


def shares(claim, make, studies):
    """How many of the studies support and contradict a claim about geometry."""
    found = [claim(make()) for _ in range(studies)]
    decided = [one.p_for < one.p_against for one in found if one.p_value < LEVEL]
    return sum(decided) / studies, (len(decided) - sum(decided)) / studies


class Simulated:
    """Cells with these true accuracies, by targets and rank, on shared examples."""

    def __init__(self, generator, accuracies, seeds=3, examples=150, seed_sd=0.1):
        self.margin, self.metric = 0.1, metric("accuracy")
        self.selection = SimpleNamespace(task="sql")
        difficulty = generator.standard_normal(examples)
        self.found = {
            place: SimpleNamespace(
                outcomes=answers(generator, seeds, examples, accuracy, seed_sd=seed_sd, difficulty=difficulty)
            )
            for place, accuracy in accuracies.items()
        }

    def at_budget(self, *targets):
        return tuple((name, 8 // len(name)) for name in targets)

    def cells(self, *places):
        return [self.found[place] for place in places]

    def described(self, *places):
        return ""

    def paper(self, *places):
        return ""


PLACES = [("q", 1), ("q", 8), ("k", 8), ("v", 8), ("o", 8), ("qv", 1), ("qv", 4), ("qv", 8), ("qkvo", 2)]
EQUAL = dict.fromkeys([*PLACES, ("qkvo", 1), ("qkvo", 8)], 0.7)
FUNCTIONS = {
    "qv-beats-q": accuracy.qv_beats_q,
    "types-beat-rank": accuracy.more_types_beat_one,
    "r1-suffices-qv": accuracy.rank_1_suffices_for_qv,
    "r1-suffices-qkvo": accuracy.rank_1_suffices_for_qkvo,
    "r1-short-q": accuracy.rank_1_falls_short_for_q,
}


def test_no_claim_of_the_family_is_wrong_more_often_than_the_level(binomial_limits):
    """No set of weights is better, and r = 1 falls short by the margin: every claim is just false."""
    generator = np.random.default_rng(3)
    edge = {**EQUAL, ("qv", 8): 0.8, ("qkvo", 8): 0.8, ("q", 8): 0.799}
    studies, wrong = 80, 0
    for _ in range(studies):
        cells = Simulated(generator, edge)
        decisions = decide({name: function(cells) for name, function in FUNCTIONS.items()})
        wrong += any(one.verdict == "supported" for one in decisions.values())
    assert wrong / studies <= binomial_limits(LEVEL, studies)[1]


@pytest.mark.parametrize(
    ("name", "accuracies"),
    [
        ("qv-beats-q", {}),
        ("types-beat-rank", {("k", 8): 0.5, ("v", 8): 0.5, ("o", 8): 0.5}),  # q alone is as good
        ("r1-suffices-qv", {("qv", 8): 0.8}),
        ("r1-short-q", {("q", 8): 0.8}),
    ],
    ids=["qv-beats-q", "types-beat-rank", "worse by the margin", "r1-short-q"],
)
def test_claims_about_accuracy(binomial_limits, name, accuracies):
    generator = np.random.default_rng(4)
    studies = 120
    made = iter([Simulated(generator, {**EQUAL, **accuracies}) for _ in range(studies)])
    assert max(shares(FUNCTIONS[name], lambda: next(made), studies)) <= binomial_limits(LEVEL, studies)[1]


def beta(generator, mean, size, concentration=8):
    return generator.beta(mean * concentration, (1 - mean) * concentration, size)


@pytest.mark.parametrize(("seeds", "layers"), [(3, 4), (5, 1), (5, 4)])
def test_similarity_halfway_is_neither(binomial_limits, seeds, layers):
    generator = np.random.default_rng(5)
    null = 1 / 256

    def top():
        phi = beta(generator, halfway(null), (seeds, layers))
        found = Overlap(phi, np.zeros((seeds, layers, 7)), null, 63 / 255)
        return SimpleNamespace(letters=("q",), overlap=lambda letter: found)

    studies = 800
    limit = binomial_limits(LEVEL / 2, studies)[1]
    assert max(shares(subspaces.top_direction_is_shared, top, studies)) <= limit

    def others():
        phi = beta(generator, 0.3, (seeds, layers, 7))
        phi[..., 3] = beta(generator, halfway(63 / 255), (seeds, layers))
        found = Overlap(np.zeros((seeds, layers)), phi, null, 63 / 255)
        return SimpleNamespace(letters=("q",), overlap=lambda letter: found)

    assert max(shares(subspaces.other_directions_are_not_shared, others, 150)) <= 0.09


def q_and_v(shared):
    """What the seeds of a study share, drawn for either weight."""
    found = {"q": shared(), "v": shared()}
    return SimpleNamespace(letters=("q", "v"), shared=found.__getitem__, other_ranks=())


@pytest.mark.parametrize(("seeds", "rate", "spread"), [(3, 5, 0.3), (4, 0.5, 0.5), (8, 3, 0.5)])
def test_seeds_that_share_as_much_of_either_weight(binomial_limits, seeds, rate, spread):
    """Pairs with a seed in common are alike: what a seed shares goes by its own effect."""
    generator = np.random.default_rng(6)

    def shared():
        effect = spread * generator.standard_normal((seeds, 4))
        counts = generator.poisson(rate * np.exp(effect[:, None] + effect[None]))
        upper = np.triu(np.ones((seeds, seeds)), 1)[:, :, None] * counts
        return upper + upper.swapaxes(0, 1)

    studies = 600
    found = shares(subspaces.seeds_share_more_of_q_than_of_v, lambda: q_and_v(shared), studies)
    assert max(found) <= binomial_limits(LEVEL / 2, studies)[1]


@pytest.mark.parametrize(("seeds", "layers"), [(3, 1), (3, 4), (5, 1)])
def test_a_few_equal_counts_are_not_certainty(binomial_limits, seeds, layers):
    """A run has a direction or has not, and two share it where both have: the counts are often all equal."""
    generator = np.random.default_rng(10)

    def shared():
        has = generator.random((seeds, layers)) < 0.5
        return (has[:, None] & has[None]).astype(float)

    studies = 1000
    found = shares(subspaces.seeds_share_more_of_q_than_of_v, lambda: q_and_v(shared), studies)
    assert max(found) <= binomial_limits(LEVEL / 2, studies)[1]


@pytest.mark.parametrize(("seeds", "layers"), [(2, 1), (2, 4), (3, 4), (5, 2)])
def test_directions_that_change_places_from_seed_to_seed(binomial_limits, seeds, layers):
    """phi of a layer is near 1 or near 0, by chance: two seeds decide nothing, more err no oftener."""
    generator = np.random.default_rng(11)
    null = 1 / 256

    def make():
        phi = np.where(generator.random((seeds, layers)) < 0.5, 0.95, 0.05) + halfway(null) - 0.5
        phi += 0.03 * generator.standard_normal(phi.shape)
        found = Overlap(phi, np.zeros((seeds, layers, 7)), null, 63 / 255)
        return SimpleNamespace(letters=("q",), overlap=lambda letter: found)

    studies = 1000
    found = max(shares(subspaces.top_direction_is_shared, make, studies))
    assert found <= (0 if seeds == 2 else binomial_limits(LEVEL / 2, studies)[1])


@pytest.fixture(scope="module")
def random_lifts():
    """Lifts of random directions between which W has a falling spectrum, by rank."""
    generator = np.random.default_rng(7)
    d = 96
    values = 0.9 ** np.arange(d)

    def lift(rank):
        U, V = (np.linalg.qr(generator.standard_normal((d, rank)))[0] for _ in range(2))
        return np.linalg.norm(U.T @ (values[:, None] * V)) / (rank * np.linalg.norm(values) / d)

    return {FEW: [lift(FEW) for _ in range(1500)], MANY: [lift(MANY) for _ in range(300)]}


@pytest.mark.parametrize(("seeds", "layers"), [(3, 4), (5, 1), (20, 2)])
def test_a_dw_that_has_nothing_to_do_with_w(binomial_limits, random_lifts, seeds, layers):
    generator = np.random.default_rng(8)

    def make():
        lifts = {}
        for rank, pool in random_lifts.items():
            lift = generator.choice(pool, (seeds, layers))
            random = np.broadcast_to(generator.choice(pool, (layers, DRAWS)), (seeds, layers, DRAWS))
            null = np.full((seeds, layers), 64 / rank)
            lifts[rank] = Lifts(lift, random, np.full((seeds, layers), 9.0), null / lift, null, lift)
        return SimpleNamespace(weight="q", lifts=lifts)

    studies = 800
    remarks = [weights.amplification_falls(make()).note for _ in range(studies)]
    apart = np.mean(["not shown to be another than by chance" not in note for note in remarks])
    assert apart <= binomial_limits(LEVEL, studies)[1]
    assert max(shares(weights.dw_correlates_with_w, make, studies)) <= binomial_limits(LEVEL, studies)[1]
    supported, contradicted = shares(weights.dw_lies_off_the_top_of_w, make, 100)
    assert (supported > 0.9, contradicted) == (True, 0)  # 0 is far from halfway


@pytest.mark.parametrize(("seeds", "layers"), [(3, 4), (5, 1)])
def test_a_factor_that_stays(binomial_limits, seeds, layers):
    """Whatever its null does."""
    generator = np.random.default_rng(12)

    def make():
        lifts = {}
        for rank in (FEW, MANY):
            factor = 5 * np.exp(0.4 * generator.standard_normal((seeds, layers)))
            one = np.ones((seeds, layers))
            random = np.ones((seeds, layers, DRAWS))
            lifts[rank] = Lifts(one, random, 9 * one, factor, 64 / rank * one, one)
        return SimpleNamespace(weight="q", lifts=lifts)

    studies = 800
    found = shares(weights.amplification_falls, make, studies)
    assert max(found) <= binomial_limits(LEVEL / 2, studies)[1]


def test_halfway_between_random_and_w_is_neither(binomial_limits):
    generator = np.random.default_rng(9)

    def make():
        own = np.tile([16.0, 9.0, 25.0], (4, 1))
        lift = np.sqrt(own) * np.exp(0.3 * generator.standard_normal((4, 3)))
        ones = np.ones((4, 3))
        found = Lifts(lift, np.ones((4, 3, DRAWS)), own, ones, ones, ones)
        far = Lifts(ones, np.ones((4, 3, DRAWS)), own, ones, ones, ones)
        return SimpleNamespace(weight="q", lifts={FEW: found, MANY: far})

    studies = 800
    supported, contradicted = shares(weights.dw_lies_off_the_top_of_w, make, studies)
    assert supported <= binomial_limits(LEVEL / 2, studies)[1]
    assert contradicted <= binomial_limits(LEVEL / 2, studies)[1]
