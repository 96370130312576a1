"""How parts make a claim, and evidence a verdict."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.claims.catalogue import decide
from analysis.claims.evidence import Evidence, Part, of_comparison, of_units
from analysis.statistics import Needed, compare, unit_mean


def part(p_for=1.0, p_against=1.0, distance=1.0, seeds=5, plans=None, name="", least=2):
    """`plans`: more seeds by alpha."""

    def plan(alpha):
        return Needed((plans or {}).get(round(alpha, 4)), None, None, "")

    return Part(name, 0, 0, 0, 0.95, 0, "", p_for, p_against, distance, seeds, None, plan, least)


def test_all_parts_must_hold():
    evidence = Evidence("", (part(p_for=0.01), part(p_for=0.2), part(p_for=0.001)))
    assert (evidence.p_for, evidence.p_against, evidence.p_value) == (0.2, 1.0, 0.2)
    assert evidence.shown is evidence.parts[1]


def test_one_part_can_contradict_and_is_corrected_for_the_others():
    parts = (part(p_for=0.001), part(p_against=0.01, distance=-1), part(p_against=0.02, distance=-2))
    evidence = Evidence("", parts)
    assert evidence.p_for == 1.0
    assert evidence.p_against == evidence.p_value == pytest.approx(0.03)
    assert evidence.shown is parts[1]


def test_of_equally_weak_parts_the_nearest_is_shown():
    parts = (part(p_for=1e-4, distance=9), part(p_for=1e-4, distance=2), part(p_for=1e-5, distance=1))
    assert Evidence("", parts).shown is parts[1]


def test_the_part_with_the_fewest_seeds_counts():
    evidence = Evidence("", (part(p_for=1e-9), part(p_for=1e-9, seeds=1)))
    assert (evidence.seeds, evidence.enough) == (1, False)
    assert evidence.p_value == 1.0


def test_a_mean_over_two_seeds_decides_nothing_and_a_comparison_may():
    assert Evidence("", (part(p_for=0.01, seeds=2),)).p_value == 0.01
    assert Evidence("", (part(p_for=0.01, seeds=2, least=3),)).p_value == 1.0
    two, three = (of_units(unit_mean([1.0, 1.01, 1.02][:n]), above=True, null=0.0) for n in (2, 3))
    assert (Evidence("", (two,)).enough, Evidence("", (three,)).enough) == (False, True)
    assert two.plan(0.05).more_seeds == 1  # the third, though the two are so sure
    assert two.plan(0.05).reason.startswith("1 more seed would decide (80% power")


def test_what_is_needed():
    """All parts for support; one of them, corrected, for contradiction."""
    both = (part(plans={0.05: 2, 0.025: 3}), part(plans={0.05: 7, 0.025: 9}))
    assert Evidence("", both).needed(0.05).more_seeds == 7
    assert Evidence("", (both[0], replace(both[1], distance=-1.0))).needed(0.05).more_seeds == 9
    assert Evidence("", tuple(replace(one, distance=-1.0) for one in both)).needed(0.05).more_seeds == 3
    assert Evidence("", (both[0], part())).needed(0.05).more_seeds is None
    sure = Evidence("", (part(plans={0.05: 0}),)).needed(0.05)  # of a claim that is undecided all the same
    assert sure.more_seeds == 1
    assert sure.reason.startswith("1 more seed would decide (80% power")


def test_a_mean_over_seeds_as_a_part():
    found = unit_mean(np.log([1.5, 2.0, 2.5]), reference=0.0)
    made = of_units(found, above=True, null=1.0, shown=math.exp, paper="15.9")
    assert made.value == pytest.approx(7.5 ** (1 / 3))
    assert made.low == pytest.approx(math.exp(found.low))
    assert (made.wanted, made.p_for, made.p_against) == ("> 1", found.p_value, 1.0)
    assert made.distance == found.mean
    assert (made.seeds, made.examples, made.paper) == (3, None, "15.9")
    below = of_units(found, above=False, null=1.0)
    assert (below.wanted, below.p_for, below.p_against) == ("< 0", 1.0, found.p_value)
    assert below.distance < 0
    lone = of_units(unit_mean([2.0]), above=True, null=0.0)
    assert (lone.p_for, lone.p_against, lone.seeds) == (1.0, 1.0, 1)
    assert math.isnan(lone.low)
    assert of_units(unit_mean([1.0, 1.0]), above=True, null=0.0).p_for == 0.0


def test_an_interval_ends_where_the_mean_must():
    found = unit_mean([0.9, 0.99], reference=0.5)
    assert found.high > 1
    made = of_units(found, above=True, null=0.0, bounds=(0.0, 1.0))
    assert (made.low, made.high) == (max(found.low, 0), 1.0)
    assert math.isnan(of_units(unit_mean([0.9]), above=True, null=0.0, bounds=(0.0, 1.0)).high)


def test_a_comparison_as_a_part():
    found = compare(np.ones((2, 100)), np.zeros((2, 100)), reference=-0.25)
    made = of_comparison(found)
    assert (made.value, made.null, made.examples, made.seeds) == (100, 0, 100, 2)
    assert made.low == 100 * found.low
    assert (made.wanted, made.margin, made.distance) == ("> -25", 25, 1.25)
    assert (made.p_for, made.p_against) == (found.p_value, 1.0)
    below = of_comparison(found, above=False, scale=1)
    assert (below.wanted, below.p_for, below.p_against) == ("< -0.25", 1.0, found.p_value)
    assert of_comparison(compare([1, 0], [0, 1])).margin is None


def test_verdicts_of_a_family():
    """Accuracy: Holm over what is there; geometry: each for itself."""
    found = {
        "qv-beats-q": Evidence("", (part(p_for=0.01),)),
        "types-beat-rank": Evidence("", (part(p_against=0.02, distance=-1),)),
        "r1-short-q": Evidence("", (part(p_for=0.04),)),
        "top-shared": Evidence("", (part(p_for=0.04),)),
        "af-falls": Evidence("", (part(p_against=0.04),)),
        "dw-correlates": Evidence("", (part(p_for=0.06),)),
    }
    decisions = decide(found)
    assert {name: one.verdict for name, one in decisions.items()} == {
        "qv-beats-q": "supported",
        "types-beat-rank": "contradicted",
        "r1-short-q": "supported",
        "top-shared": "supported",
        "af-falls": "contradicted",
        "dw-correlates": "undecided",
    }
    assert decisions["qv-beats-q"].p_holm == pytest.approx(0.03)
    assert decisions["r1-short-q"].p_holm == pytest.approx(0.04)
    assert decisions["dw-correlates"].p_holm == 0.06  # a family of its own
    found["types-beat-rank"] = Evidence("", (part(p_against=0.03, distance=-1),))
    assert decide(found)["types-beat-rank"].verdict == "undecided"
    assert decide(found)["r1-short-q"].verdict == "undecided"
    assert decide({}) == {}
