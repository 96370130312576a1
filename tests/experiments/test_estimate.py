from __future__ import annotations

import dataclasses

import pytest

from experiments.estimate import Estimate, costly_first, guess
from experiments.plan import PlannedRun


@pytest.fixture
def planned(config):
    def build(task="sql", targets="qv", rank=8, seed=0, **changes):
        values = {"targets": targets, "rank": rank, "seed": seed, "task.name": task, **changes}
        return PlannedRun(config(**values), tuple(f"{key}={value}" for key, value in values.items()))

    return build


def test_costly_first_and_one_task_after_the_other(planned):
    runs = [
        planned("nli", "qkvo", 64),
        planned("sql", "q", 1, seed=1),
        planned("sql", "q", 1),
        planned("sql", "qkvo", 64),
        planned("nli", "q", 1),
    ]
    ordered = costly_first(runs)
    assert [ordered.index(run) for run in runs] == [3, 2, 1, 0, 4]


def test_the_guess_follows_steps_and_method(planned):
    lora, more = planned().config, planned(steps=60).config
    assert guess(more) == pytest.approx(10 * guess(lora))
    assert guess(planned(method="full").config) > guess(lora) > guess(planned(method="none").config)


def test_seconds_of_the_runs_most_alike(planned):
    estimate = Estimate()
    one, other_rank = planned().config, planned(rank=64).config
    other_task = planned("nli").config
    assert estimate.seconds(one) is None
    estimate.add(one, 10.0)
    estimate.add(dataclasses.replace(one, seed=1), 20.0)
    estimate.add(other_rank, 60.0)
    assert estimate.seconds(dataclasses.replace(one, seed=7)) == 15.0
    assert estimate.seconds(planned(rank=16).config) == 30.0
    assert 0 < estimate.seconds(other_task) < 30.0  # by the ratio of the guesses


def test_time_left_is_that_of_the_last_worker(planned):
    estimate = Estimate()
    one = planned().config
    assert estimate.left([], [one], 2) is None
    estimate.add(one, 10.0)
    assert estimate.left([], [], 2) == 0.0
    assert estimate.left([], [one] * 3, 2) == 20.0
    assert estimate.left([(one, 4.0), (one, 25.0)], [], 2) == 6.0
    assert estimate.left([(one, 4.0), (one, 25.0)], [one], 2) == 10.0
    assert estimate.left([(one, 4.0), (one, 25.0)], [one] * 2, 2) == 16.0
