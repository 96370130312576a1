"""The claim about LoRA's best learning rate: its verdict on planted curves, and how a best rate is found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.claims import judge
from analysis.claims.learning_rates import best_rates
from analysis.errors import AnalysisError
from tests.analysis.claims.later import study

__all__ = ["study"]

RATES = [10 ** (-4.5 + i / 2) for i in range(8)]
SEEDS = range(5)


def plant(study, tops, spread=0.0):
    """Dev scores that fall on either side of a best rate, a power of 10; by rank, None is full fine-tuning.

    `spread` moves the best from seed to seed, to one side and the other in turn and by rank.
    """
    for number, (rank, top) in enumerate(tops.items()):
        for seed in SEEDS:
            best = top + spread * (-1) ** (seed + number) * (1 + seed / 5)
            for rate in RATES:
                dev = 0.9 - 0.06 * (math.log10(rate) - best) ** 2
                settings = {"method": "full"} if rank is None else {"rank": rank}
                study.add(seed=seed, lr=rate, **settings)
                scores = study.runs[-1].record["metrics"]
                for checkpoint in ("last", "best"):
                    scores[checkpoint]["dev"] = {"logical_form_accuracy": dev}


def verdict(study):
    (found,) = [one for one in judge(study.select()) if one.since]
    assert found.claim == "lora-rate-tenfold"
    return found


@pytest.mark.parametrize(
    ("tops", "spread", "expected", "shown"),
    [
        ({None: -3, 1: -2, 8: -2, 64: -2.02}, 0.02, "supported", ""),
        ({None: -3, 1: -2.9, 8: -2.9, 64: -2.9}, 0.02, "contradicted", "LoRA over full fine-tuning"),
        ({None: -3.6, 1: -1.8, 8: -1.8, 64: -1.8}, 0.02, "contradicted", "LoRA over full fine-tuning"),
        ({None: -3, 1: -1.7, 8: -2, 64: -2.3}, 0.02, "contradicted", "r = 64 over r = 1"),
        ({None: -3, 1: -2, 8: -2, 64: -2}, 0.4, "undecided", ""),
    ],
)
def test_the_verdict(study, tops, spread, expected, shown):
    plant(study, tops, spread)
    found = verdict(study)
    assert found.verdict == expected
    assert f"Shown: {shown}" in found.note
    assert "Margins: a factor of 3 about 10, and of 2 about 1." in found.note
    assert found.margin in (3, 2)
    if expected == "supported":
        assert "LoRA over full 9.7; r = 64 over r = 1 0.95." in found.note
        assert found.low < found.value < found.high


def test_runs_that_differ_in_more_are_not_one_curve(study):
    plant(study, {None: -3, 1: -2, 8: -2}, 0.02)
    for number, run in enumerate(study.runs):
        run.record["config"]["task"]["train"] = 64 if number < 8 else 8000
    found = verdict(study)
    assert found.verdict == "not testable"
    assert "differ in task.train (64, 8000); choose one kind, as in --choose task.train=64" in found.note


def test_the_top_of_a_parabola_is_found_between_the_rates():
    rng = np.random.default_rng(0)
    for top in rng.uniform(-3.5, -2, 20):
        curve = {rate: {0: -((math.log10(rate) - top) ** 2)} for rate in RATES}
        assert best_rates(curve, "x")[0] == pytest.approx(top * math.log(10))


def test_equally_good_rates_have_their_middle():
    curve = {1e-4: {0: 0.1}, 1e-3: {0: 0.5}, 1e-2: {0: 0.5}, 1e-1: {0: 0.2}}
    assert best_rates(curve, "x")[0] == pytest.approx(math.log(10) * -2.5)


@pytest.mark.parametrize(
    ("scores", "words"), [((1, 2, 3), "largest .* larger"), ((3, 2, 1), "least .* smaller")]
)
def test_a_best_at_the_end_may_lie_beyond(scores, words):
    curve = {rate: {0: score, 1: score} for rate, score in zip((1e-3, 1e-2, 1e-1), scores, strict=True)}
    with pytest.raises(AnalysisError, match=f"r=8: the best learning rate on dev, .* is the {words}"):
        best_rates(curve, "r=8")


def test_rates_that_are_all_alike_have_no_best():
    with pytest.raises(AnalysisError, match="r=8: every learning rate has the same dev score"):
        best_rates({rate: {0: 0.0, 1: 0.0} for rate in RATES}, "r=8")


def test_a_seed_without_a_rate_is_left_out(study):
    curve = {1e-3: {0: 1, 1: 1}, 1e-2: {0: 2, 1: 2}, 1e-1: {0: 1}}
    assert [*best_rates(curve, "x")] == [0]
    with pytest.raises(AnalysisError, match="no three learning rates"):
        best_rates({1e-3: {0: 1}, 1e-2: {0: 2}}, "x")


def test_too_few_rates_are_no_such_study(study):
    plant(study, {None: -3, 1: -2})
    assert not [one for one in judge(study.select()) if one.since]
