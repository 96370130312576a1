"""How many seeds would decide, against the textbook's power and against simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nct, norm, t

from analysis.errors import AnalysisError
from analysis.statistics import (
    Comparison,
    Components,
    Needed,
    compare,
    equivalence,
    one_more,
    seeds_needed,
    unit_mean,
    units_needed,
    verdict,
)


def comparison(difference, *, seed_variance, example_variance, residual, seeds=3, examples=1000, margin=None):
    """One whose estimated components are these."""
    found = Components(
        seeds=seeds,
        examples=examples,
        between_seeds=examples * seed_variance + residual,
        between_examples=seeds * example_variance + residual,
        residual=residual,
    )
    return Comparison(difference, math.nan, math.nan, 1.0, None, seeds, examples, "", 0.95, margin, (), found)


@pytest.mark.parametrize("effect", [0.6, 1.0, 1.5])
def test_seeds_alone_are_a_one_sample_t_test(effect):
    """With nothing but seeds varying, the noncentral t distribution gives the power exactly."""

    def power(n):
        critical = t.isf(0.025, n - 1)
        return nct.sf(critical, n - 1, effect * math.sqrt(n))

    found = seeds_needed(
        comparison(0.01 * effect, seed_variance=1e-4, example_variance=0, residual=0, seeds=2)
    )
    needed = 2 + found.more_seeds
    assert power(needed) >= 0.79
    assert power(needed - 1) < 0.81


def test_a_decided_comparison_needs_none():
    found = seeds_needed(comparison(0.2, seed_variance=1e-4, example_variance=0.01, residual=0.1, seeds=5))
    assert found.more_seeds == 0
    assert found.examples is None


def test_where_all_answers_are_alike_seeds_are_not_what_lacks():
    found = Components(seeds=2, examples=30, between_seeds=0, between_examples=0, residual=0)
    alike = Comparison(0.0, -0.1, 0.1, 0.7, None, 2, 30, "", 0.95, None, (), found, -0.01)
    found = seeds_needed(alike)
    assert (found.more_seeds, found.seeds, found.examples) == (None, None, None)
    assert found.reason == "in every seed the two score alike on 30 examples; more examples would tell"
    assert seeds_needed(replace(alike, p_value=0.001)).more_seeds == 0


def test_examples_may_be_what_lacks():
    """The examples' share of the variance stays, however many seeds there are."""
    difference, variance = 0.01, 0.2
    limit = (norm.isf(0.025) + norm.isf(0.2)) ** 2 * variance / difference**2  # with seeds without end
    lacking = comparison(
        difference, seed_variance=1e-6, example_variance=variance, residual=0.1, examples=1000
    )
    found = seeds_needed(lacking)
    assert found.more_seeds is None
    assert limit < found.examples < 2.5 * limit
    assert f"{found.examples:,} examples with {found.seeds} seeds" in found.reason
    enough = replace(lacking.components, examples=found.examples, seeds=found.seeds)
    enough = replace(
        enough,
        between_seeds=found.examples * 1e-6 + 0.1,
        between_examples=found.seeds * variance + 0.1,
    )
    assert seeds_needed(replace(lacking, components=enough)).more_seeds == 0


def test_more_seeds_where_the_difference_is_smaller():
    needed = [
        seeds_needed(
            comparison(d, seed_variance=1e-4, example_variance=1e-3, residual=0.1, examples=10_000)
        ).more_seeds
        for d in (0.03, 0.02, 0.01)
    ]
    assert needed == sorted(needed)
    assert needed[0] < needed[-1]


def test_equivalence_goes_by_the_distance_from_the_margin():
    def needed(difference, margin):
        return seeds_needed(
            comparison(difference, seed_variance=1e-4, example_variance=0, residual=0, seeds=2, margin=margin)
        ).more_seeds

    assert needed(0.02, 0.01) == needed(-0.02, 0.01)
    # Within the margin two tests of 5% each decide, beyond it one of 2.5% on the side that the data choose.
    assert needed(0.0, 0.01) < needed(0.02, 0.01) < needed(0.0, 0.01) + 5
    assert needed(0.0, 0.01) < needed(0.005, 0.01)


def test_the_plan_holds_in_simulation(simulate):
    """Seeds planned from the true components decide about 80% of the studies."""
    generator = np.random.default_rng(5)

    def study(seeds):
        difficulty = generator.standard_normal(400)
        return [
            simulate(generator, seeds, 400, accuracy, seed_sd=0.12, difficulty=difficulty)
            for accuracy in (0.745, 0.7)
        ]

    large = compare(*study(200), resamples=10)
    pilot = replace(large.components, seeds=3)
    pilot = replace(
        pilot,
        between_examples=3 * large.components.example_variance + large.components.residual,
    )
    plan = seeds_needed(replace(large, difference=0.045, components=pilot))
    seeds = 3 + plan.more_seeds
    assert 6 <= seeds <= 20
    decided = [verdict(compare(*study(seeds), resamples=1000)) == "supported" for _ in range(150)]
    assert 0.65 < np.mean(decided) < 0.92


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (compare([0, 1, 1], [1, 1, 0]), "train at least three"),
        (comparison(0.0, seed_variance=1, example_variance=1, residual=1), "exactly 0"),
        (comparison(0.01, seed_variance=1, example_variance=1, residual=1, margin=0.01), "the margin"),
    ],
)
def test_what_cannot_be_planned(found, reason):
    needed = seeds_needed(found)
    assert needed.more_seeds is None
    assert needed.examples is None
    assert reason in needed.reason


def test_answers_without_variance_are_decided():
    same = np.ones((3, 5000), dtype=bool)
    assert seeds_needed(equivalence(same, same)).more_seeds == 0


def test_wrong_levels():
    with pytest.raises(AnalysisError, match="power"):
        seeds_needed(comparison(0.01, seed_variance=1, example_variance=1, residual=1), power=1)


@pytest.mark.parametrize("effect", [0.6, 1.0, 1.5])
def test_units_are_planned_by_the_noncentral_t(effect):
    spread = np.array([-1.0, 0.0, 1.0])
    found = unit_mean(0.4 + effect + spread / spread.std(ddof=1), reference=0.4)

    def power(n):
        return nct.sf(t.isf(0.025, n - 1), n - 1, effect * math.sqrt(n))

    needed = 3 + units_needed(found).more_seeds
    assert power(needed) >= 0.79
    assert power(needed - 1) < 0.81


def test_a_plan_has_a_range_and_names_what_it_assumes():
    """The effect is known no better than its standard error."""
    spread = np.array([-1.0, 0.0, 1.0])
    found = unit_mean(1 + 0.5 * spread)
    planned = units_needed(found)
    error = 0.5 / math.sqrt(3)
    for change, needed in ((error, planned.fewest), (-error, planned.most)):
        assert units_needed(unit_mean(1 + change + 0.5 * spread)).more_seeds == needed
    assert planned.fewest < planned.more_seeds < planned.most
    assert planned.reason == (
        f"{planned.more_seeds} more seeds would decide (80% power, the present effect taken as true); "
        f"{planned.fewest} to {planned.most}, were it a standard error larger or smaller"
    )
    wide = units_needed(unit_mean(1 + 1.8 * spread))  # the mean is no standard error from 0
    assert (wide.most, wide.more_seeds > 10) == (None, True)
    assert "to over 100, were it" in wide.reason
    compared = comparison(0.02, seed_variance=4e-4, example_variance=0, residual=0, seeds=4)
    as_units = unit_mean(0.02 + 0.02 * np.array([-1, -1, 1, 1]) * math.sqrt(3) / 2)
    assert seeds_needed(compared) == units_needed(as_units)


def test_a_plan_that_is_met_and_decided_nothing_asks_for_one_more():
    met = Needed(0, None, None, "these seeds decide", 0, 4)
    told = "1 more seed would decide (80% power, the present effect taken as true)"
    assert one_more(met) == Needed(
        1, None, None, f"{told}; up to 4, were it a standard error smaller", fewest=1, most=4
    )
    assert one_more(replace(met, most=None)).reason.endswith(
        "; up to over 100, were it a standard error smaller"
    )
    assert one_more(replace(met, most=1)).reason == told


def test_a_number_that_nobody_would_train_is_not_named():
    never = units_needed(unit_mean([-1.0, 0.0, 1.1]))
    assert never.more_seeds is None
    assert never.reason == (
        "not with any feasible number of seeds, which is 100 more (80% power, the present effect taken as "
        "true)"
    )
    lacking = comparison(0.001, seed_variance=1e-4, example_variance=0, residual=0)
    assert seeds_needed(lacking).reason == never.reason
    assert seeds_needed(lacking).examples is None


def test_units_that_decide_or_never_will():
    assert units_needed(unit_mean([1.0, 1.001, 1.002])).more_seeds == 0
    assert units_needed(unit_mean([1.0, 1.001]), least=3).more_seeds == 1
    exactly = units_needed(unit_mean([-1.0, 1.0]))
    assert (exactly.more_seeds, exactly.reason) == (
        None,
        "the mean is exactly 0; no number of seeds decides it",
    )
    with pytest.raises(AnalysisError, match="alpha"):
        units_needed(unit_mean([1.0, 2.0]), alpha=0)


def test_a_reference_is_what_the_distance_is_from():
    there = comparison(-0.015, seed_variance=1e-4, example_variance=0, residual=0)
    shifted = replace(there, difference=-0.005, reference=0.01)
    assert seeds_needed(there).more_seeds == seeds_needed(shifted).more_seeds
