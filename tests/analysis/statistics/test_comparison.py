"""Comparisons err as often as they say, and find what is planted."""

from __future__ import annotations

import math
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics import Comparison, Components, Outcomes, compare, equivalence, mcnemar, verdict

RESAMPLES = 1000


def verdicts(simulate, test, seeds, accuracies, *, seed_sd=0.0, examples=200, count=400, **options):
    """The verdicts on pairs of cells with these true accuracies, which share their examples."""
    generator = np.random.default_rng(7)
    found = []
    for trial in range(count):
        difficulty = generator.standard_normal(examples)
        first, second = (
            simulate(generator, seeds, examples, accuracy, seed_sd=seed_sd, difficulty=difficulty)
            for accuracy in accuracies
        )
        found.append(test(first, second, resamples=RESAMPLES, generator_seed=trial, **options))
    return found


def share(comparisons, wanted):
    return np.mean([verdict(comparison) in wanted for comparison in comparisons])


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "least"),
    [
        (1, 0.0, 0.02),  # McNemar: of these runs, so their seeds do not count
        (3, 0.0, 0.0),
        (3, 0.4, 0.015),
        (5, 0.1, 0.0),
        (5, 0.4, 0.02),
    ],
)
def test_false_positives(simulate, binomial_limits, seeds, seed_sd, least):
    count = 400
    found = verdicts(simulate, compare, seeds, (0.7, 0.7), seed_sd=seed_sd, count=count)
    _, most = binomial_limits(0.05, count)
    assert least <= share(found, ("supported", "contradicted")) <= most
    covered = np.mean([comparison.low <= 0 <= comparison.high for comparison in found])
    assert covered >= binomial_limits(0.95, count)[0]


def test_power(simulate):
    """8 points, standard error 1.7: the normal test has a power of 99.6%, Student's with 4 degrees 95%."""
    found = verdicts(simulate, compare, 5, (0.78, 0.7), seed_sd=0.05, examples=500, count=100)
    assert share(found, ("supported",)) > 0.85
    assert share(found, ("contradicted",)) == 0
    swapped = verdicts(simulate, compare, 5, (0.7, 0.78), seed_sd=0.05, examples=500, count=100)
    assert share(swapped, ("contradicted",)) > 0.85


def test_pairing_gives_power(simulate):
    """The same answers with the examples of one cell shuffled: as different, less sure."""
    generator = np.random.default_rng(0)
    difficulty = generator.standard_normal(1000)
    cells = [
        simulate(generator, 3, 1000, accuracy, example_sd=4, difficulty=difficulty)
        for accuracy in (0.7, 0.73)
    ]
    together = compare(*cells)
    apart = compare(cells[0], cells[1][:, generator.permutation(1000)])
    assert together.difference == pytest.approx(apart.difference)
    assert together.high - together.low < 0.8 * (apart.high - apart.low)


@pytest.mark.parametrize(("seeds", "seed_sd", "least"), [(1, 0.0, 0.02), (3, 0.05, 0.0), (5, 0.3, 0.02)])
def test_equivalence_at_the_edge_of_the_margin(simulate, binomial_limits, seeds, seed_sd, least):
    """Cells that differ by the margin itself are called equal in 5% of the studies at most."""
    count = 400
    found = verdicts(simulate, equivalence, seeds, (0.8, 0.7), seed_sd=seed_sd, margin=0.1, count=count)
    assert least <= share(found, ("supported",)) <= binomial_limits(0.05, count)[1]
    assert share(found, ("contradicted",)) <= binomial_limits(0.025, count)[1]


@pytest.mark.parametrize("seeds", [3, 5])
def test_an_equivalence_is_contradicted_on_the_side_that_the_data_choose(simulate, binomial_limits, seeds):
    """Without a margin to speak of, and no difference, either side is beyond it half of the time."""
    settings = {"margin": 1e-9, "seed_sd": 0.5, "count": 1000}
    found = verdicts(simulate, equivalence, seeds, (0.7, 0.7), **settings)
    assert share(found, ("contradicted",)) <= binomial_limits(0.05, 1000)[1]
    one_sided = np.mean([one.low > one.margin or one.high < -one.margin for one in found])
    assert one_sided > binomial_limits(0.05, 1000)[1]  # what the 90% interval alone would say


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.05), (3, 0.4), (5, 0.3)])
def test_non_inferiority_at_the_edge_of_the_margin(simulate, binomial_limits, seeds, seed_sd):
    """Worse by the margin itself: "no worse than that" is said or denied in 2.5% of the studies each."""
    count = 400
    found = verdicts(simulate, compare, seeds, (0.7, 0.8), seed_sd=seed_sd, reference=-0.1, count=count)
    assert share(found, ("supported",)) <= binomial_limits(0.025, count)[1]
    assert share(found, ("contradicted",)) <= binomial_limits(0.025, count)[1]


def test_what_is_better_is_not_inferior(simulate):
    found = verdicts(simulate, compare, 3, (0.9, 0.7), seed_sd=0.05, reference=-0.01, count=30)
    assert share(found, ("supported",)) == 1


def test_equivalence_is_found_and_contradicted(simulate):
    settings = {"seed_sd": 0.02, "examples": 800, "count": 60, "margin": 0.1}
    assert share(verdicts(simulate, equivalence, 3, (0.7, 0.7), **settings), ("supported",)) > 0.9
    assert share(verdicts(simulate, equivalence, 3, (0.9, 0.6), **settings), ("contradicted",)) > 0.9
    few = {**settings, "examples": 20}
    assert share(verdicts(simulate, equivalence, 3, (0.7, 0.7), **few), ("undecided",)) > 0.9


def test_equivalence_is_its_interval_inside_the_margin(simulate):
    found = verdicts(simulate, equivalence, 3, (0.72, 0.7), seed_sd=0.05, margin=0.08, count=100)
    inside = [max(-comparison.low, comparison.high) < 0.08 for comparison in found]
    assert 10 < sum(inside) < 90
    supported = [verdict(comparison) == "supported" for comparison in found]
    agree = sum(said == within for said, within in zip(supported, inside, strict=True))
    assert agree >= 99  # an interval may end between two draws


def test_one_pair_of_runs_is_mcnemar():
    generator = np.random.default_rng(0)
    first, second = generator.random(300) < 0.7, generator.random(300) < 0.6
    found = compare(first, second)
    assert found.p_value == mcnemar(int(np.sum(first & ~second)), int(np.sum(second & ~first)))
    assert found.sources == ("examples",)
    assert found.seeds == 1
    assert "McNemar" in found.method


def test_what_is_measured(simulate):
    generator = np.random.default_rng(0)
    first, second = (simulate(generator, 4, 250, accuracy, seed_sd=0.1) for accuracy in (0.8, 0.6))
    found = compare(Outcomes(first, (0, 1, 2, 3)), Outcomes(second, (0, 1, 2, 8)))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert (found.seeds, found.examples, found.level, found.margin) == (4, 250, 0.95, None)
    assert found.low < found.difference < found.high
    assert found.p_holm is None
    assert "3 of 4 pairs by seed" in found.method
    back = compare(second, first)
    assert back.difference == pytest.approx(-found.difference)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=0.01)


def test_runs_that_answer_alike_leave_some_doubt():
    same = np.arange(50) < 30
    found = compare(same, same)
    assert found.difference == 0
    assert found.p_value == 1
    assert found.low < 0 < found.high
    assert verdict(equivalence(same, same, margin=0.01)) == "undecided"  # 50 examples cannot show a point
    many = np.arange(5000) < 3000
    assert verdict(equivalence(many, many, margin=0.01)) == "supported"


@pytest.mark.parametrize("margin", [0, -0.01, float("nan")])
def test_no_margin(margin):
    with pytest.raises(AnalysisError, match="margin"):
        equivalence([0, 1], [1, 1], margin=margin)


def test_a_reference_other_than_no_difference(simulate, binomial_limits):
    """The first is worse by exactly 10 points."""
    found = verdicts(simulate, compare, 3, (0.6, 0.7), seed_sd=0.2, count=300, reference=-0.1)
    assert share(found, ("supported", "contradicted")) <= binomial_limits(0.05, 300)[1]
    assert {comparison.reference for comparison in found} == {-0.1}


def test_a_reference_moves_the_p_value_and_not_the_interval(simulate):
    generator = np.random.default_rng(1)
    first, second = (simulate(generator, 3, 300, accuracy) for accuracy in (0.6, 0.75))
    plain, shifted = compare(first, second), compare(first, second, reference=-0.5)
    assert (plain.low, plain.high, plain.difference) == (shifted.low, shifted.high, shifted.difference)
    assert verdict(plain) == "contradicted"
    assert verdict(shifted) == "supported"
    edge = compare(first, second, reference=plain.low)
    assert edge.p_value == pytest.approx(0.05, abs=0.005)
    one = compare(first[:1], second[:1], reference=-0.5)
    assert "McNemar" not in one.method
    assert "McNemar" in compare(first[:1], second[:1]).method


def ratio(totals):
    return totals[..., 0] / totals[..., 1]


def test_numbers_are_compared_by_the_paired_bootstrap_alone():
    """One pair of runs: the interval is the normal one of the mean difference, and no McNemar."""
    generator = np.random.default_rng(0)
    first = generator.exponential(size=1500)
    second = first - 0.1 + 0.8 * generator.standard_normal(1500)
    found = compare(first, second)
    half = 1.96 * (first - second).std() / np.sqrt(1500)
    assert found.difference == pytest.approx((first - second).mean())
    assert (found.low, found.high) == pytest.approx(
        (found.difference - half, found.difference + half), abs=0.08 * half
    )
    assert found.method == (
        "bootstrap over examples (one pair of runs); McNemar's test is of right and wrong answers alone"
    )
    assert found.p_value < 0.001
    several = compare(np.stack([first, first + 1]), np.stack([second, second + 1]))
    assert several.method == "paired bootstrap over seeds and examples"


def test_a_corpus_metric_is_compared_on_the_same_resampled_examples():
    """Two ratios of sums with the same denominators differ by a mean of x1 - x2, whatever the resample."""
    generator = np.random.default_rng(0)
    y = generator.uniform(5, 15, 1500)
    noise = 3 * generator.standard_normal(1500)
    x = 0.7 * y + noise, 0.65 * y + noise + 0.2 * generator.standard_normal(1500)
    cells = [Outcomes(np.stack([one, y], axis=-1)[None], (0,), ratio) for one in x]
    found = compare(*cells)
    value = (x[0] - x[1]).sum() / y.sum()
    half = 1.96 * np.sqrt(np.sum((x[0] - x[1] - value * y) ** 2)) / y.sum()
    assert found.difference == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value - half, value + half), abs=0.08 * half)
    assert "McNemar's test is of right and wrong answers alone" in found.method
    assert verdict(found) == "supported"
    assert verdict(equivalence(*cells, margin=0.1)) == "supported"


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.05), (5, 0.0)])
def test_false_positives_of_a_corpus_metric(binomial_limits, seeds, seed_sd):
    generator, count, found = np.random.default_rng(3), 200, []
    for trial in range(count):
        y = generator.uniform(5, 15, 150)
        cells = []
        for _ in range(2):
            slope = 0.7 + seed_sd * generator.standard_normal((seeds, 1))
            x = slope * y + 2 * generator.standard_normal((seeds, 150))
            statistics = np.stack([x, np.broadcast_to(y, x.shape)], axis=-1)
            cells.append(Outcomes(statistics, tuple(range(seeds)), ratio))
        found.append(compare(*cells, resamples=500, generator_seed=trial))
    assert share(found, ("supported", "contradicted")) <= binomial_limits(0.05, count)[1]


COMPARISON = Comparison(
    difference=0.02,
    low=0.01,
    high=0.03,
    p_value=0.01,
    p_holm=None,
    seeds=3,
    examples=100,
    method="",
    level=0.95,
    margin=None,
    sources=("seeds", "examples"),
    components=Components(3, 100, math.nan, math.nan, math.nan),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "supported"),
        ({"difference": -0.02}, "contradicted"),
        ({"p_value": 0.06}, "undecided"),
        ({"p_holm": 0.06}, "undecided"),
        ({"p_holm": 0.04}, "supported"),
        ({"difference": 0.0}, "undecided"),
        ({"margin": 0.05, "low": -0.01}, "supported"),
        ({"margin": 0.05, "p_holm": 0.2}, "undecided"),
        ({"margin": 0.005, "p_value": 1.0, "p_against": 0.04}, "contradicted"),
        ({"margin": 0.005, "p_value": 1.0, "p_against": 0.06}, "undecided"),
        ({"margin": 0.02, "p_value": 0.5, "p_against": 1.0}, "undecided"),
    ],
)
def test_verdict(changes, expected):
    assert verdict(replace(COMPARISON, **changes)) == expected


def test_alpha():
    assert verdict(COMPARISON, alpha=0.001) == "undecided"


def test_fagerlands_example():
    """Airway hyper-responsiveness before and after transplantation: 1 against 7 (Fagerland et al., 2013)."""
    assert mcnemar(1, 7, mid_p=False) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(1, 7) == pytest.approx(0.0391, abs=5e-5)


def test_mcnemar_of_no_example_that_only_one_gets_right():
    assert mcnemar(0, 0) == mcnemar(0, 0, mid_p=False) == 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_definition(first, second):
    total, fewer = first + second, min(first, second)
    tail = [comb(total, k) / 2**total for k in range(fewer + 1)]
    exact = min(1.0, 2 * sum(tail))
    half = min(1.0, 2 * sum(tail) - tail[-1]) if first != second else 1.0
    assert mcnemar(first, second, mid_p=False) == pytest.approx(exact)
    assert mcnemar(first, second) == pytest.approx(half)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_of_negative_counts():
    with pytest.raises(AnalysisError, match="-1 and 3"):
        mcnemar(-1, 3)
